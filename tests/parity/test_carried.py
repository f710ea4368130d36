"""The bundle in the wheel is the export of the checkpoint in the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sdopt
from sdopt.bundle.bundle import Bundle

onnx = pytest.importorskip("onnx", reason="needs sdopt[export]")

LARGEST_WHEEL_SHARE = 20e6
"""Bytes that the carried bundle may take."""


@pytest.fixture(scope="module")
def exported(shapes_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("export") / "shapes"
    sdopt.export(shapes_checkpoint, out, num_inference_steps=20, guidance_scale=3.0)
    return Bundle.open(out)


def test_the_carried_bundle_is_small() -> None:
    files = Bundle.open("shapes").manifest.files.values()
    assert sum(record.size_bytes for record in files) < LARGEST_WHEEL_SHARE


def test_the_carried_bundle_is_the_export_of_the_checkpoint(exported: Bundle) -> None:
    carried = Bundle.open("shapes")
    assert carried.manifest.defaults == exported.manifest.defaults
    assert carried.manifest.files.keys() == exported.manifest.files.keys()
    for name, component in carried.manifest.components.items():
        assert component.inputs == exported.component(name).inputs
        assert component.outputs == exported.component(name).outputs
        ours, theirs = (onnx.load(b.component_path(name)) for b in (carried, exported))
        assert [n.op_type for n in ours.graph.node] == [n.op_type for n in theirs.graph.node]
        weights = zip(ours.graph.initializer, theirs.graph.initializer, strict=True)
        for mine, again in weights:
            # Constants computed at export may differ in the last bit from one CPU to another.
            np.testing.assert_allclose(
                onnx.numpy_helper.to_array(mine), onnx.numpy_helper.to_array(again), rtol=1e-6
            )


def test_weights_are_stored_in_the_checkpoints_halves() -> None:
    """fp16 on disk, cast to fp32 in the graph: half the bytes, and the same numbers."""
    model = onnx.load(Bundle.open("shapes").component_path("unet"))
    half = onnx.TensorProto.FLOAT16
    sizes = {True: 0, False: 0}
    for tensor in model.graph.initializer:
        sizes[tensor.data_type == half] += int(np.prod(tensor.dims))
    assert sizes[True] > 100 * sizes[False]
