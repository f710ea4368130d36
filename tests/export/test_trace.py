"""What a module becomes, whether or not the exporter looks for types to promote."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs sdopt[export]")
pytest.importorskip("onnx", reason="needs sdopt[export]")

import onnx_ir as ir  # noqa: E402 - after the check
from torch import Tensor, nn  # noqa: E402
from torch.onnx._internal.exporter import _fx_passes  # noqa: E402

from sdopt.bundle.tensors import TensorSpec  # noqa: E402
from sdopt.export import graph, trace  # noqa: E402

SIZES = ("batch", 4, "latent_height", "latent_width")
INPUTS = (TensorSpec("sample", "float32", SIZES), TensorSpec("ids", "int64", ("batch",)))
OUTPUTS = (TensorSpec("out_sample", "float32", SIZES),)


class Block(nn.Module):
    """Numbers beside tensors, and whole numbers that are looked up: nothing is promoted."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.table = nn.Embedding(8, 4)

    def forward(self, sample: Tensor, ids: Tensor) -> Tensor:
        return self.conv(self.norm(sample) * 2 / 3.0) + self.table(ids)[:, :, None, None]


class Promoting(Block):
    """Whole numbers times a half."""

    def forward(self, sample: Tensor, ids: Tensor) -> Tensor:
        return super().forward(sample, ids) + (ids * 0.5)[:, None, None, None]


class Mixing(Block):
    """Whole numbers added to others."""

    def forward(self, sample: Tensor, ids: Tensor) -> Tensor:
        return super().forward(sample, ids) + ids[:, None, None, None]


def exported(module: nn.Module) -> bytes:
    """Trace and clean a module, as an export does."""
    made = trace.trace(module.eval(), INPUTS, OUTPUTS, 18)
    graph.finish(made, graph.simplify(made), INPUTS, OUTPUTS)
    return ir.to_proto(made).SerializeToString(deterministic=True)


def looks(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> tuple[int, bytes]:
    """Return how often the exporter looks for types to promote, and the graph."""
    calls, original = [], _fx_passes.insert_type_promotion_nodes

    def counted(program: torch.fx.GraphModule) -> None:
        calls.append(program)
        original(program)

    with monkeypatch.context() as patch:
        patch.setattr(_fx_passes, "insert_type_promotion_nodes", counted)
        made = exported(module)
        assert _fx_passes.insert_type_promotion_nodes is counted
    return len(calls), made


@pytest.mark.parametrize(("kind", "expected"), [(Block, 0), (Promoting, 1), (Mixing, 1)])
def test_the_graph_computes_what_the_module_does(
    kind: type[Block], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxruntime import InferenceSession

    torch.manual_seed(0)
    module = kind()
    times, made = looks(module, monkeypatch)
    assert times == expected
    random = np.random.default_rng(0)
    sample, ids = random.standard_normal((2, 4, 5, 7), np.float32), np.array([3, 7])
    (ours,) = InferenceSession(made).run(None, {"sample": sample, "ids": ids})
    with torch.inference_mode():
        theirs = module(torch.from_numpy(sample), torch.from_numpy(ids)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_looking_for_nothing_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = Block()
    times, without = looks(module, monkeypatch)
    monkeypatch.setattr(trace, "promotes_types", lambda _: True)
    again, looked = looks(module, monkeypatch)
    assert (times, again) == (0, 1)
    assert looked == without
