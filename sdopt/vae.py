"""A bundle's autoencoder by itself: from pictures to latents and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import get_args

from PIL import Image

from sdopt.bundle.bundle import Bundle
from sdopt.engines import memory
from sdopt.engines.catalog import footprint, open_engine
from sdopt.engines.contract import Engine
from sdopt.engines.memory import Footprint
from sdopt.engines.options import EngineOptions, Model, VaeTiling
from sdopt.engines.staged import on_host
from sdopt.errors import InvalidValueError
from sdopt.runtime.decoder import LatentDecoder
from sdopt.runtime.given_latents import check_latents
from sdopt.runtime.image_request import rounded_size
from sdopt.runtime.input_picture import open_picture, to_sample
from sdopt.runtime.latent_encoder import LatentEncoder
from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.request_checks import check_side, choose_seed
from sdopt.runtime.tiles import ChooseTiling, Tiling, whole


def load_vae(
    bundle: str | Path,
    *,
    engine: str = "onnxruntime",
    device: str = "cpu",
    precision: str | None = None,
    threads: int | None = None,
    vae_tiling: VaeTiling = "auto",
) -> Vae:
    """Open a bundle for its autoencoder alone; each half is loaded when it is first used.

    Args:
        bundle: A folder, or the name of a carried model such as ``"shapes"``.
        engine: As for :func:`sdopt.load`; likewise the others.
        device: Where.
        precision: What to compute in.
        threads: Threads within one operator.
        vae_tiling: Whether large pictures go through it in tiles.

    Raises:
        BundleError: The bundle cannot be found or trusted.
        UnknownNameError: There is no engine or no device of this name.
    """
    opened = Bundle.open(bundle)
    options = EngineOptions(device=device, precision=precision, threads=threads)

    def open_component(name: str) -> Engine:
        return on_host(open_engine(engine, Model.of(opened, name), options))

    return Vae(opened, open_component, tiling_rule(vae_tiling, opened, footprint(engine, options)))


class Vae:
    """From pictures to latents and back, one picture at a time; not for several threads at once.

    Attributes:
        encoder: Its first half, which is loaded when the first picture comes.
    """

    def __init__(
        self, bundle: Bundle, open_component: Callable[[str], Engine], choose_tiling: ChooseTiling
    ) -> None:
        """Keep what opens the two halves, and the rule by which pictures are cut."""
        manifest = bundle.manifest
        self._channels, self._factor = manifest.latent_channels, manifest.vae_scale_factor
        self._scaling_factor, self._choose_tiling = manifest.scaling_factor, choose_tiling
        self._open_decoder = partial(open_component, "vae_decoder")
        self.encoder = LatentEncoder(
            partial(open_component, "vae_encoder"),
            scaling_factor=self._scaling_factor,
            vae_scale_factor=self._factor,
            choose_tiling=choose_tiling,
        )

    @cached_property
    def decoder(self) -> LatentDecoder:
        """Its second half, which is loaded when it is first asked for."""
        return LatentDecoder(
            self._open_decoder(),
            scaling_factor=self._scaling_factor,
            vae_scale_factor=self._factor,
            choose_tiling=self._choose_tiling,
        )

    def encode(
        self,
        image: object,
        *,
        height: int | None = None,
        width: int | None = None,
        seed: int | None = None,
    ) -> FloatArray:
        """Encode a picture.

        Args:
            image: A path or a PIL image.
            height: To resize it to, with ``width``, in pixels; its own, rounded down, where None.
            width: Likewise.
            seed: To draw from the encoder's distribution, as image to image with this seed does;
                its mean where None.

        Returns:
            (channels, height/8, width/8) float32, in scaled-latent units.

        Raises:
            RequestError: It is no picture, or the size or seed is not allowed.
            EngineError: The encoder cannot be loaded or failed.
        """
        picture = open_picture("image", image)
        if (height is None) != (width is None):
            missing = "height" if height is None else "width"
            raise InvalidValueError(missing, None, "required where the other side is given")
        if height is None or width is None:
            size = rounded_size(picture, self._factor)
        else:
            sides = {"height": height, "width": width}
            checked = [check_side(name, side, self._factor) for name, side in sides.items()]
            size = checked[0], checked[1]
        posterior = self.encoder.encode(to_sample(picture, *size))
        if seed is None:
            return posterior.mean
        return posterior.sample(NoiseStream(choose_seed(seed, 1)))

    def decode(self, latents: object) -> tuple[Image.Image, ...]:
        """Decode pictures.

        Args:
            latents: (channels, height/8, width/8) float32 in scaled-latent units, of one picture,
                or (pictures, channels, height/8, width/8).

        Raises:
            InvalidValueError: They are no such array.
            EngineError: The decoder cannot be loaded or failed.
        """
        checked = check_latents("latents", latents, self._channels)
        return tuple(Image.fromarray(self.decoder.decode(each)) for each in checked)


def tiling_rule(mode: object, bundle: Bundle, footprint: Footprint | None) -> ChooseTiling:
    """Return the rule by which a bundle's pictures are cut into tiles.

    Where nobody has measured what an engine takes, pictures are cut only where that is asked for.

    Raises:
        InvalidValueError: There is no such mode.
    """
    if mode not in get_args(VaeTiling):
        raise InvalidValueError("vae_tiling", mode, f"one of {', '.join(get_args(VaeTiling))}")
    factor, tiling = bundle.manifest.vae_scale_factor, Tiling()

    def where_memory_is_short(taken: Footprint, height: int, width: int) -> Tiling | None:
        pixels = height * width * factor**2
        needed, available = memory.vae_bytes(bundle, taken, pixels), memory.available_bytes()
        if needed <= available or tiling.fits(height, width):
            return None
        warnings.warn(
            f"A picture of {width * factor}x{height * factor} goes through the VAE in tiles of "
            f"{tiling.side * factor}: whole, it would take about {needed / 1e9:.1f} GB, and "
            f"{available / 1e9:.1f} GB are available. vae_tiling says so (auto, on, off).",
            stacklevel=2,
        )
        return tiling

    rules: dict[object, ChooseTiling] = {
        "auto": whole if footprint is None else partial(where_memory_is_short, footprint),
        "on": lambda _, __: tiling,
        "off": whole,
    }
    return rules[mode]


def most_vae_pixels(mode: VaeTiling, bundle: Bundle) -> int | None:
    """Return how many pixels the VAE has to take at once at most, if there is a bound."""
    side = Tiling().side * bundle.manifest.vae_scale_factor
    return None if mode == "off" else side * side
