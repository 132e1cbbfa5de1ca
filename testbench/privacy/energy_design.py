"""From a scenario with a scheme of energy detection to its privacy plan: nothing is scheduled, only counted and stopped.

A device is heard with the energy of its value, which changes a variance and not a mean: every round costs the same, and what
can be promised is how many of them there are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning.privacy.energy_odometer import EnergyOdometer
from learning.privacy.errors import PrivacyError
from learning.privacy.guard import PrivacyGuard
from learning.privacy.sensitivity import Sensitivity, delta_warning
from phy.config import LinkConfig
from testbench.fleet.disclosure import disclosures
from testbench.privacy import secrecy
from testbench.privacy.adversary import adversary, check_adversary
from testbench.privacy.design import counts_of, sampling_rate
from testbench.privacy.directions import sensitivity_of
from testbench.privacy.energy_plan import energy_round
from testbench.privacy.settings import PrivacyConfig
from testbench.privacy.wording import sampling_sentence
from testbench.scenario import Scenario

__all__ = ["EnergyDesign", "energy_design"]

_REFRESHES = 200  # how often epsilon is computed over a run
_IDLE = ("schedule", "schedule_settings", "contraction", "csi_gain", "gain_margin")


@dataclass(frozen=True)
class EnergyDesign:
    """The privacy plan of a run with energy detection.

    :param link: the scenario's own
    :param odometer: as it stands before the first round
    :param planned_epsilon: of all rounds that the budget admits
    :param statement: what is claimed, sentence by sentence
    :param notes: remarks and warnings
    """

    settings: PrivacyConfig
    link: LinkConfig
    sensitivity: Sensitivity
    odometer: EnergyOdometer
    rounds: int
    directions: int
    planned_epsilon: float
    statement: tuple[str, ...]
    notes: tuple[str, ...]

    def guard(self) -> PrivacyGuard:
        """A fresh guard, for the first round of a run or to be rebuilt from its journal."""
        limit = 1.0 if self.sensitivity.payload == "sign" else self.link.clip
        identity = {"planned_rounds": self.rounds, "privacy_estimate": self.settings.estimate}
        return PrivacyGuard(self.odometer, _EveryRound(), self.settings.estimate, limit, identity, self.directions)


class _EveryRound:
    """Charges a round that is sent as one, whoever sends; see :class:`learning.privacy.guard.Charges`."""

    def bound(self, round_index: int, present: NDArray[np.bool_]) -> float:
        return 1.0

    def commit(self, round_index: int, present: NDArray[np.bool_]) -> None:
        pass

    def forfeit(self, round_index: int, cost: float) -> None:
        pass

    def check(self, round_index: int, diagnostics: Mapping[str, float]) -> None:
        pass

    def noise_variance(self, round_index: int, diagnostics: Mapping[str, float]) -> float:
        return math.nan  # depends on what is sent; the scenario refuses to shrink by it


def energy_design(scenario: Scenario, examples_per_device: int | Sequence[int]) -> EnergyDesign:
    """Plan the privacy of ``scenario``, whose scheme detects energies.

    :raises PrivacyError: what is asked for cannot be claimed, in one sentence
    :raises testbench.errors.TestbenchError: a channel that the accounting does not cover
    """
    settings, rounds = scenario.privacy, scenario.federation.rounds
    if settings.epsilon is None:
        raise PrivacyError("no privacy is asked for; set privacy.epsilon")
    counts = counts_of(examples_per_device, scenario.federation.devices)
    sampling_rate(scenario, counts)  # refuses batches that repeat a record
    sensitivity = sensitivity_of(scenario)
    check_adversary(scenario)
    own = settings.adversary
    if own.antennas and (own.channel == "given" or own.correlation or own.antenna_correlation or own.distance_m is not None):
        raise PrivacyError(
            "energy detection is accounted for fades of mean gain 1 that are independent over antennas; set "
            'privacy.adversary.channel to "rayleigh", and leave out its correlations and distance_m'
        )
    one = energy_round(scenario, settings.adversary_advantage_db, own.antennas, sensitivity)
    budget = settings.epsilon if settings.on_budget == "stop" else None
    odometer = EnergyOdometer(one, settings.delta, rounds, budget, refresh_rounds=-(-rounds // _REFRESHES))
    if odometer.admitted == 0:
        raise PrivacyError(
            f"a single round of {one.scheme} spends epsilon = {odometer.after(1):.4g} of {settings.epsilon:g} at delta = "
            f"{settings.delta:g}; lower link.snr_max_db, or raise privacy.epsilon"
        )
    planned = odometer.after(odometer.admitted)
    notes = [warning for warning in [delta_warning(settings.delta, sum(counts))] if warning]
    notes += [f"privacy.{name} has no effect on schemes of energy detection" for name in settings.changed if name in _IDLE]
    if odometer.admitted < rounds:
        notes.append(
            f"the budget admits {odometer.admitted} of {rounds} rounds, and the run will stop there: all of them would spend "
            f"epsilon = {odometer.after(rounds):.4g}"
        )
    statement = (
        sensitivity.statement,
        f"the adversary is {adversary(scenario)}",
        f"N0 = {scenario.link.n0:.4g} is the variance of a complex sample; a device changes the variance of what is received, "
        f"from at most N0 + {one.energy:g} to N0, in fades of mean gain 1 that nobody knows and that are new in every round",
        sampling_sentence(None),
        f"delta = {settings.delta:g}, counted as variance shifts: the smaller of Renyi divergences and the exact worst pair",
        f"every round costs the same; {odometer.admitted} of {rounds} spend epsilon = {planned:.4g} of {settings.epsilon:g}",
        *secrecy.sentences(scenario),
        *disclosures(scenario),
    )
    return EnergyDesign(
        settings=settings,
        link=scenario.link,
        sensitivity=sensitivity,
        odometer=odometer,
        rounds=rounds,
        directions=scenario.zeroth_order.directions,
        planned_epsilon=planned,
        statement=statement,
        notes=tuple(notes),
    )
