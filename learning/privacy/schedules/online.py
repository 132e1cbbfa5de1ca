"""The causal schedule: uses the channels seen so far and a prediction, never the future.

Liu & Simeone (arXiv 2006.05459, section on online optimisation): in each round solve the remaining horizon with what is left of
the budget and predicted gains, and use the first amplitude only. The prediction steers; the residual budget guarantees.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from learning.privacy.errors import PrivacyError
from learning.privacy.power_problem import Floats, Plan, PowerProblem, sign_constants
from learning.privacy.schedules._allocation import Objective, ScheduleSettings, allocate, as_plan, sign_error_field
from learning.privacy.schedules._errata import with_errata

__all__ = ["OnlinePlanner", "Schedule"]


class Schedule(ScheduleSettings):
    """Re-plans ``solution`` (objective ``analog``) or ``water_filling`` (``sign``) in each round, for the rounds that remain.

    The predicted cap of i rounds ahead is cap_(t+i)^2 = rho_i^2 cap_t^2 + (1 - rho_i^2) mean, with rho_i = 0 (``independent``),
    correlation^i (``ar1``) or J0(2 pi doppler i) (``jakes``). That is the conditional mean of |h|^2 for one Rayleigh device,
    and an approximation for the weakest of several.
    """

    objective: Objective = "analog"
    sign_error: float = sign_error_field()
    fading: Literal["independent", "ar1", "jakes"] = Field(
        default="independent", description="law by which a round's channel tells of later ones"
    )
    correlation: float = Field(default=0.0, ge=0.0, le=1.0, description="ar1: correlation of neighbouring rounds")
    doppler: float = Field(
        default=0.0, ge=0.0, allow_inf_nan=False, description="jakes: Doppler frequency times round interval"
    )
    mean_cap_square: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = Field(
        default=None, description="E[cap^2] in the long run; null: the mean over the rounds seen so far"
    )

    def memory(self, rounds: int) -> Floats:
        """rho_i^2 of lags i = 1 .. rounds."""
        lags = np.arange(1, rounds + 1, dtype=np.float64)
        if self.fading == "ar1":
            return np.asarray(np.power(self.correlation, 2.0 * lags))
        if self.fading == "jakes":
            from scipy.special import j0

            return np.asarray(np.square(j0(2.0 * math.pi * self.doppler * lags)), dtype=np.float64)
        return np.zeros(rounds)

    def start(self, problem: PowerProblem) -> OnlinePlanner:
        """A planner to be asked once per round; the problem's own caps are not looked at."""
        return OnlinePlanner(self, problem)

    def plan(self, problem: PowerProblem) -> Plan:
        """All rounds at once, from caps that are shown to the planner one by one; without caps, as if none bound.

        :raises PrivacyError: neither caps nor budget limit the amplitude
        """
        planner = self.start(problem)
        caps = np.full(problem.rounds, np.inf) if problem.caps is None else problem.caps
        amplitudes = np.array([planner.next(float(cap)) for cap in caps])
        return with_errata(as_plan("online", problem, problem.mu_squared(amplitudes)), problem)


class OnlinePlanner:
    """State of a run: round, residual budget, and the mean of the caps so far. Replaying the same caps rebuilds it."""

    def __init__(self, settings: Schedule, problem: PowerProblem) -> None:
        self._settings = settings
        self._problem = problem
        self._weights = problem.root_weights()
        self._to_come = np.cumsum(self._weights[::-1])[::-1]
        self._memory = settings.memory(problem.rounds)
        self._constants = sign_constants(problem.devices, settings.sign_error)
        self._left = problem.spendable
        self._round = 0
        self._level = 0.0
        self._seen = 0.0

    @property
    def residual(self) -> float:
        """What is left of the budget, sum of mu^2."""
        return self._left

    def next(self, cap: float) -> float:
        """Amplitude of the next round, whose channel allows ``cap``; infinity where no cap is known.

        :raises PrivacyError: all rounds are over, the cap is no amplitude, or nothing limits the amplitude
        """
        if self._round >= self._problem.rounds:
            raise PrivacyError(f"the schedule's {self._problem.rounds} rounds are over; plan a longer one before the run")
        if not cap >= 0.0:
            raise PrivacyError(f"the cap of round {self._round} is {cap}; it must be an amplitude, min_k |h_k|")
        if math.isinf(cap) and math.isinf(self._left):
            raise PrivacyError("online: neither a cap nor a finite budget limits the amplitude; give one of them")
        ratio, sigma_square = self._problem.sensitivity_ratio, self._problem.noise_variance
        now = (ratio * cap) ** 2 / sigma_square
        self._seen += now
        mean = self._seen / (self._round + 1)
        if self._settings.mean_cap_square is not None:
            mean = ratio**2 * self._settings.mean_cap_square / sigma_square
        share = min(self._share(now, mean), self._left)
        self._left = max(self._left - share, 0.0)
        self._round += 1
        return cap if share >= now else min(math.sqrt(share * sigma_square) / ratio, cap)

    def _share(self, now: float, mean: float) -> float:
        """mu^2 of this round in the best plan for it and the predicted rest."""
        weights = self._weights[self._round :]
        if self._left <= 0.0 or now == 0.0:
            return 0.0
        if math.isinf(self._left):
            return now
        if self._settings.objective == "analog":
            level = self._left / float(self._to_come[self._round])
            # Predictions lie between now and mean: if the loudest round stays below both, no cap binds.
            if level * float(weights[-1]) <= min(now, mean):
                return level * float(weights[0])
        caps = np.empty(len(weights))
        caps[0] = now
        if math.isinf(now) or math.isinf(mean):
            caps[1:] = math.inf
        else:
            caps[1:] = mean + self._memory[: len(weights) - 1] * (now - mean)
        ratio = self._problem.sensitivity_ratio
        found, self._level = allocate(
            self._settings.objective, self._left, weights, caps, self._constants, ratio, guess=self._level
        )
        return float(found[0])
