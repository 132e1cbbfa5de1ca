"""The same amplitude in every round: the baseline "Static" of pAirZero (arXiv 2604.12401)."""

from __future__ import annotations

import numpy as np

from learning.privacy.power_problem import Plan, PowerProblem
from learning.privacy.schedules._allocation import ScheduleSettings, as_plan
from learning.privacy.schedules._errata import with_errata
from learning.privacy.schedules._level import fill

__all__ = ["Schedule"]


class Schedule(ScheduleSettings):
    """a_t = min{level, cap_t}. The level meets the budget; as printed it is the one of mu_t^2 = budget / T.

    The two agree where no cap binds: c = sqrt(N0 R_dp / (2 T gamma^2)). Where caps bind, the printed level leaves what
    capped rounds could not spend unspent, which makes the baseline look worse than a static schedule need be.
    """

    def plan(self, problem: PowerProblem) -> Plan:
        """Amplitudes of all rounds.

        :raises PrivacyError: neither caps nor budget limit the amplitude
        """
        caps = problem.mu_squared_caps()
        if not problem.as_printed:
            return as_plan("static", problem, fill(problem.spendable, np.ones(problem.rounds), caps)[0])
        mu_squared = np.minimum(problem.spendable / problem.rounds, caps)
        return with_errata(as_plan("static", problem, mu_squared), problem)
