"""ONNX Runtime with weights as they lie on disk: the same numbers from less memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.reference import deviation, load_reference
from sdopt.engines.catalog import open_engine
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.row_parts import MeasuredParts, in_parts

onnx = pytest.importorskip("onnx", reason="needs sdopt[export]")
pytest.importorskip("onnxruntime")

LAYERS, WIDTH = 12, 2048
WIDE_MB = LAYERS * WIDTH**2 * 4 / 1e6

MEASURED = """
import json, sys
from pathlib import Path
import numpy as np
from sdopt.engines.onnxruntime import OnnxRuntimeEngine
from sdopt.engines.row_parts import MeasuredParts, in_parts
from sdopt.engines.options import EngineOptions, Model

def own_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("RssAnon")) / 1e3

x = {"x": np.ones((4, 2048), np.float32)}
OnnxRuntimeEngine(Model("small", Path(sys.argv[1])), EngineOptions(frugal=False)).run(x)
before = own_mb()
options = EngineOptions(frugal=sys.argv[3] == "frugal")
engine = OnnxRuntimeEngine(Model("large", Path(sys.argv[2])), options)
engine.run(x)
print(json.dumps(own_mb() - before))
"""


def chain(folder: Path, layers: int) -> Path:
    """Write a graph of matrix products, whose weights lie in float16 beside it."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights = [], []
    for i in range(layers):
        weight = np.full((WIDTH, WIDTH), 1 / WIDTH, np.float16)
        weights.append(numpy_helper.from_array(weight, f"w{i}"))
        nodes.append(helper.make_node("Cast", [f"w{i}"], [f"wide{i}"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("MatMul", [f"y{i - 1}" if i else "x", f"wide{i}"], [f"y{i}"]))
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH])
        for name in ("x", f"y{layers - 1}")
    )
    graph = helper.make_graph(nodes, "chain", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    folder.mkdir()
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data")
    return folder / "model.onnx"


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux")
def test_weights_are_not_held_wide(tmp_path: Path) -> None:
    small, large = chain(tmp_path / "small", 1), chain(tmp_path / "large", LAYERS)

    def own_mb(how: str) -> float:
        command = [sys.executable, "-c", MEASURED, small, large, how]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(json.loads(done.stdout))

    assert own_mb("frugal") < 0.3 * WIDE_MB
    assert own_mb("as usual") > 0.9 * WIDE_MB


def test_the_numbers_are_the_same_alone_and_in_company() -> None:
    bundle = Bundle.open("shapes")
    (pair, *_) = load_reference(bundle.path / str(bundle.component("unet").reference))
    loaded = open_engine("onnxruntime", Model.of(bundle, "unet"), EngineOptions(frugal=True))
    exact, fast = in_parts(loaded, "exact", 4), in_parts(loaded, "fast", 4)
    assert isinstance(fast, MeasuredParts)
    alone = exact.run(pair.inputs)["out_sample"]
    assert max(deviation(alone, pair.outputs["out_sample"])) < 1e-5
    thrice = {name: np.concatenate([array] * 3) for name, array in pair.inputs.items()}
    for row in exact.run(thrice)["out_sample"]:
        assert row.tobytes() == alone[0].tobytes()
    assert max(deviation(fast.run(thrice)["out_sample"][2:], alone)) < 1e-5


def test_only_frugal_networks_are_run_for_one_row_at_a_time() -> None:
    loaded = open_engine("onnxruntime", Model.of(Bundle.open("shapes"), "unet"))
    assert type(in_parts(loaded, "exact", 4)) is MeasuredParts
