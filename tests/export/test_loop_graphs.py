"""The loop graphs, for UNets of every kind: what the textbook says, and nothing that is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.loop_graphs import LOOP_GRAPHS
from sdopt.bundle.manifest import Component
from sdopt.bundle.reference import deviation, load_reference
from sdopt.bundle.tensors import TensorSpec
from sdopt.engines.onnxruntime import OnnxRuntimeEngine
from sdopt.engines.options import EngineOptions, Model

onnx = pytest.importorskip("onnx", reason="needs sdopt[export]")

TOLERANCE = {"float32": 2e-6, "float16": 1e-3}
"""float32: 80 numbers are added up for ``latents_sum``. float16: the UNet's input has 11 bits."""


def unet(channels: int, dtype: str, opset: int = 18) -> Component:
    def latents(name: str, count: int) -> TensorSpec:
        return TensorSpec(name, dtype, ("batch", count, "latent_height", "latent_width"))

    return Component(
        "unet/model.onnx", (latents("sample", channels),), (latents("out_sample", 4),),
        "fp32", opset, None, None,
    )  # fmt: skip


@pytest.mark.parametrize("opset", [18, 20])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("channels", [4, 9])
def test_the_graphs_are_the_textbook(tmp_path: Path, channels: int, dtype: str, opset: int) -> None:
    from sdopt.export.lint import lint_graph
    from sdopt.export.loop_graphs import write_loop_graphs

    written = write_loop_graphs(tmp_path, unet(channels, dtype, opset), 4)
    for name, component in written.items():
        path = tmp_path / component.model
        assert lint_graph(path) == []
        engine = OnnxRuntimeEngine(Model(name, path))
        assert engine.inputs == component.inputs
        assert engine.outputs == component.outputs
        assert component.reference is not None
        (pair,) = load_reference(tmp_path / component.reference)
        ours = engine.run(pair.inputs)
        for tensor, expected in pair.outputs.items():
            assert ours[tensor].dtype == expected.dtype or tensor in ("sample", "next_cursor")
            tolerance = TOLERANCE[dtype if tensor == "sample" else "float32"]
            assert max(deviation(ours[tensor], expected)) < tolerance, tensor


def test_they_compute_elementwise_alone() -> None:
    """No matrix product: devices compute those of float32 with fewer bits."""
    bundle = Bundle.open("shapes")
    used = {
        node.op_type
        for name in LOOP_GRAPHS
        for node in onnx.load(bundle.component_path(name)).graph.node
    }
    arithmetic = {"Add", "Sub", "Mul", "ReduceSum"}
    moves = {"Cast", "Concat", "Gather", "Reshape", "Split", "Squeeze", "Unsqueeze", "Where"}
    assert used == arithmetic | moves


def test_a_graph_that_computes_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdopt.errors import ParityError
    from sdopt.export import loop_graphs

    monkeypatch.setattr(loop_graphs, "_blended", lambda _graph, latents, _renoise: latents)
    with pytest.raises(ParityError, match="loop_tail"):
        loop_graphs.write_loop_graphs(tmp_path, unet(4, "float32"), 4)


def test_they_keep_their_precision_whatever_is_asked_for() -> None:
    bundle = Bundle.open("shapes")
    lowered = EngineOptions(precision="bf16")
    assert lowered.of(Model.of(bundle, "loop_tail")).precision == "fp32"
    assert lowered.of(Model.of(bundle, "unet")).precision == "bf16"


def test_slots_that_do_not_step_stay_as_they_are() -> None:
    bundle = Bundle.open("shapes")
    engine = OnnxRuntimeEngine(Model.of(bundle, "loop_tail"))
    reference = bundle.component("loop_tail").reference
    assert reference is not None
    (pair,) = load_reference(bundle.path / reference)
    broken = np.full_like(pair.inputs["out_sample"], np.nan)
    out = engine.run({**pair.inputs, "out_sample": broken})
    still = pair.inputs["active"] == 0
    assert still.tolist() == [False, True, False]
    assert out["next_state"][still].tobytes() == pair.inputs["state"][still].tobytes()
    assert np.isnan(out["next_state"][~still][:, 0]).all()
    assert np.isnan(out["latents_sum"][~still]).all()
