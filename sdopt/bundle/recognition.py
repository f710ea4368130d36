"""Finding the family of a checkpoint by what its configs say."""

from __future__ import annotations

from collections.abc import Callable

from sdopt.bundle.families import FAMILIES, Family


def recognise(pipeline_class: object, setting: Callable[[str], object]) -> Family | None:
    """Find the family of a checkpoint.

    Args:
        pipeline_class: What its model_index.json says.
        setting: From ``folder.key`` to what that config says, None where it says nothing.

    Returns:
        The first family that fits; where none does, the first one of this pipeline class; None
        where no family has pipelines of this class.
    """
    known = [family for family in FAMILIES.values() if pipeline_class in family.pipeline_classes]
    fitting = (f for f in known if all(sign.fits(setting(sign.setting)) for sign in f.signs))
    return next(fitting, known[0] if known else None)
