"""What a run says of its privacy in ``summary.json``; every key exists in every run, null where no privacy is claimed."""

import math
from typing import Any

import numpy as np

from learning.journal import Journal
from learning.privacy.accountants import find as find_accountant
from learning.privacy.energy_odometer import EnergyOdometer
from learning.privacy.guard import EPSILON, MU, UNANSWERED, present_in
from learning.privacy.release import Release
from testbench.privacy.adversary import adversary
from testbench.privacy.design import Design
from testbench.privacy.energy_design import EnergyDesign
from testbench.privacy.guarding import PlannedCharges
from testbench.privacy.run_plan import RunPlan
from testbench.privacy.secrecy import randomness
from testbench.scenario import Scenario
from testbench.spread import root_mean_square

__all__ = ["privacy_keys"]

_UNITS = (MU, EnergyOdometer.unit)

KEYS = (
    "epsilon_budget",
    "epsilon_spent",
    "epsilon_gdp",
    "mu_squared",
    "epsilon_planned",
    "rounds_charged",
    "rounds_unanswered",
    "delta",
    "accounting",
    "sensitivity",
    "sampling_rate",
    "adversary",
    "randomness",
    "schedule",
    "artificial_noise",
    "estimate_std_median",
    "estimate_std_rms",
    "privacy_stopped_at_round",
    "privacy_statement",
)


def privacy_keys(scenario: Scenario, design: RunPlan | None, journal: Journal, stopped: int | None) -> dict[str, Any]:
    """The flat keys of a finished run.

    :param stopped: the round before which the filter stopped the run
    """
    if design is None:
        return dict.fromkeys(KEYS)
    if isinstance(design, EnergyDesign):
        return _energy_keys(scenario, design, journal, stopped)
    settings, spent = design.settings, _spent(journal)
    true = PlannedCharges(design, scenario.seed, as_printed=False)
    for row in journal.rows():
        if not row.diagnostics.get(MU):
            continue
        if UNANSWERED in row.diagnostics:
            true.forfeit(row.round, float(row.diagnostics[MU] or 0.0))
        else:
            true.commit(row.round, present_in(row.diagnostics, scenario.federation.devices))
    audible = design.estimate_std[np.isfinite(design.estimate_std)]
    return {
        "epsilon_budget": settings.epsilon,
        "epsilon_spent": spent,
        "epsilon_gdp": _finite(_exact(design, true.most_exposed)),
        "mu_squared": _finite(true.most_exposed) if design.sampling_rate is None else None,
        "epsilon_planned": _finite(design.planned_epsilon),
        **_counts(journal),
        "delta": settings.delta,
        "accounting": settings.accounting,
        "sensitivity": design.sensitivity.statement,
        "sampling_rate": design.sampling_rate,
        "adversary": adversary(scenario),
        "randomness": randomness(scenario),
        "schedule": settings.schedule,
        "artificial_noise": float(design.artificial_noise.max(initial=0.0)),
        "estimate_std_median": float(np.median(audible)) if audible.size else None,
        "estimate_std_rms": root_mean_square(audible) if audible.size else None,
        "privacy_stopped_at_round": stopped,
        "privacy_statement": _joined(design.statement),
    }


def _energy_keys(scenario: Scenario, design: EnergyDesign, journal: Journal, stopped: int | None) -> dict[str, Any]:
    """Those of a run with energy detection: no schedule, no artificial noise, and noise that depends on what is sent."""
    settings = design.settings
    return dict.fromkeys(KEYS) | {
        "epsilon_budget": settings.epsilon,
        "epsilon_spent": _spent(journal),
        "epsilon_planned": _finite(design.planned_epsilon),
        **_counts(journal),
        "delta": settings.delta,
        "accounting": settings.accounting,
        "sensitivity": design.sensitivity.statement,
        "adversary": adversary(scenario),
        "randomness": randomness(scenario),
        "artificial_noise": 0.0,
        "privacy_stopped_at_round": stopped,
        "privacy_statement": _joined(design.statement),
    }


def _spent(journal: Journal) -> float:
    spent = 0.0
    for row in journal.rows():
        spent = row.diagnostics.get(EPSILON) or spent
    return spent


def _counts(journal: Journal) -> dict[str, int]:
    """Rounds that were charged, and those among them of which nobody knows whether they were sent."""
    rows = list(journal.rows())
    return {
        "rounds_charged": sum(any(row.diagnostics.get(unit) for unit in _UNITS) for row in rows),
        "rounds_unanswered": sum(UNANSWERED in row.diagnostics for row in rows),
    }


def _joined(statement: tuple[str, ...]) -> str:
    return "; ".join(sentence.rstrip(".") for sentence in statement)


def _exact(design: Design, square: float) -> float:
    """Exact epsilon of the rounds that were sent, without amplification: of the most exposed device's sum of mu^2."""
    release = Release(np.array([math.sqrt(square)]), extra_delta=design.charging.extra_delta, csi=design.charging.csi)
    return float(find_accountant("gdp")().epsilon(release, design.settings.delta))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
