"""The optimal schedule of the sign scheme: pAirZero (arXiv 2604.12401), problem P2 with the cut-off Theorem 4 lacks."""

from __future__ import annotations

from learning.privacy.power_problem import Plan, PowerProblem
from learning.privacy.schedules._allocation import ScheduleSettings, as_plan, sign_error_field, sign_level
from learning.privacy.schedules._errata import THEOREM_4, with_errata

__all__ = ["Schedule"]


class Schedule(ScheduleSettings):
    """x_t = min{cap_t, [sqrt(A^-t S / (2 zeta)) - 1]_+ / (D + S)}, x = a^2 / sigma^2: early rounds may be silent altogether.

    The Karush-Kuhn-Tucker solution of P2, which is convex in x; optimal for :func:`sign_objective`.
    """

    sign_error: float = sign_error_field()

    def plan(self, problem: PowerProblem) -> Plan:
        """Amplitudes of all rounds; the budget is met with equality unless full power spends less.

        :raises PrivacyError: neither caps nor budget limit the amplitude
        """
        mu_squared, zeta = sign_level(problem, self.sign_error)
        return with_errata(as_plan("water_filling", problem, mu_squared, zeta), problem, THEOREM_4)
