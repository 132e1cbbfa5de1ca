"""The convex problems behind the schedules, solved in v_t = mu_t^2: analog (P1) and sign (P2)."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from learning.privacy.errors import PrivacyError
from learning.privacy.power_problem import Floats, Plan, PowerProblem, sign_constants
from learning.privacy.schedules._level import fill

__all__ = [
    "Objective",
    "ScheduleSettings",
    "allocate",
    "analog_level",
    "as_plan",
    "multiplier",
    "sign_error_field",
    "sign_level",
]

Objective = Literal["analog", "sign"]


class ScheduleSettings(BaseModel):
    """Base of all schedules: settings are frozen and a typo is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def sign_error_field() -> float:
    """The setting e0, a pydantic field: bound on the probability that a device's own sign is wrong."""
    return Field(default=0.4960, ge=0.0, lt=0.5, description="e0, bound on the probability of a wrong local sign")


def allocate(
    objective: Objective,
    total: float,
    root_weights: Floats,
    caps: Floats,
    constants: tuple[float, float],
    ratio: float,
    guess: float = 0.0,
) -> tuple[Floats, float]:
    """Optimal mu_t^2 for weights w_t = root_weights^2, and the level s.

    analog: min sum w_t / v_t, so v_t = min{cap_t, s sqrt(w_t)} (paper, Theorem 3, in closed form).
    sign: min sum w_t (D x_t + 1) / ((D + S) x_t + 1) with x = v / ratio^2. It is convex in x, and its stationary point is
    x_t = min{cap_t, [s sqrt(w_t) - 1]_+ / (D + S)}: rounds of small weight are cut off. (Theorem 4 forgets the cut.)

    :param constants: D and S of the sign objective
    :param ratio: Delta / clip
    :param guess: of the level, to save time
    """
    if objective == "analog":
        return fill(total, root_weights, caps, guess=guess)
    scale = sum(constants) / ratio**2
    lines, level = fill(total * scale, root_weights, caps * scale, offset=1.0, guess=guess)
    return np.minimum(lines / scale, caps), level


def multiplier(problem: PowerProblem, objective: Objective, level: float, signal: float, reverse: bool = False) -> float | None:
    """The paper's zeta for a level s over weights scaled to at most 1: analog 2 (Delta/clip)^2 / s'^2, sign S / (2 s'^2).

    s' = s A^(T/2) belongs to the printed weights A^(-t); reversed schedules have s' = s A^(-1/2). None if nothing binds.
    """
    if not 0.0 < level < math.inf:
        return None
    numerator = 2.0 * problem.sensitivity_ratio**2 if objective == "analog" else signal / 2.0
    exponent = -1.0 if reverse else float(problem.rounds)
    log_zeta = math.log(numerator) - 2.0 * math.log(level) - exponent * math.log(problem.contraction)
    return math.exp(log_zeta) if log_zeta < 700.0 else math.inf


def as_plan(
    name: str, problem: PowerProblem, mu_squared: Floats, zeta: float | None = None, errata: tuple[str, ...] = ()
) -> Plan:
    """Turn mu_t^2 into amplitudes under their caps, and count what they really spend.

    :raises PrivacyError: nothing limits the amplitude
    """
    amplitudes = problem.amplitudes(mu_squared)
    if not np.isfinite(amplitudes).all():
        raise PrivacyError(f"{name}: neither caps nor a finite budget limit the amplitude; give one of them")
    capped = np.zeros(problem.rounds, dtype=np.bool_) if problem.caps is None else (amplitudes >= problem.caps)
    spent = float(np.sum(problem.mu_squared(amplitudes)))
    return Plan(name, amplitudes, spent, problem.budget, capped, zeta, errata)


def sign_level(problem: PowerProblem, sign_error: float, reverse: bool = False) -> tuple[Floats, float | None]:
    """Optimal mu_t^2 of the sign scheme and its zeta."""
    constants = sign_constants(problem.devices, sign_error)
    weights = problem.root_weights(reverse)
    ratio = problem.sensitivity_ratio
    found, level = allocate("sign", problem.spendable, weights, problem.mu_squared_caps(), constants, ratio)
    return found, multiplier(problem, "sign", level, constants[1], reverse)


def analog_level(problem: PowerProblem, reverse: bool = False) -> tuple[Floats, float | None]:
    """Optimal mu_t^2 of the analog scheme and its zeta."""
    weights = problem.root_weights(reverse)
    ratio = problem.sensitivity_ratio
    found, level = allocate("analog", problem.spendable, weights, problem.mu_squared_caps(), (0.0, 0.0), ratio)
    return found, multiplier(problem, "analog", level, 0.0, reverse)
