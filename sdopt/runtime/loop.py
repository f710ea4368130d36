"""The denoising loop. There is one in sdopt, and every picture goes through it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sdopt.errors import EngineError, InvalidValueError, NonFiniteError, ServerBusyError
from sdopt.runtime.arithmetic import Arithmetic, Outcome
from sdopt.runtime.clock import EngineClock
from sdopt.runtime.device_arithmetic import DeviceArithmetic, LoopGraphs
from sdopt.runtime.host_arithmetic import HostArithmetic
from sdopt.runtime.layout import Layout
from sdopt.runtime.ports import Engine, FloatArray
from sdopt.runtime.row import Row, RowRequest
from sdopt.runtime.unet_batch import LoopShapes, input_channels


@dataclass(frozen=True, slots=True)
class Preview:
    """What a row would become.

    Attributes:
        row: Whose it is.
        stage: How many of the row's evaluations were done then.
        denoised: Predicted finished latents, (channels, height/8, width/8) float32.
    """

    row: Row
    stage: int
    denoised: FloatArray


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step did.

    On a device, failures and previews are those of the step before, unless a row has finished: a
    step's outcome is looked at while the next one runs.

    Attributes:
        finished: Rows whose last evaluation this was. They have left the loop.
        failed: Rows that turned non-finite, or whose own UNet call failed, with the error. They
            have left the loop.
        previews: Of the rows for which they were asked, in the order of their stages.
    """

    finished: tuple[Row, ...]
    failed: tuple[tuple[Row, EngineError], ...]
    previews: tuple[Preview, ...]


