"""All rules, over a graph or a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sdopt.bundle.bundle import Bundle
from sdopt.export.lint import operators, structure
from sdopt.export.lint.findings import Finding, Graph, Rule

RULES: tuple[Rule, ...] = (
    operators.opset,
    operators.unsupported_operators,
    operators.random_operators,
    operators.resize_modes,
    operators.constant_axes,
    operators.layer_norm_outputs,
    operators.instance_norm_constants,
    operators.element_types,
    operators.doubles,
    operators.mixed_types,
    structure.attention_scale,
    structure.attention_shape,
    structure.external_data,
)


def lint_graph(path: Path) -> list[Finding]:
    """Apply every rule to one ONNX file; its weights are not read."""
    graph = Graph(path)
    return [finding for rule in RULES for finding in rule(graph)]


def lint_bundle(bundle: Bundle) -> Iterator[tuple[str, list[Finding]]]:
    """Apply every rule to each component of a bundle.

    Yields:
        The component's name, and what was found in it.
    """
    for name in bundle.manifest.components:
        yield name, lint_graph(bundle.component_path(name))
