"""Requests carried out: prompts encoded, rows taken through the loop, latents decoded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from sdopt.runtime.clock import EngineClock
from sdopt.runtime.conditions import Conditions
from sdopt.runtime.decoder import LatentDecoder
from sdopt.runtime.device_arithmetic import LoopGraphs
from sdopt.runtime.enlarging import Enlarged, Enlarger
from sdopt.runtime.generation import Generation
from sdopt.runtime.generation_run import GenerationRun
from sdopt.runtime.image_start import ImageStart
from sdopt.runtime.images import LatentPreview
from sdopt.runtime.latent_encoder import LatentEncoder
from sdopt.runtime.loop import DenoisingLoop
from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.ports import Engine, FloatArray
from sdopt.runtime.prompt_embeds import Prompt
from sdopt.runtime.prompts import PromptEncoder
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.row import RowRequest
from sdopt.runtime.row_image import FixedLatents, RowImage
from sdopt.runtime.second_pass import SecondPass
from sdopt.runtime.unet_batch import LoopShapes, row_shapes

_KEPT_LOOPS = 4


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

    A request may ask for more pictures than the loop has rows. Not safe for use from several
    threads at once.
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
        refiner: ImageGenerator | None = None,
    ) -> None:
        """Keep the parts; ``refiner`` carries out the second pass of requests that hand over."""
        self._refiner = refiner
        self._prompts, self._unet, self._decoder, self._preview = prompts, unet, decoder, preview
        self._encoder, self._geometry, self._max_rows = encoder, geometry, max_rows
        self._loop_graphs = loop_graphs
        self._conditions = Conditions(unet, prompts)
        factor = geometry.vae_scale_factor
        self._image_start = ImageStart(encoder, unet, vae_scale_factor=factor)
        self._enlarger = Enlarger(encoder, decoder)
        self._loops: OrderedDict[tuple[tuple[int, int, int], int], DenoisingLoop] = OrderedDict()
        self._unet_clock = EngineClock()

    def start(self, request: GenerationRequest, *, previews: bool) -> Generation:
        """Begin a request; nothing is computed before the first step is asked for."""
        return Generation(GenerationRun(self, request, previews=previews).steps())

    @property
    def clocks(self) -> Mapping[str, EngineClock]:
        """What times the calls of each network; "text_encoder" stands for all text encoders."""
        return {
            "text_encoder": self._prompts.clock,
            "vae_encoder": self._encoder.clock,
            "unet": self._unet_clock,
            "vae_decoder": self._decoder.clock,
        }

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

    def forget_loops(self) -> None:
        """Let go of the loops that are kept for later requests: the UNet shall be bound anew."""
        self._loops.clear()

    def unet_row(self, request: GenerationRequest) -> dict[str, tuple[int, ...]]:
        """Return the shape of one row of each of the UNet's inputs and of its output."""
        prompt = (self._prompts.shape[0] * self.prompt_chunks(request), self._prompts.shape[1])
        shapes = LoopShapes(self.latent_shape(request), prompt, 1, self._conditions.shapes)
        return row_shapes(self._unet, shapes)

    def picture(self, latents: FloatArray) -> Image.Image:
        """Decode the latents of one picture, (channels, height/8, width/8) float32."""
        return Image.fromarray(self._decoder.decode(latents))

    def preview(self, denoised: FloatArray) -> Image.Image:
        """Approximate the picture of predicted latents, one pixel per latent."""
        return self._preview.image(denoised)

    def rows(self, request: GenerationRequest) -> list[RowRequest]:
        """Encode the prompts of a request, and its picture; one row for each picture, in order.

        These are the rows of the first pass, where there are two.

        Raises:
            EngineExecutionError: A text encoder or the VAE's encoder failed.
        """
        count = request.num_images
        images: Sequence[RowImage | None] = [None] * count
        if request.image is not None:
            images = self._image_start.row_images(request.image, count)
        noises = [request.noise_of(index) for index in range(count)]
        return self._rows(request, images, noises)

    def second_generator(self, request: GenerationRequest) -> ImageGenerator:
        """Return who carries out a request's second pass; this one where there is none."""
        handed_over = request.second is not None and request.second.upscaler is None
        return self._refiner if handed_over and self._refiner is not None else self

    def second_rows(
        self, second: SecondPass, first: Sequence[RowRequest], latents: Sequence[FloatArray]
    ) -> list[RowRequest]:
        """Return the rows of the second pass.

        Those of a refiner go on with the latents as they are, and with the noise. Those of an
        enlarged picture begin anew.

        Args:
            second: Of the request.
            first: The rows of the first pass.
            latents: What they left, (channels, height/8, width/8) float32 each.
        """
        if second.upscaler is not None:
            larger = [self.enlarged(second, each) for each in latents]
            return [self.enlarged_row(second, index, each) for index, each in enumerate(larger)]
        assert self._refiner is not None
        images = [RowImage(posterior=FixedLatents(each)) for each in latents]
        return self._refiner._rows(second.request, images, [row.noise for row in first])

    def enlarged(self, second: SecondPass, latents: FloatArray) -> Enlarged:
        """Enlarge one picture's latents of a first pass, (channels, height/8, width/8) float32.

        Raises:
            EngineExecutionError: The VAE's decoder failed.
        """
        request, upscaler = second.request, second.upscaler
        assert upscaler is not None
        size, factor = (request.height, request.width), self._geometry.vae_scale_factor
        return self._enlarger.enlarge(upscaler, latents, size, factor)

    def enlarged_row(self, second: SecondPass, index: int, enlarged: Enlarged) -> RowRequest:
        """Return the row of picture ``index`` that begins with what :meth:`enlarged` returned.

        Raises:
            EngineExecutionError: A text encoder or the VAE's encoder failed.
        """
        request, prompt = second.request, second.request.prompt_of(index)
        image, noise = self._enlarger.row_image(enlarged), request.noise_of(index)
        return self._row(request, prompt, self._encode(request, prompt), image, noise)

    def _rows(
        self,
        request: GenerationRequest,
        images: Sequence[RowImage | None],
        noises: Sequence[NoiseStream],
    ) -> list[RowRequest]:
        encoded = {p: self._encode(request, p) for p in dict.fromkeys(request.prompts)}
        prompts = [request.prompt_of(index) for index in range(request.num_images)]
        return [
            self._row(request, prompt, encoded[prompt], image, noise)
            for prompt, image, noise in zip(prompts, images, noises, strict=True)
        ]

    def _row(
        self,
        request: GenerationRequest,
        prompt: Prompt,
        encoded: tuple[FloatArray, FloatArray | None],
        image: RowImage | None,
        noise: NoiseStream,
    ) -> RowRequest:
        embeds, negative = encoded
        return RowRequest(
            plan=request.plan,
            noise=noise,
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

    def loop(self, latent_shape: tuple[int, int, int], length: int) -> DenoisingLoop:
        """Return the loop for a size and prompt length; those used last keep their buffers."""
        key = latent_shape, length
        loop = self._loops.pop(key, None) or self.new_loop(latent_shape, length, self._max_rows)
        self._loops[key] = loop
        while len(self._loops) > _KEPT_LOOPS:
            self._loops.popitem(last=False)
        return loop
