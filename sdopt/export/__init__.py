"""torch to ONNX to bundle. The only room that imports torch, diffusers, transformers and onnx.

Importing it is cheap all the same: torch is imported in worker processes (``loading``, ``trace``,
``wrappers``, ``graph`` and ``worker``) and never in the process that asks for an export.
"""

from sdopt.export.exporter import OPSETS, ExportOptions, export
from sdopt.export.parity import Run
from sdopt.export.progress import Report

__all__ = ["OPSETS", "ExportOptions", "Report", "Run", "export"]
