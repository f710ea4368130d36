"""Operations and bytes counted from graphs, the machine's rates, and the backends' profilers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sdopt.bench.roofline import machine
from sdopt.bench.roofline import profile as roofline
from sdopt.bench.roofline.graph import GraphWork, graph_work
from sdopt.bench.roofline.machine import machine_rates
from sdopt.bench.roofline.profile import Subject, input_shapes, rooflines
from sdopt.bench.work import Case
from sdopt.bundle.bundle import Bundle
from sdopt.engines.catalog import profile
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.profiling import NodeTime
from sdopt.engines.size_bucket import SizeBucket
from sdopt.errors import BenchError


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the machine with little: what it reaches is not the point here."""
    monkeypatch.setattr(machine, "_SIDES", (128,))
    monkeypatch.setattr(machine, "_CHANNELS", 32)
    monkeypatch.setattr(machine, "_COPIED_BYTES", 2**22)


CASE = Case(height=96, width=96, batch=2, num_inference_steps=2, guidance_scale=3.0)


def save(path: Path, nodes: list[object], weights: dict[str, tuple[int, ...]]) -> Path:
    """Write a graph from ``image`` (N, 3, H, W) to ``out``."""
    from onnx import TensorProto, helper, numpy_helper
    from onnx import save as save_model

    constants = {name: np.zeros(shape, np.float32) for name, shape in weights.items()}
    constants |= {"two": np.array([2, 2], np.int64), "start": np.array([2], np.int64)}
    constants |= {"end": np.array([4], np.int64), "matrix": np.array([0, -1], np.int64)}
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    graph = helper.make_graph(
        nodes,
        "graph",
        [image],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), str(path))
    return path


def test_products_are_counted_as_the_textbook_does(tmp_path: Path) -> None:
    """The second convolution lies behind an arithmetic of shapes: its input is twice as large."""
    from onnx.helper import make_node

    nodes = [
        make_node("Conv", ["image", "kernel"], ["a"], "conv", group=3, pads=[1] * 4),
        make_node("Shape", ["a"], ["shape"], "shape"),
        make_node("Slice", ["shape", "start", "end"], ["size"], "slice"),
        make_node("Mul", ["size", "two"], ["doubled"], "mul"),
        make_node("Slice", ["shape", "zero", "start"], ["front"], "front"),
        make_node("Concat", ["front", "doubled"], ["sizes"], "concat", axis=0),
        make_node("Resize", ["a", "", "", "sizes"], ["b"], "resize"),
        make_node("ConvTranspose", ["b", "back"], ["c"], "transposed"),
        make_node("Reshape", ["c", "matrix"], ["d"], "flat"),
        make_node("Gemm", ["d", "right"], ["e"], "gemm", transA=1),
        make_node("MatMul", ["e", "last"], ["out"], "matmul"),
    ]
    weights = {"kernel": (6, 1, 3, 3), "back": (6, 5, 1, 1), "right": (2, 7), "last": (7, 4)}
    path = tmp_path / "graph.onnx"
    from onnx import load, numpy_helper
    from onnx import save as save_model

    model = load(str(save(path, nodes, weights)))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "zero"))
    save_model(model, str(path))
    work = graph_work(path, {"image": (2, 3, 4, 8)})
    flat = 5 * 8 * 16
    assert {product.name: product.operations for product in work.products} == {
        "conv": 2 * (2 * 6 * 4 * 8) * 9,
        "transposed": 2 * (2 * 6 * 8 * 16) * 5,
        "gemm": 2 * (flat * 7) * 2,
        "matmul": 2 * (flat * 4) * 7,
    }
    assert work.tensors == 2 * 3 * 4 * 8 + flat * 4


