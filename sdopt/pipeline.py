"""The composition root: a bundle and engines become a pipeline. The only module that knows both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import numpy as np

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.manifest import Manifest
from sdopt.engines.catalog import open_engine
from sdopt.engines.contract import Engine
from sdopt.runtime.decoder import LatentDecoder
from sdopt.runtime.generation import Generation, Result
from sdopt.runtime.images import LatentPreview
from sdopt.runtime.prompts import PromptEncoder
from sdopt.runtime.request import GenerationRequest, RequestOptions, RequestRules
from sdopt.runtime.text_to_image import LatentGeometry, TextToImage
from sdopt.runtime.tokenizer import ClipTokenizer


def load(
    bundle: str | Path,
    *,
    engine: str = "onnxruntime",
    max_rows: int = 4,
    threads: int | None = None,
) -> Pipeline:
    """Open a bundle and load its components.

    Args:
        bundle: A folder, or the name of a carried model such as ``"shapes"``.
        engine: A name in :data:`sdopt.engines.catalog.ENGINES`.
        max_rows: How many pictures are denoised together at most; more wait for a free row.
        threads: Threads within one operator; None for one per core.

    Raises:
        BundleError: The bundle cannot be found or trusted.
        UnknownNameError: There is no engine of this name.
        MissingDependencyError: The engine's package is not installed.
        EngineError: A component cannot be loaded.
    """
    return Pipeline(Bundle.open(bundle), engine=engine, max_rows=max_rows, threads=threads)


class Pipeline:
    """Makes pictures from prompts. Not safe for use from several threads at once.

    Attributes:
        bundle: What it runs.
        engine: The name of the engine that runs it.
        tokenizer: Turns texts into ``input_ids``.
    """

    def __init__(
        self, bundle: Bundle, *, engine: str, max_rows: int = 4, threads: int | None = None
    ) -> None:
        """Load the components of a bundle. See :func:`load`."""
        self.bundle, self.engine = bundle, engine
        self._threads = threads
        manifest = bundle.manifest
        self._rules = _rules(manifest)
        tokenizers = {
            name: ClipTokenizer.from_folder(bundle.path / name) for name in manifest.tokenizers
        }
        self.tokenizer = tokenizers[manifest.tokenizers[0]]
        encodings = bundle.family.text_encodings
        encoders = {part.component: self._open(part.component) for part in encodings}
        self._text_to_image = TextToImage(
            prompts=PromptEncoder(encodings, tokenizers, encoders),
            unet=self._open("unet"),
            decoder=LatentDecoder(
                self._open("vae_decoder"),
                scaling_factor=manifest.scaling_factor,
                vae_scale_factor=manifest.vae_scale_factor,
            ),
            preview=_preview(manifest),
            geometry=LatentGeometry(manifest.latent_channels, manifest.vae_scale_factor),
            max_rows=max_rows,
        )

    def __call__(self, prompt: str | Sequence[str], **options: Unpack[RequestOptions]) -> Result:
        """Make pictures.

        Args:
            prompt: One text or several.
            **options: See :class:`sdopt.runtime.request.RequestOptions`.

        Raises:
            RequestError: A value is not allowed; the message says what is.
            EngineError: A component failed.
        """
        return self.start(self.request(prompt, **options)).result

    def request(
        self, prompt: str | Sequence[str], **options: Unpack[RequestOptions]
    ) -> GenerationRequest:
        """Check a request and fill in its defaults, computing no picture. See :meth:`__call__`."""
        return self._rules.request(prompt, options)

    def start(self, request: GenerationRequest, *, previews: bool = False) -> Generation:
        """Return a generation that runs one denoising step each time it is iterated.

        Args:
            request: As :meth:`request` returns it.
            previews: Whether each step shall show small approximate pictures.
        """
        return self._text_to_image.start(request, previews=previews)

    def _open(self, component: str) -> Engine:
        path = self.bundle.component_path(component)
        return open_engine(self.engine, component, path, threads=self._threads)


def _rules(manifest: Manifest) -> RequestRules:
    return RequestRules(
        defaults=manifest.defaults,
        size_multiple=manifest.vae_scale_factor,
        scheduler=manifest.scheduler,
    )


def _preview(manifest: Manifest) -> LatentPreview:
    preview = manifest.preview
    return LatentPreview(np.array(preview.matrix, np.float32), np.array(preview.bias, np.float32))
