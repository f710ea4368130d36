"""Times of calls on a GPU come from events in its stream. The simulated one takes 1 ms for each
thing that it does, whatever the host's clock says."""

from __future__ import annotations

from types import ModuleType

import pytest

from sdopt.bench.run import ask_of
from sdopt.bench.work import Case
from sdopt.bench.worker import measured_picture
from sdopt.bundle.bundle import Bundle
from sdopt.engines.cuda.device import CudaDevice
from sdopt.engines.options import EngineOptions, Loop
from sdopt.engines.store import EngineStore
from sdopt.errors import DeviceError
from sdopt.pipeline import Pipeline

CASE = Case(
    height=96,
    width=96,
    batch=1,
    num_inference_steps=5,
    guidance_scale=3.0,
    scheduler="euler",
)


def pipeline(bundle: Bundle, store: EngineStore, loop: Loop) -> Pipeline:
    options = EngineOptions(device="cuda", store=store)
    return Pipeline(bundle, engine="tensorrt", options=options, loop=loop)


def test_marks_are_apart_by_what_lies_between_them(device: CudaDevice) -> None:
    source, target = device.empty((3,), "float32"), device.empty((3,), "float32")
    begin = device.mark()
    for _ in range(5):
        device.copy(source, target)
    middle = device.mark()
    device.copy(source, target)
    end = device.mark()
    marks_too = 1  # the simulated GPU counts the events that it passes
    assert end.seconds_since(middle) == pytest.approx(0.001 * (1 + marks_too))
    assert middle.seconds_since(begin) == pytest.approx(0.001 * (5 + marks_too))


def test_a_place_without_a_time_is_an_error(gpu: ModuleType, device: CudaDevice) -> None:
    from sdopt.engines.cuda import runtime

    timed, untimed = device.mark(), runtime.new_event(device.stream)
    device.synchronize()
    with pytest.raises(DeviceError, match="cudaErrorInvalidResourceHandle"):
        runtime.seconds_between(timed._event, untimed)


def test_each_call_of_the_unet_is_timed_by_events(bundle: Bundle, built: EngineStore) -> None:
    """The host only submits: by its own clock the first call takes nothing, and the last one two.

    Every step is the same to the GPU, so every call has taken the same time there.
    """
    ours = pipeline(bundle, built, "device")
    ours.warmup()
    figures = measured_picture(ours, ask_of(CASE, "a ring"))
    calls = figures["unet_calls_s"]
    assert figures["unet_clock"] == "device"
    assert calls == pytest.approx([calls[0]] * 5)
    assert calls[0] == pytest.approx(round(calls[0], 3), abs=1e-9)  # whole milliseconds
    stages = figures["stages_s"]
    assert stages["unet_rest"] == pytest.approx(4 * stages["unet_first"])
    assert sum(stages.values()) == pytest.approx(figures["wall_s"], rel=0.02)


def test_a_call_that_the_host_waits_for_is_timed_by_the_host(
    bundle: Bundle, built: EngineStore
) -> None:
    figures = measured_picture(pipeline(bundle, built, "host"), ask_of(CASE, "a ring"))
    assert figures["unet_clock"] == "host"
    assert len(figures["unet_calls_s"]) == 5
    assert min(figures["unet_calls_s"]) > 0
