"""The denoising loop. There is one in sdopt, and every picture goes through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdopt.errors import EngineError, InvalidValueError, NonFiniteError, ServerBusyError
from sdopt.runtime.clock import EngineClock
from sdopt.runtime.ports import Call, Engine, FloatArray, dtype_of
from sdopt.runtime.row import Row, RowRequest


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step did.

    Attributes:
        finished: Rows whose last evaluation this was. They have left the loop.
        failed: Rows that turned non-finite, or whose own UNet call failed, with the error. They
            have left the loop.
        previews: Predicted finished latents, (channels, height/8, width/8) float32, of the rows
            for which they were asked.
    """

    finished: tuple[Row, ...]
    failed: tuple[tuple[Row, EngineError], ...]
    previews: dict[Row, FloatArray]


class DenoisingLoop:
    """Advances any number of rows, each at its own step of its own plan, by one UNet call a step.

    The UNet's batch holds the conditional rows first and then the unconditional rows of the
    guided ones. Its buffers are made once, for the largest batch; each batch size has one call
    bound to their beginning. Not safe for use from several threads at once.

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
        """
        self._unet = unet
        self._latent_shape, self._prompt_shape = latent_shape, prompt_shape
        self._max_rows = max_rows
        batch = 2 * max_rows
        self._sample = np.empty(
            (batch, _input_channels(unet), *latent_shape[1:]), dtype_of(unet, "sample")
        )
        self._timestep = np.empty(batch, dtype_of(unet, "timestep"))
        self._prompts = np.empty((batch, *prompt_shape), dtype_of(unet, "encoder_hidden_states"))
        self._output = np.empty((batch, *latent_shape), dtype_of(unet, "out_sample"))
        self._conditions = {
            name: np.empty((batch, *shape), dtype_of(unet, name))
            for name, shape in (condition_shapes or {}).items()
        }
        self._calls: dict[int, Call] = {}
        self._rows: list[Row] = []
        self._partners: list[int | None] = []
        self._arranged = False
        self._batch = 0
        self.clock = clock or EngineClock()

    @property
    def rows(self) -> Sequence[Row]:
        """The rows in progress, in the order of their admission."""
        return tuple(self._rows)

    @property
    def free_rows(self) -> int:
        """How many more rows can be admitted now."""
        return self._max_rows - len(self._rows)

    def admit(self, request: RowRequest) -> Row:
        """Take in a row; its first evaluation is at the next step.

        Raises:
            InvalidValueError: The encoded prompt or a condition has another shape than this
                loop's.
            ServerBusyError: Every row is taken.
        """
        if not self.free_rows:
            raise ServerBusyError(len(self._rows), retry_after_s=1.0)
        for embeds in (request.prompt_embeds, request.negative_prompt_embeds):
            if embeds is not None and embeds.shape != self._prompt_shape:
                raise InvalidValueError(
                    "prompt_embeds.shape", embeds.shape, f"{self._prompt_shape}"
                )
        self._check_conditions(request.conditions)
        if request.negative_prompt_embeds is not None:
            self._check_conditions(request.negative_conditions)
        row = Row(request, self._latent_shape)
        self._check_channels(row)
        self._rows.append(row)
        self._arranged = False
        return row

    def cancel(self, row: Row) -> None:
        """Drop a row. The others do not notice; a row that has left already is no error."""
        if row in self._rows:
            self._remove([row])

    def step(self, previews: Sequence[Row] = ()) -> StepReport:
        """Advance every row by one evaluation.

        Args:
            previews: Rows whose predicted finished latents the report shall hold.

        Raises:
            EngineExecutionError: The UNet failed; no row has advanced.
        """
        if not self._rows:
            return StepReport((), (), {})
        self._arrange()
        self._write_inputs()
        self.clock.run(self._calls.get(self._batch) or self._bind())
        shown: dict[Row, FloatArray] = {}
        for index, row in enumerate(self._rows):
            partner = self._partners[index]
            row.guide(self._output[index], None if partner is None else self._output[partner])
            if row in previews:
                shown[row] = row.denoised()
            row.advance()
        return self._report(shown)

    def step_apart(self, previews: Sequence[Row] = ()) -> StepReport:
        """Advance every row by one evaluation, each by a UNet call of its own.

        This is what to do after ``step`` has raised: a row whose call fails again is reported as
        failed and leaves, the others go on.
        """
        reports = [self._step_one(row, previews) for row in self.rows]
        return StepReport(
            tuple(row for report in reports for row in report.finished),
            tuple(failure for report in reports for failure in report.failed),
            {row: shown for report in reports for row, shown in report.previews.items()},
        )

    def _step_one(self, row: Row, previews: Sequence[Row]) -> StepReport:
        others = [other for other in self._rows if other is not row]
        self._use([row])
        try:
            report = self.step(previews)
        except EngineError as error:
            report = StepReport((), ((row, error),), {})
            self._rows = []
        self._use([*others, *self._rows])
        return report

    def _arrange(self) -> None:
        """Give each guided row its unconditional partner, and lay out the prompts accordingly."""
        if self._arranged:
            return
        self._partners = []
        batch = len(self._rows)
        for index, row in enumerate(self._rows):
            self._sample[index, self._latent_shape[0] :] = row.unet_condition
            request = row.request
            negative = request.negative_prompt_embeds
            self._write_prompt(index, request.prompt_embeds, request.conditions)
            self._partners.append(None if negative is None else batch)
            if negative is not None:
                self._write_prompt(batch, negative, request.negative_conditions)
                batch += 1
        self._batch = batch
        self._arranged = True

    def _check_channels(self, row: Row) -> None:
        given, wanted = len(row.unet_condition), self._sample.shape[1] - self._latent_shape[0]
        if given != wanted:
            raise InvalidValueError("channels beside the latents", given, f"{wanted} for this UNet")

    def _write_prompt(
        self, index: int, embeds: FloatArray, conditions: Mapping[str, FloatArray]
    ) -> None:
        self._prompts[index] = embeds
        for name, buffer in self._conditions.items():
            buffer[index] = conditions[name]

    def _check_conditions(self, conditions: Mapping[str, FloatArray]) -> None:
        wanted = {name: buffer.shape[1:] for name, buffer in self._conditions.items()}
        given = {name: array.shape for name, array in conditions.items()}
        if given != wanted:
            raise InvalidValueError("shapes of conditions", given, f"{wanted}")

    def _write_inputs(self) -> None:
        for index, row in enumerate(self._rows):
            row.write_sample(self._sample[index, : self._latent_shape[0]])
            self._timestep[index] = row.timestep
            if (partner := self._partners[index]) is not None:
                self._sample[partner] = self._sample[index]
                self._timestep[partner] = self._timestep[index]

    def _bind(self) -> Call:
        batch = self._batch
        buffers: dict[str, NDArray[np.generic]] = {
            "sample": self._sample[:batch],
            "timestep": self._timestep[:batch],
            "encoder_hidden_states": self._prompts[:batch],
            "out_sample": self._output[:batch],
            **{name: buffer[:batch] for name, buffer in self._conditions.items()},
        }
        self._calls[batch] = self._unet.bind(buffers)
        return self._calls[batch]

    def _report(self, previews: dict[Row, FloatArray]) -> StepReport:
        failed = tuple(
            (row, NonFiniteError(row.stage - 1, row.stages))
            for row in self._rows
            if not row.is_finite()
        )
        lost = {row for row, _ in failed}
        finished = tuple(row for row in self._rows if row.finished and row not in lost)
        if lost or finished:
            self._remove([*lost, *finished])
        return StepReport(finished, failed, previews)

    def _remove(self, rows: Sequence[Row]) -> None:
        self._use([row for row in self._rows if row not in rows])

    def _use(self, rows: list[Row]) -> None:
        self._rows = rows
        self._arranged = False


def _input_channels(unet: Engine) -> int:
    channels = next(spec.shape[1] for spec in unet.inputs if spec.name == "sample")
    return int(channels)
