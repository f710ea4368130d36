"""Who joins, who steps next and who leaves, with no thread, no clock and no model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from sdopt.errors import EngineExecutionError, NonFiniteError
from sdopt.runtime.loop import DenoisingLoop
from sdopt.runtime.ports import Array, Call
from sdopt.runtime.row import RowRequest
from sdopt.serve.batcher import Batcher, GroupKey, Outcome, QueuedRow, Seat
from sdopt.serve.job import Event, Job, Order
from tests.runtime.test_loop import make_request
from tests.runtime.toy_unet import ToyUNet
from tests.serve.orders import generation_request

SMALL, LARGE = (4, 8, 8), (4, 16, 16)


class Bench:
    """A batcher over a toy UNet, and what became of its jobs."""

    def __init__(self, max_rows: int = 4, unet: ToyUNet | None = None) -> None:
        self.unet = unet or ToyUNet()
        self.loops = 0
        self.batcher = Batcher(self._new_loop, max_rows)
        self.steps: list[Outcome] = []

    def _new_loop(self, key: GroupKey, max_rows: int) -> DenoisingLoop:
        self.loops += 1
        return DenoisingLoop(
            self.unet,
            latent_shape=key.latent_shape,
            prompt_shape=(key.length, 8),
            max_rows=max_rows,
        )

    def add(self, *rows: RowRequest, shape: tuple[int, int, int] = SMALL, previews: int = 0) -> Job:
        events: list[Event] = []
        steps = rows[0].plan.stages
        order = Order(
            model="toy",
            request=generation_request(steps, len(rows), rows[0].plan),
            partial_images=previews,
        )
        job = Job(order, events.append)
        key = GroupKey("toy", shape, 3)
        self.batcher.add(job, [QueuedRow(Seat(job, i), key, row) for i, row in enumerate(rows)])
        return job

    def step(self) -> Outcome:
        for job in self.batcher.admit():
            job.started_s = 0.0
        outcome = self.batcher.step()
        assert outcome is not None
        self.steps.append(outcome)
        return outcome

    def run(self) -> None:
        while self.batcher.jobs:
            self.step()

    def finish_order(self) -> list[Job]:
        return [seat.job for outcome in self.steps for seat, _ in outcome.finished]


def test_a_short_job_that_comes_late_leaves_first() -> None:
    bench = Bench()
    long = [bench.add(make_request("euler", 20, seed=seed)) for seed in range(3)]
    bench.step()
    short = bench.add(make_request("euler", 4, seed=9))
    bench.run()
    assert bench.finish_order() == [short, *long]
    assert len(bench.steps) == 20


def test_the_free_row_goes_to_the_job_with_the_fewest() -> None:
    bench = Bench(max_rows=2)
    many = bench.add(*[make_request("euler", 2, seed=seed) for seed in range(4)])
    one = bench.add(make_request("euler", 2, seed=9))
    bench.run()
    assert bench.finish_order() == [many, one, many, many, many]


def test_rows_are_bounded_over_all_groups() -> None:
    bench = Bench(max_rows=2)
    for shape in (SMALL, LARGE, SMALL):
        bench.add(make_request("euler", 2), shape=shape)
    bench.step()
    assert bench.batcher.rows == 2
    assert [job.started_s is None for job in bench.batcher.jobs] == [False, False, True]


def test_groups_take_turns_in_proportion_to_their_pixels() -> None:
    bench = Bench()
    bench.add(make_request("euler", 20), shape=SMALL)
    bench.add(make_request("euler", 20), shape=LARGE)
    shapes = [bench.step().key.latent_shape for _ in range(20)]
    assert shapes.count(SMALL) == 16  # a quarter of the pixels, four times the steps
    assert shapes.count(LARGE) == 4


def test_a_group_that_was_idle_does_not_get_the_turns_it_missed() -> None:
    bench = Bench()
    bench.add(make_request("euler", 1), shape=LARGE)
    bench.run()
    bench.add(make_request("euler", 40), shape=SMALL)
    for _ in range(20):
        bench.step()
    bench.add(make_request("euler", 10), shape=LARGE)
    shapes = [bench.step().key.latent_shape for _ in range(10)]
    assert shapes.count(LARGE) == 2


def test_dropping_a_job_frees_its_rows_at_once_and_others_do_not_notice() -> None:
    bench = Bench(max_rows=2)
    dropped = bench.add(make_request("euler", 9, seed=1), make_request("euler", 9, seed=2))
    bench.step()
    kept = bench.add(make_request("euler", 3, seed=3))
    bench.batcher.drop(dropped)
    bench.batcher.drop(dropped)
    bench.run()
    assert bench.finish_order() == [kept]
    ((_, latents),) = bench.steps[-1].finished
    alone = Bench()
    alone.add(make_request("euler", 3, seed=3))
    alone.run()
    assert latents.tobytes() == alone.steps[-1].finished[0][1].tobytes()


def test_a_row_that_turns_non_finite_fails_its_job_alone() -> None:
    broken = max(make_request("euler", 5).plan.timesteps[1:])
    bench = Bench(unet=ToyUNet(break_row=lambda timestep: timestep == broken))
    bad = bench.add(make_request("euler", 5, seed=1), make_request("euler", 5, seed=2))
    good = bench.add(make_request("euler", 4, seed=3))
    bench.run()
    failed = [failure for outcome in bench.steps for failure in outcome.failed]
    assert {job for job, _ in failed} == {bad}
    assert isinstance(failed[0][1], NonFiniteError)
    assert bench.finish_order() == [good]


class _Fragile(ToyUNet):
    """Raises whenever a row of a poisoned prompt takes part."""

    def bind(self, buffers: Mapping[str, Array]) -> Call:
        call, prompts = super().bind(buffers), buffers["encoder_hidden_states"]

        def fragile() -> None:
            if (np.asarray(prompts, np.float32) > 100).any():
                raise EngineExecutionError("unet", "out of order")
            call()

        return fragile


def test_a_row_that_the_engine_refuses_fails_its_job_alone() -> None:
    bench = Bench(unet=_Fragile())
    poison = make_request("euler", 3, seed=1)
    poisoned = RowRequest(
        plan=poison.plan,
        noise=poison.noise,
        prompt_embeds=np.full((3, 8), 1e3, np.float32),
    )
    good = bench.add(make_request("euler", 3, seed=2))
    bad = bench.add(poisoned)
    bench.run()
    ((job, error),) = bench.steps[0].failed
    assert job is bad
    assert str(error) == "Running unet failed. out of order."
    assert bench.finish_order() == [good]
    alone = Bench()
    alone.add(make_request("euler", 3, seed=2))
    alone.run()
    assert bench.steps[-1].finished[0][1].tobytes() == alone.steps[-1].finished[0][1].tobytes()


def test_previews_come_where_the_order_wants_them() -> None:
    bench = Bench()
    bench.add(make_request("euler", 8), previews=3)
    bench.run()
    stages = [stage for outcome in bench.steps for _, stage, _ in outcome.previews]
    assert stages == [2, 4, 6]


def test_loops_that_nobody_uses_are_let_go() -> None:
    bench = Bench()
    for side in range(8, 24, 2):
        bench.add(make_request("euler", 1), shape=(4, side, side))
        bench.run()
    assert bench.loops == 8
    bench.add(make_request("euler", 1), shape=(4, 22, 22))
    bench.run()
    assert bench.loops == 8  # used last: still there
    bench.add(make_request("euler", 1), shape=(4, 8, 8))
    bench.run()
    assert bench.loops == 9  # used first: made again


@pytest.mark.parametrize(
    ("steps", "wanted", "stages"),
    [(20, 0, ()), (20, 3, (5, 10, 15)), (2, 3, (1,)), (1, 3, ())],
)
def test_previews_are_spread_evenly(steps: int, wanted: int, stages: tuple[int, ...]) -> None:
    plan = make_request("euler", steps).plan
    order = Order(model="toy", request=generation_request(steps, 1, plan), partial_images=wanted)
    assert order.preview_stages == stages
