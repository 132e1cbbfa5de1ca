"""Worst-case canaries in real runs: what they send, how exposed they are, and that a bad run is found out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from learning.privacy import gdp
from learning.tasks import load as load_task
from testbench.errors import TestbenchError as Refusal
from testbench.privacy.design import design
from testbench.privacy.membership_run import (
    CanaryRun,
    exposed_canaries,
    exposed_run,
    exposed_scenario,
    one_run,
)
from testbench.privacy.worst_case import Exposed, crowd, exposure
from testbench.scenario import Scenario, build

ROUNDS, DEVICES, RECORDS, CANARIES = 120, 2, 64, 60


def small(**more: dict[str, object]) -> Scenario:
    data = exposed_scenario(CANARIES).plain()
    for name, section in (
        ("federation", {"rounds": ROUNDS, "batch_size": RECORDS // DEVICES, "devices": DEVICES}),
        ("task", {"train_examples": RECORDS, "validation_examples": 20}),
        *more.items(),
    ):
        data[name] |= section
    return build(data, "test")


@pytest.fixture(scope="module")
def honest() -> CanaryRun:
    return exposed_run(small(), CANARIES)


def test_every_canary_carries_exactly_what_the_claim_reckons_with(honest: CanaryRun) -> None:
    assert honest.scores.present.all()
    # mu of a record replaced in every round: (2 clip / b) a_t / (clip sigma), from amplitudes that the link reports.
    scenario = small()
    ratio = honest.run.amplitudes / math.sqrt(scenario.link.n0 / 2.0)
    assert honest.scores.audible_mu == pytest.approx(2.0 / 32 * np.linalg.norm(ratio), rel=1e-5)
    assert honest.scores.audible_mu == pytest.approx(honest.design.release.total_mu, rel=1e-4)
    assert honest.scores.worst_mu(honest.design.mu) == pytest.approx(gdp.mu(8.0, 1e-5), rel=1e-3)
    assert honest.aligned is not None
    assert honest.aligned.pooled == CANARIES
    assert honest.aligned.unit_mu == pytest.approx(honest.design.release.total_mu, rel=1e-4)


def test_a_true_claim_holds_and_much_of_it_is_seen(honest: CanaryRun) -> None:
    found = one_run(honest)
    assert not found.violated
    assert [each.name for each in found.analyses] == [
        "guesses, any mechanism", "guesses, Gaussian claim", "surest guesses", "known coins",
    ]  # fmt: skip
    any_mechanism, gaussian, _, known = (each.epsilon for each in found.analyses)
    assert 0 < any_mechanism < gaussian < known == found.epsilon < 8.0
    right = np.mean((honest.scores.joint > 0) == honest.scores.included)
    assert 0.6 < right < 0.95


def test_what_is_heard_is_the_run_itself(honest: CanaryRun) -> None:
    """The auditor's samples, projected as the server does, are the estimates of the run, up to what it subtracted."""
    scenario = small()
    assert honest.aligned is not None
    noise = honest.run.received - honest.run.payload_means
    scaled = noise * DEVICES / scenario.link.clip * honest.run.amplitudes / math.sqrt(scenario.link.n0 / 2.0)
    # One antenna, aligned devices: along the canaries' sum is along the real axis, in either sense.
    total = exposure(RECORDS, CANARIES, ROUNDS, scenario.seed).sent.sum(axis=0)
    assert (total == 0).sum() > 3  # rounds in which coins cancel: their noise counts as well
    left = honest.aligned.observed - honest.aligned.expected
    assert left == pytest.approx(scaled * np.where(total < 0, -1.0, 1.0), abs=2e-3)
    assert np.abs(honest.aligned.expected) == pytest.approx(
        honest.aligned.unit_mu / 2 * np.abs(total) * honest.run.amplitudes / np.linalg.norm(honest.run.amplitudes), abs=2e-3
    )


def test_the_noise_is_measured_and_not_believed(honest: CanaryRun) -> None:
    known = one_run(honest).known
    assert known is not None
    assert known.residual.sound
    assert known.residual.level_lower < 1.0 < known.residual.level_upper
    assert known.gain == pytest.approx(1.0, abs=4.0 / known.signal)


def test_a_run_louder_than_its_claim_is_found_out() -> None:
    """The plan's amplitudes times four: the claim of (1, 1e-5) is then false, and the audit says so."""
    scenario = small(privacy={"epsilon": 1.0})
    planned = design(scenario, 32)
    power = planned.link.power.model_copy(update={"caps": tuple(4.0 * a for a in planned.amplitudes.tolist())})
    loud = replace(planned, link=planned.link.model_copy(update={"power": power}))
    assert "gdp" in one_run(exposed_run(scenario, CANARIES, planned=loud)).violated
    assert not one_run(exposed_run(scenario, CANARIES, planned=planned)).violated


