"""Requests carried out: prompts encoded, rows taken through the loop, latents decoded."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass

from PIL import Image

from sdopt.runtime.clock import EngineClock
from sdopt.runtime.conditions import Conditions
from sdopt.runtime.decoder import LatentDecoder
from sdopt.runtime.device_arithmetic import LoopGraphs
from sdopt.runtime.generation import Generation, Result, Step, Stopwatch, Timings
from sdopt.runtime.image_start import ImageStart
from sdopt.runtime.images import LatentPreview
from sdopt.runtime.latent_encoder import LatentEncoder
from sdopt.runtime.loop import DenoisingLoop
from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.ports import Engine, FloatArray
from sdopt.runtime.prompt_embeds import Prompt
from sdopt.runtime.prompts import PromptEncoder
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.row import Row, RowRequest
from sdopt.runtime.row_image import RowImage

_KEPT_LOOPS = 4

_Rows = deque[tuple[int, RowRequest]]


@dataclass(frozen=True, slots=True)
class LatentGeometry:
    """How latents relate to pixels: channels, and pixels per latent along one side."""

    channels: int
    vae_scale_factor: int

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return (channels, height, width) of the latents of a picture given in pixels."""
        return self.channels, height // self.vae_scale_factor, width // self.vae_scale_factor


