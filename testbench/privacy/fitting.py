"""The loudest plan that keeps the budget: a schedule, asked with the budget at which the whole run just spends its epsilon."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from learning.privacy import gdp
from learning.privacy.accountants import AccountantLike
from learning.privacy.accountants.gdp import clt_mu
from learning.privacy.errors import PrivacyError
from learning.privacy.power_problem import Plan, PowerProblem, real_noise_variance
from learning.privacy.release import Release
from learning.privacy.schedules import NoiseDesign, NoiseSource, design_noise
from learning.privacy.schedules import plan as plan_schedule
from testbench.privacy.charging import Charging
from testbench.privacy.settings import PrivacyConfig
from testbench.privacy.sounding import Sounding
from testbench.scenario import Scenario

__all__ = ["ANNOUNCED", "fit"]

Floats = NDArray[np.float64]
Fitted = tuple[PowerProblem, Plan, Floats, Floats]

#: Plans leave this share of the budget's sum of mu^2, so that a run's float32 arithmetic and bounds stay below it.
_MARGIN = 1e-5
#: Every round is announced this much dearer than planned, for the rounding of those who compute it again.
ANNOUNCED = 1.0 + 2e-6
_CLOSE = 5e-3  # a sampled plan spends all but this share of its epsilon, where power allows
_LIMITLESS = 1e12  # a budget that limits nothing
_STEPS = 40


def fit(scenario: Scenario, charging: Charging, sounding: Sounding, accountant: AccountantLike) -> Fitted:
    """(problem, its plan, amplitudes [T], artificial noise [T]) that spend no more than the budget, as the run counts it.

    :raises PrivacyError: the schedule has no answer, or not even a whisper fits the budget
    """
    settings = scenario.privacy
    assert settings.epsilon is not None
    epsilon, delta = settings.epsilon, settings.delta
    margin = settings.gain_margin if charging.csi == "realised" else None

    def make(budget: float) -> Fitted:
        return _make(scenario, charging, sounding, budget, margin)

    def release(fitted: Fitted) -> Release:
        # With a margin the plan reckons with that gain in every round, and the run is charged what comes.
        if margin is not None:
            return charging.at_gain(fitted[2], fitted[3], margin, as_printed=settings.as_printed)
        return charging.release(fitted[2], fitted[3], as_printed=settings.as_printed)

    free = Release(np.array([1.0]), csi=charging.csi, extra_delta=charging.extra_delta)
    allowed = _allowed(accountant, free, epsilon, delta)
    start = make(allowed * (1.0 - _MARGIN))
    if settings.schedule == "full_power" and settings.noise_source != "artificial":
        return start  # says what it spends, whatever the budget
    if not release(start).sampled:
        return _by_square(make, release, allowed, start)
    return _by_epsilon(make, release, accountant, settings)


def _make(scenario: Scenario, charging: Charging, sounding: Sounding, budget: float, margin: float | None) -> Fitted:
    settings = scenario.privacy
    if settings.noise_source == "artificial":
        return _artificial(scenario, charging, sounding, budget)
    reckoned = math.sqrt(charging.overlap) * (charging.g_max if charging.csi == "tail" else margin or 1.0)
    problem = _problem(scenario, charging.n0, charging.ratio * reckoned, budget, sounding.caps)
    plan = _planned(scenario, settings.schedule, problem)
    if settings.noise_source == "receiver":
        return problem, plan, plan.table, np.zeros(problem.rounds)
    # The plan's mu are those of receiver noise alone; devices then speak up as far as their own noise covers it. In units of
    # the loudest device, which is heard g times the aligned amplitude, and whose noise is, too.
    g = charging.loudness if margin is None else np.full(problem.rounds, margin * math.sqrt(charging.overlap))
    mu = np.sqrt(problem.mu_squared(plan.table)) * (g / reckoned)
    made = _noise("both", charging, sounding, mu, g, problem.noise_variance)
    return problem, plan, made.amplitudes / g, made.artificial_std


def _artificial(scenario: Scenario, charging: Charging, sounding: Sounding, budget: float) -> Fitted:
    """The schedule says how private each round is, artificial noise makes it so, and every round takes all of its power.

    A device's own noise arrives as loudly as its signal, so that gains play no part. The estimate of round t has the variance
    (clip / K)^2 (K s_t^2 + v (1 + s_t^2) / cap_t^2) with s_t = r / (mu_t sqrt(N)), v the server's noise and N of K devices that
    are sure to cover each other. What mu_t can change of it is proportional to c_t / mu_t^2, c_t = (K + v / cap_t^2) / N, so
    that the schedule of least weighted noise is that of receiver noise without power limit, times c_t^(1/4).
    """
    settings = scenario.privacy
    name = "static" if settings.schedule == "full_power" else settings.schedule
    problem = _problem(scenario, charging.server_n0, charging.ratio, budget, None)
    plan = _planned(scenario, name, problem)
    mu = np.where(sounding.caps > 0, np.sqrt(problem.mu_squared(plan.table)), 0.0)
    if name == "solution":
        variance = problem.noise_variance
        with np.errstate(divide="ignore"):
            cost = (np.maximum(sounding.active, 1.0) + variance / np.square(sounding.caps)) / charging.credit
        mu = np.where(mu > 0, mu * np.power(cost, 0.25), 0.0)
        mu *= math.sqrt(budget / max(float(np.square(mu).sum()), 1e-300))
    made = _noise("artificial", charging, sounding, mu, np.ones(problem.rounds), 0.0)
    spent = float(np.square(charging.mu(made.amplitudes, made.artificial_std)).sum())
    plan = replace(plan, amplitudes=made.amplitudes, spent=spent, capped=made.amplitudes > 0)
    return problem, plan, made.amplitudes, made.artificial_std


def _noise(
    source: NoiseSource, charging: Charging, sounding: Sounding, mu: Floats, gain: Floats, adversary_variance: float
) -> NoiseDesign:
    return design_noise(
        source,
        mu,
        sounding.caps * gain,
        adversary_variance=adversary_variance,
        server_variance=charging.server_n0 / 2.0 * np.square(gain),
        devices=np.maximum(sounding.active, 1.0),
        noisy_devices=charging.credit,
        sensitivity_ratio=charging.ratio,
    )


def _planned(scenario: Scenario, name: str, problem: PowerProblem) -> Plan:
    plan = plan_schedule(name, problem, _schedule_settings(scenario))
    if plan.amplitudes is None or len(plan.amplitudes) != problem.rounds:
        raise PrivacyError(f'schedule "{name}" gives no amplitude for every round; choose another')
    return plan


def _problem(scenario: Scenario, n0: float, ratio: float, budget: float, caps: Floats | None) -> PowerProblem:
    settings = scenario.privacy
    return PowerProblem(
        rounds=scenario.federation.rounds,
        devices=scenario.federation.devices,
        noise_variance=real_noise_variance(n0, settings.as_printed),
        budget=budget,
        sensitivity_ratio=ratio,
        contraction=settings.contraction,
        caps=caps,
        as_printed=settings.as_printed,
    )


def _schedule_settings(scenario: Scenario) -> dict[str, object]:
    """The schedule's own settings; the objective follows the scheme unless it is set."""
    chosen: dict[str, object] = dict(scenario.privacy.schedule_settings)
    if scenario.privacy.schedule in ("reversed", "online"):
        chosen.setdefault("objective", "sign" if scenario.link.scheme == "sign" else "analog")
    return chosen


