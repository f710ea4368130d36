"""How a checkpoint is exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from sdopt.bundle.manifest import Precision, PredictionType
from sdopt.errors import ExportError
from sdopt.export.precision import ISLANDS

OPSETS = (18, 19, 20)
"""18 is what every fusion pass knows; from 21 on GroupNormalization has no ONNX Runtime kernel."""
_BF16_OPSET = 22
"""The first in which Conv takes bf16. Of the operators in these graphs, opsets 21 and 22 change
only the types that they take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How a checkpoint is exported.

    Attributes:
        precision: What the graphs compute in, but for islands of fp32.
        opset: The ONNX opset of the graphs, one of :data:`OPSETS`.
        variant: Of the checkpoint's weight files, such as ``"fp16"``. None takes the files without
            a variant or, where there are none, the only variant that there is.
        prediction_type: What the UNet predicts, for single files that do not say.
        num_inference_steps: What the bundle's requests mean where they do not say; None for what
            is usual in the family.
        guidance_scale: Likewise.
        share_with: Other bundles; files with the same content are shared with them.
        without_islands: Names of :data:`sdopt.export.precision.ISLANDS` that are left out.
    """

    precision: Precision = "fp32"
    opset: int = 18
    variant: str | None = None
    prediction_type: PredictionType | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    share_with: tuple[str | Path, ...] = ()
    without_islands: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_choice("precision", self.precision, get_args(Precision))
        _check_choice("opset", self.opset, OPSETS)
        _check_choice("prediction_type", self.prediction_type, (None, *get_args(PredictionType)))
        for island in self.without_islands:
            _check_choice("without_islands", island, tuple(ISLANDS))
        steps, guidance = self.num_inference_steps, self.guidance_scale
        if steps is not None and not 1 <= steps <= 1000:
            raise ExportError(f"num_inference_steps={steps} is not 1 to 1000.")
        if guidance is not None and not 0 <= guidance < float("inf"):
            raise ExportError(f"guidance_scale={guidance} is not a number from 0.")


def opset_of(precision: Precision, asked: int) -> int:
    """Return the opset of a graph: what was asked for, unless its types need a later one."""
    return max(asked, _BF16_OPSET) if precision == "bf16" else asked


def _check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        named = ", ".join(str(choice) for choice in choices if choice is not None)
        raise ExportError(f"{name}={value!r} is not allowed. Choices: {named}.")
