"""The optimal schedule turned round: the baseline "Reversed" of pAirZero (arXiv 2604.12401)."""

from __future__ import annotations

from learning.privacy.power_problem import Plan, PowerProblem
from learning.privacy.schedules._allocation import (
    Objective,
    ScheduleSettings,
    analog_level,
    as_plan,
    sign_error_field,
    sign_level,
)
from learning.privacy.schedules._errata import with_errata

__all__ = ["Schedule"]


class Schedule(ScheduleSettings):
    """Weights A^t for A^(-t) in ``solution`` (objective ``analog``) or ``water_filling`` (``sign``): loud first."""

    objective: Objective = "analog"
    sign_error: float = sign_error_field()

    def plan(self, problem: PowerProblem) -> Plan:
        """Amplitudes of all rounds; the budget is met with equality unless full power spends less.

        :raises PrivacyError: neither caps nor budget limit the amplitude
        """
        if self.objective == "analog":
            mu_squared, zeta = analog_level(problem, reverse=True)
        else:
            mu_squared, zeta = sign_level(problem, self.sign_error, reverse=True)
        return with_errata(as_plan("reversed", problem, mu_squared, zeta), problem)