def _allowed(accountant: AccountantLike, shape: Release, epsilon: float, delta: float) -> float:
    """Largest sum of mu^2 that ``accountant`` admits without sampling, from below.

    :raises PrivacyError: none
    """

    def spent(square: float) -> float:
        return accountant.epsilon(Release(np.array([math.sqrt(square)]), extra_delta=shape.extra_delta), delta)

    low, high = 1e-12, 1.0
    if spent(low) > epsilon:
        raise PrivacyError(f"no schedule meets epsilon = {epsilon:g} at delta = {delta:g}; raise either of them")
    while spent(high) <= epsilon:
        low, high = high, 2.0 * high
    while high > low * (1.0 + 1e-12):
        middle = math.sqrt(low) * math.sqrt(high)
        low, high = (middle, high) if spent(middle) <= epsilon else (low, middle)
        if middle in (low, high) and high <= low * (1.0 + 4e-12):
            break
    return low


def _by_square(make: Callable[[float], Fitted], release: Callable[[Fitted], Release], allowed: float, start: Fitted) -> Fitted:
    """Scale the schedule's budget until the charged sum of mu^2 is just below what is allowed."""
    target = allowed * (1.0 - _MARGIN)
    aim = target * (1.0 - _MARGIN / 2)
    budget, fitted = target, start
    best: Fitted | None = None
    for _ in range(_STEPS):
        spent = float(np.square(release(fitted).mu).sum())
        if spent <= target:
            best = fitted
            if spent >= target * (1.0 - _MARGIN) or spent == 0.0:
                break
        budget *= aim / spent
        before, fitted = fitted, make(budget)
        if best is before and np.array_equal(before[2], fitted[2]):  # at its power limit: no budget makes it louder
            break
    if best is None:
        raise PrivacyError("no plan was found that keeps the budget; choose another privacy.schedule")
    return best


def _by_epsilon(
    make: Callable[[float], Fitted], release: Callable[[Fitted], Release], accountant: AccountantLike, settings: PrivacyConfig
) -> Fitted:
    """The schedule's budget whose sampled release is close below epsilon by the accountant itself.

    The accountant takes a tenth of a second, so a central-limit estimate says where to look.
    """
    assert settings.epsilon is not None
    epsilon, delta = settings.epsilon, settings.delta

    def excess(found: float) -> float:
        return math.log(min(max(found, 1e-300), 1e300) / epsilon)

    def guess(log_budget: float) -> float:
        return excess(gdp.epsilon(clt_mu(release(make(math.exp(log_budget)))), delta))

    def exact(fitted: Fitted) -> float:
        return excess(accountant.epsilon(release(fitted).scaled(ANNOUNCED), delta))

    def largest(level: float) -> float:
        """Largest log budget whose estimate is at most ``level``."""
        low, high = math.log(gdp.mu(epsilon, delta) ** 2) - 10.0, math.log(_LIMITLESS)
        if guess(high) <= level:
            return high
        if guess(low) > level:
            return low
        return float(brentq(lambda at: guess(at) - level, low, high, xtol=1e-4))

    level, found = 0.0, None
    last: tuple[float, float] | None = None
    for _ in range(_STEPS):
        at = largest(level)
        fitted = make(math.exp(at))
        value = exact(fitted)
        if value <= 0:
            found = fitted
            if value > -_CLOSE or at >= math.log(_LIMITLESS):
                break
        # A secant, that aims at the middle of what is close enough; first as if the estimate's error were the same nearby.
        slope = 1.0 if last is None or level == last[0] else (value - last[1]) / (level - last[0])
        last = level, value
        level -= (value + _CLOSE / 2) / min(max(slope, 0.1), 5.0)
    if found is None:
        raise PrivacyError("no plan was found that keeps the budget; choose another privacy.schedule")
    return found