@pytest.mark.parametrize(
    ("kernel", "attributes", "share"),
    [
        (3, {"pads": [1] * 4}, 4 / 9),
        (3, {"pads": [1] * 4, "strides": [2, 2]}, 1),
        (3, {"pads": [0] * 4}, 1),
        (5, {"pads": [2] * 4}, 1),
        (1, {}, 1),
    ],
    ids=str,
)
def test_a_3x3_convolution_that_keeps_the_size_needs_less(
    kernel: int, attributes: dict[str, list[int]], share: float, tmp_path: Path
) -> None:
    from onnx.helper import make_node

    nodes = [make_node("Conv", ["image", "kernel"], ["out"], "conv", **attributes)]
    path = save(tmp_path / "graph.onnx", nodes, {"kernel": (6, 3, kernel, kernel)})
    (product,) = graph_work(path, {"image": (2, 3, 4, 8)}).products
    assert product.least_operations == pytest.approx(share * product.operations)


@pytest.mark.parametrize(
    ("scale", "mode", "share"),
    [(2, "nearest", 1 / 4), (3, "nearest", 4 / 9), (2, "linear", 4 / 9)],
    ids=str,
)
def test_behind_a_doubling_it_needs_less_still(
    scale: int, mode: str, share: float, tmp_path: Path
) -> None:
    from onnx import load, numpy_helper
    from onnx import save as save_model
    from onnx.helper import make_node

    nodes = [
        make_node("Resize", ["image", "", "", "sizes"], ["large"], "resize", mode=mode),
        make_node("Conv", ["large", "kernel"], ["out"], "conv", pads=[1] * 4),
    ]
    path = save(tmp_path / "graph.onnx", nodes, {"kernel": (6, 3, 3, 3)})
    model = load(str(path))
    sizes = np.array([2, 3, 4 * scale, 8 * scale], np.int64)
    model.graph.initializer.append(numpy_helper.from_array(sizes, "sizes"))
    save_model(model, str(path))
    (product,) = graph_work(path, {"image": (2, 3, 4, 8)}).products
    assert product.operations == 2 * (2 * 6 * 4 * 8 * scale**2) * 27
    assert product.least_operations == pytest.approx(share * product.operations)


