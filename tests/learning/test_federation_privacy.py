"""Poisson batches, and privacy in a run: what is charged, when it stops, what is applied, and what a resumed run repeats."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.batches import poisson
from learning.config import FederationConfig, ZerothOrderConfig
from learning.errors import JournalError
from learning.federation import Federation
from learning.journal import Journal
from learning.parameters import weights_sha256
from learning.privacy import gdp
from learning.privacy.errors import PrivacyError
from learning.privacy.guard import PrivacyGuard
from learning.privacy.odometer import Odometer
from learning.privacy.postprocess import RunningWiener
from learning.replay import replay
from learning.uplink import Aggregate
from learning.zeroth_order import project
from tests.learning.tiny import tiny_federation, tiny_opt, toy_data

DELTA = 1e-5


def test_a_poisson_batch_has_every_record_with_probability_b_over_n_and_independently():
    shard, rounds = np.arange(40) * 3 + 1, 4000
    hits = np.array([np.isin(shard, poisson(7, t, 2, shard, 10)) for t in range(rounds)])
    deviation = 5 * math.sqrt(0.25 * 0.75 / rounds)
    assert np.abs(hits.mean(axis=0) - 0.25).max() < deviation
    sizes = hits.sum(axis=1)
    assert sizes.var() == pytest.approx(40 * 0.25 * 0.75, rel=0.15)  # binomial: a fixed size would have no variance
    pairs = (hits[:, :1] & hits[:, 1:]).mean(axis=0)
    assert np.abs(pairs - 0.0625).max() < 5 * math.sqrt(0.0625 / rounds)


def test_poisson_batches_are_keyed_and_may_be_empty_or_whole():
    shard = np.arange(50)
    np.testing.assert_array_equal(poisson(1, 5, 0, shard, 8), poisson(1, 5, 0, shard, 8))
    assert poisson(1, 5, 0, shard, 8).tolist() != poisson(1, 6, 0, shard, 8).tolist()
    assert poisson(1, 5, 0, shard, 8).tolist() != poisson(1, 5, 1, shard, 8).tolist()
    assert poisson(1, 5, 0, shard, 50).tolist() == shard.tolist()
    assert min(len(poisson(1, t, 0, shard, 1)) for t in range(50)) == 0
    # Whether a record is in does not depend on the records after it: neighbours differ in that record alone.
    small, large = poisson(3, 4, 1, np.arange(20), 5), poisson(3, 4, 1, np.arange(40), 10)
    assert small.tolist() == [i for i in large.tolist() if i < 20]


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=0, max_size=20),
    extra=st.floats(allow_nan=True, allow_infinity=True, width=32),
    divisor=st.integers(1, 12),
)
def test_one_record_moves_a_value_by_no_more_than_clip_over_b(values: list[float], extra: float, divisor: int) -> None:
    config = ZerothOrderConfig(mu=0.5, clip=4.0, clip_scope="sample")

    def payload(losses: list[float]) -> float:
        with np.errstate(invalid="ignore"):
            plus, minus = [np.array(losses, np.float32)], [np.zeros(len(losses), np.float32)]
            return float(project([plus], [minus], config, divisor=divisor, bounded=True).payloads[0, 0])

    assert abs(payload(values)) <= 4.0
    assert abs(payload([*values, extra]) - payload(values)) <= 4.0 / divisor * (1 + 1e-12)


def test_an_empty_batch_sends_zero_and_sums_are_divided_by_the_fixed_size():
    config = ZerothOrderConfig(mu=0.5, clip=4.0, clip_scope="sample")
    plus = [np.zeros(0, np.float32), np.array([1.0, 2.0, 50.0], np.float32)]
    minus = [np.zeros(0, np.float32), np.zeros(3, np.float32)]
    assert project([plus], [minus], config, divisor=10).payloads[:, 0].tolist() == [0.0, pytest.approx(0.7)]
    nothing = project([plus[:1]], [minus[:1]], config, divisor=10)
    assert math.isnan(nothing.mean_loss)
    assert nothing.clipped_fraction == 0.0


def test_a_poisson_run_replays_resumes_and_says_so_in_its_journal(tmp_path: Path) -> None:
    live = tiny_federation(tmp_path / "j.sqlite", sampling="poisson", batch_size=1, rounds=40)
    records = list(live.run())
    assert len({record.payloads[:, 0].tolist().count(0.0) for record in records}) > 1  # empty batches happened
    with Journal(tmp_path / "j.sqlite", read_only=True) as journal:
        assert journal.meta["sampling"] == "poisson"
        rebuilt = tiny_opt(toy_data()).model
        replay(rebuilt, journal)
    assert weights_sha256(rebuilt) == weights_sha256(live.objective.model)
    cut = tiny_federation(tmp_path / "cut.sqlite", sampling="poisson", batch_size=1, rounds=40)
    list(cut.run(17))
    cut.journal.close()
    again = tiny_federation(tmp_path / "cut.sqlite", sampling="poisson", batch_size=1, rounds=40)
    again.resume()
    list(again.run())
    assert weights_sha256(again.objective.model) == weights_sha256(live.objective.model)
    with pytest.raises(JournalError, match="sampling"):
        tiny_federation(tmp_path / "cut.sqlite", batch_size=1, rounds=40)
    fixed = FederationConfig(batch_size=1).description()
    assert "sampling" not in fixed


class Charges:
    """Announces mu of every round, by which it is charged; ``louder``: what the link reports, over what was planned."""

    def __init__(self, announced: np.ndarray) -> None:
        self.announced = announced
        self.committed: list[tuple[int, list[bool]]] = []

    def bound(self, round_index: int, present: np.ndarray) -> float:
        assert present.any()
        return float(self.announced[round_index])

    def commit(self, round_index: int, present: np.ndarray) -> None:
        self.committed.append((round_index, present.tolist()))

    def forfeit(self, round_index: int, cost: float) -> None:
        self.committed.append((round_index, []))

    def check(self, round_index: int, diagnostics: Mapping[str, float]) -> None:
        if diagnostics["loudness"] > 1.0:
            raise PrivacyError(f"round {round_index} was louder than planned")

    def noise_variance(self, round_index: int, diagnostics: Mapping[str, float]) -> float:
        return float(diagnostics["variance"])


class Noisy:
    """Adds keyed noise of standard deviation 3."""

    def __init__(self, loudness: float = 1.0) -> None:
        self._loudness = loudness

    def aggregate(self, round_index: int, payloads: np.ndarray, present: np.ndarray | None = None) -> Aggregate:
        draw = np.random.Generator(np.random.Philox(key=round_index))
        noise = 3.0 * draw.normal()
        heard = payloads if present is None else payloads[present]
        lost = round_index % 5 == 4
        return Aggregate(heard.mean(axis=0) + noise, lost=lost, diagnostics={"loudness": self._loudness, "variance": 9.0})


def guarded(path: object = ":memory:", *, guard: PrivacyGuard, loudness: float = 1.0, **changes: object) -> Federation:
    plain = tiny_federation(":memory:", uplink=Noisy(), **changes)
    zo = ZerothOrderConfig(learning_rate=1e-3, mu=1e-3)
    return Federation(tiny_opt(toy_data()), toy_data(), plain.config, zo, Noisy(loudness), Journal(path), guard)  # type: ignore[arg-type]


def guard_of(announced: np.ndarray, budget: float | None, estimate: str = "none") -> PrivacyGuard:
    odometer = Odometer(DELTA, "gdp", budget)
    return PrivacyGuard(odometer, Charges(announced), estimate, 2.0, {"plan": len(announced)})  # type: ignore[arg-type]


def test_the_journals_epsilon_is_the_accountants_for_what_was_announced():
    announced = np.linspace(0.2, 0.6, 12)
    guard = guard_of(announced, None)
    federation = guarded(guard=guard)
    records = list(federation.run())
    for t, record in enumerate(records):  # lost rounds were on the air as well
        spent = math.sqrt(float(np.square(announced[: t + 1]).sum()))
        assert record.diagnostics["epsilon_spent"] == pytest.approx(gdp.epsilon(spent, DELTA), rel=1e-9)
        assert record.diagnostics["privacy_mu"] == pytest.approx(announced[t])
    assert federation.stopped is None
    assert guard._charges.committed == [(t, [True] * 3) for t in range(12)]  # type: ignore[attr-defined]


def test_who_was_absent_is_in_the_journal_and_charged_so_again(tmp_path: Path) -> None:
    guard = guard_of(np.full(4, 0.3), None)
    present = np.array([True, False, True])
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.begin({})
        for t, who in enumerate((present, ~present, np.ones(3, np.bool_))):
            assert guard.admits(t, who)
            _, notes = guard.settle(t, (0.1,), {"loudness": 1.0, "variance": 1.0})
            journal.append(t, 1, (0.1,), notes)
        assert guard.admits(3, np.ones(3, np.bool_))
        journal.append(3, 1, None, guard.settle(3, None, None)[1])  # nothing was sent
        again = guard_of(np.full(4, 0.3), None)
        again.rebuild(journal, 3)
    assert again.epsilon == guard.epsilon
    kept = again._charges.committed  # type: ignore[attr-defined]
    assert kept == guard._charges.committed == [(0, [True, False, True]), (1, [False, True, False]), (2, [True] * 3)]  # type: ignore[attr-defined]


@settings(max_examples=40, deadline=None)
@given(
    mus=st.lists(st.floats(0.0, 2.0), min_size=8, max_size=8),
    budget=st.floats(0.05, 20.0),
    sent=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_the_filter_never_passes_the_budget_and_asks_before_sending(mus: list[float], budget: float, sent: list[bool]):
    guard = guard_of(np.array(mus), budget)
    everybody, spent = np.ones(3, np.bool_), 0.0
    for t, on_air in enumerate(sent):
        worst = math.sqrt(spent + mus[t] ** 2)
        if not guard.admits(t, everybody):
            assert gdp.epsilon(worst, DELTA) > budget * (1 - 1e-9)
            break
        _, notes = guard.settle(t, (0.1,) if on_air else None, {"loudness": 1.0} if on_air else None)
        spent += mus[t] ** 2 if on_air else 0.0
        assert notes["epsilon_spent"] <= budget
    assert gdp.epsilon(math.sqrt(spent), DELTA) <= budget


def test_a_run_stops_before_the_round_that_would_pass_and_stays_stopped(tmp_path: Path) -> None:
    announced = np.full(12, 0.5)
    federation = guarded(tmp_path / "j.sqlite", guard=guard_of(announced, 4.0))
    records = list(federation.run())
    assert 0 < len(records) < 12
    assert federation.stopped == len(records) == len(federation.journal)
    assert records[-1].diagnostics["epsilon_spent"] <= 4.0
    assert list(federation.run()) == []
    federation.journal.close()
    again = guarded(tmp_path / "j.sqlite", guard=guard_of(announced, 4.0))
    assert again.resume() == len(records)
    assert list(again.run()) == []
    assert again.stopped == len(records)


@pytest.mark.parametrize("estimate", ["none", "clip", "wiener"])
def test_resumed_with_privacy_is_uninterrupted_bit_for_bit(estimate: str, tmp_path: Path) -> None:
    announced = np.linspace(0.1, 0.3, 12)
    whole = guarded(tmp_path / "whole.sqlite", guard=guard_of(announced, 50.0, estimate))
    records = list(whole.run())
    cut = guarded(tmp_path / "cut.sqlite", guard=guard_of(announced, 50.0, estimate))
    list(cut.run(7))
    cut.journal.close()
    again = guarded(tmp_path / "cut.sqlite", guard=guard_of(announced, 50.0, estimate))
    again.resume()
    assert [r.diagnostics for r in again.run()] == [r.diagnostics for r in records[7:]]
    assert weights_sha256(again.objective.model) == weights_sha256(whole.objective.model)
    rebuilt = tiny_opt(toy_data()).model
    replay(rebuilt, whole.journal)  # the journal's estimates are the applied ones
    assert weights_sha256(rebuilt) == weights_sha256(whole.objective.model)


def test_what_is_applied_is_a_function_of_public_outputs():
    announced = np.full(12, 0.2)
    clipped = [(r.estimate, r.diagnostics.get("raw_estimate")) for r in guarded(guard=guard_of(announced, None, "clip")).run()]
    heard = [(e, raw) for e, raw in clipped if e is not None]
    assert len(heard) == 10  # two rounds were lost
    assert all(e == min(max(raw, -2.0), 2.0) for e, raw in heard)
    assert any(abs(raw) > 2.0 for _, raw in heard)
    shrunk = [(r.estimate, r.diagnostics.get("raw_estimate")) for r in guarded(guard=guard_of(announced, None, "wiener")).run()]
    oracle = RunningWiener(4.0)
    for e, raw in shrunk:
        if raw is not None:
            assert e == np.clip(oracle.apply(np.array([raw]), 9.0)[0], -2.0, 2.0)


def test_a_link_that_is_louder_than_planned_is_refused():
    federation = guarded(guard=guard_of(np.full(12, 0.2), None), loudness=1.1)
    with pytest.raises(PrivacyError, match="round 0 was louder than planned"):
        list(federation.run())
    assert len(federation.journal) == 0


def test_a_journal_without_charges_or_of_another_plan_is_refused(tmp_path: Path) -> None:
    list(guarded(tmp_path / "j.sqlite", guard=guard_of(np.full(12, 0.2), None)).run(3))
    with pytest.raises(JournalError, match="plan"):
        guarded(tmp_path / "j.sqlite", guard=guard_of(np.full(13, 0.2), None))
    plain = tiny_federation(uplink=Noisy())
    list(plain.run(2))
    with pytest.raises(PrivacyError, match="does not say what round 0 cost"):
        guard_of(np.full(12, 0.2), None).rebuild(plain.journal, 3)


def test_a_loss_that_is_no_number_stays_within_the_bound():
    from tests.learning.tiny import QuadraticObjective

    objective = QuadraticObjective()
    objective.poison = True
    plain = tiny_federation(":memory:")
    zo = ZerothOrderConfig(learning_rate=1e-3, mu=1e-3)
    guard = guard_of(np.full(12, 0.2), None)
    record = next(Federation(objective, toy_data(), plain.config, zo, Noisy(), Journal(":memory:"), guard).run(1))
    assert record.payloads[:, 0].tolist() == [0.0, 0.0, 0.0]
    assert record.estimate is not None
