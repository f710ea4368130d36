"""The carried model with the loop on a device: the same pictures as with NumPy."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sdopt
from sdopt.bundle.bundle import Bundle
from sdopt.bundle.loop_graphs import LOOP_GRAPHS
from sdopt.bundle.manifest import read_manifest
from sdopt.bundle.writer import seal
from sdopt.engines.loop_choice import loops_on_device
from sdopt.engines.onnxruntime import OnnxRuntimeEngine
from sdopt.engines.options import Model
from sdopt.errors import LoopGraphsError, UnknownNameError
from sdopt.pipeline import Pipeline
from tests.far_device import FarDevice, FarEngine

PROMPT = "a red circle on a blue background"


@pytest.fixture(scope="module")
def on_device() -> Pipeline:
    return sdopt.load("shapes", loop="device")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scheduler": "euler_ancestral", "num_images_per_prompt": 2},
        {"scheduler": "unipc", "guidance_scale": 1.0},
    ],
)
def test_the_picture_is_the_same(
    shapes: Pipeline, on_device: Pipeline, options: dict[str, object]
) -> None:
    """To one level of 255: latents differ by 1e-6 of the largest, and pixels are rounded."""
    given = {"num_inference_steps": 6, "seed": 4, **options}
    expected = shapes(PROMPT, **given)  # type: ignore[arg-type]
    ours = on_device(PROMPT, **given)  # type: ignore[arg-type]
    for mine, theirs in zip(ours.images, expected.images, strict=True):
        difference = np.abs(np.asarray(mine, int) - np.asarray(theirs, int))
        assert difference.max() <= 1
    assert len(ours.images) == len(expected.images)


def test_previews_come_with_every_step_but_the_first(on_device: Pipeline) -> None:
    request = on_device.request(PROMPT, num_inference_steps=4, seed=1)
    steps = list(on_device.start(request, previews=True))
    assert [sorted(step.previews) for step in steps] == [[], [0], [0], [0]]


def test_auto_is_the_host_for_engines_of_the_host() -> None:
    bundle = Bundle.open("shapes")
    unet = OnnxRuntimeEngine(Model.of(bundle, "unet"))
    far = FarEngine(unet, FarDevice())
    choices = {
        (loop, engine.device.is_host): loops_on_device(loop, bundle, engine)
        for loop in ("auto", "host", "device")
        for engine in (unet, far)
    }
    assert choices == {
        ("auto", True): False,
        ("auto", False): True,
        ("host", True): False,
        ("host", False): False,
        ("device", True): True,
        ("device", False): True,
    }


@pytest.fixture(scope="module")
def without_graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The carried bundle as it was before there were loop graphs."""
    folder = tmp_path_factory.mktemp("old") / "shapes"
    shutil.copytree(Bundle.open("shapes").path, folder)
    manifest = read_manifest(folder)
    (folder / "sdopt.json").unlink()
    for name in LOOP_GRAPHS:
        shutil.rmtree(folder / name)
    networks = {n: c for n, c in manifest.components.items() if n not in LOOP_GRAPHS}
    seal(folder, replace(manifest, components=networks))
    return folder


def test_a_bundle_without_loop_graphs_runs_on_the_host(
    shapes: Pipeline, without_graphs: Path
) -> None:
    options = {"num_inference_steps": 2, "seed": 1}
    ours = sdopt.load(without_graphs)(PROMPT, **options)  # type: ignore[arg-type]
    expected = shapes(PROMPT, **options)  # type: ignore[arg-type]
    assert ours.images[0].tobytes() == expected.images[0].tobytes()
    far = FarEngine(OnnxRuntimeEngine(Model.of(Bundle.open("shapes"), "unet")), FarDevice())
    assert not loops_on_device("auto", Bundle.open(without_graphs), far)


def test_a_device_loop_without_graphs_is_refused(without_graphs: Path) -> None:
    with pytest.raises(LoopGraphsError) as caught:
        sdopt.load(without_graphs, loop="device")
    assert str(caught.value) == (
        f"{without_graphs} has no loop graphs (loop_head and loop_tail) that this sdopt can run, "
        "and loop='device' needs them. Export or import the model again, or leave loop at 'auto'."
    )


def test_an_unknown_loop_is_refused() -> None:
    with pytest.raises(UnknownNameError) as caught:
        sdopt.load("shapes", loop="devise")  # type: ignore[arg-type]
    assert str(caught.value) == (
        "Unknown loop 'devise'. Did you mean 'device'? Choices: auto, host, device."
    )
