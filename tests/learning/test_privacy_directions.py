"""Several directions a round: what their change is, that they are charged once, and what is made of their estimates."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.clipping import clipped_mean
from learning.config import ZerothOrderConfig
from learning.privacy import gdp
from learning.privacy.energy import EnergyRound
from learning.privacy.energy_odometer import EnergyOdometer
from learning.privacy.errors import PrivacyError
from learning.privacy.guard import PrivacyGuard
from learning.privacy.odometer import BudgetSpent, Odometer
from learning.privacy.postprocess import Broadcast, RunningWiener, clip
from learning.privacy.sensitivity import Sensitivity

EVERYBODY = np.ones(3, np.bool_)


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.integers(1, 5),
    st.sampled_from(["direction", "joint"]),
    st.sampled_from(["client_value", "record_replace_one", "record_add_remove"]),
)
def test_no_change_of_the_data_moves_a_device_by_more_than_the_sensitivity(seed, n, b, norm, relation) -> None:
    """Random samples, some of them huge, clipped by the step's own code; one of them, or all, exchanged."""
    rng = np.random.default_rng(seed)
    record = relation != "client_value"
    config = ZerothOrderConfig(clip=2.0, clip_scope="sample" if record else "device", clip_norm=norm, directions=n)
    values = rng.normal(0, 1, (b, n)) * rng.choice([0.5, 3.0, 1e4], (b, 1))
    divisor = b if relation == "record_add_remove" else None
    if relation == "record_add_remove":
        others = values[1:]
    elif record:
        others = np.concatenate((-3.0 * values[:1], values[1:]))
    else:
        others = -values * rng.choice([1.0, 1e3])
    first, second = (clipped_mean(v, config, divisor=divisor, bounded=True).payload for v in (values, others))
    known = Sensitivity(relation, 2.0, batch=b if record else None, directions=n, joint=norm == "joint")
    assert np.linalg.norm(first - second) <= known.delta * (1 + 1e-9)


def test_the_sensitivity_of_several_directions_is_attained() -> None:
    one, n = np.ones((1, 4)), 4
    for norm in ("direction", "joint"):
        config = ZerothOrderConfig(clip=2.0, clip_norm=norm, directions=n)
        up, down = (clipped_mean(s * 1e9 * one, config, divisor=None, bounded=True).payload for s in (1, -1))
        expected = Sensitivity("client_value", 2.0, directions=n, joint=norm == "joint")
        assert np.linalg.norm(up - down) == pytest.approx(expected.delta, rel=1e-9)
    assert Sensitivity("client_value", 2.0, directions=n, joint=True).ratio == 2.0
    assert Sensitivity("client_value", 2.0, directions=n).ratio == 4.0
    votes = Sensitivity("client_value", 2.0, payload="sign", directions=9, joint=True)
    assert (votes.delta, votes.ratio) == (6.0, 6.0)  # votes are not clipped jointly
    assert "in Euclidean norm, by at most 2 sqrt(9)" in votes.statement
    assert (
        "4 values of a round change, in Euclidean norm, by at most 2 clip = 4"
        in Sensitivity("client_value", 2.0, directions=4, joint=True).statement
    )
    assert "clip / b = 0.5" in Sensitivity("record_add_remove", 2.0, batch=4, directions=4, joint=True).statement
    with pytest.raises(PrivacyError, match="directions"):
        Sensitivity("client_value", 2.0, directions=0)


class Charges:
    """Every round costs half a mu and has noise of variance 4."""

    def bound(self, round_index: int, present: np.ndarray) -> float:
        return 0.5

    def commit(self, round_index: int, present: np.ndarray) -> None: ...

    def forfeit(self, round_index: int, cost: float) -> None: ...

    def check(self, round_index: int, diagnostics: Mapping[str, float]) -> None: ...

    def noise_variance(self, round_index: int, diagnostics: Mapping[str, float]) -> float:
        return 4.0


def guard(estimate: str, n: int, joint: bool, limit: float = 1.0) -> PrivacyGuard:
    return PrivacyGuard(Odometer(1e-5), Charges(), estimate, limit, {}, n, joint)


