"""The composition root: a bundle and engines become a pipeline. The only module that knows both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Unpack

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.loop_graphs import LOOP_GRAPHS
from sdopt.engines import memory
from sdopt.engines.catalog import check_fixed_size, choose, footprint, open_engine
from sdopt.engines.contract import Engine
from sdopt.engines.huge_pages import use_huge_pages
from sdopt.engines.loop_choice import loops_on_device
from sdopt.engines.options import Batching, EngineOptions, Loop, Model, VaeTiling, components
from sdopt.engines.row_parts import MeasuredParts, in_parts
from sdopt.engines.row_timesteps import RowTimesteps
from sdopt.engines.size_bucket import SizeBucket
from sdopt.engines.staged import on_host
from sdopt.engines.step_times import StepTimes
from sdopt.engines.timestep_input import has_timestep_per_row
from sdopt.errors import UnknownNameError
from sdopt.rules import latent_preview, request_rules
from sdopt.runtime.concept_file import Concept, read_concept
from sdopt.runtime.device_arithmetic import LoopGraphs
from sdopt.runtime.generation import Generation, Result, Timings
from sdopt.runtime.handover import check_refiner, handover_request
from sdopt.runtime.hires import hires_request
from sdopt.runtime.image_generator import ImageGenerator, LatentGeometry
from sdopt.runtime.prompt_checks import check_text
from sdopt.runtime.prompts import PromptEncoder
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.request_options import RequestOptions
from sdopt.runtime.tokenizer import ClipTokenizer
from sdopt.vae import Vae, most_vae_pixels, tiling_rule


def load(
    bundle: str | Path,
    *,
    engine: str = "onnxruntime",
    device: str = "cpu",
    precision: str | None = None,
    max_rows: int = 4,
    threads: int | None = None,
    loop: Loop = "auto",
    batching: Batching = "exact",
    fixed_size: str | SizeBucket | None = None,
    default_negative_prompt: str = "",
    refiner: str | Path | None = None,
    vae_tiling: VaeTiling = "auto",
) -> Pipeline:
    """Open a bundle and load its components.

    Args:
        bundle: A folder, or the name of a carried model such as ``"shapes"``.
        engine: A name in :data:`sdopt.engines.catalog.ENGINES`, or ``"auto"`` for the fastest of
            those installed that runs on the device.
        device: A name in :data:`sdopt.engines.catalog.DEVICES`.
        precision: What to compute in, such as ``"bf16"``; None for the fastest that the engine
            has on the device.
        max_rows: How many pictures are denoised together at most; more wait for a free row.
        threads: Threads within one operator; None for one per core that the process may use.
        loop: Where guidance and scheduler compute: ``"host"`` (NumPy), ``"device"`` (the bundle's
            loop graphs, on the engine), or ``"auto"`` for the faster one.
        batching: On a GPU, ``"exact"`` or ``"fast"``: see
            :class:`sdopt.engines.options.EngineOptions`.
        fixed_size: The one size of all pictures, such as ``"512x512"``: OpenVINO is faster so.
            ``"512x512:2"`` computes two pictures in each call of the UNet.
        default_negative_prompt: Used with guidance where a request gives no negative prompt.
        vae_tiling: Whether pictures larger than 512 pixels go through the VAE in tiles; auto where
            they would not fit into memory otherwise. See docs/images.md.
        refiner: A second bundle, which ends what the first begins: see docs/families.md.

    Raises:
        InvalidValueError: The default negative prompt is no text, the refiner does not fit, or the
            engine takes no fixed size.
        BundleError: The bundle cannot be found or trusted.
        UnknownNameError: There is no engine, no device or no loop of this name.
        InvalidSizeError: The VAE's factor does not divide a side of the fixed size.
        MissingDependencyError: The engine's package is not installed.
        ProviderUnavailableError: The engine cannot run on the device, or not in the precision.
        InsufficientMemoryError: Not even one picture of the bundle's own size would fit.
        EngineError: A component cannot be loaded.
    """
    bundles = [Bundle.open(one) for one in (bundle, refiner) if one is not None]
    options = EngineOptions(
        device=device,
        precision=precision,
        threads=threads,
        batching=batching,
        fixed_size=_bucket(fixed_size),
    )
    models = [model for one in bundles for model in components(one)]
    chosen = choose(engine, device, models, options.store).engine
    if (taken := footprint(chosen, options)) is not None:
        estimates = [
            memory.estimate(one, taken, most_vae_pixels=most_vae_pixels(vae_tiling, one))
            for one in bundles
        ]
        memory.check(memory.together(estimates))
    open_pipeline = partial(
        Pipeline,
        engine=engine,
        options=options,
        max_rows=max_rows,
        loop=loop,
        default_negative_prompt=default_negative_prompt,
        vae_tiling=vae_tiling,
    )
    second = open_pipeline(bundles[1]) if refiner is not None else None
    return open_pipeline(bundles[0], refiner=second)


class Pipeline:
    """Makes pictures from prompts. Not safe for use from several threads at once.

    Attributes:
        bundle: What it runs.
        engine: The name of the engine that runs it.
        engine_reason: Why it is this engine, in words.
        precisions: What each component computes in, of those that were loaded.
        refiner: What ends the pictures that it begins, if there is one.
        tokenizer: Turns texts into ``input_ids``.
        step_times: Of the UNet, where :meth:`choose_buckets` has measured them.
        vae: Encodes and decodes pictures by itself.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        engine: str,
        options: EngineOptions | None = None,
        max_rows: int = 4,
        loop: Loop = "auto",
        default_negative_prompt: str = "",
        refiner: Pipeline | None = None,
        vae_tiling: VaeTiling = "auto",
    ) -> None:
        """Load the components of a bundle. See :func:`load`."""
        self.refiner = refiner
        self.bundle, self._options = bundle, options or EngineOptions()
        self._max_rows = max_rows
        choice = choose(engine, self._options.device, components(bundle), self._options.store)
        self.engine, self.engine_reason = choice.engine, choice.reason
        check_fixed_size(self.engine, bundle.component("unet").inputs, self._options)
        self.precisions: dict[str, str] = {}
        self.step_times: StepTimes | None = None
        manifest = bundle.manifest
        check_text("default_negative_prompt", default_negative_prompt)
        tokenizers = {
            name: ClipTokenizer.from_folder(bundle.path / name) for name in manifest.tokenizers
        }
        self.tokenizer = tokenizers[manifest.tokenizers[0]]
        prompts = self._prompt_encoder(tokenizers)
        self._prompts = prompts
        self._rules = request_rules(
            bundle, prompts, default_negative_prompt, self._options.fixed_size
        )
        self._unet, graphs = self._open_loop(loop)
        if refiner is not None:
            check_refiner(self._rules, refiner._rules)
        cut = tiling_rule(vae_tiling, bundle, footprint(self.engine, self._options))
        self.vae = Vae(bundle, self._open, cut)
        self._generator = ImageGenerator(
            prompts=prompts,
            unet=self._unet,
            loop_graphs=graphs,
            encoder=self.vae.encoder,
            decoder=self.vae.decoder,
            preview=latent_preview(manifest),
            geometry=LatentGeometry(manifest.latent_channels, manifest.vae_scale_factor),
            max_rows=max_rows,
            refiner=None if refiner is None else refiner.generator,
        )

    def __call__(
        self, prompt: str | Sequence[str] | None = None, **options: Unpack[RequestOptions]
    ) -> Result:
        """Make pictures.

        Args:
            prompt: One text or several; none where ``prompt_embeds`` is given. For weights and
                long prompts see docs/prompts.md.
            **options: See :class:`sdopt.runtime.request_options.RequestOptions`.

        Raises:
            RequestError: A value is not allowed; the message says what is.
            EngineError: A component failed.
        """
        return self.start(self.request(prompt, **options)).result

    def request(
        self, prompt: str | Sequence[str] | None = None, **options: Unpack[RequestOptions]
    ) -> GenerationRequest:
        """Check a request and fill in its defaults, computing no picture. See :meth:`__call__`."""
        if options.get("hr_scale") is not None and self.refiner is None:
            return hires_request(self._rules, prompt, options)
        if self.refiner is None:
            return self._rules.request(prompt, options)
        return handover_request(self._rules, self.refiner._rules, prompt, options)

    def start(self, request: GenerationRequest, *, previews: bool = False) -> Generation:
        """Return a generation that runs one denoising step each time it is iterated.

        Args:
            request: As :meth:`request` returns it.
            previews: Whether each step shall show small approximate pictures.
        """
        return self._generator.start(request, previews=previews)

    def warmup(
        self,
        *,
        height: int | None = None,
        width: int | None = None,
        num_images: int = 1,
        budget_s: float = 5.0,
    ) -> Timings:
        """Get ready for requests of a size: the first one takes no longer than later ones then.

        Every network runs once, because backends allocate, choose kernels and compile at the first
        run with each shape. What lies in main memory is moved onto huge pages
        (:func:`sdopt.engines.huge_pages.use_huge_pages`), and batches are cut up as is fastest
        (:meth:`choose_buckets`). No picture changes by this.

        Args:
            height: In pixels, with ``width``; None for the bundle's own size.
            width: In pixels.
            num_images: Up to how many pictures at a time requests will ask for: each number from
                1 to this (or to ``max_rows``) is a shape of its own.
            budget_s: See :meth:`choose_buckets`.

        Returns:
            Where the time of the last and largest run went.

        Raises:
            RequestError: The size or number is not allowed.
            EngineError: A component failed.
        """
        if self.refiner is not None:
            self.refiner.warmup(
                height=height, width=width, num_images=num_images, budget_s=budget_s
            )
        largest = self.empty_request(
            num_images_per_prompt=num_images, num_inference_steps=1, height=height, width=width
        )
        for count in range(1, min(num_images, self._max_rows) + 1):
            result = self.start(replace(largest, num_images_per_prompt=count)).result
        if self._unet.device.is_host:
            use_huge_pages()
        self.choose_buckets(budget_s, height=height, width=width)
        return result.timings

    def choose_buckets(
        self, budget_s: float, *, height: int | None = None, width: int | None = None
    ) -> StepTimes | None:
        """Time the UNet for different numbers of rows, and cut batches up as is fastest.

        For one size, and for prompts of one chunk. No picture changes by this: where a backend
        might compute the rows of a larger call differently, their bits are compared, and until then
        each row is computed by itself. :meth:`warmup` does this too.

        Args:
            budget_s: Seconds to stop timing after, and comparing after as many; one row is always
                measured.
            height: In pixels, with ``width``; None for the bundle's own size.
            width: In pixels.

        Returns:
            What was measured; None where something else decides: on a GPU, exact batching.

        Raises:
            RequestError: The size is not allowed.
            EngineError: The UNet failed.
        """
        if isinstance(self._unet, MeasuredParts):
            request = self.empty_request(height=height, width=width)
            row = self._generator.unet_row(request)
            self.step_times = self._unet.measure(row, budget_s)
            self._generator.forget_loops()
        return self.step_times

    def empty_request(self, **options: Unpack[RequestOptions]) -> GenerationRequest:
        """Return a request for an empty prompt, with a picture where the model cannot do without.

        No refiner takes part.

        Args:
            **options: See :class:`sdopt.runtime.request_options.RequestOptions`; no picture.

        Raises:
            RequestError: A value is not allowed.
        """
        given: RequestOptions = {"seed": 0, **options, **self._rules.any_picture()}
        return self._rules.request("", given)

    @property
    def generator(self) -> ImageGenerator:
        """The parts of a generation one by one, for a server that runs many at once."""
        return self._generator

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """What prompts can name by textual inversion."""
        return self._prompts.concepts

    def load_textual_inversion(self, path: str | Path, token: str | None = None) -> Concept:
        """Read a concept, which prompts and negative prompts can name from now on.

        Args:
            path: A safetensors file. See :func:`sdopt.runtime.concept_file.read_concept`.
            token: The trigger word. Default: what the file says, or the file's name.

        Raises:
            ConceptFileError: The file holds no concept.
            InvalidValueError: The concept does not fit the bundle, or its word is taken.
        """
        concept = read_concept(path, token)
        self._use((*self.concepts, concept))
        return concept

    def unload_textual_inversion(self, token: str) -> None:
        """Forget a concept.

        Raises:
            UnknownNameError: No concept has this trigger word.
        """
        tokens = [concept.token for concept in self.concepts]
        if token not in tokens:
            raise UnknownNameError("concept", token, tokens)
        self._use([concept for concept in self.concepts if concept.token != token])

    def _use(self, concepts: Sequence[Concept]) -> None:
        self._prompts.use(concepts)
        self._rules = replace(self._rules, concepts=self._prompts.concepts)

    def _prompt_encoder(self, tokenizers: Mapping[str, ClipTokenizer]) -> PromptEncoder:
        family = self.bundle.family
        encoders = {part.component: self._open(part.component) for part in family.text_encodings}
        return PromptEncoder(
            family.text_encodings, tokenizers, encoders, long_prompts=family.long_prompts
        )

    def _load(self, component: str) -> Engine:
        model = Model.of(self.bundle, component, self._options.fixed_size)
        loaded = open_engine(self.engine, model, self._options)
        self.precisions[component] = loaded.precision
        return loaded

    def _open(self, component: str) -> Engine:
        return on_host(self._load(component))

    def _open_loop(self, loop: Loop) -> tuple[Engine, LoopGraphs | None]:
        """Open the UNet and, if the loop shall run where it does, the loop graphs."""
        rows = _ROWS_OF_A_PICTURE * self._max_rows
        unet = in_parts(self._load("unet"), self._options.batching, rows)
        if loops_on_device(loop, self.bundle, unet):
            return unet, LoopGraphs(*map(self._load, LOOP_GRAPHS))
        return (on_host(unet) if has_timestep_per_row(unet.inputs) else RowTimesteps(unet)), None


def _bucket(size: str | SizeBucket | None) -> SizeBucket | None:
    return SizeBucket.parse(size, "fixed_size") if isinstance(size, str) else size


_ROWS_OF_A_PICTURE = 2
"""With guidance: one with the prompt, one without."""
