"""No air and no noise: the baseline "Perfect" of pAirZero (arXiv 2604.12401)."""

from __future__ import annotations

import math

from learning.privacy.power_problem import Plan, PowerProblem
from learning.privacy.schedules._allocation import ScheduleSettings

__all__ = ["Schedule"]


class Schedule(ScheduleSettings):
    """The noise-free mean, or the sign of the sum of signs: there are no amplitudes, and no privacy."""

    def plan(self, problem: PowerProblem) -> Plan:
        """A marker without amplitudes; an infinite amount is spent."""
        return Plan("perfect", None, math.inf, problem.budget)
