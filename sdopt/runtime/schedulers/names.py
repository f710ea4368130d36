"""Finding a scheduler by any of its names, and naming what a configuration amounts to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sdopt.errors import UnknownSchedulerError
from sdopt.runtime.schedulers.config import SchedulerConfig
from sdopt.runtime.schedulers.registry import SCHEDULERS
from sdopt.runtime.schedulers.settings import SIGMA_SPACINGS
from sdopt.runtime.schedulers.spec import SchedulerSpec


class Choice(NamedTuple):
    """A row of the table, and the settings that the chosen name decides."""

    spec: SchedulerSpec
    forced: Mapping[str, object]


def find_scheduler(name: str) -> Choice:
    """Find a scheduler by public name, web-UI name or diffusers class name.

    A class name decides no settings beside the class; a public name decides those of its row, and
    those of its suffix, such as ``_karras``.

    Raises:
        UnknownSchedulerError: No scheduler has this name.
    """
    for spec in SCHEDULERS:
        if name == spec.class_name:
            return Choice(spec, {})
        for known in (spec.name, *spec.aliases):
            if _same(name, known):
                return Choice(spec, spec.forced)
            for suffix in spec.suffixes:
                if _same(name, f"{known}_{suffix}"):
                    return Choice(spec, {**spec.forced, **_only_spacing(suffix)})
    raise UnknownSchedulerError(name, scheduler_names())


def scheduler_names() -> tuple[str, ...]:
    """Return every public name, with and without suffix."""
    return tuple(
        name
        for spec in SCHEDULERS
        for name in (spec.name, *(f"{spec.name}_{s}" for s in spec.suffixes))
    )


def public_name(spec: SchedulerSpec, config: SchedulerConfig) -> str:
    """Name what a configuration amounts to: a public name, or the class where none fits."""
    for row in SCHEDULERS:
        if row.class_name == spec.class_name and all(
            getattr(config, key, value) == value for key, value in row.forced.items()
        ):
            spacing = config.sigma_spacing
            return f"{row.name}_{spacing}" if spacing in row.suffixes else row.name
    return spec.class_name


def _same(name: str, known: str) -> bool:
    return name.casefold().replace("_", " ") == known.casefold().replace("_", " ")


def _only_spacing(suffix: str) -> dict[str, object]:
    return {key: spacing == suffix for spacing, key in SIGMA_SPACINGS.items()}
