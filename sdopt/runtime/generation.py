"""A request from its prompts to its pictures, one denoising step at a time."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

from PIL import Image

from sdopt.runtime.ports import FloatArray
from sdopt.runtime.request import GenerationRequest


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a request went, in milliseconds.

    Attributes:
        text_encoder_ms: Inside text encoder calls.
        unet_ms: Inside UNet calls.
        vae_decoder_ms: Inside calls of the VAE's decoder.
        vae_encoder_ms: Inside calls of the VAE's encoder, for requests with a picture.
        total_ms: From the start to the last picture; what the caller did between two steps counts.
    """

    text_encoder_ms: float
    unet_ms: float
    vae_decoder_ms: float
    vae_encoder_ms: float
    total_ms: float

    @property
    def overhead_ms(self) -> float:
        """Everything outside engine calls: tokens, noise, guidance, scheduler, pixels."""
        vae_ms = self.vae_encoder_ms + self.vae_decoder_ms
        return self.total_ms - self.text_encoder_ms - self.unet_ms - vae_ms


@dataclass(frozen=True, slots=True)
class Result:
    """What a request gave.

    Attributes:
        images: In the order of the prompts, ``num_images_per_prompt`` of each; none where the
            request asks for latents alone.
        latents: Of each image, (channels, height/8, width/8) float32, in scaled-latent units; where
            the request ends before the schedule does, in the scheduler's own scale, as ``image``
            of a request that takes over expects them.
        seeds: The seed of each image; with it, the image can be made again alone.
        request: What was made, with every default filled in.
        timings: Where the time went.
    """

    images: tuple[Image.Image, ...]
    latents: tuple[FloatArray, ...]
    seeds: tuple[int, ...]
    request: GenerationRequest
    timings: Timings

    def settings(self, index: int) -> dict[str, object]:
        """Return all that is needed to make image ``index`` again, as JSON data."""
        return self.request.settings(index)


@dataclass(frozen=True, slots=True)
class Step:
    """A generation after one UNet call.

    Attributes:
        completed: Evaluations done so far, over all images.
        total: Evaluations of the whole request, over all images.
        previews: Approximate pictures, one pixel per latent, by image index, if asked for.
    """

    completed: int
    total: int
    previews: Mapping[int, Image.Image]


class Generation(Iterator[Step]):
    """A request in progress: each iteration runs one step. Closing it frees its rows."""

    def __init__(self, steps: Generator[Step, None, Result]) -> None:
        self._steps = steps
        self._result: Result | None = None

    def __next__(self) -> Step:
        try:
            return next(self._steps)
        except StopIteration as stop:
            self._result = self._result or stop.value
            raise

    def close(self) -> None:
        """Stop here and give the rows back."""
        self._steps.close()

    @property
    def result(self) -> Result:
        """The finished pictures; runs the remaining steps first, if there are any.

        Raises:
            RuntimeError: The generation was closed or failed before it was finished.
        """
        for _ in self:
            pass
        if self._result is None:
            raise RuntimeError("This generation was stopped before it was finished.")
        return self._result


class Stopwatch:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()

    @property
    def elapsed_ms(self) -> float:
        """So far."""
        return (time.perf_counter() - self._begin) * 1e3
