"""Where the printed formulas of pAirZero (arXiv 2604.12401v1) and their consequences need a warning, one sentence each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from learning.privacy.power_problem import Plan, PowerProblem

__all__ = ["NOISE", "STRAY_K", "THEOREM_4", "printed_free_condition", "with_errata"]

NOISE = (
    "N0 is the variance of the complex noise and the real decision variable has N0 / 2, so a plan made with N0 spends twice "
    "the sum of mu^2 that it reports."
)
STRAY_K = (
    "The printed condition for privacy at full power carries a factor K that does not follow from the constraint; it fails "
    "here although full power meets the budget, and no zeta spends the budget: full power is used."
)
THEOREM_4 = (
    "Theorem 4 as printed swaps its two constants, loses the square of 1 - 2 e0, and lacks the condition that power be not "
    "negative; water_filling is the corrected solution."
)


def printed_free_condition(problem: PowerProblem) -> bool:
    """Whether the printed test K (2 P / N0) sum_t min_k |h_k|^2 < R_dp holds, that is K sum of mu^2 at full power < budget.

    The stray K is taken to multiply the left side.
    """
    return problem.devices * float(np.sum(problem.mu_squared_caps())) < problem.budget


def with_errata(plan: Plan, problem: PowerProblem, *sentences: str) -> Plan:
    """The plan with ``sentences`` and what else holds for it, if the problem asks for the printed formulas; else unchanged.

    Adds a wrong N0, hindsight in zeta, and noise beyond the payload's own range.
    """
    if not problem.as_printed or plan.amplitudes is None:
        return plan
    found = [*sentences, NOISE]
    capped = 0 if plan.capped is None else int(plan.capped.sum())
    if plan.zeta is not None and 0 < capped < problem.rounds:
        found.append(
            f"zeta depends on all channels, future ones too: peak power limits {capped} of {problem.rounds} rounds; "
            "the schedule online needs no future."
        )
    loud = int(np.sum(problem.estimate_std(plan.amplitudes) > 1.0))
    if loud:
        found.append(
            f"The noise of the estimate exceeds the clip, and with it every possible payload, in {loud} of {problem.rounds} "
            "rounds; clip or shrink the estimate, or tighten sensitivity and accounting."
        )
    return replace(plan, errata=tuple(found))