def test_openvinos_times_leave_the_warm_up_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells the mean over all runs so far: 9 ms in the first, and 2 in each of the others."""
    pytest.importorskip("openvino", reason="needs sdopt[openvino]")
    from openvino import ProfilingInfo

    from sdopt.engines.openvino.backend import Backend

    class Request:
        runs = 0

        def infer(self, inputs: object) -> None:
            self.runs += 1

        @property
        def profiling_info(self) -> list[SimpleNamespace]:
            mean = timedelta(milliseconds=(9 + 2 * (self.runs - 1)) / self.runs)
            status = ProfilingInfo.Status
            told = {"node_type": "Convolution", "exec_type": "fast", "Status": status}
            return [
                SimpleNamespace(node_name="conv", real_time=mean, status=status.EXECUTED, **told),
                SimpleNamespace(node_name="gone", real_time=mean, status=status.NOT_RUN, **told),
            ]

    def profiled(_: object, __: Model) -> SimpleNamespace:
        return SimpleNamespace(create_infer_request=Request)

    monkeypatch.setattr(Backend, "profiled", profiled)
    (node,) = profile("openvino", Model("unet", Path()), EngineOptions(), {}, runs=4)
    assert (node.name, node.kind) == ("conv", "Convolution fast")
    assert node.seconds == pytest.approx(0.002, abs=1e-5)


def test_a_shape_that_depends_on_values_is_refused(tmp_path: Path) -> None:
    from onnx.helper import make_node

    nodes = [
        make_node("NonZero", ["image"], ["places"], "nonzero"),
        make_node("Cast", ["places"], ["numbers"], "cast", to=1),
        make_node("MatMul", ["last", "numbers"], ["out"], "matmul"),
    ]
    path = save(tmp_path / "graph.onnx", nodes, {"last": (4, 4)})
    with pytest.raises(BenchError) as caught:
        graph_work(path, {"image": (1, 3, 4, 4)})
    assert str(caught.value) == (
        f"{path}: the shapes of numbers, out cannot be found out, so the operations of matmul "
        "cannot be counted. Measure without --profile."
    )


def test_the_unets_operations_are_torchs(shapes_checkpoint: Path) -> None:
    """Torch counts the operators that it runs; both count a multiplication and an addition."""
    torch = pytest.importorskip("torch", reason="needs sdopt[export]")
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor
    from torch.utils.flop_counter import FlopCounterMode

    unet = UNet2DConditionModel.from_pretrained(shapes_checkpoint / "unet")
    unet.set_attn_processor(AttnProcessor())  # torch does not count fused attention on the CPU
    bundle = Bundle.open("shapes")
    inputs = input_shapes(bundle, "unet", CASE)
    assert inputs == {
        "sample": (4, 4, 12, 12),
        "timestep": (4,),
        "encoder_hidden_states": (4, 77, 128),
    }
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(*(torch.zeros(shape) for shape in inputs.values()))
    counted = graph_work(bundle.component_path("unet"), inputs).operations
    assert counted == pytest.approx(counter.get_total_flops(), rel=1e-3)


@pytest.mark.parametrize(
    ("engine", "fixed_size", "calls"),
    [("onnxruntime", None, 1), ("openvino", None, 1), ("openvino", "96x96", 2)],
)
def test_every_component_stands_beside_its_limit(
    engine: str, fixed_size: str | None, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled for one picture, the UNet is called twice for two: its nodes are those of a call."""
    pytest.importorskip(engine)
    profiled: list[tuple[Sequence[NodeTime], GraphWork, dict[str, int]]] = []
    by_name = roofline._operations_by_name

    def noted(times: Sequence[NodeTime], work: GraphWork) -> dict[str, int]:
        found = by_name(times, work)
        profiled.append((times, work, found))
        return found

    monkeypatch.setattr(roofline, "_operations_by_name", noted)
    precisions = dict.fromkeys(("text_encoder", "unet", "vae_decoder"), "fp32")
    bucket = None if fixed_size is None else SizeBucket.parse(fixed_size)
    options = EngineOptions(precision="fp32", fixed_size=bucket)
    subject = Subject(
        bundle=Bundle.open("shapes"), engine=engine, options=options, precisions=precisions
    )
    (found,) = rooflines(subject, [CASE])
    assert found.machine.product_per_s > 1e9
    assert found.machine.copy_bytes_per_s > 1e8
    assert [limit.component for limit in found.components] == list(precisions)
    for limit in found.components:
        assert len(limit.nodes) == 10
        seconds = [node.seconds for node in limit.nodes]
        assert seconds == sorted(seconds, reverse=True)
        assert 0 < sum(node.share for node in limit.nodes) <= 1
        assert limit.limit_s > 0
        assert limit.bound == "products"
    # Which nodes are expensive is the machine's business. Of all, names tell nearly every product.
    for limit, (times, work, operations) in zip(found.components, profiled, strict=True):
        known = [operations[node.name] for node in times if node.name in operations]
        assert len(known) >= 4
        assert 0.9 * work.least_operations <= sum(known) <= work.least_operations
        in_calls = calls if limit.component == "unet" else 1
        assert limit.operations == in_calls * work.least_operations


def test_of_a_table_only_the_rows_that_are_looked_up_are_read() -> None:
    bundle = Bundle.open("shapes")
    inputs = input_shapes(bundle, "text_encoder", CASE)
    assert inputs == {"input_ids": (1, 77), "concept_embeds": (1, 128)}
    work = graph_work(bundle.component_path("text_encoder"), inputs)
    per_layer = 4 * 128**2 + 4 * 128 + 8 * 128**2 + 5 * 128 + 4 * 128
    tables, last_norm, mask = 2 * 77 * 128, 2 * 128, 77 * 77
    assert work.weights == pytest.approx(3 * per_layer + tables + last_norm + mask, abs=200)


def test_integers_are_held_against_the_rate_in_fp32() -> None:
    rates = machine_rates("onnxruntime", EngineOptions(), "int8")
    assert rates.precision == "fp32"
