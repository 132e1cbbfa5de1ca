"""Worst-case canaries: what they send, that they are as exposed as the claim says, and that a false claim is found out."""

import math

import numpy as np
import pytest

import testbench.privacy.membership_run as runs
from learning.privacy import gdp
from testbench.errors import TestbenchError as Refusal
from testbench.privacy.design import design
from testbench.privacy.membership_run import CanaryRun, exposed_run, exposed_scenario, one_run
from testbench.privacy.tuning import InProcessAir, tune
from testbench.privacy.worst_case import Exposed, exposure, score_exposed
from testbench.runner import Watcher, prepare
from testbench.scenario import Scenario, build

SMALL = {"federation": {"rounds": 120, "batch_size": 32}, "task": {"train_examples": 64, "validation_examples": 20}}


def small(**more: dict[str, object]) -> Scenario:
    data = exposed_scenario().plain()
    for name, section in (*SMALL.items(), *more.items()):
        data[name] |= section
    return build(data, "test")


@pytest.fixture(scope="module")
def honest() -> CanaryRun:
    return exposed_run(small(), 60)


def test_every_canary_carries_exactly_what_the_claim_reckons_with(honest: CanaryRun) -> None:
    assert honest.scores.present.all()
    # mu of a record replaced in every round: (2 clip / b) a_t / (clip sigma), from amplitudes that the link reports.
    assert honest.scores.audible_mu == pytest.approx(honest.design.release.total_mu, rel=1e-4)
    assert honest.scores.worst_mu(honest.design.mu) == pytest.approx(gdp.mu(8.0, 1e-5), rel=1e-3)


def test_a_true_claim_holds_and_much_of_it_is_seen(honest: CanaryRun) -> None:
    found = one_run(honest)
    assert not found.violated
    assert found.bound.epsilon > 1.0
    right = np.mean((honest.scores.joint > 0) == honest.scores.included)
    assert 0.6 < right < 0.95


def test_what_is_left_of_the_broadcast_is_the_canaries_and_the_links_noise(honest: CanaryRun) -> None:
    """With the coins known nothing but noise is left, of the variance that the plan states."""
    scenario = small()
    chosen = exposure(64, 60, 120, scenario.seed)
    step, size, devices = scenario.zeroth_order, 32, 2
    coins = step.clip * chosen.sent.sum(axis=0) / (size * devices)
    rest = honest.run.payload_means - coins
    assert np.abs(rest).max() <= step.clip * 4 / (size * devices) + 1e-9  # four real records, clipped
    noise = (honest.run.received - honest.run.payload_means) / honest.design.estimate_std
    assert np.mean(noise**2) == pytest.approx(1.0, abs=5 * math.sqrt(2 / 120))


def test_a_run_louder_than_its_claim_is_found_out() -> None:
    """The plan's amplitudes times twenty: the claim of (1, 1e-5) is then false, and the audit says so."""
    scenario = small(privacy={"epsilon": 1.0})
    data, make = prepare(scenario, Watcher())
    planned = design(scenario, 32)
    power = planned.link.power.model_copy(update={"caps": tuple(20.0 * a for a in planned.amplitudes.tolist())})
    chosen = exposure(len(data.train), 60, 120, scenario.seed)
    objective = Exposed(make(), chosen, scenario.zeroth_order.mu, scenario.zeroth_order.clip)
    run = tune(scenario, data, objective, InProcessAir(planned.link.model_copy(update={"power": power}), scenario.seed))
    found = one_run(CanaryRun(planned, run, score_exposed(scenario, data, chosen, run)))
    assert "gdp" in found.violated


def test_canaries_are_drawn_from_the_seed_and_refused_where_they_cannot_be() -> None:
    first, again, other = (exposure(50, 20, 9, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.positions, again.positions)
    assert np.array_equal(first.sent, again.sent)
    assert not np.array_equal(first.sent, other.sent)
    assert set(np.unique(first.sent)) == {-1.0, 1.0}
    for count in (1, 51):
        with pytest.raises(Refusal, match=r"can hold 2 \.\. 50 canaries"):
            exposure(50, count, 9, 1)
    with pytest.raises(Refusal, match=r"zeroth_order\.directions = 1"):
        exposed_run(small(zeroth_order={"directions": 2, "clip_norm": "joint"}), 20)
    with pytest.raises(Refusal, match="analog payloads"):
        exposed_run(small(link={"scheme": "sign"}), 20)
    assert exposed_scenario().task.train_examples == runs.EXPOSED_CANARIES + 40
