"""torch to ONNX to bundle. The only room that imports torch, diffusers, transformers and onnx.

Importing it is cheap all the same: torch is imported in worker processes (``loading``, ``trace``,
``wrappers``, ``graph`` and ``worker``) and never in the process that asks for an export.

``sdopt.export(checkpoint, out)`` is the call and ``sdopt.export`` the room: it can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from sdopt.export.exporter import export
from sdopt.export.options import OPSETS, ExportOptions
from sdopt.export.parity import Run
from sdopt.export.progress import Report

__all__ = ["OPSETS", "ExportOptions", "Report", "Run", "export"]


class _CallableRoom(ModuleType):
    """The module ``sdopt.export``, called as ``sdopt.load`` and ``sdopt.verify`` are."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Export a checkpoint. See :func:`sdopt.exporting.export`."""
        from sdopt.exporting import export

        return export(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableRoom
