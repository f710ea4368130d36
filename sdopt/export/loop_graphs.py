"""Write the loop graphs into a bundle. See :mod:`sdopt.bundle.loop_graphs` for what they are.

They use elementwise operators alone: a device may compute a matrix product of float32 with fewer
bits (TF32), and the order of a sum within an operator is its own business. So their results are
those of float32 everywhere, and the same for a row whatever the others are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdopt.bundle.loop_graphs import (
    COLUMNS,
    HEAD,
    STATE_ROWS,
    TAIL,
    Specs,
    UnetTensors,
    head_tensors,
    tail_tensors,
)
from sdopt.bundle.manifest import Component
from sdopt.bundle.reference import save_reference
from sdopt.export import loop_reference, parity
from sdopt.export.components import TOLERANCE

_IR_VERSION = 10
_K = STATE_ROWS


def write_loop_graphs(folder: Path, unet: Component, latent_channels: int) -> dict[str, Component]:
    """Write both graphs with their reference pairs, and compare them with the textbook.

    Args:
        folder: The bundle's.
        unet: The manifest's entry of its UNet.
        latent_channels: Of the latents.

    Returns:
        The manifest's entries.

    Raises:
        ParityError: A graph does not compute what it should.
    """
    tensors = UnetTensors.of(unet.inputs, unet.outputs, latent_channels)
    made = {
        HEAD: (_head(tensors), head_tensors(tensors), loop_reference.head(tensors)),
        TAIL: (_tail(tensors), tail_tensors(tensors), loop_reference.tail(tensors)),
    }
    components: dict[str, Component] = {}
    for name, (graph, specs, pair) in made.items():
        model, reference = f"{name}/model.onnx", f"{name}/reference.safetensors"
        (folder / name).mkdir()
        graph.save(folder / model, name, specs, unet.opset)
        save_reference(folder / reference, [pair])
        half = "float16" in (tensors.sample_dtype, tensors.output_dtype)
        tolerance = TOLERANCE["fp16" if half and name == HEAD else "fp32"]
        measured = parity.check(name, folder / model, folder / reference, tolerance, _run)
        components[name] = Component(model, *specs, "fp32", unet.opset, measured, reference)
    return components


def _run(model: Path, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, NDArray[Any]]]:
    """Run a graph with ONNX's own reference: for so small a one, no engine need be started."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(model))
    names = evaluator.output_names
    return [dict(zip(names, evaluator.run(None, dict(each)), strict=True)) for each in inputs]


def _head(unet: UnetTensors) -> _Graph:
    """``sample = inputs @ state``, and a row of it for each row of the UNet's batch."""
    graph = _Graph()
    entry = graph.entry()
    state = graph.split("state", 1, {f"state.{row}": 1 for row in range(_K)})
    latents = graph.weighted("model_input", state, graph.weights(entry["inputs"], _K))
    graph.squeeze(latents, "latents", 1)
    if unet.condition_channels:
        graph.op("Concat", ["latents", "condition"], "told", axis=1)
    told = "told" if unet.condition_channels else "latents"
    cast = graph.cast(told, "float32", unet.sample_dtype)
    graph.op("Gather", [cast, "slot"], "sample", axis=0)
    graph.squeeze(entry["timestep"], "timesteps", 1)
    graph.op("Gather", ["timesteps", "slot"], "timestep", axis=0)
    return graph


def _tail(unet: UnetTensors) -> _Graph:
    """Guidance, the plan's row, what is known put back, and on to the next stage."""
    graph = _Graph()
    entry = graph.entry()
    output = _guided(graph, graph.cast("out_sample", unet.output_dtype, "float32"), entry)
    state = graph.split("state", 1, {f"state.{row}": 1 for row in range(_K)})
    known = [*state, graph.unsqueeze(output, "model_output.wide", 1)]
    guess = graph.weighted("guess", known, graph.weights(entry["denoised"], _K + 1))
    graph.squeeze(guess, "denoised", 1)
    stack = [*known, graph.unsqueeze("noise", "noise.wide", 1)]
    moved = graph.weighted("moved", stack, _update_columns(graph, entry["updates"]))
    latents, history = graph.split(moved, 1, {"moved.latents": 1, "moved.history": _K - 1})
    blended = _blended(graph, latents, entry["renoise"])
    graph.op("Concat", [blended, history], "new_state", axis=1)
    _advance(graph)
    axes = graph.constant("all_but_slots", np.array([1, 2, 3, 4], np.int64))
    graph.op("ReduceSum", [blended, axes], "latents_sum", keepdims=0)
    return graph


def _guided(graph: _Graph, answers: str, entry: Mapping[str, str]) -> str:
    """``uncond + guidance_scale * (cond - uncond)``; without guidance both are the same row."""
    graph.op("Gather", [answers, "conditional"], "cond", axis=0)
    graph.op("Gather", [answers, "unconditional"], "uncond", axis=0)
    scale = graph.reshape(entry["guidance_scale"], "guidance_scale.wide", (0, 1, 1, 1))
    graph.op("Sub", ["cond", "uncond"], "towards")
    graph.op("Mul", ["towards", scale], "guidance")
    return graph.op("Add", ["guidance", "uncond"], "model_output")


def _update_columns(graph: _Graph, updates: str) -> list[str]:
    names = {f"updates.{column}": _K for column in range(_K + 2)}
    columns = graph.split(updates, 1, names)
    return [graph.reshape(name, f"{name}.wide", (0, _K, 1, 1, 1)) for name in columns]


def _blended(graph: _Graph, latents: str, renoise: str) -> str:
    """``(1 - mask) * (picture and start noise at the level reached) + mask * latents``."""
    parts = graph.split("known", 1, {"known.picture": 1, "known.noise": 1})
    known = graph.weighted("known_now", parts, graph.weights(renoise, 2))
    mask = graph.unsqueeze("mask", "mask.wide", 1)
    one = graph.constant("one", np.array(1, np.float32))
    graph.op("Sub", [one, mask], "kept")
    graph.op("Mul", ["kept", known], "kept_part")
    graph.op("Mul", [mask, latents], "redrawn_part")
    return graph.op("Add", ["kept_part", "redrawn_part"], "blended")


def _advance(graph: _Graph) -> None:
    """Move the slots that step, and leave the others as they are."""
    import onnx

    graph.op("Cast", ["active"], "steps", to=onnx.TensorProto.BOOL)
    steps = graph.reshape("steps", "steps.wide", (0, 1, 1, 1, 1))
    graph.op("Where", [steps, "new_state", "state"], "next_state")
    graph.op("Add", ["cursor", "active"], "next_cursor")


class _Graph:
    """Nodes in the making, each named after what it makes."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def op(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node with one output, and return that."""
        from onnx import helper

        self._nodes.append(helper.make_node(kind, list(inputs), [output], output, **attributes))
        return output

    def entry(self) -> dict[str, str]:
        """Take each slot's entry out of the table: each part is (slots, columns)."""
        self.op("Gather", ["coefficients", "cursor"], "entry", axis=0)
        names = {f"entry.{name}": columns for name, columns in COLUMNS.items()}
        return dict(zip(COLUMNS, self.split("entry", 1, names), strict=True))

    def split(self, value: str, axis: int, parts: Mapping[str, int]) -> list[str]:
        """Cut a tensor into parts of these names and sizes."""
        from onnx import helper

        sizes = self.constant(f"{value}.sizes", np.array(list(parts.values()), np.int64))
        name = f"{value}.split"
        self._nodes.append(helper.make_node("Split", [value, sizes], list(parts), name, axis=axis))
        return list(parts)

    def weights(self, value: str, count: int) -> list[str]:
        """Cut (slots, count) into factors of (slots, 1, 1, 1, 1)."""
        whole = self.reshape(value, f"{value}.wide", (0, count, 1, 1, 1))
        return self.split(whole, 1, {f"{value}.{index}": 1 for index in range(count)})

    def weighted(self, name: str, values: Sequence[str], weights: Sequence[str]) -> str:
        """Add up values times weights, from the first to the last."""
        total = ""
        for index, (value, weight) in enumerate(zip(values, weights, strict=True)):
            product = self.op("Mul", [value, weight], f"{name}.product.{index}")
            total = self.op("Add", [total, product], f"{name}.{index}") if total else product
        return total

    def reshape(self, value: str, name: str, shape: tuple[int, ...]) -> str:
        """Reshape; 0 keeps a dimension."""
        target = self.constant("shape." + "x".join(map(str, shape)), np.array(shape, np.int64))
        return self.op("Reshape", [value, target], name)

    def squeeze(self, value: str, name: str, axis: int) -> str:
        """Drop a dimension of 1."""
        return self.op("Squeeze", [value, self._axis(axis)], name)

    def unsqueeze(self, value: str, name: str, axis: int) -> str:
        """Add a dimension of 1."""
        return self.op("Unsqueeze", [value, self._axis(axis)], name)

    def cast(self, value: str, source: str, target: str) -> str:
        """Cast between types, by NumPy's names; nothing to do where they are the same."""
        from onnx import helper

        if source == target:
            return value
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(target))
        return self.op("Cast", [value], f"{value}.{target}", to=kind)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant, once."""
        from onnx import numpy_helper

        self._constants[name] = numpy_helper.from_array(value, name)
        return name

    def save(self, path: Path, name: str, specs: tuple[Specs, Specs], opset: int) -> None:
        """Check and write the graph; the same graph gives the same bytes."""
        import onnx
        from onnx import helper

        inputs, outputs = ([_value(spec) for spec in side] for side in specs)
        graph = helper.make_graph(
            self._nodes, name, inputs, outputs, list(self._constants.values())
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", opset)],
            producer_name="sdopt",
            ir_version=_IR_VERSION,
        )
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))

    def _axis(self, axis: int) -> str:
        return self.constant(f"axis.{axis}", np.array([axis], np.int64))


def _value(spec: Any) -> Any:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, kind, spec.shape)
