"""Building engines ahead of time: ``sdopt build`` as a Python call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sdopt.bundle.bundle import Bundle
from sdopt.engines.build_options import BuildOptions
from sdopt.engines.built_engine import BuiltEngine, Report
from sdopt.engines.catalog import build_component


def build(
    bundle: str | Path,
    *,
    engine: str = "tensorrt",
    options: BuildOptions | None = None,
    components: Sequence[str] | None = None,
    progress: Report | None = None,
) -> list[BuiltEngine]:
    """Build a bundle's engines on the machine that will run them; minutes for each.

    One component after the other is built in a process of its own. What the store has is not built
    again, and an engine that does not compute what torch computed at export is not kept.

    Args:
        bundle: A folder, or the name of a carried model such as ``"shapes"``.
        engine: A name in :data:`sdopt.engines.catalog.BUILT_AHEAD`.
        options: Sizes, memory, effort. Default: one picture of the bundle's own size.
        components: Their names; None for all.
        progress: Called with what is being done and the share that is done, 0 to 1.

    Raises:
        BundleError: The bundle cannot be found or trusted, or has no such component.
        UnknownNameError: Nothing is built ahead for this engine.
        RequestError: A profile is not allowed.
        MissingDependencyError: A package that building needs is not installed.
        ProviderUnavailableError: There is no GPU.
        EngineError: An engine cannot be built, is wrong, or cannot be kept.
    """
    opened = Bundle.open(bundle)
    names = list(opened.manifest.components if components is None else components)
    built = []
    for index, name in enumerate(names):
        report = _part(progress, index, len(names))
        built.append(build_component(engine, opened, name, options or BuildOptions(), report))
    return built


def _part(progress: Report | None, index: int, count: int) -> Report:
    """Return a report on one of several parts of equal length."""

    def report(stage: str, share: float) -> None:
        if progress is not None:
            progress(stage, (index + share) / count)

    return report