def test_a_round_of_several_estimates_is_charged_once() -> None:
    for n in (1, 5):
        keeper = guard("none", n, True)
        for t in range(4):
            assert keeper.admits(t, EVERYBODY)
            applied, notes = keeper.settle(t, (3.0,) * n, {})
        assert applied == (3.0,) * n
        assert notes == {"privacy_mu": 0.5, "epsilon_spent": pytest.approx(gdp.epsilon(1.0, 1e-5), rel=1e-9)}
    keeper.admits(4, EVERYBODY)
    with pytest.raises(PrivacyError, match="has 2 estimates, and privacy was planned for 5"):
        keeper.settle(4, (0.0, 0.0), {})


def test_estimates_are_clipped_one_by_one_or_to_a_ball_and_one_alone_as_ever() -> None:
    raw = (3.0, -4.0, 0.0)
    keeper = guard("clip", 3, True, 2.5)
    keeper.admits(0, EVERYBODY)
    applied, notes = keeper.settle(0, raw, {})
    assert applied == pytest.approx((1.5, -2.0, 0.0))
    assert [notes[name] for name in ("raw_estimate", "raw_estimate_1", "raw_estimate_2")] == list(raw)
    assert Broadcast("clip", 2.5, 3).apply(raw, math.nan) == (2.5, -2.5, 0.0)
    assert Broadcast("none", 2.5, 3, True).apply(raw, math.nan) == raw
    with pytest.raises(PrivacyError, match="choose none, clip, wiener"):
        Broadcast("shrink", 2.5)  # type: ignore[arg-type]
    # One direction: the numbers of RunningWiener, to the last bit, joint or not.
    rng = np.random.default_rng(1)
    oracle, alone, joint = RunningWiener(6.25), Broadcast("wiener", 2.5), Broadcast("wiener", 2.5, 1, True)
    for value in rng.normal(0, 4, 30).tolist():
        expected = float(clip(oracle.apply(np.array([value]), 4.0), 2.5)[0])
        assert alone.apply((value,), 4.0) == joint.apply((value,), 4.0) == (expected,)


def test_shrinking_several_directions_pays_and_learns_from_all_of_them() -> None:
    """Payloads on a sphere of radius 1 in 8 dimensions: power 1/8 each, in noise of variance 1/4."""
    rng = np.random.default_rng(5)
    processor = Broadcast("wiener", 1.0, 8, True)
    plain = shrunk = 0.0
    for t in range(400):
        truth = rng.normal(size=8)
        truth /= np.linalg.norm(truth)
        heard = truth + rng.normal(0, 0.5, 8)
        made = np.array(processor.apply(heard.tolist(), 0.25))
        assert np.linalg.norm(made) <= 1 + 1e-12
        if t >= 50:
            plain += float(np.sum((heard - truth) ** 2))
            shrunk += float(np.sum((made - truth) ** 2))
    # Wiener: S N / (S + N) per direction of N = 1/4, S = 1/8, that is a third of the noise.
    assert shrunk / plain == pytest.approx(1 / 3, abs=0.05)


def test_the_odometer_of_energies_counts_what_the_accountant_says_and_stops_in_time() -> None:
    one = EnergyRound("reed", 100.0)
    plain = EnergyOdometer(one, 1e-5, 40)
    for t in range(5):
        plain.spend(1.0)
        assert plain.epsilon == one.epsilon(t + 1, 1e-5)
    plain.spend(0.0)
    assert (plain.rounds, plain.epsilon) == (6, one.epsilon(5, 1e-5))
    budget = one.epsilon(17, 1e-5) * 1.001
    for refresh in (1, 7, 100):
        strict = EnergyOdometer(one, 1e-5, 40, budget, refresh_rounds=refresh)
        assert strict.admitted == 17
        sent = 0
        while not strict.would_exceed(1.0):
            strict.spend(1.0)
            sent += 1
            assert one.epsilon(sent, 1e-5) <= strict.epsilon <= budget
        assert sent == 17
        assert not strict.would_exceed(0.0)
        with pytest.raises(BudgetSpent, match="17 rounds"):
            strict.spend(1.0)
    assert EnergyOdometer(one, 1e-5, 40, 1e-6).admitted == 0
    short = EnergyOdometer(one, 1e-5, 1)
    short.spend(1.0)
    with pytest.raises(PrivacyError, match="ends after 1 rounds"):
        short.would_exceed(1.0)
    for call in (lambda: EnergyOdometer(one, 2.0, 1), lambda: EnergyOdometer(one, 1e-5, 0), lambda: plain.spend(0.5)):
        with pytest.raises(PrivacyError):
            call()
