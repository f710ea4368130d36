"""What a server knows when it has started: how long its UNet takes, and how to use that."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import sdopt
from sdopt.engines import row_parts
from sdopt.engines.step_times import StepTimes
from sdopt.serve.job import Finished, Order
from sdopt.serve.run import Settings, started
from sdopt.serve.service import PictureService
from tests.serve.orders import Ear

OPTIONS = {"num_inference_steps": 2, "height": 96, "width": 96, "num_images_per_prompt": 3}


def measured(service: PictureService) -> dict[int, float]:
    """Return the seconds that the metrics tell of, by rows."""
    (family,) = (
        each for each in service.meters.registry.collect() if each.name == "sdopt_unet_seconds"
    )
    return {int(sample.labels["rows"]): sample.value for sample in family.samples}


def test_a_server_knows_its_unets_times(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sdopt.serve"):
        service = started(["shapes"], Settings(max_rows=2, threads=1))
    try:
        times = measured(service)
        assert list(times) == [1, 2, 3, 4]
        assert all(seconds > 0 for seconds in times.values())
        assert times[4] > times[1]
        (line,) = (text for text in caplog.messages if text.startswith("UNet of shapes: "))
        assert line.startswith(f"UNet of shapes: ms by rows 1: {1e3 * times[1]:.1f}, 2: ")
    finally:
        service.close()


@pytest.mark.parametrize("table", [{1: 1.0, 2: 9.0}, {4: 1.0, 6: 9.0}], ids=str)
def test_pictures_are_the_same_however_batches_are_cut_up(
    table: Mapping[int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six UNet rows: one after the other, and as four and four, two of them for nobody."""
    monkeypatch.setattr(row_parts, "measure_steps", lambda *_: StepTimes(table))
    service = started(["shapes"], Settings(max_rows=3))
    try:
        claim = service.claim("shapes")
        request = claim.pipeline.result().request("a red circle", seed=5, **OPTIONS)  # type: ignore[arg-type]
        service.submit(Order(model="shapes", request=request), (ear := Ear()).hear)
        done = ear.end()
        service.models.leave(claim)
    finally:
        service.close()
    assert isinstance(done, Finished)
    alone = sdopt.load("shapes")("a red circle", seed=5, **OPTIONS).images  # type: ignore[arg-type]
    for picture, expected in zip(done.pictures, alone, strict=True):
        found = np.asarray(Image.open(BytesIO(picture.data)))
        assert np.array_equal(found, np.asarray(expected))
