"""The loop on a device: the same loop, with the bundle's graphs doing what NumPy does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdopt.bundle.loop_graphs import STAGES, STATE_ROWS
from sdopt.errors import EngineExecutionError, InvalidValueError, NonFiniteError
from sdopt.runtime.device_arithmetic import LoopGraphs
from sdopt.runtime.loop import DenoisingLoop, StepReport
from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.plan_table import plan_table
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.row import Row, RowRequest
from sdopt.runtime.row_image import Posterior, RowImage
from sdopt.runtime.schedulers import compile_plan
from sdopt.runtime.schedulers.names import scheduler_names
from tests.far_device import FarDevice
from tests.runtime.device_loops import PaintingUNet, far, write_graphs
from tests.runtime.test_loop import (
    CONFIG,
    SCHEDULERS,
    SHAPE,
    make_request,
    row_requests,
    run_alone,
    with_image,
)
from tests.runtime.toy_unet import ToyUNet

TOLERANCE = 5e-6
"""Of the largest latent. Both compute in float32, NumPy by a matrix product and the graphs by one
product and one sum after another: each step differs by some units of 6e-8. Seen: up to 1.1e-6."""


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> LoopGraphs:
    return write_graphs(tmp_path_factory.mktemp("graphs"), ToyUNet())


def device_loop(
    graphs: LoopGraphs, unet: object = None, shape: tuple[int, int, int] = SHAPE, max_rows: int = 8
) -> DenoisingLoop:
    return DenoisingLoop(
        unet or ToyUNet(),  # type: ignore[arg-type]
        latent_shape=shape,
        prompt_shape=(3, 8),
        max_rows=max_rows,
        graphs=graphs,
    )


def far_loop(
    graphs: LoopGraphs, unet: ToyUNet | None = None, max_rows: int = 8
) -> tuple[DenoisingLoop, FarDevice]:
    there, graphs_there, device = far(unet or ToyUNet(), graphs)
    return device_loop(graphs_there, there, max_rows=max_rows), device


def run(loop: DenoisingLoop, request: RowRequest) -> FloatArray:
    row = loop.admit(request)
    while not row.finished:
        loop.step()
    assert loop.rows == ()
    return row.latents


def close(ours: FloatArray, expected: FloatArray) -> None:
    np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("scheduler", scheduler_names())
@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
def test_a_device_computes_what_numpy_computes(
    graphs: LoopGraphs, scheduler: str, guidance_scale: float
) -> None:
    loop, _ = far_loop(graphs, max_rows=2)
    ours = run(loop, make_request(scheduler, 7, guidance_scale, seed=3))
    close(ours, run_alone(make_request(scheduler, 7, guidance_scale, seed=3)))


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(
    "solver",
    ["UniPCMultistepScheduler", "DEISMultistepScheduler", "DPMSolverSinglestepScheduler"],
)
def test_so_it_does_with_every_number_of_state_rows(
    graphs: LoopGraphs, solver: str, order: int
) -> None:
    config = {**CONFIG, "_class_name": solver, "solver_order": order}

    def request() -> RowRequest:
        return replace(make_request(seed=3), plan=compile_plan(config, 8))

    assert request().plan.state_rows <= STATE_ROWS
    close(run(device_loop(graphs), request()), run_alone(request()))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("task", ["image_to_image", "inpainting"])
def test_so_it_does_from_a_picture_on(graphs: LoopGraphs, scheduler: str, task: str) -> None:
    def request() -> RowRequest:
        return with_image(make_request(scheduler, seed=3), task)  # type: ignore[arg-type]

    loop, _ = far_loop(graphs, max_rows=2)
    close(run(loop, request()), run_alone(request()))


def test_what_is_known_is_kept_to_the_last_bit(graphs: LoopGraphs) -> None:
    request = with_image(make_request("euler_ancestral", seed=3), "inpainting")
    assert request.image is not None
    assert request.image.posterior is not None
    known = request.image.posterior.sample(NoiseStream(3))
    latents = run(device_loop(graphs), request)
    kept = np.s_[:, :, : SHAPE[2] // 2]
    assert latents[kept].tobytes() == known[kept].tobytes()
    assert np.abs(latents - known)[:, :, SHAPE[2] // 2 :].min() > 0


def test_an_inpainting_unet_is_told_its_mask(tmp_path_factory: pytest.TempPathFactory) -> None:
    unet = PaintingUNet()
    graphs = write_graphs(tmp_path_factory.mktemp("painting"), unet)
    rng = np.random.default_rng(5)
    mean, std = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    mask = (rng.normal(size=SHAPE[1:]) > 0).astype(np.float32)
    image = RowImage(posterior=None, masked_posterior=Posterior(mean, np.abs(std)), unet_mask=mask)
    results = []
    for others in (None, graphs):
        request = replace(make_request("euler_ancestral", 5, seed=3), image=image)
        loop = DenoisingLoop(
            unet, latent_shape=SHAPE, prompt_shape=(3, 8), max_rows=2, graphs=others
        )
        results.append(run(loop, request))
    close(results[1], results[0])


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(row_requests, st.integers(0, 5)), min_size=1, max_size=8))
def test_a_picture_is_the_same_alone_and_in_any_company(
    graphs: LoopGraphs, rows: list[tuple[tuple[str, int, float, int], int]]
) -> None:
    """On a device that is always late, bit for bit what the same graphs give alone on the host."""
    loop, _ = far_loop(graphs)
    waiting = sorted(enumerate(rows), key=lambda item: item[1][1])
    running: dict[Row, int] = {}
    finished: dict[int, FloatArray] = {}
    for now in range(20):
        while waiting and waiting[0][1][1] <= now:
            index, (arguments, _) = waiting.pop(0)
            running[loop.admit(make_request(*arguments))] = index
        for row in loop.step().finished:
            finished[running.pop(row)] = row.latents
    assert len(finished) == len(rows)
    alone = device_loop(graphs, max_rows=1)
    for index, (arguments, _) in enumerate(rows):
        assert finished[index].tobytes() == run(alone, make_request(*arguments)).tobytes()


STEP = ["loop_head", "unet", "loop_tail", "copy", "copy"]


def test_nobody_waits_between_steps(graphs: LoopGraphs) -> None:
    loop, device = far_loop(graphs, max_rows=2)
    row = loop.admit(make_request("pndm", 4))
    assert set(device.log) == {"upload"}
    device.log.clear()
    logs = []
    while not row.finished:
        loop.step()
        logs.append(list(device.log))
        device.log.clear()
    prompts, maps = ["copy"] * 2, ["upload"] * 4
    assert logs[0] == [*prompts, *maps, *STEP, "capture", "read"]
    # A step is one launch, and the step before is looked at behind it.
    assert logs[1:-1] == [["replay", "read", "wait"]] * 3
    # The last one is looked at before its row is handed out, and then its latents are read.
    assert logs[-1] == ["replay", "read", "wait", "wait", "read"]


def test_noise_goes_up_while_the_step_before_it_runs(graphs: LoopGraphs) -> None:
    loop, device = far_loop(graphs, max_rows=2)
    row = loop.admit(make_request("euler_ancestral", 4))
    loop.step()
    plan, logs = row.request.plan, []
    while not row.finished:
        device.log.clear()
        loop.step()
        logs.append(list(device.log))
    assert plan.noisy.all()
    assert logs[:2] == [["replay", "read", "upload", "wait"]] * 2
    assert "upload" not in logs[2]


def test_a_row_goes_up_once(graphs: LoopGraphs) -> None:
    """Every buffer of a row is sent once, the whole plan with it; joining sends no other row."""
    loop, device = far_loop(graphs)
    loop.admit(make_request("pndm", 20))
    alone = device.log.count("upload")
    device.log.clear()
    loop.admit(make_request("pndm", 5))
    made_at_the_start = 1
    assert device.log == ["upload"] * (alone - made_at_the_start)
    # Coefficients, cursor, state, known, mask, noise, and the prompt of each UNet row.
    assert len(device.log) == 8


def test_each_batch_size_is_captured_once(graphs: LoopGraphs) -> None:
    loop, device = far_loop(graphs)
    for _ in range(3):
        run(loop, make_request(steps=3))
    assert device.log.count("capture") == 1


def test_previews_come_behind_and_say_of_which_stage_they_are(graphs: LoopGraphs) -> None:
    host = DenoisingLoop(ToyUNet(), latent_shape=SHAPE, prompt_shape=(3, 8), max_rows=2)
    device, _ = far_loop(graphs, max_rows=2)
    seen = []
    for loop in (host, device):
        shown, hidden = loop.admit(make_request("euler", 4)), loop.admit(make_request("pndm", 5))
        reports = []
        while loop.rows:
            reports.append(loop.step(previews=[row for row in (shown,) if row in loop.rows]))
        assert hidden.finished
        assert all(preview.row is shown for report in reports for preview in report.previews)
        seen.append([[(p.stage, p.denoised) for p in report.previews] for report in reports])
    (near, behind) = seen
    assert [[stage for stage, _ in each] for each in near] == [[1], [2], [3], [4], [], []]
    assert [[stage for stage, _ in each] for each in behind] == [[], [1], [2], [3, 4], [], []]
    for ours, expected in zip(chain(*behind), chain(*near), strict=True):
        close(ours[1], expected[1])


def broken_at(plan_steps: int, stage: int) -> Callable[[float], bool]:
    timestep = float(make_request("euler", plan_steps).plan.timesteps[stage])
    return lambda told: told == timestep


def failures(reports: list[StepReport]) -> list[tuple[int, Row, str]]:
    return [
        (step, row, str(error))
        for step, report in enumerate(reports)
        for row, error in report.failed
        if isinstance(error, NonFiniteError)
    ]


def test_a_row_that_turns_non_finite_fails_alone_one_step_later(graphs: LoopGraphs) -> None:
    loop, _ = far_loop(graphs, ToyUNet(break_row=broken_at(5, 1)))
    bad, good = loop.admit(make_request("euler", 5)), loop.admit(make_request("euler", 3))
    assert broken_at(5, 1)(bad.request.plan.timesteps[1])
    reports = [loop.step() for _ in range(4)]
    ((step, failed, message),) = failures(reports)
    assert (step, failed) == (2, bad)
    assert "at evaluation 2 of 5" in message
    assert [row for report in reports for row in report.finished] == [good]
    assert good.latents.tobytes() == run(device_loop(graphs), make_request("euler", 3)).tobytes()


def test_a_row_that_breaks_at_its_last_step_is_not_handed_out(graphs: LoopGraphs) -> None:
    loop, _ = far_loop(graphs, ToyUNet(break_row=broken_at(2, 1)))
    row = loop.admit(make_request("euler", 2))
    reports = [loop.step(), loop.step()]
    assert [(step, failed) for step, failed, _ in failures(reports)] == [(1, row)]
    assert not any(report.finished for report in reports)
    assert loop.rows == ()


def test_nothing_of_a_broken_row_is_left_in_its_slot(graphs: LoopGraphs) -> None:
    """0 times NaN is NaN: a row with fewer state rows would inherit it."""
    unet = ToyUNet(break_row=lambda _: True)
    loop, _ = far_loop(graphs, unet, max_rows=1)
    loop.admit(make_request("unipc", 6))
    while loop.rows:
        loop.step()
    unet._break_row = lambda _: False
    ours = run(loop, make_request("euler", 3))
    assert ours.tobytes() == run(device_loop(graphs), make_request("euler", 3)).tobytes()


class FallingUNet(ToyUNet):
    """Refuses any batch with more than ``limit`` rows."""

    limit = 8

    def bind(self, buffers):  # type: ignore[no-untyped-def]
        call = super().bind(buffers)

        def refuse() -> None:
            if len(buffers["sample"]) > self.limit:
                raise EngineExecutionError("unet", "too many rows")
            call()

        return refuse


def test_rows_step_apart_after_the_unet_has_failed(graphs: LoopGraphs) -> None:
    """Those that do not step meanwhile stay as they are, in their slots."""
    unet = FallingUNet()
    loop = device_loop(graphs, unet)
    rows = [loop.admit(make_request("pndm", 4, seed=seed)) for seed in (1, 2)]
    rows.append(loop.admit(make_request("euler_ancestral", 4, 1.0, seed=3)))
    loop.step()
    unet.limit = 2
    with pytest.raises(EngineExecutionError):
        loop.step()
    reports = [loop.step_apart() for _ in range(4)]
    assert [len(report.finished) for report in reports] == [0, 0, 1, 2]
    unet.limit = 8
    alone = device_loop(graphs, max_rows=1)
    for row, seed in zip(rows[:2], (1, 2), strict=True):
        expected = run(alone, make_request("pndm", 4, seed=seed))
        assert row.latents.tobytes() == expected.tobytes()
    expected = run(alone, make_request("euler_ancestral", 4, 1.0, seed=3))
    assert rows[2].latents.tobytes() == expected.tobytes()


def test_cancelling_frees_a_slot_and_the_others_do_not_notice(graphs: LoopGraphs) -> None:
    loop, _ = far_loop(graphs, max_rows=2)
    dropped, kept = loop.admit(make_request("euler", 6)), loop.admit(make_request(seed=1))
    loop.step()
    loop.cancel(dropped)
    late = loop.admit(make_request("lms", 5, 1.0, seed=2))
    while loop.rows:
        loop.step()
    alone = device_loop(graphs, max_rows=1)
    assert kept.latents.tobytes() == run(alone, make_request(seed=1)).tobytes()
    assert late.latents.tobytes() == run(alone, make_request("lms", 5, 1.0, seed=2)).tobytes()


def test_every_plan_fits_into_the_table() -> None:
    """Up to 1000 steps: none has more than two stages for each."""
    for name in scheduler_names():
        plan = compile_plan(CONFIG, 20, scheduler=name)
        assert plan.state_rows <= STATE_ROWS, name
        assert plan.stages <= 20 * STAGES / 1000, name


def test_a_plan_that_does_not_fit_is_refused() -> None:
    plan = compile_plan(CONFIG, 4, scheduler="euler")
    wide = replace(
        plan,
        inputs=np.zeros((4, 6)),
        updates=np.zeros((4, 6, 8)),
        denoised=np.zeros((4, 7)),
    )
    with pytest.raises(InvalidValueError) as caught:
        plan_table(wide, 1.0)
    assert str(caught.value) == (
        "plan.state_rows=6 is not allowed. "
        "plan.state_rows is at most 5 where a device runs the loop."
    )
