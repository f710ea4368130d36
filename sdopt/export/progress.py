"""How far an export is: stages of components, weighted by what they usually cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sdopt.export.components import COMPONENTS

Report = Callable[[str, float], None]

_STAGES = {
    "load": ("loading", 0.0),
    "reference": ("running torch on", 0.05),
    "trace": ("tracing", 0.2),
    "write": ("writing", 0.7),
    "done": ("checking", 0.85),
    "checked": ("checked", 1.0),
}
_SEALING = 0.95


class Progress:
    """Turns stages of single components into one share that only grows."""

    def __init__(self, components: Sequence[str], report: Report | None) -> None:
        self._report, self._done = report, dict.fromkeys(components, 0.0)
        self._total = sum(COMPONENTS[name].effort for name in components)

    def at(self, component: str, stage: str) -> None:
        """Note that a component has reached a stage."""
        verb, share = _STAGES[stage]
        self._done[component] = share
        done = sum(COMPONENTS[name].effort * value for name, value in self._done.items())
        self._say(f"{verb} {component}", _SEALING * done / self._total)

    def finished(self) -> None:
        """Note that everything is written."""
        self._say("finished", 1.0)

    def _say(self, what: str, share: float) -> None:
        if self._report is not None:
            self._report(what, share)
