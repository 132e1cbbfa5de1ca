"""Theorem 4 of pAirZero (arXiv 2604.12401v1) as it is printed, without the cut-off that makes it a solution."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from learning.privacy.errors import PrivacyError
from learning.privacy.power_problem import Plan, PowerProblem, sign_constants
from learning.privacy.schedules._allocation import ScheduleSettings, allocate, as_plan, multiplier, sign_error_field
from learning.privacy.schedules._errata import THEOREM_4, with_errata

__all__ = ["Schedule"]


class Schedule(ScheduleSettings):
    """x_t = min{cap_t, (sqrt(A^-t S' / (2 zeta)) - 1) / (S' + D)} with S' = K^2 (1 - 2 e0), refused where it is negative."""

    sign_error: float = sign_error_field()

    def smallest_spend(self, problem: PowerProblem) -> float:
        """Smallest sum of mu_t^2 at which no round's power is negative: zeta = A^-1 S' / 2, the first round just silent."""
        weights = problem.root_weights()
        scale = sum(sign_constants(problem.devices, self.sign_error, as_printed=True)) / problem.sensitivity_ratio**2
        lines = (weights / weights[0] - 1.0) / scale
        return float(np.sum(np.minimum(lines, problem.mu_squared_caps())))

    def plan(self, problem: PowerProblem) -> Plan:
        """Amplitudes of all rounds.

        :raises PrivacyError: every zeta that spends the budget makes the power of some round negative
        """
        smallest = self.smallest_spend(problem)
        if smallest > problem.spendable and not math.isclose(smallest, problem.spendable, rel_tol=1e-9):
            raise PrivacyError(
                f"theorem4: no zeta keeps the printed power of every round from going negative within the budget: it takes a "
                f"sum of mu^2 of {smallest:.4g}, and {problem.budget:.4g} is allowed; use water_filling, its correction"
            )
        constants = sign_constants(problem.devices, self.sign_error, as_printed=True)
        found, level = allocate(
            "sign",
            problem.spendable,
            problem.root_weights(),
            problem.mu_squared_caps(),
            constants,
            problem.sensitivity_ratio,
        )
        zeta = multiplier(problem, "sign", level, constants[1])
        return with_errata(as_plan("theorem4", problem, found, zeta), replace(problem, as_printed=True), THEOREM_4)