class DenoisingLoop:
    """Advances any number of rows, each at its own step of its own plan, by one UNet call a step.

    The UNet's batch holds the conditional rows first and then the unconditional rows of the
    guided ones. Where the latents lie and what computes with them is the arithmetic's business.
    Not safe for use from several threads at once.

    Attributes:
        clock: Time spent inside UNet calls so far.
    """

    def __init__(
        self,
        unet: Engine,
        *,
        latent_shape: tuple[int, int, int],
        prompt_shape: tuple[int, int],
        max_rows: int,
        clock: EngineClock | None = None,
        condition_shapes: Mapping[str, tuple[int, ...]] | None = None,
        graphs: LoopGraphs | None = None,
    ) -> None:
        """Allocate the buffers.

        Args:
            unet: Takes ``sample``, ``timestep`` with one value per row,
                ``encoder_hidden_states`` and the conditions; gives ``out_sample``.
            latent_shape: (channels, height/8, width/8).
            prompt_shape: (length, dim) of the encoded prompts.
            max_rows: How many rows the loop holds at most; guided ones count once.
            clock: Adds up the time of UNet calls; several loops may share one.
            condition_shapes: The UNet's further inputs, and the shape of one row of each.
            graphs: What computes on the UNet's device; None to compute with NumPy on the host,
                where the UNet's buffers must lie then.
        """
        self._shapes = LoopShapes(latent_shape, prompt_shape, max_rows, condition_shapes or {})
        self._unet_channels = input_channels(unet) - latent_shape[0]
        self.clock = clock or EngineClock()
        self._arithmetic: Arithmetic = (
            HostArithmetic(unet, self._shapes, self.clock)
            if graphs is None
            else DeviceArithmetic(unet, graphs, self._shapes, self.clock)
        )
        self._rows: list[Row] = []
        self._arranged: list[Row] = []
        self._unseen: deque[tuple[Mapping[Row, int], Outcome]] = deque()

    @property
    def rows(self) -> Sequence[Row]:
        """The rows in progress, in the order of their admission."""
        return tuple(self._rows)

    @property
    def free_rows(self) -> int:
        """How many more rows can be admitted now."""
        return self._shapes.max_rows - len(self._rows)

    def admit(self, request: RowRequest) -> Row:
        """Take in a row; its first evaluation is at the next step.

        Raises:
            InvalidValueError: The encoded prompt or a condition has another shape than this
                loop's.
            ServerBusyError: Every row is taken.
        """
        if not self.free_rows:
            raise ServerBusyError(len(self._rows), retry_after_s=1.0)
        self._check(request)
        row = Row(request, self._arithmetic.latents)
        self._arithmetic.admit(row)
        self._rows.append(row)
        return row

    def cancel(self, row: Row) -> None:
        """Drop a row. The others do not notice; a row that has left already is no error."""
        if row in self._rows:
            self._remove([row])

    def step(self, previews: Sequence[Row] = ()) -> StepReport:
        """Advance every row by one evaluation.

        Args:
            previews: Rows whose predicted finished latents a report shall hold.

        Raises:
            EngineExecutionError: The UNet failed; no row has advanced.
        """
        return self._advance(list(self._rows), previews)

    def step_apart(self, previews: Sequence[Row] = ()) -> StepReport:
        """Advance every row by one evaluation, each by a UNet call of its own.

        This is what to do after ``step`` has raised: a row whose call fails again is reported as
        failed and leaves, the others go on.
        """
        reports = [self._step_one(row, previews) for row in self.rows]
        return StepReport(
            tuple(row for report in reports for row in report.finished),
            tuple(failure for report in reports for failure in report.failed),
            tuple(preview for report in reports for preview in report.previews),
        )

    def _step_one(self, row: Row, previews: Sequence[Row]) -> StepReport:
        if row not in self._rows:
            return StepReport((), (), ())
        try:
            return self._advance([row], previews)
        except EngineError as error:
            self._remove([row])
            return StepReport((), ((row, error),), ())

    def _advance(self, rows: list[Row], previews: Sequence[Row]) -> StepReport:
        if not rows:
            return StepReport((), (), ())
        if rows != self._arranged:
            self._arithmetic.arrange(Layout.of(rows))
            self._arranged = rows
        outcome = self._arithmetic.step(previews)
        for row in rows:
            row.stage += 1
        self._unseen.append(({row: row.stage for row in rows}, outcome))
        return self._report([row for row in rows if row.finished])

    def _report(self, finished: list[Row]) -> StepReport:
        failed: dict[Row, EngineError] = {}
        previews: list[Preview] = []
        for stages, outcome in self._seen(0 if finished else self._arithmetic.lag):
            self.clock.wait(outcome.wait)
            for row in [row for row in stages if row in self._rows and row not in failed]:
                if not outcome.is_finite(row):
                    failed[row] = NonFiniteError(stages[row] - 1, row.stages)
                elif row in outcome.previews:
                    shown = outcome.previews[row].array()
                    previews.append(Preview(row, stages[row], shown))
        done = tuple(row for row in finished if row not in failed)
        self._remove([*failed, *done])
        return StepReport(done, tuple(failed.items()), tuple(previews))

    def _seen(self, lag: int) -> Iterator[tuple[Mapping[Row, int], Outcome]]:
        """Give the outcomes that it is time to look at: all but the ``lag`` youngest."""
        while len(self._unseen) > lag:
            yield self._unseen.popleft()

    def _remove(self, rows: Sequence[Row]) -> None:
        for row in rows:
            row.leave()
            self._rows.remove(row)
            self._arithmetic.release(row)

    def _check(self, request: RowRequest) -> None:
        for embeds in (request.prompt_embeds, request.negative_prompt_embeds):
            if embeds is not None and embeds.shape != self._shapes.prompt:
                raise InvalidValueError(
                    "prompt_embeds.shape", embeds.shape, f"{self._shapes.prompt}"
                )
        self._check_conditions(request.conditions)
        if request.negative_prompt_embeds is not None:
            self._check_conditions(request.negative_conditions)
        given = request.image.unet_channels if request.image else 0
        if given != (wanted := self._unet_channels):
            raise InvalidValueError("channels beside the latents", given, f"{wanted} for this UNet")

    def _check_conditions(self, conditions: Mapping[str, FloatArray]) -> None:
        given = {name: array.shape for name, array in conditions.items()}
        if given != (wanted := dict(self._shapes.conditions)):
            raise InvalidValueError("shapes of conditions", given, f"{wanted}")