class ImageGenerator:
    """Carries requests out over the engines of one bundle, one request at a time.

    The pictures of a request share the loop's rows as they become free, so a request may ask for
    more pictures than the loop has rows. Not safe for use from several threads at once.
    """

    def __init__(
        self,
        *,
        prompts: PromptEncoder,
        unet: Engine,
        encoder: LatentEncoder,
        decoder: LatentDecoder,
        preview: LatentPreview,
        geometry: LatentGeometry,
        max_rows: int,
        loop_graphs: LoopGraphs | None = None,
    ) -> None:
        self._prompts, self._unet, self._decoder, self._preview = prompts, unet, decoder, preview
        self._encoder, self._geometry, self._max_rows = encoder, geometry, max_rows
        self._loop_graphs = loop_graphs
        self._conditions = Conditions(unet, prompts)
        factor = geometry.vae_scale_factor
        self._image_start = ImageStart(encoder, unet, vae_scale_factor=factor)
        self._loops: OrderedDict[tuple[tuple[int, int, int], int], DenoisingLoop] = OrderedDict()
        self._unet_clock = EngineClock()

    @property
    def clocks(self) -> Mapping[str, EngineClock]:
        """What times the calls of each network; "text_encoder" stands for all text encoders."""
        return {
            "text_encoder": self._prompts.clock,
            "vae_encoder": self._encoder.clock,
            "unet": self._unet_clock,
            "vae_decoder": self._decoder.clock,
        }

    def start(self, request: GenerationRequest, *, previews: bool) -> Generation:
        """Begin a request; nothing is computed before the first step is asked for."""
        return Generation(self._steps(request, previews))

    def prompt_chunks(self, request: GenerationRequest) -> int:
        """Return how many chunks the longest prompt of a request has; nothing is encoded."""
        return max(map(self._prompts.count_chunks, (*request.prompts, request.negative_prompt)))

    def latent_shape(self, request: GenerationRequest) -> tuple[int, int, int]:
        """Return (channels, height/8, width/8) of a request's latents."""
        return self._geometry.shape(request.height, request.width)

    def new_loop(
        self, latent_shape: tuple[int, int, int], length: int, max_rows: int
    ) -> DenoisingLoop:
        """Make a loop for rows of one latent shape and one prompt length, in tokens."""
        return DenoisingLoop(
            self._unet,
            latent_shape=latent_shape,
            prompt_shape=(length, self._prompts.shape[1]),
            max_rows=max_rows,
            clock=self._unet_clock,
            condition_shapes=self._conditions.shapes,
            graphs=self._loop_graphs,
        )

    def picture(self, latents: FloatArray) -> Image.Image:
        """Decode the latents of one picture, (channels, height/8, width/8) float32."""
        return Image.fromarray(self._decoder.decode(latents))

    def preview(self, denoised: FloatArray) -> Image.Image:
        """Approximate the picture of predicted latents, one pixel per latent."""
        return self._preview.image(denoised)

    def _steps(self, request: GenerationRequest, previews: bool) -> Generator[Step, None, Result]:
        meter = _Meter(
            self._prompts.clock, self._unet_clock, self._decoder.clock, self._encoder.clock
        )
        shape = self.latent_shape(request)
        images: dict[int, Image.Image] = {}
        completed, total = 0, request.plan.stages * request.num_images
        for length, rows in self._rows_by_length(request).items():
            loop = self._loop(shape, length)
            with closing(self._denoise(loop, rows, images, previews)) as steps:
                for advanced, shown in steps:
                    completed += advanced
                    yield Step(completed, total, shown)
        ordered = tuple(request.finish(images[i]) for i in range(request.num_images))
        return Result(ordered, request.seeds, request, meter.timings())

    def _denoise(
        self, loop: DenoisingLoop, rows: _Rows, images: dict[int, Image.Image], previews: bool
    ) -> Generator[tuple[int, dict[int, Image.Image]], None, None]:
        """Run rows of one prompt length, and put their pictures into ``images``.

        Yields:
            How many rows have advanced, and their previews, if asked for.
        """
        running: dict[Row, int] = {}
        try:
            while rows or running:
                while rows and loop.free_rows:
                    index, row_request = rows.popleft()
                    running[loop.admit(row_request)] = index
                advanced = len(running)
                report = loop.step(previews=tuple(running) if previews else ())
                shown = {running[p.row]: self.preview(p.denoised) for p in report.previews}
                for row, error in report.failed:
                    del running[row]
                    raise error
                for row in report.finished:
                    images[running.pop(row)] = self.picture(row.latents)
                yield advanced, shown
        finally:
            for row in running:
                loop.cancel(row)

    def _rows_by_length(self, request: GenerationRequest) -> dict[int, _Rows]:
        """Encode the prompts, and sort the pictures by the length of their encoded prompt.

        A prompt is never padded to the length of another picture's: it would change its picture.
        """
        groups: dict[int, _Rows] = {}
        for index, row in enumerate(self.rows(request)):
            groups.setdefault(len(row.prompt_embeds), deque()).append((index, row))
        return groups

    def rows(self, request: GenerationRequest) -> list[RowRequest]:
        """Encode the prompts of a request, and its picture; one row for each picture, in order.

        Raises:
            EngineExecutionError: A text encoder or the VAE's encoder failed.
        """
        encoded = {p: self._encode(request, p) for p in dict.fromkeys(request.prompts)}
        image = None if request.image is None else self._image_start.row_image(request.image)
        prompts = [request.prompt_of(index) for index in range(request.num_images)]
        return [
            self._row(request, seed, prompt, encoded[prompt], image)
            for seed, prompt in zip(request.seeds, prompts, strict=True)
        ]

    def _row(
        self,
        request: GenerationRequest,
        seed: int,
        prompt: Prompt,
        encoded: tuple[FloatArray, FloatArray | None],
        image: RowImage | None,
    ) -> RowRequest:
        embeds, negative = encoded
        return RowRequest(
            plan=request.plan,
            noise=NoiseStream(seed),
            prompt_embeds=embeds,
            negative_prompt_embeds=negative,
            guidance_scale=request.guidance_scale,
            conditions=self._conditions.positive(request, prompt),
            negative_conditions={} if negative is None else self._conditions.negative(request),
            image=image,
        )

    def _encode(
        self, request: GenerationRequest, prompt: Prompt
    ) -> tuple[FloatArray, FloatArray | None]:
        if not request.guided:
            return self._prompts.encode(prompt, request.clip_skip), None
        return self._prompts.encode_pair(prompt, request.negative_prompt, request.clip_skip)

    def _loop(self, latent_shape: tuple[int, int, int], length: int) -> DenoisingLoop:
        """Return the loop for a size and prompt length; those used last keep their buffers."""
        key = latent_shape, length
        loop = self._loops.pop(key, None) or self.new_loop(latent_shape, length, self._max_rows)
        self._loops[key] = loop
        while len(self._loops) > _KEPT_LOOPS:
            self._loops.popitem(last=False)
        return loop


class _Meter:
    """Reads engine clocks that run on from request to request."""

    def __init__(self, *clocks: EngineClock) -> None:
        self._clocks = clocks
        self._before = [clock.seconds for clock in clocks]
        self._watch = Stopwatch()

    def timings(self) -> Timings:
        spent = [(c.seconds - b) * 1e3 for c, b in zip(self._clocks, self._before, strict=True)]
        text_encoder_ms, unet_ms, vae_decoder_ms, vae_encoder_ms = spent
        return Timings(
            text_encoder_ms=text_encoder_ms,
            unet_ms=unet_ms,
            vae_decoder_ms=vae_decoder_ms,
            vae_encoder_ms=vae_encoder_ms,
            total_ms=self._watch.elapsed_ms,
        )