def test_a_clip_that_does_not_bind_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clipping forgotten: a canary moves its device half as far again as is claimed, which the real records must not hide."""
    from learning import clipping

    scenario = small(privacy={"epsilon": 4.0}, task={"train_examples": 640}, federation={"batch_size": 320})
    monkeypatch.setattr(clipping, "_clip", lambda values, limit, joint: values)
    found = one_run(exposed_run(scenario, 600))
    assert found.known is not None
    assert found.known.gain == pytest.approx(1.5, abs=0.2)
    assert "gdp" in found.violated


def test_the_printed_formulas_are_refuted_in_one_run() -> None:
    """N0 of the complex sample taken for that of the real axis: the plan of epsilon = 4 spends more."""
    printed = {"epsilon": 4.0, "as_printed": True, "accounting": "paper"}
    scenario = small(privacy=printed, task={"train_examples": 1000}, federation={"batch_size": 500, "rounds": 200})
    found = one_run(exposed_run(scenario, 990))
    assert found.claims["paper, as printed"] == pytest.approx(4.0, rel=1e-3)
    assert found.violated == ["paper, as printed"]


def test_more_canaries_than_records_stand_on_blanks() -> None:
    scenario = small(task={"train_examples": 4})
    done = exposed_run(scenario, CANARIES)
    assert done.scores.present.all()
    assert not one_run(done).violated
    data = load_task(scenario.task)
    assert crowd(data, 4) is data
    assert len(crowd(data, 60).train) == 64


def test_real_records_are_noted_as_they_are_sent() -> None:
    """Losses at both sides, whatever the order and the chunks in which they are asked for."""

    class Linear:
        def prepare(self, examples):
            return [len(text) for text, _ in examples]

        def losses(self, dataset, indices):
            return torch.tensor([dataset[i] * self.side for i in indices], dtype=torch.float32)

    inner, clip, mu = Linear(), 8.0, 1e-3
    chosen = exposure(6, 3, 5, 1)
    exposed = Exposed(inner, chosen, mu, clip)
    examples = [("x" * (k + 1), 0) for k in range(6)]
    data = exposed.prepare(examples)
    assert exposed.projections == {}
    rows = np.random.default_rng(0).permutation(6)
    sent = []
    for _ in range(3):
        sides = []
        for side in (1.0, 0.99):
            inner.side = side
            sides.append(np.concatenate([exposed.losses(data, part).numpy() for part in (rows[:4], rows[4:])]))
        sent.append(np.clip((sides[0].astype(float) - sides[1]) / (2 * np.float32(mu)), -clip, clip))
    real = [row for row in range(6) if row not in chosen.positions]
    assert sorted(exposed.projections) == real
    for row in real:
        own = [each[list(rows).index(row)] for each in sent]
        assert exposed.projections[row] == pytest.approx(own, rel=1e-12)
        assert own[0] == pytest.approx(min(clip, 0.01 * (row + 1) / (2 * mu)), rel=1e-3)
    for i, row in enumerate(chosen.positions):
        assert [each[list(rows).index(row)] for each in sent] == (clip * chosen.sent[i, :3]).tolist()


def test_canaries_are_drawn_from_the_seed_and_refused_where_they_cannot_be() -> None:
    first, again, other = (exposure(50, 20, 9, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.positions, again.positions)
    assert np.array_equal(first.sent, again.sent)
    assert not np.array_equal(first.sent, other.sent)
    assert set(np.unique(first.sent)) == {-1, 1}
    assert abs(exposure(500, 500, 500, 3).signs.mean()) < 5 / 500
    for count in (1, 51):
        with pytest.raises(Refusal, match=r"can hold 2 \.\. 50 canaries"):
            exposure(50, count, 9, 1)
    with pytest.raises(Refusal, match=r"zeroth_order\.directions = 1"):
        exposed_run(small(zeroth_order={"directions": 2, "clip_norm": "joint"}), 20)
    with pytest.raises(Refusal, match="analog payloads"):
        exposed_run(small(link={"scheme": "sign"}), 20)
    with pytest.raises(Refusal, match="by repeating some"):
        exposed_run(small(federation={"batch_size": 33}), 20)


@pytest.mark.parametrize(("epsilon", "delta"), [(1.0, 1e-5), (8.0, 0.01)])
def test_the_built_in_run_has_every_canary_in_every_batch(epsilon: float, delta: float) -> None:
    count = exposed_canaries(epsilon, delta)
    scenario = exposed_scenario(count)
    federation = scenario.federation
    assert federation.batch_size * federation.devices == count + scenario.task.train_examples
    for canaries, devices in ((count, 3), (405, 10), (20, 10)):
        other = exposed_scenario(canaries, devices=devices).federation
        assert 0 <= (canaries + 40 if canaries > 40 else 40) - other.batch_size * devices < devices
    assert exposed_canaries(epsilon, delta, quick=True) < count <= 60_000
    assert exposed_canaries(0.01, delta) >= 60_000
