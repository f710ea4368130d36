"""Lint exported graphs: what TensorRT's parser refuses or runs slowly, before there is a GPU."""

from sdopt.export.lint.findings import Finding
from sdopt.export.lint.run import lint_bundle, lint_graph

__all__ = ["Finding", "lint_bundle", "lint_graph"]
