"""The one denoising loop: rows come and go, and none notices another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdopt.errors import InvalidValueError, NonFiniteError, ServerBusyError
from sdopt.runtime.loop import DenoisingLoop
from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.ports import Array, Call, FloatArray
from sdopt.runtime.row import Row, RowRequest
from sdopt.runtime.row_image import Posterior, RowImage
from sdopt.runtime.schedulers import compile_plan
from sdopt.runtime.schedulers.options import Task
from tests.runtime.toy_unet import ToyUNet

SHAPE = (4, 8, 9)
CONFIG = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "skip_prk_steps": True,
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
}
SCHEDULERS = ("ddim", "pndm", "lms", "euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_karras")


def make_loop(unet: ToyUNet | None = None, max_rows: int = 8) -> DenoisingLoop:
    return DenoisingLoop(
        unet or ToyUNet(), latent_shape=SHAPE, prompt_shape=(3, 8), max_rows=max_rows
    )


def make_request(
    scheduler: str = "pndm", steps: int = 4, guidance_scale: float = 7.5, seed: int = 0
) -> RowRequest:
    rng = np.random.default_rng(seed)
    embeds = rng.normal(size=(2, 3, 8)).astype(np.float32)
    return RowRequest(
        plan=compile_plan(CONFIG, steps, scheduler=scheduler),
        noise=NoiseStream(seed),
        prompt_embeds=embeds[0],
        negative_prompt_embeds=embeds[1] if guidance_scale > 1 else None,
        guidance_scale=guidance_scale,
    )


def run_alone(request: RowRequest) -> FloatArray:
    loop = make_loop(max_rows=1)
    row = loop.admit(request)
    while not row.finished:
        loop.step()
    return row.latents


def textbook(request: RowRequest) -> FloatArray:
    """The plan applied to the model as design.md writes it, in float64, with no loop object."""
    plan, unet = request.plan, ToyUNet()
    noise = request.noise
    state = np.zeros((plan.state_rows, *SHAPE))
    image = request.image
    posterior = image.posterior if image else None
    known = posterior.sample(noise) if posterior else np.zeros(SHAPE, np.float32)
    start_noise = noise.normal((1, *SHAPE))[0]
    if image and image.masked_posterior:
        image.masked_posterior.sample(noise)
    state[0] = known * plan.start[0] + start_noise * plan.start[1]
    prompts = [request.prompt_embeds, request.negative_prompt_embeds]
    for i in range(plan.stages):
        sample = np.tensordot(plan.inputs[i], state, 1).astype(np.float32)
        answers = []
        for prompt in prompts:
            if prompt is None:
                continue
            out = np.empty((1, *SHAPE), np.float32)
            timestep = np.array([plan.timesteps[i]], np.float32)
            unet.bind({
                "sample": sample[None], "timestep": timestep,
                "encoder_hidden_states": prompt[None], "out_sample": out,
            })()  # fmt: skip
            answers.append(out[0].astype(np.float64))
        output = answers[0]
        if len(answers) == 2:
            output = answers[1] + request.guidance_scale * (answers[0] - answers[1])
        fresh = noise.normal((1, *SHAPE))[0] if plan.noisy[i] else np.zeros(SHAPE)
        state = np.tensordot(plan.updates[i], np.concatenate([state, output[None], fresh[None]]), 1)
        if image and image.mask is not None:
            at_its_noise = plan.renoise[i] @ np.stack([known, start_noise]).reshape(2, -1)
            state[0] = np.where(image.mask > 0, state[0], at_its_noise.reshape(SHAPE))
    return state[0]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
def test_the_loop_is_the_textbook(scheduler: str, guidance_scale: float) -> None:
    ours = run_alone(make_request(scheduler, 7, guidance_scale, seed=3))
    expected = textbook(make_request(scheduler, 7, guidance_scale, seed=3))
    np.testing.assert_allclose(ours, expected, atol=2e-5 * np.abs(expected).max())


def with_image(request: RowRequest, task: Task) -> RowRequest:
    """Start from a picture, and in inpainting keep its left half."""
    rng = np.random.default_rng(5)
    mean, std, masked = rng.normal(size=(3, *SHAPE)).astype(np.float32)
    mask = np.zeros(SHAPE[1:], np.float32)
    mask[:, SHAPE[2] // 2 :] = 1
    image = RowImage(posterior=Posterior(mean, np.abs(std)))
    if task == "inpainting":
        masked_posterior = Posterior(masked, np.abs(std))
        image = replace(image, mask=mask, masked_posterior=masked_posterior)
    plan = compile_plan(CONFIG, 7, scheduler=request.plan.name, strength=0.6, task=task)
    return replace(request, plan=plan, image=image)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("task", ["image_to_image", "inpainting"])
def test_the_loop_is_the_textbook_from_a_picture_on(scheduler: str, task: Task) -> None:
    ours = run_alone(with_image(make_request(scheduler, seed=3), task))
    expected = textbook(with_image(make_request(scheduler, seed=3), task))
    np.testing.assert_allclose(ours, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("scheduler", ["ddim", "euler_ancestral"])
def test_what_is_known_is_kept_to_the_last_bit(scheduler: str) -> None:
    request = with_image(make_request(scheduler, seed=3), "inpainting")
    assert request.image is not None
    assert request.image.posterior is not None
    known = request.image.posterior.sample(NoiseStream(3))
    kept = np.s_[:, :, : SHAPE[2] // 2]
    latents = run_alone(request)
    assert latents[kept].tobytes() == known[kept].tobytes()
    assert np.abs(latents - known)[:, :, SHAPE[2] // 2 :].min() > 0


row_requests = st.tuples(
    st.sampled_from(SCHEDULERS),
    st.integers(1, 6),
    st.sampled_from([0.0, 1.0, 3.0, 7.5]),
    st.integers(0, 99),
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(row_requests, st.integers(0, 5)), min_size=1, max_size=8))
def test_a_picture_is_the_same_alone_and_in_any_company(
    rows: list[tuple[tuple[str, int, float, int], int]],
) -> None:
    loop = make_loop()
    waiting = sorted(enumerate(rows), key=lambda item: item[1][1])
    running: dict[Row, int] = {}
    finished: dict[int, FloatArray] = {}
    for now in range(100):
        while waiting and waiting[0][1][1] <= now:
            index, (arguments, _) = waiting.pop(0)
            running[loop.admit(make_request(*arguments))] = index
        for row in loop.step().finished:
            finished[running.pop(row)] = row.latents
        if not waiting and not running:
            break
    assert len(finished) == len(rows)
    for index, (arguments, _) in enumerate(rows):
        assert finished[index].tobytes() == run_alone(make_request(*arguments)).tobytes()


def test_rows_without_guidance_take_one_unet_row() -> None:
    unet = ToyUNet()
    loop = make_loop(unet)
    loop.admit(make_request(guidance_scale=1.0))
    loop.step()
    loop.admit(make_request(guidance_scale=7.5))
    loop.step()
    assert unet.batches == [1, 3]


def test_each_batch_size_is_bound_once() -> None:
    unet = ToyUNet()
    loop = make_loop(unet)
    for _ in range(3):
        row = loop.admit(make_request(steps=3))
        while not row.finished:
            loop.step()
    assert unet.bound == [2]


def test_cancelling_drops_one_row_and_the_others_do_not_notice() -> None:
    loop = make_loop()
    kept, dropped = loop.admit(make_request(seed=1)), loop.admit(make_request("euler", seed=2))
    loop.step()
    loop.cancel(dropped)
    loop.cancel(dropped)
    while not kept.finished:
        loop.step()
    assert dropped.stage == 1
    assert kept.latents.tobytes() == run_alone(make_request(seed=1)).tobytes()


def test_a_row_that_turns_non_finite_fails_alone() -> None:
    steps_of_two = {float(t) for t in make_request("euler", 2).plan.timesteps}
    steps_of_five = {float(t) for t in make_request("euler", 5).plan.timesteps}
    broken = max(steps_of_five - steps_of_two)
    loop = make_loop(ToyUNet(break_row=lambda timestep: timestep == broken))
    good, bad = loop.admit(make_request("euler", 2)), loop.admit(make_request("euler", 5))
    reports = [loop.step(), loop.step()]
    ((failed, error),) = [failure for report in reports for failure in report.failed]
    assert failed is bad
    assert isinstance(error, NonFiniteError)
    assert f"at evaluation {bad.stage} of 5" in str(error)
    assert [row for report in reports for row in report.finished] == [good]
    assert good.latents.tobytes() == run_alone(make_request("euler", 2)).tobytes()
    assert loop.rows == ()


def test_previews_are_the_predicted_finished_latents() -> None:
    loop = make_loop()
    shown, hidden = loop.admit(make_request("euler", 3)), loop.admit(make_request("pndm", 3))
    report = None
    while not shown.finished:
        report = loop.step(previews=[shown])
        (preview,) = report.previews
        assert (preview.row, preview.stage) == (shown, shown.stage)
    assert report is not None
    # Euler's last step goes to sigma 0, where the prediction is the result.
    np.testing.assert_allclose(preview.denoised, shown.latents, atol=1e-5)
    assert hidden.stage == 3


def test_a_full_loop_refuses() -> None:
    loop = make_loop(max_rows=1)
    loop.admit(make_request())
    assert loop.free_rows == 0
    with pytest.raises(ServerBusyError):
        loop.admit(make_request())


def test_embeddings_of_another_shape_are_refused() -> None:
    request = make_request()
    wrong = RowRequest(
        plan=request.plan, noise=request.noise, prompt_embeds=np.zeros((2, 8), np.float32)
    )
    with pytest.raises(InvalidValueError) as caught:
        make_loop().admit(wrong)
    assert (
        str(caught.value)
        == "prompt_embeds.shape=(2, 8) is not allowed. prompt_embeds.shape is (3, 8)."
    )


def test_stepping_an_empty_loop_does_nothing() -> None:
    unet = ToyUNet()
    report = make_loop(unet).step()
    assert (report.finished, report.failed, report.previews, unet.batches) == ((), (), (), [])


def test_a_step_allocates_no_arrays_of_latent_size() -> None:
    """Measured: what a step allocates stays far below one latent, whatever the latents' size."""
    import tracemalloc

    shape = (4, 128, 128)
    loop = DenoisingLoop(_Still(), latent_shape=shape, prompt_shape=(3, 8), max_rows=1)
    loop.admit(make_request("pndm", 20))
    loop.step()
    tracemalloc.start()
    loop.step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * np.prod(shape) / 10


class _Still(ToyUNet):
    """Does nothing when called, so that only the loop's own allocations are seen."""

    def bind(self, buffers: Mapping[str, Array]) -> Call:
        buffers["out_sample"][:] = 0
        return lambda: None
