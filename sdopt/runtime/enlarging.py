"""From the latents of a first pass to what a larger second pass starts from."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image

from sdopt.runtime.decoder import LatentDecoder
from sdopt.runtime.input_picture import to_sample
from sdopt.runtime.latent_encoder import LatentEncoder
from sdopt.runtime.latent_upscale import LATENT_UPSCALERS, upscale
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.row_image import FixedLatents, RowImage

PICTURE_UPSCALERS: Mapping[str, Image.Resampling] = {
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
"""Filters for upscalers that enlarge the decoded picture, by name."""
UPSCALERS = (*LATENT_UPSCALERS, *PICTURE_UPSCALERS)


Enlarged = FloatArray | Image.Image
"""Larger latents, (channels, height/8, width/8) float32, or a larger picture."""


class Enlarger:
    """Enlarges what a first pass left, as latents or, by way of the VAE, as a picture.

    In two parts, of which a server runs each on the thread that has its network: the first decodes
    (or not), the second encodes.
    """

    def __init__(self, encoder: LatentEncoder, decoder: LatentDecoder) -> None:
        self._encoder, self._decoder = encoder, decoder

    def enlarge(
        self, upscaler: str, latents: FloatArray, size: tuple[int, int], factor: int
    ) -> Enlarged:
        """Enlarge the latents of one picture, or the picture that they are decoded to.

        Args:
            upscaler: In :data:`UPSCALERS`.
            latents: (channels, height/8, width/8) float32 of the first pass.
            size: (height, width) of the second pass, in pixels.
            factor: Pixels per latent along one side.

        Raises:
            EngineError: The VAE's decoder failed.
        """
        height, width = size
        if upscaler in LATENT_UPSCALERS:
            return upscale(latents, height // factor, width // factor, upscaler)
        picture = Image.fromarray(self._decoder.decode(latents))
        return picture.resize((width, height), PICTURE_UPSCALERS[upscaler])

    def row_image(self, enlarged: Enlarged) -> RowImage:
        """Return what a row of the second pass starts from.

        Raises:
            EngineError: The VAE's encoder failed.
        """
        if not isinstance(enlarged, Image.Image):
            return RowImage(posterior=FixedLatents(enlarged))
        sample = to_sample(enlarged, enlarged.height, enlarged.width)
        return RowImage(posterior=self._encoder.encode(sample))
