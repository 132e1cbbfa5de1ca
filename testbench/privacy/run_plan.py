"""The privacy plan of a run, whatever its scheme, and the guard that follows from it."""

from collections.abc import Callable, Sequence

from learning.privacy.guard import PrivacyGuard
from testbench.privacy.design import Design, design
from testbench.privacy.energy_design import EnergyDesign, energy_design
from testbench.privacy.guarding import guard_of
from testbench.privacy.settings import ENERGY_SCHEMES
from testbench.privacy.verify import check_energies, check_plan
from testbench.scenario import Scenario

__all__ = ["RunPlan", "fresh_guard", "plan_run"]

RunPlan = Design | EnergyDesign


def plan_run(
    scenario: Scenario, examples_per_device: int | Sequence[int], progress: Callable[[int, int], None] | None = None
) -> RunPlan:
    """Plan the privacy of ``scenario``; ``progress`` is told (rounds sounded, rounds in all).

    :raises learning.privacy.errors.PrivacyError: what is asked for cannot be claimed, in one sentence
    """
    if scenario.link.scheme in ENERGY_SCHEMES:
        energies = energy_design(scenario, examples_per_device)
        check_energies(scenario, energies)
        return energies
    planned = design(scenario, examples_per_device, progress)
    check_plan(scenario, planned)
    return planned


def fresh_guard(plan: RunPlan, seed: int) -> PrivacyGuard:
    """The guard of the first round of a run, or to be rebuilt from its journal."""
    return plan.guard() if isinstance(plan, EnergyDesign) else guard_of(plan, seed)
