"""Which stage a moment belongs to, on a clock that the test sets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sdopt.bench.timeline import STAGES, Span, Timeline, stage_seconds, unet_calls
from sdopt.runtime.clock import EngineClock

REQUEST = [
    Span("request", 0.0, 1.0),
    Span("text_encoder", 1.5, 2.0),
    Span("text_encoder", 2.25, 3.0),
    Span("unet", 4.0, 14.0),
    Span("unet", 14.5, 20.0),
    Span("unet", 20.5, 26.0),
    Span("vae_decoder", 26.25, 30.0),
    Span("vae_decoder", 30.5, 34.0),
    Span("png", 35.0, 36.0),
]


def test_every_moment_belongs_to_a_stage() -> None:
    stages = stage_seconds(REQUEST)
    assert stages == {
        "request": 1.0,
        "tokenizer": 0.75,
        "text_encoder": 1.25,
        "unet_first": 10.0,
        "unet_rest": 11.0,
        "scheduler": 2.25,
        "vae_decoder": 7.25,
        "pixels": 1.5,
        "png": 1.0,
    }
    assert sum(stages.values()) == 36.0
    assert list(stages) == [stage for stage in STAGES if stage in stages]
    assert unet_calls(REQUEST) == (10.0, 5.5, 5.5)


def test_a_wait_belongs_to_the_call_before() -> None:
    """A device takes a call at once; the host waits for it later."""
    spans = [
        Span("unet", 0.0, 0.25),
        Span("unet", 1.0, 3.0, waiting=True),
        Span("unet", 3.0, 3.25),
        Span("unet", 3.5, 6.0, waiting=True),
        Span("vae_decoder", 6.0, 7.0),
    ]
    assert unet_calls(spans) == (2.25, 2.75)
    stages = stage_seconds(spans)
    assert stages == {
        "unet_first": 2.25,
        "unet_rest": 2.75,
        "scheduler": 1.0,
        "vae_decoder": 1.0,
    }
    assert sum(stages.values()) == 7.0


def test_a_device_says_which_share_the_first_call_has() -> None:
    """The host knows the sum of the calls, the device what each took."""
    spans = [Span("request", 0, 1), Span("unet", 1, 2), Span("unet", 2, 9, waiting=True)]
    spans.append(Span("vae_decoder", 9, 10))
    stages = stage_seconds(spans, [3.0, 0.5, 0.5])
    assert stages == {
        "request": 1,
        "unet_first": 6,
        "unet_rest": 2,
        "scheduler": 0,
        "vae_decoder": 1,
    }


@pytest.mark.parametrize("lost", ["vae_decoder", "png"])
def test_a_lost_stage_shows_in_the_sum(lost: str) -> None:
    """A gap that no stage explains is not given to one that happens to lie beside it."""
    stages = stage_seconds([span for span in REQUEST if span.name != lost])
    assert sum(stages.values()) < 0.98 * 36.0


def test_a_kept_prompt_has_no_tokens() -> None:
    stages = stage_seconds([Span("request", 0, 1), Span("unet", 2, 3), Span("vae_decoder", 3, 4)])
    assert stages == {"request": 1, "unet_first": 1, "scheduler": 1, "vae_decoder": 1}


def test_engine_calls_are_stamped_while_it_listens() -> None:
    clocks = {"unet": EngineClock(), "vae_decoder": EngineClock()}
    timeline = Timeline()
    with timeline.listening(clocks):
        clocks["unet"].run(lambda: None)
        clocks["vae_decoder"].run(lambda: None)
    clocks["unet"].run(lambda: None)
    assert [span.name for span in timeline.spans] == ["unet", "vae_decoder"]
    assert all(span.seconds >= 0 for span in timeline.spans)
    assert clocks["unet"].seconds > timeline.spans[0].seconds


class Tick:
    """A mark of a device whose clock the test sets."""

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s

    def seconds_since(self, earlier: Tick) -> float:
        return self.at_s - earlier.at_s


class Ticking:
    """A device that passes a mark each second."""

    def __init__(self) -> None:
        self.marks = 0

    def mark(self) -> Tick:
        self.marks += 1
        return Tick(self.marks)


def test_calls_that_only_submit_are_marked_while_it_listens() -> None:
    clock, timeline, device = EngineClock(), Timeline(), Ticking()
    with timeline.listening({"unet": clock}):
        clock.submit(lambda: None, device)  # type: ignore[arg-type]
        clock.submit(lambda: None, device)  # type: ignore[arg-type]
    clock.submit(lambda: None, device)  # type: ignore[arg-type]
    assert device.marks == 4
    assert timeline.device_calls("unet") == (1, 1)
    assert timeline.device_calls("vae_decoder") == ()
    assert len(timeline.spans) == 2


def test_a_block_is_stamped_with_the_given_clock() -> None:
    times: Iterator[float] = iter([1.0, 3.5])
    timeline = Timeline(lambda: next(times))
    with timeline.span("png"):
        pass
    assert timeline.spans == [Span("png", 1.0, 3.5)]
