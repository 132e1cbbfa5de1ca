"""Peak power in every round, whatever privacy it costs."""

from __future__ import annotations

from learning.privacy.errors import PrivacyError
from learning.privacy.power_problem import Plan, PowerProblem
from learning.privacy.schedules._allocation import ScheduleSettings, as_plan

__all__ = ["Schedule"]


class Schedule(ScheduleSettings):
    """a_t = cap_t. No privacy constraint: the plan says what it spends, and whether that is more than the budget."""

    def plan(self, problem: PowerProblem) -> Plan:
        """Amplitudes of all rounds.

        :raises PrivacyError: the caps are not known
        """
        if problem.caps is None:
            raise PrivacyError("full_power needs the caps of all rounds, min_k |h_k|; without them no power is full")
        return as_plan("full_power", problem, problem.mu_squared(problem.caps))
