"""The causal schedule: it never looks ahead, never overspends, and agrees with hindsight where there is nothing to foresee."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import j0

from learning.privacy import schedules
from learning.privacy.errors import PrivacyError
from learning.privacy.power_problem import PowerProblem, analog_objective
from learning.privacy.schedules._level import fill
from learning.privacy.schedules.online import Schedule

Floats = npt.NDArray[np.float64]

SETTINGS = [
    {},
    {"objective": "sign", "sign_error": 0.3},
    {"fading": "ar1", "correlation": 0.9},
    {"fading": "jakes", "doppler": 0.05, "mean_cap_square": 0.3},
    {"objective": "sign", "sign_error": 0.1, "fading": "ar1", "correlation": 0.99, "mean_cap_square": 0.5},
]


def problem(rounds: int, budget: float = 3.0, caps: Floats | None = None, **changes: float) -> PowerProblem:
    fields: dict[str, float] = {"noise_variance": 1.0, "contraction": 0.97} | changes
    return PowerProblem(rounds=rounds, devices=3, budget=budget, caps=caps, **fields)  # type: ignore[arg-type]


def weakest(rounds: int, seed: int, devices: int = 3) -> Floats:
    return np.asarray(np.sqrt(np.random.default_rng(seed).exponential(size=(rounds, devices)).min(axis=1)))


def amplitudes(posed: PowerProblem, options: dict[str, object]) -> Floats:
    return schedules.plan("online", posed, options).table


@given(
    past=arrays(np.float64, 12, elements=st.floats(0.0, 3.0)),
    one=arrays(np.float64, 8, elements=st.floats(0.0, 3.0)),
    other=arrays(np.float64, 8, elements=st.floats(0.0, 3.0)),
    options=st.sampled_from(SETTINGS),
    budget=st.floats(0.01, 100.0),
)
@settings(max_examples=100, deadline=None)
def test_the_past_does_not_depend_on_the_future(
    past: Floats, one: Floats, other: Floats, options: dict[str, object], budget: float
) -> None:
    first = amplitudes(problem(20, budget, np.concatenate([past, one])), options)
    second = amplitudes(problem(20, budget, np.concatenate([past, other])), options)
    np.testing.assert_array_equal(first[:12], second[:12])


@given(
    caps=arrays(np.float64, st.integers(1, 30), elements=st.floats(0.0, 5.0)),
    options=st.sampled_from(SETTINGS),
    budget=st.floats(1e-3, 1e3),
)
@settings(max_examples=150, deadline=None)
def test_budget_and_peak_hold_in_every_round(caps: Floats, options: dict[str, object], budget: float) -> None:
    posed = problem(len(caps), budget)
    planner = Schedule.model_validate(options).start(posed)
    spent = 0.0
    for cap in caps:
        amplitude = planner.next(float(cap))
        assert 0.0 <= amplitude <= cap
        spent += 4.0 * amplitude**2
        assert spent <= budget
        assert planner.residual == pytest.approx(budget - spent, abs=1e-9 * budget)
    with pytest.raises(PrivacyError, match="rounds are over"):
        planner.next(1.0)


@pytest.mark.parametrize("options", SETTINGS)
def test_equals_hindsight_where_no_cap_binds(options: dict[str, object]) -> None:
    posed = problem(300)
    name = "water_filling" if options.get("objective") == "sign" else "solution"
    inner = {"sign_error": options["sign_error"]} if name == "water_filling" else {}
    offline = schedules.plan(name, posed, inner)
    np.testing.assert_allclose(amplitudes(posed, options), offline.table, rtol=1e-7, atol=1e-9)
    wide = problem(300, caps=1e3 * weakest(300, 4) + 1e3)
    if name == "solution":
        np.testing.assert_allclose(amplitudes(wide, options), offline.table, rtol=1e-8)


@pytest.mark.parametrize("objective", ["analog", "sign"])
def test_equals_hindsight_where_the_future_is_as_predicted(objective: str) -> None:
    """Equal caps in all rounds, and a prediction that says so: the plan is consistent in time."""
    posed = problem(60, caps=np.full(60, 0.13))
    offline = schedules.plan("solution" if objective == "analog" else "water_filling", posed)
    assert offline.capped is not None
    assert 0 < offline.capped.sum() < 60
    online = amplitudes(posed, {"objective": objective})
    np.testing.assert_allclose(online, offline.table, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("options", SETTINGS[:1] + SETTINGS[2:4])
def test_each_round_solves_the_rest_with_predicted_gains(options: dict[str, object]) -> None:
    """A slow, literal reading of the rule against the planner with its shortcut."""
    rounds, budget = 40, 30.0
    caps = weakest(rounds, 7)
    settings_ = Schedule.model_validate(options)
    left, expected = budget * (1 - 1e-11), []
    for t in range(rounds):
        lags = np.arange(1, rounds - t)
        if settings_.fading == "ar1":
            rho = settings_.correlation**lags
        elif settings_.fading == "jakes":
            rho = j0(2 * np.pi * settings_.doppler * lags)
        else:
            rho = np.zeros(len(lags))
        mean = np.mean(caps[: t + 1] ** 2) if settings_.mean_cap_square is None else settings_.mean_cap_square
        predicted = rho**2 * caps[t] ** 2 + (1 - rho**2) * mean
        weights = 0.97 ** ((rounds - 1 - np.arange(t, rounds)) / 2)
        share = fill(left, weights, 4 * np.concatenate([[caps[t] ** 2], predicted]))[0][0]
        left -= share
        expected.append(np.sqrt(share / 4))
    np.testing.assert_allclose(amplitudes(problem(rounds, budget, caps), options), expected, rtol=1e-9)


def test_between_full_power_with_a_budget_and_hindsight() -> None:
    """Causality costs something, but less than spending at full power until the budget is gone would."""
    caps = weakest(400, 11)
    posed = problem(400, budget=20.0, caps=caps, contraction=0.99)
    online = analog_objective(posed, amplitudes(posed, {}))
    hindsight = schedules.plan("solution", posed).table
    static = schedules.plan("static", posed).table
    assert analog_objective(posed, hindsight) <= online < 1.05 * analog_objective(posed, hindsight)
    assert online < analog_objective(posed, static)


def test_fading_laws() -> None:
    np.testing.assert_allclose(Schedule(fading="ar1", correlation=0.9).memory(3), 0.9 ** np.array([2.0, 4.0, 6.0]))
    np.testing.assert_allclose(Schedule(fading="jakes", doppler=0.1).memory(2), [j0(0.2 * np.pi) ** 2, j0(0.4 * np.pi) ** 2])
    np.testing.assert_array_equal(Schedule().memory(2), [0.0, 0.0])


def test_bad_caps() -> None:
    planner = Schedule().start(problem(3))
    for cap in (-1.0, float("nan")):
        with pytest.raises(PrivacyError, match="must be an amplitude"):
            planner.next(cap)
    with pytest.raises(PrivacyError, match="neither a cap nor a finite budget"):
        Schedule().start(problem(3, budget=float("inf"))).next(float("inf"))


def test_eight_thousand_rounds_with_caps_that_bind() -> None:
    caps = weakest(8000, 3, devices=5)
    posed = problem(8000, budget=2.2, caps=caps, noise_variance=100.0, contraction=0.998)
    plan = schedules.plan("online", posed, {"fading": "ar1", "correlation": 0.99})
    assert plan.capped is not None
    assert plan.capped.sum() > 100
    assert plan.spent == pytest.approx(2.2, rel=0.05)
    assert plan.spent <= 2.2
