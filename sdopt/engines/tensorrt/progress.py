"""How far a build is, from what TensorRT's progress monitor is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import SupportsInt

from sdopt.engines.built_engine import Report
from sdopt.engines.tensorrt.api import trt


@dataclass(slots=True)
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """Turns nested phases of so many steps each into one share that only grows.

    TensorRT announces phases as it comes to them. A phase counts as one step of the phase around
    it, so the share is exact in order and rough in speed.
    """

    def __init__(self, report: Report) -> None:
        self._report, self._share = report, 0.0
        self._phases: dict[str, _Phase] = {}

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Note that a phase has begun."""
        self._phases[name] = _Phase(parent, max(steps, 1))
        self._say(name)

    def step(self, name: str, index: int) -> None:
        """Note that step ``index`` of a phase, counted from 0, is done."""
        if name in self._phases:
            self._phases[name].done = index + 1
            self._say(name)

    def finish(self, name: str) -> None:
        """Note that a phase is over."""
        self._phases.pop(name, None)

    def _say(self, name: str) -> None:
        self._share = max(self._share, self._done(name))
        self._report(name, self._share)

    def _done(self, name: str) -> float:
        """Return the share of everything that lies before the present step of a phase."""
        phase = self._phases[name]
        share = min(phase.done / phase.steps, 1.0)
        while phase.parent in self._phases:
            phase = self._phases[phase.parent]
            share = min((phase.done + share) / phase.steps, 1.0)
        return share


def monitor(report: Report) -> trt.IProgressMonitor:
    """Return a progress monitor that reports to a function."""
    phases = Phases(report)

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(
            self, phase_name: str, parent_phase: str | None, num_steps: SupportsInt
        ) -> None:
            phases.start(phase_name, parent_phase, int(num_steps))

        def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
            phases.step(phase_name, int(step))
            return True  # False would end the build

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
