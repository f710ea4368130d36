"""Each component of a bundle beside what the machine allows, and its most expensive nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdopt.bench.roofline.graph import GraphWork, Shape, graph_work
from sdopt.bench.roofline.machine import BYTES, MachineRates, machine_rates
from sdopt.bench.work import Case
from sdopt.bundle.bundle import Bundle
from sdopt.bundle.tensors import TensorSpec
from sdopt.engines.catalog import profile
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.profiling import NodeTime

_SHOWN = 10
_COMPONENTS = {
    "text_encoder": "text_encoder",
    "unet": "unet_rest",
    "vae_decoder": "vae_decoder",
}
"""What is looked at, and the stage whose figures are of single calls of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node as the backend ran it.

    Attributes:
        name: As the backend calls it.
        kind: The backend's operator and kernel.
        share: Of the time of all nodes; dimensionless.
        seconds: Of one call under the profiler.
        operations: Of the product that it computes, at the least; None where it computes none, or
            where the backend's name does not tell which.
    """

    name: str
    kind: str
    share: float
    seconds: float
    operations: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentLimit:
    """What one call of a component takes at the least.

    Attributes:
        component: Its name.
        operations: Multiplications and additions of its products, at the least.
        least_bytes: Weights, inputs and outputs once, in the precision that it computes in.
        limit_s: The longer of the two: products at the machine's rate, bytes at its bandwidth.
        bound: Which of the two.
        nodes: The most expensive ones, by the backend's own profiler.
    """

    component: str
    operations: int
    least_bytes: int
    limit_s: float
    bound: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """The machine's limits for one case.

    Attributes:
        case: What it is about.
        machine: Its rates.
        components: Those whose single calls are timed: UNet, VAE decoder, and a text encoder that
            is the only one.
    """

    case: Case
    machine: MachineRates
    components: tuple[ComponentLimit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is looked at.

    Attributes:
        bundle: Opened.
        engine: A name in the catalog.
        options: How it is loaded.
        precisions: What each component computes in.
    """

    bundle: Bundle
    engine: str
    options: EngineOptions
    precisions: Mapping[str, str]


def rooflines(subject: Subject, cases: Sequence[Case]) -> tuple[Roofline, ...]:
    """Measure the machine, count each component's work, and profile it.

    Raises:
        MissingDependencyError: onnx is not installed.
        BenchError: A graph's work cannot be counted.
    """
    rates = machine_rates(subject.engine, subject.options, subject.precisions["unet"])
    return tuple(
        Roofline(
            case=case,
            machine=rates,
            components=tuple(
                _limit(subject, name, case, rates) for name in _looked_at(subject.bundle)
            ),
        )
        for case in cases
    )


def _looked_at(bundle: Bundle) -> list[str]:
    """Return the components whose single calls are timed; several text encoders share a stage."""
    names = bundle.manifest.components
    encoders = [name for name in names if name.startswith("text_encoder")]
    shared = encoders if len(encoders) > 1 else []
    return [name for name in _COMPONENTS if name in names and name not in shared]


def stage_of(component: str) -> str:
    """Return the stage whose figures are of single calls of a component."""
    return _COMPONENTS[component]


def _limit(subject: Subject, name: str, case: Case, rates: MachineRates) -> ComponentLimit:
    shapes = input_shapes(subject.bundle, name, case)
    work = graph_work(subject.bundle.component_path(name), shapes)
    least_bytes = work.elements * BYTES.get(subject.precisions[name], 4)
    products_s = work.least_operations / rates.product_per_s
    bytes_s = least_bytes / rates.copy_bytes_per_s
    return ComponentLimit(
        component=name,
        operations=work.least_operations,
        least_bytes=least_bytes,
        limit_s=max(products_s, bytes_s),
        bound="products" if products_s > bytes_s else "bytes",
        nodes=_nodes(subject, name, case),
    )


def input_shapes(
    bundle: Bundle, name: str, case: Case, rows: int | None = None
) -> dict[str, Shape]:
    """Return the shape of each input of a component, for one call in a case.

    The UNet computes a row with and a row without the prompt for each picture; the VAE's decoder
    runs on one picture at a time. Other inputs have one value or vector per row.

    Args:
        bundle: What the component is part of.
        name: Of the component.
        case: What is measured.
        rows: Of the call; None for all that the case has.
    """
    factor = bundle.manifest.vae_scale_factor
    if rows is None:
        rows = case.batch * (2 if case.guidance_scale > 1 else 1) if name == "unet" else 1
    latents = (case.height // factor, case.width // factor)
    tails = {"sample": latents, "latent_sample": latents, "encoder_hidden_states": (77, 0)}
    return {
        spec.name: _shape(spec, rows, tails.get(spec.name, ()))
        for spec in bundle.component(name).inputs
    }


def _shape(spec: TensorSpec, rows: int, tail: Sequence[int]) -> Shape:
    """Fill in what varies: first the rows, and at the end what the tail says."""
    varying = [rows, *[1] * len(spec.shape[1:])][: len(spec.shape)]
    if tail:
        varying[-len(tail) :] = tail
    return tuple(
        fixed if isinstance(fixed, int) else size
        for fixed, size in zip(spec.shape, varying, strict=True)
    )


def _nodes(subject: Subject, name: str, case: Case) -> tuple[Node, ...]:
    """Profile one call: of all rows, or of just those that the UNet was compiled for."""
    model = Model.of(subject.bundle, name, subject.options.fixed_size)
    rows = None if model.shape is None else model.shape.rows
    shapes = input_shapes(subject.bundle, name, case, rows)
    inputs = _any_values(subject.bundle.component(name).inputs, shapes)
    times = profile(subject.engine, model, subject.options, inputs)
    total = sum(node.seconds for node in times)
    operations = _operations_by_name(times, graph_work(model.path, shapes))
    return tuple(
        Node(
            name=node.name,
            kind=node.kind,
            share=node.seconds / total,
            seconds=node.seconds,
            operations=operations.get(node.name),
        )
        for node in times[:_SHOWN]
    )


def _any_values(specs: Sequence[TensorSpec], shapes: Mapping[str, Shape]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        spec.name: np.ones(shapes[spec.name], spec.dtype)
        if spec.dtype.startswith("int")
        else rng.standard_normal(shapes[spec.name]).astype(spec.dtype)
        for spec in specs
    }


def _operations_by_name(times: Sequence[NodeTime], work: GraphWork) -> dict[str, int]:
    """Return the operations of profiled nodes, the longest first, by their names.

    A backend that fuses products with what is around them names the node after one of those. So
    products that no node is named after are in the longest node of their scope.
    """
    products = {product.name: product.least_operations for product in work.products}
    found = {node.name: products[bare] for node in times if (bare := _bare(node.name)) in products}
    named = set(map(_bare, found))
    fused: Counter[str] = Counter()
    for name in products.keys() - named:
        fused[_scope(name)] += products[name]
    for node in times:
        if operations := fused.pop(_scope(node.name), 0):
            found[node.name] = found.get(node.name, 0) + operations
    return found


def _bare(name: str) -> str:
    """Take off what a backend puts behind a name."""
    for suffix in ("_nchwc", "/MatMulScaleFusion/", "/WithoutBiases"):
        name = name.removesuffix(suffix)
    return name


def _scope(name: str) -> str:
    return _bare(name).rpartition("/")[0]
