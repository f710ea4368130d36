"""Requests made up from the server's own description: none is answered with a 5xx."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from sdopt.pipeline import Pipeline
from sdopt.serve.limits import Limits
from sdopt.serve.service import PictureService
from tests.serve.conftest import Running, run_server

EXAMPLES = int(os.environ.get("SDOPT_FUZZ_EXAMPLES", "20"))
"""Of each route; a thorough run asks for more."""


@pytest.fixture(scope="module")
def small(pipeline: Pipeline) -> Iterator[Running]:
    limits = Limits(max_pixels=96 * 96, max_steps=4, max_images=2)
    yield from run_server(PictureService({"shapes": pipeline}, limits))


def test_no_request_is_answered_with_a_5xx(small: Running) -> None:
    description = schemathesis.openapi.from_url(f"{small.url}/openapi.json")
    operations = [found.ok() for found in description.get_all_operations()]
    assert len(operations) > 15
    for operation in operations:
        _attack(operation)


def _attack(operation: Any) -> None:
    both = list(schemathesis.GenerationMode)

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in both)))
    def attack(case: Any) -> None:
        answer = case.call(timeout=60)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            error = answer.json()
            assert error.get("detail") or error["error"]["message"]

    with contextlib.suppress(Unsatisfiable):  # some routes take nothing that could be wrong
        attack()
