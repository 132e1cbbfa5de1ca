"""The optimal schedule of the analog scheme: pAirZero (arXiv 2604.12401), problem P1 and Theorem 3."""

from __future__ import annotations

from learning.privacy.power_problem import Plan, PowerProblem
from learning.privacy.schedules._allocation import ScheduleSettings, analog_level, as_plan
from learning.privacy.schedules._errata import STRAY_K, printed_free_condition, with_errata

__all__ = ["Schedule"]


class Schedule(ScheduleSettings):
    """a_t = min{A^(-t/4) level, cap_t}: louder towards the end, where the optimality gap has no time to shrink.

    Full power where it meets the budget ("privacy for free"): sum_t (Delta / clip)^2 cap_t^2 / sigma^2 <= budget, the paper's
    (2 P / N0) sum_t min_k |h_k|^2 <= R_dp, by substitution. Optimal for :func:`analog_objective`, without artificial noise.
    Offline: where caps bind, the level depends on future channels.
    """

    def plan(self, problem: PowerProblem) -> Plan:
        """Amplitudes of all rounds; the budget is met with equality unless full power spends less.

        :raises PrivacyError: neither caps nor budget limit the amplitude
        """
        mu_squared, zeta = analog_level(problem)
        plan = as_plan("solution", problem, mu_squared, zeta)
        stray = (STRAY_K,) if zeta is None and not printed_free_condition(problem) else ()
        return with_errata(plan, problem, *stray)
