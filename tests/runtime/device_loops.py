"""Loops whose latents lie on a device: the host's memory, or one that does nothing in time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sdopt.bundle.manifest import Component
from sdopt.engines.onnxruntime import OnnxRuntimeEngine
from sdopt.engines.options import Model
from sdopt.runtime.device_arithmetic import LoopGraphs
from tests.far_device import FarDevice, FarEngine
from tests.runtime.toy_unet import ToyUNet


def write_graphs(folder: Path, unet: ToyUNet) -> LoopGraphs:
    """Write the loop graphs for a UNet and open them with ONNX Runtime."""
    pytest.importorskip("onnx", reason="needs sdopt[export]")
    from sdopt.export.loop_graphs import write_loop_graphs

    component = Component("", unet.inputs, unet.outputs, "fp32", 18, None, None)
    write_loop_graphs(folder, component, 4)
    head, tail = (
        OnnxRuntimeEngine(Model(name, folder / name / "model.onnx"))
        for name in ("loop_head", "loop_tail")
    )
    return LoopGraphs(head, tail)


def far(unet: ToyUNet, graphs: LoopGraphs) -> tuple[FarEngine, LoopGraphs, FarDevice]:
    """Return the same, on a device that works in the order of submission and always late."""
    device = FarDevice()
    near = (FarEngine(engine, device) for engine in (graphs.head, graphs.tail))
    return FarEngine(unet, device), LoopGraphs(*near), device


class PaintingUNet(ToyUNet):
    """A toy that takes five channels beside the latents, as inpainting UNets do."""

    inputs = tuple(
        replace(spec, shape=("batch", 9, *spec.shape[2:])) if spec.name == "sample" else spec
        for spec in ToyUNet.inputs
    )
