"""Schedules of the amplitude: numbers of the paper, optimality against a general solver, limits that always hold."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import brentq, minimize
from scipy.special import lambertw
from scipy.stats import norm

from learning.errors import LearningError
from learning.privacy import schedules
from learning.privacy.errors import PrivacyError
from learning.privacy.power_problem import (
    PowerProblem,
    analog_objective,
    real_noise_variance,
    sign_constants,
    sign_objective,
)
from learning.privacy.schedules._level import fill
from learning.privacy.schedules.theorem4 import Schedule as Theorem4

Floats = npt.NDArray[np.float64]

ADAPTIVE = ("solution", "water_filling", "static", "reversed")


def r_dp(epsilon: float, delta: float) -> float:
    inverse = math.sqrt(float(lambertw(2.0 / (math.pi * delta**2)).real) / 2.0)
    return (math.sqrt(epsilon + inverse**2) - inverse) ** 2


def paper(**changes: object) -> PowerProblem:
    """eps 5, delta 0.01, T = 8000, A = 0.998, K = 5; the noise variance cancels wherever caps do not bind."""
    fields: dict[str, object] = {"rounds": 8000, "devices": 5, "noise_variance": 0.37, "budget": 2.0 * r_dp(5.0, 0.01)}
    return PowerProblem(**(fields | changes))  # type: ignore[arg-type]


def amplitudes(name: str, problem: PowerProblem, options: dict[str, object] | None = None) -> Floats:
    return schedules.plan(name, problem, options).table


# --- numbers -----------------------------------------------------------------------------------------------------------


def test_budget_of_the_paper() -> None:
    assert r_dp(5.0, 0.01) == pytest.approx(1.1079, abs=5e-5)


def test_static_of_the_paper() -> None:
    problem = paper()
    std = problem.estimate_std(amplitudes("static", problem), clip=100.0)
    np.testing.assert_allclose(std, 2403.47, rtol=1e-5)
    # the printed closed form c = sqrt(N0 R_dp / (2 T gamma^2)), gamma^2 c^2 / N0 = a^2 / N0
    ratio = np.square(amplitudes("static", problem)) / problem.noise_variance
    np.testing.assert_allclose(ratio, r_dp(5.0, 0.01) / (2 * 8000), rtol=1e-9)
    assert 10 * math.log10(ratio[0]) == pytest.approx(-41.6, abs=0.05)
    # sign payloads have the same sensitivity ratio: a unanimous vote of five is right with probability
    assert norm.cdf(5 * math.sqrt(ratio[0])) == pytest.approx(0.517, abs=5e-4)
    # and with the exact budget mu = 1.7563 of Gaussian privacy in place of the paper's bound
    exact = paper(budget=1.7563**2)
    assert exact.estimate_std(amplitudes("static", exact), clip=100.0)[0] == pytest.approx(2037, abs=0.5)


def test_solution_of_the_paper() -> None:
    problem = paper()
    found = amplitudes("solution", problem)
    std = problem.estimate_std(found, clip=100.0)
    np.testing.assert_allclose(std[[0, 3999, 7999]], [46_500, 6_290, 849], rtol=1e-3)
    assert 20 * math.log10(found[-1] / found[0]) == pytest.approx(34.8, abs=0.05)
    spent = problem.mu_squared(found)
    assert spent[-1000:].sum() / spent.sum() == pytest.approx(0.63, abs=5e-3)
    assert spent[:5000].sum() / spent.sum() == pytest.approx(0.05, abs=5e-3)
    assert 20 * math.log10(found[-1]) - 10 * math.log10(problem.noise_variance) == pytest.approx(-32.6, abs=0.05)


def test_zeta_is_the_one_of_theorem_3() -> None:
    clip, n0 = 100.0, 0.37
    plan = schedules.plan("solution", paper())
    assert plan.zeta is not None
    zeta = plan.zeta * clip**2  # from symbol units to the paper's
    t = np.arange(1, 8001)
    c = 0.998 ** (-t / 4) * math.sqrt(n0) / ((2 * zeta) ** 0.25 * math.sqrt(clip))
    np.testing.assert_allclose(plan.table, clip * c, rtol=1e-9)


@pytest.mark.parametrize("delta_over_clip", [2.0, 2.0 / 16, 1.0 / 16])
def test_zeta_of_a_record(delta_over_clip: float) -> None:
    plan = schedules.plan("solution", paper(sensitivity_ratio=delta_over_clip))
    assert plan.zeta is not None
    t = np.arange(1, 8001)
    a = 0.998 ** (-t / 4) * math.sqrt(0.37) / ((2 * plan.zeta) ** 0.25 * math.sqrt(delta_over_clip / 2))
    np.testing.assert_allclose(plan.table, a, rtol=1e-9)


@pytest.mark.parametrize(
    ("multiplier", "ratio", "std"),
    [
        (50.9, 2.0, 2037),
        (60.1, 2.0, 2403),
        (4.14, 1 / 16, 5.2),
        (3.34, 1 / 64, 1.0),
        (1.46, 1 / 16, 1.8),
        (1.97, 1 / 64, 0.6),
        (5.45, 1 / 16, 6.8),
    ],
)
def test_estimate_of_a_noise_multiplier(multiplier: float, ratio: float, std: float) -> None:
    """std = z (Delta / K) whatever leads to the noise multiplier z = 1 / mu_t."""
    problem = paper(sensitivity_ratio=ratio)
    amplitude = problem.amplitudes(np.full(8000, multiplier**-2.0))
    assert problem.estimate_std(amplitude, clip=100.0)[0] == pytest.approx(std, abs=0.05 if std < 100 else 2.0)


def test_water_filling_of_the_paper_speaks_in_the_last_73_rounds() -> None:
    found = amplitudes("water_filling", paper())
    assert np.flatnonzero(found > 0.0).tolist() == list(range(8000 - 73, 8000))


def test_zeta_of_water_filling() -> None:
    problem = paper()
    plan = schedules.plan("water_filling", problem)
    assert plan.zeta is not None
    spread, signal = 4 * 5 * 0.496 * 0.504, 25 * 0.008**2
    t = np.arange(1, 8001)
    x = np.maximum(np.sqrt(0.998 ** (-t.astype(float)) * signal / (2 * plan.zeta)) - 1.0, 0.0) / (signal + spread)
    np.testing.assert_allclose(np.square(plan.table) / problem.noise_variance, x, rtol=1e-7, atol=1e-15)


def test_theorem_4_as_printed_has_no_answer_at_the_papers_numbers() -> None:
    assert Theorem4().smallest_spend(paper()) / 2 == pytest.approx(1.15e6, rel=1e-3)
    with pytest.raises(PrivacyError, match="use water_filling"):
        schedules.plan("theorem4", paper())


def test_theorem_4_as_printed_where_it_has_one() -> None:
    problem = paper(rounds=20)
    plan = schedules.plan("theorem4", problem)
    assert plan.zeta is not None
    signal, spread = 25 * 0.008, 4 * 5 * 0.496 * 0.504
    t = np.arange(1, 21)
    x = (np.sqrt(0.998 ** (-t.astype(float)) * signal / (2 * plan.zeta)) - 1.0) / (signal + spread)
    assert x.min() > 0
    np.testing.assert_allclose(np.square(plan.table) / problem.noise_variance, x, rtol=1e-8)
    assert "swaps its two constants" in plan.errata[0]
    corrected = amplitudes("water_filling", problem)
    assert sign_objective(problem, corrected, 0.496) <= sign_objective(problem, plan.table, 0.496)


def test_sign_constants() -> None:
    assert sign_constants(5, 0.496) == pytest.approx((20 * 0.496 * 0.504, 25 * 0.008**2))
    assert sign_constants(5, 0.496, as_printed=True)[1] == pytest.approx(25 * 0.008)


def test_real_axis() -> None:
    assert real_noise_variance(0.5) == 0.25
    assert real_noise_variance(0.5, as_printed=True) == 0.5


# --- privacy for free, and the printed condition -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["solution", "water_filling", "reversed", "static"])
def test_full_power_where_it_meets_the_budget(name: str) -> None:
    caps = np.linspace(0.1, 1.0, 30)
    spent = float(np.sum(4 * caps**2 / 2.0))
    free = PowerProblem(rounds=30, devices=5, noise_variance=2.0, budget=spent * 1.001, caps=caps)
    plan = schedules.plan(name, free)
    np.testing.assert_allclose(plan.table, caps, rtol=1e-12)
    assert plan.zeta is None
    tight = PowerProblem(rounds=30, devices=5, noise_variance=2.0, budget=spent * 0.999, caps=caps)
    assert schedules.plan(name, tight).spent == pytest.approx(spent * 0.999, rel=1e-9)


def test_the_stray_factor_is_named_where_it_matters() -> None:
    caps = np.full(30, 0.5)
    spent = 30 * 4 * 0.25 / 2.0

    def errata(budget: float) -> str:
        problem = PowerProblem(rounds=30, devices=5, noise_variance=2.0, budget=budget, caps=caps, as_printed=True)
        plan = schedules.plan("solution", problem)
        np.testing.assert_allclose(plan.table, np.sqrt(min(1.0, budget / spent)) * caps, rtol=0.05)
        return " ".join(plan.errata)

    assert "carries a factor K" in errata(spent * 2.0)  # between the two conditions
    assert "carries a factor K" not in errata(spent * 6.0)  # both hold
    assert "carries a factor K" not in errata(spent * 0.9)  # neither holds


def test_errata_that_follow_from_the_numbers() -> None:
    sentences = schedules.plan("solution", paper(as_printed=True)).errata
    assert any("N0 / 2" in sentence for sentence in sentences)
    assert any("in 8000 of 8000 rounds" in sentence for sentence in sentences)
    assert not any("future" in sentence for sentence in sentences)
    caps = np.where(np.arange(8000) % 2, 1.0, 1e-3)
    capped = schedules.plan("solution", paper(as_printed=True, caps=caps)).errata
    assert any("future ones too" in sentence for sentence in capped)
    assert schedules.plan("solution", paper(caps=caps)).errata == ()


def test_printed_static_leaves_budget_where_caps_bind() -> None:
    caps = np.array([0.01, 1.0, 1.0, 1.0])
    fields = {"rounds": 4, "devices": 2, "noise_variance": 1.0, "budget": 1.0, "caps": caps}
    printed = schedules.plan("static", PowerProblem(**fields, as_printed=True))  # type: ignore[arg-type]
    np.testing.assert_allclose(printed.table, [0.01, 0.25, 0.25, 0.25], rtol=1e-9)
    ours = schedules.plan("static", PowerProblem(**fields))  # type: ignore[arg-type]
    assert ours.spent == pytest.approx(1.0, rel=1e-9)
    assert printed.spent < 0.76


# --- optimality ----------------------------------------------------------------------------------------------------------


def best_by_slsqp(cost: Callable[[Floats], float], slope: Callable[[Floats], Floats], caps: Floats, total: float) -> Floats:
    """Minimise over shares of the budget, u = v / total, from several starts."""
    upper = np.minimum(caps / total, 1.0)
    found = []
    for start in (0.5 * upper, np.minimum(upper, 1.0 / len(caps)), 0.05 * upper):
        answer = minimize(
            lambda u: cost(u * total),
            np.maximum(start, 1e-6 * upper),
            jac=lambda u: slope(u * total) * total,
            bounds=[(1e-9 * top, top) for top in upper],
            constraints=[{"type": "ineq", "fun": lambda u: 1.0 - u.sum(), "jac": lambda u: -np.ones_like(u)}],
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 2000},
        )
        if answer.x.sum() <= 1.0 + 1e-9:
            found.append(answer.x * total)
    return min(found, key=cost)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", ["solution", "water_filling"])
def test_no_general_solver_does_better(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rounds, devices = int(rng.integers(2, 8)), int(rng.integers(2, 8))
    problem = PowerProblem(
        rounds=rounds,
        devices=devices,
        noise_variance=float(rng.uniform(0.1, 2.0)),
        budget=float(rng.uniform(0.5, 10.0)),
        sensitivity_ratio=float(rng.uniform(0.5, 2.0)),
        contraction=float(rng.uniform(0.5, 0.99)),
        caps=rng.uniform(0.3, 2.0, rounds),
    )
    error = float(rng.uniform(0.05, 0.4))
    options: dict[str, object] = {} if name == "solution" else {"sign_error": error}
    plan = schedules.plan(name, problem, options)

    weights = problem.contraction ** np.arange(rounds - 1, -1, -1, dtype=float)
    spread, signal = 4 * devices * error * (1 - error), devices**2 * (1 - 2 * error) ** 2
    r2 = problem.sensitivity_ratio**2

    def cost(v: Floats) -> float:
        if name == "solution":
            return float(np.sum(weights * r2 / v))
        x = v / r2
        return float(np.sum(weights * (spread * x + 1) / ((spread + signal) * x + 1)))

    def slope(v: Floats) -> Floats:
        if name == "solution":
            return np.asarray(-weights * r2 / v**2)
        return np.asarray(-weights * signal / ((spread + signal) * v / r2 + 1) ** 2 / r2)

    assert problem.caps is not None
    other = best_by_slsqp(cost, slope, r2 * problem.caps**2 / problem.noise_variance, problem.budget)
    mine = cost(r2 * plan.table**2 / problem.noise_variance)
    assert mine == pytest.approx(cost(other), rel=1e-6)
    assert (plan.table <= problem.caps).all()
    assert plan.spent <= problem.budget
    # the room's own objectives are these costs
    ours = analog_objective(problem, plan.table) if name == "solution" else sign_objective(problem, plan.table, error)
    assert ours == pytest.approx(mine, rel=1e-12)


@given(st.integers(1, 40), st.integers(0, 2**32), st.integers(-12, 6), st.sampled_from([0.0, 1.0]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_level_against_a_root_finder(length: int, seed: int, decade: int, offset: float, endless: bool) -> None:
    rng = np.random.default_rng(seed)
    total = float(10.0 ** (decade + rng.random()))
    slope = 10.0 ** rng.uniform(-6, 0, length)
    cap = 10.0 ** rng.uniform(-4, 4, length)
    if endless:
        cap[rng.integers(length)] = np.inf
    value, level = fill(total, slope, cap, offset)
    if cap.sum() <= total:
        np.testing.assert_array_equal(value, cap)
        assert math.isinf(level)
        return
    assert value.sum() / total == pytest.approx(1.0, rel=1e-12)
    assert ((value >= 0) & (value <= cap)).all()

    def gap(log_level: float) -> float:
        return float(np.clip(slope * math.exp(log_level) - offset, 0, cap).sum()) / total - 1.0

    root = math.exp(brentq(gap, math.log(1e-20), math.log(1e25), xtol=1e-14, rtol=1e-15))
    np.testing.assert_allclose(value, np.clip(slope * root - offset, 0, cap), rtol=1e-6, atol=1e-9 * total + 1e-14 * offset)


# --- what always holds ---------------------------------------------------------------------------------------------------

CAPS = arrays(np.float64, st.integers(1, 25), elements=st.one_of(st.just(0.0), st.floats(1e-3, 10.0)))


@given(
    CAPS,
    st.floats(1e-4, 1e4),
    st.floats(1e-3, 1e3),
    st.floats(0.3, 1.0),
    st.sampled_from([*ADAPTIVE, "online"]),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_peak_power_and_budget(caps: Floats, budget: float, noise: float, contraction: float, name: str, known: bool) -> None:
    problem = PowerProblem(
        rounds=len(caps),
        devices=3,
        noise_variance=noise,
        budget=budget,
        contraction=contraction,
        caps=caps if known else None,
    )
    plan = schedules.plan(name, problem)
    assert plan.within_budget
    assert plan.spent == pytest.approx(float(np.sum(4.0 * plan.table**2 / noise)), rel=1e-12)
    assert plan.spent <= budget
    if known:
        assert (plan.table <= caps).all()
    possible = 4.0 * float(np.sum(caps**2)) / noise if known else math.inf
    if name != "online":
        assert plan.spent == pytest.approx(min(budget, possible), rel=1e-9)


def test_extreme_horizons_stay_finite() -> None:
    problem = PowerProblem(rounds=8000, devices=5, noise_variance=1.0, budget=1.0, contraction=0.5)
    for name in (*ADAPTIVE, "online"):
        plan = schedules.plan(name, problem)
        assert np.isfinite(plan.table).all()
        assert plan.spent == pytest.approx(1.0, rel=1e-9)


def test_reversed_is_the_solution_backwards() -> None:
    np.testing.assert_allclose(amplitudes("reversed", paper()), amplitudes("solution", paper())[::-1], rtol=1e-9)
    sign = amplitudes("reversed", paper(), {"objective": "sign"})
    np.testing.assert_allclose(sign, amplitudes("water_filling", paper())[::-1], rtol=1e-7, atol=1e-12)
    plan = schedules.plan("reversed", paper())
    assert plan.zeta is not None
    t = np.arange(1, 8001)
    np.testing.assert_allclose(plan.table, 0.998 ** (t / 4) * math.sqrt(0.37) / (2 * plan.zeta) ** 0.25, rtol=1e-9)


def test_full_power_and_perfect_say_what_they_spend() -> None:
    caps = np.array([0.5, 1.0])
    problem = PowerProblem(rounds=2, devices=2, noise_variance=1.0, budget=1.0, caps=caps)
    plan = schedules.plan("full_power", problem)
    np.testing.assert_array_equal(plan.table, caps)
    assert plan.spent == pytest.approx(5.0)
    assert not plan.within_budget
    assert "MORE THAN ALLOWED" in plan.statement
    assert "2 at peak power" in plan.statement
    perfect = schedules.plan("perfect", problem)
    with pytest.raises(PrivacyError, match="noise-free uplink"):
        _ = perfect.table
    assert perfect.amplitudes is None
    assert not perfect.within_budget
    assert "no privacy" in perfect.statement


def test_a_schedule_without_a_budget_is_full_power() -> None:
    caps = np.array([0.5, 0.0, 1.0])
    problem = PowerProblem(rounds=3, devices=2, noise_variance=1.0, budget=math.inf, caps=caps)
    for name in (*ADAPTIVE, "online", "theorem4"):
        np.testing.assert_allclose(amplitudes(name, problem), caps, rtol=1e-12)
    assert "no budget" in schedules.plan("solution", problem).statement


# --- what is refused -----------------------------------------------------------------------------------------------------


def test_names_and_settings() -> None:
    assert schedules.names() == [
        "full_power",
        "online",
        "perfect",
        "reversed",
        "solution",
        "static",
        "theorem4",
        "water_filling",
    ]
    with pytest.raises(LearningError, match="did you mean static"):
        schedules.find("statik")
    with pytest.raises(PrivacyError, match="its settings are: sign_error"):
        schedules.plan("water_filling", paper(), {"sign_errors": 0.4})
    with pytest.raises(PrivacyError, match=r"sign_error: Input should be less than 0\.5"):
        schedules.plan("water_filling", paper(), {"sign_error": 0.5})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds is 0"),
        ({"devices": 0}, "devices is 0"),
        ({"noise_variance": 0.0}, "noise_variance is 0.0"),
        ({"sensitivity_ratio": math.inf}, "sensitivity_ratio is inf"),
        ({"budget": 0.0}, "budget is 0.0"),
        ({"budget": math.nan}, "budget is nan"),
        ({"contraction": 1.1}, "contraction is 1.1"),
        ({"caps": np.ones(3)}, "needs one per round"),
        ({"caps": np.full(8000, np.nan)}, "negative or non-finite"),
        ({"caps": np.full(8000, -1.0)}, "negative or non-finite"),
    ],
)
def test_problems_that_are_none(changes: dict[str, object], message: str) -> None:
    with pytest.raises(PrivacyError, match=message):
        paper(**changes)


@pytest.mark.parametrize("name", [*ADAPTIVE, "online", "full_power"])
def test_something_must_limit_the_amplitude(name: str) -> None:
    with pytest.raises(PrivacyError, match=r"budget|caps"):
        schedules.plan(name, paper(budget=math.inf))
