"""From the picture of a request to what its rows start from."""

from __future__ import annotations

import numpy as np

from sdopt.runtime.image_request import ImageRequest
from sdopt.runtime.latent_encoder import LatentEncoder
from sdopt.runtime.ports import Engine
from sdopt.runtime.row_image import FixedLatents, RowImage


class ImageStart:
    """Encodes pictures as rows take them, for UNets of both kinds.

    An inpainting UNet is told the mask and the masked picture beside the latents; with any other,
    the loop itself puts the known region back after every step.
    """

    def __init__(self, encoder: LatentEncoder, unet: Engine, *, vae_scale_factor: int) -> None:
        sample, answer = _channels(unet, "sample"), _channels(unet, "out_sample")
        self._encoder, self._factor = encoder, vae_scale_factor
        self._unet_is_told = sample > answer

    def row_images(self, request: ImageRequest, count: int) -> list[RowImage]:
        """Return what each of ``count`` pictures starts from; a given picture is encoded once.

        Raises:
            EngineError: The VAE's encoder cannot be loaded or failed.
        """
        if request.latents is None:
            return [self._encoded(request)] * count
        rows = np.broadcast_to(request.latents, (count, *request.latents.shape[1:]))
        return [RowImage(posterior=FixedLatents(latents)) for latents in rows]

    def _encoded(self, request: ImageRequest) -> RowImage:
        """Encode a request's picture, and what is left of it under its mask."""
        picture = request.picture
        assert picture is not None
        if picture.mask is None:
            return RowImage(posterior=self._encoder.encode(picture.sample))
        masked = self._encoder.encode(picture.masked_sample)
        mask = picture.latent_mask(self._factor)
        if not self._unet_is_told:
            posterior = self._encoder.encode(picture.sample)
            return RowImage(posterior=posterior, mask=mask, masked_posterior=masked)
        known = None if request.strength == 1 else self._encoder.encode(picture.sample)
        return RowImage(posterior=known, masked_posterior=masked, unet_mask=mask)


def _channels(unet: Engine, tensor: str) -> int:
    specs = (*unet.inputs, *unet.outputs)
    return int(next(spec.shape[1] for spec in specs if spec.name == tensor))
