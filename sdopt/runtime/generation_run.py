"""One request from its prompts to its pictures, over one or two passes of the denoising loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from PIL import Image

from sdopt.runtime.generation import Result, Step, Stopwatch, Timings
from sdopt.runtime.loop import DenoisingLoop
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.row import Row, RowRequest

if TYPE_CHECKING:
    from sdopt.runtime.image_generator import ImageGenerator

_Rows = deque[tuple[int, RowRequest]]
_Finish = Callable[[int, FloatArray], None]


class GenerationRun:
    """Carries one request out. Its pictures share the loops' rows as they become free."""

    def __init__(
        self, generator: ImageGenerator, request: GenerationRequest, *, previews: bool
    ) -> None:
        self._generator, self._request, self._previews = generator, request, previews
        self._latents: dict[int, FloatArray] = {}
        self._images: dict[int, Image.Image] = {}
        self._completed = 0

    def steps(self) -> Generator[Step, None, Result]:
        """Run it, one evaluation of the UNet at a time.

        Yields:
            How far it is, after each evaluation.

        Returns:
            The pictures.
        """
        request, generator = self._request, self._generator
        meter = _Meter(generator, generator.second_generator(request))
        rows = generator.rows(request)
        if request.second is None:
            yield from self._pass(generator, request, rows)
        else:
            yield from self._pass(generator, request, rows, last=False)
            latents = [self._latents[index] for index in range(request.num_images)]
            rows = generator.second_rows(request.second, rows, latents)
            generator = generator.second_generator(request)
            yield from self._pass(generator, request.second.request, rows)
        return Result(
            images=tuple(self._images[index] for index in sorted(self._images)),
            latents=tuple(self._latents[index] for index in range(request.num_images)),
            seeds=request.seeds,
            request=request,
            timings=meter.timings(),
        )

    def _pass(
        self,
        generator: ImageGenerator,
        request: GenerationRequest,
        rows: Sequence[RowRequest],
        *,
        last: bool = True,
    ) -> Generator[Step, None, None]:
        """Run rows, and keep what becomes of them."""

        def finish(index: int, latents: FloatArray) -> None:
            self._latents[index] = latents
            if last and self._request.output_type == "pil":
                self._images[index] = self._request.finish(generator.picture(latents))

        shape = generator.latent_shape(request)
        total = self._request.evaluations * self._request.num_images
        for length, waiting in _by_length(rows).items():
            loop = generator.loop(shape, length)
            with closing(self._denoise(loop, waiting, finish)) as steps:
                for advanced, previews in steps:
                    self._completed += advanced
                    shown = {index: generator.preview(x) for index, x in previews.items()}
                    yield Step(self._completed, total, shown)

    def _denoise(
        self, loop: DenoisingLoop, rows: _Rows, finish: _Finish
    ) -> Generator[tuple[int, Mapping[int, FloatArray]], None, None]:
        """Run rows of one prompt length.

        Yields:
            How many rows have advanced, and the latents that they predict, if asked for.
        """
        running: dict[Row, int] = {}
        try:
            while rows or running:
                while rows and loop.free_rows:
                    index, row_request = rows.popleft()
                    running[loop.admit(row_request)] = index
                advanced = len(running)
                report = loop.step(previews=tuple(running) if self._previews else ())
                previews = {running[shown.row]: shown.denoised for shown in report.previews}
                for row, error in report.failed:
                    del running[row]
                    raise error
                for row in report.finished:
                    finish(running.pop(row), row.latents)
                yield advanced, previews
        finally:
            for row in running:
                loop.cancel(row)


def _by_length(rows: Sequence[RowRequest]) -> dict[int, _Rows]:
    """Sort rows by the length of their encoded prompt.

    A prompt is never padded to the length of another picture's: it would change its picture.
    """
    groups: dict[int, _Rows] = {}
    for index, row in enumerate(rows):
        groups.setdefault(len(row.prompt_embeds), deque()).append((index, row))
    return groups


class _Meter:
    """Reads engine clocks that run on from request to request."""

    def __init__(self, *generators: ImageGenerator) -> None:
        self._clocks = [dict(generator.clocks) for generator in dict.fromkeys(generators)]
        self._before = self._seconds()
        self._watch = Stopwatch()

    def _seconds(self) -> Mapping[str, float]:
        return {name: sum(c[name].seconds for c in self._clocks) for name in self._clocks[0]}

    def timings(self) -> Timings:
        spent = {name: (s - self._before[name]) * 1e3 for name, s in self._seconds().items()}
        return Timings(
            **{f"{name}_ms": spent_ms for name, spent_ms in spent.items()},
            total_ms=self._watch.elapsed_ms,
        )
