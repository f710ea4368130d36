"""What the table of schedulers says of each agrees with its plans."""

from __future__ import annotations

import numpy as np
import pytest

from sdopt.runtime.schedulers import (
    SCHEDULERS,
    SD1_CONFIG,
    SchedulerFacts,
    compile_plan,
    find_scheduler,
    scheduler_facts,
)

FACTS = scheduler_facts()


def by_name(facts: SchedulerFacts) -> str:
    return facts.name


def test_every_scheduler_is_described() -> None:
    assert [fact.name for fact in FACTS] == [spec.name for spec in SCHEDULERS]
    assert all(fact.summary.endswith(".") for fact in FACTS)


@pytest.mark.parametrize("fact", FACTS, ids=by_name)
@pytest.mark.parametrize("steps", [2, 3, 17, 50])
def test_evaluations_hold_for_other_numbers_of_steps(fact: SchedulerFacts, steps: int) -> None:
    per_step, _, extra = fact.evaluations.partition("N")
    expected = int(per_step or 1) * steps + int(extra.replace(" ", "") or 0)
    assert compile_plan(SD1_CONFIG, steps, scheduler=fact.name).stages == expected


@pytest.mark.parametrize("fact", FACTS, ids=by_name)
def test_every_name_leads_to_the_same_row(fact: SchedulerFacts) -> None:
    for name in (fact.name, *fact.other_names):
        assert find_scheduler(name).spec.name == fact.name
        assert find_scheduler(name.upper()).spec.name == fact.name
        for spacing in fact.sigma_spacings:
            plan = compile_plan(SD1_CONFIG, 5, scheduler=f"{name} {spacing}")
            assert plan.name == f"{fact.name}_{spacing}"


def test_orders_and_noise() -> None:
    table = {fact.name: (fact.evaluations, fact.order, fact.noise) for fact in FACTS}
    assert table["ddim"] == ("N", 1, "with eta")
    assert table["pndm"] == ("N + 1", 4, "none")
    assert table["heun"] == ("2N - 1", 2, "none")
    assert table["dpmpp_3m_sde"] == ("N", 3, "every step")
    assert table["unipc"] == ("N", 2, "none")
    assert table["kdpm2_ancestral"] == ("2N - 1", 2, "every step")


def test_decibels() -> None:
    plan = compile_plan(SD1_CONFIG, 5, scheduler="euler")
    np.testing.assert_allclose(10 ** (plan.snr_db[:-1] / -20), plan.sigmas[:-1], rtol=1e-12)
    assert plan.snr_db[-1] == np.inf
