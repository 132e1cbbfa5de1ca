"""Energy detection attacked: two neighbouring runs told apart by the energies that the link really delivers.

Such a release is no mean in known noise, and its privacy is bounded rather than computed; here the bound is held against
trials. One device is on the air, which is the worst for it. It sends +x in the first world and -x in the second (or nothing,
where the neighbour lacks a record), and the score is the difference of the energies that the link's two tones bring to all
looks and antennas of a run of some rounds, which orders trials as their likelihood ratio does where the tones' samples are
independent. Clopper-Pearson limits on its errors give a lower limit on epsilon (:mod:`learning.privacy.audit.bounds`): it
refutes a claim with probability 1 - confidence at most where the claim is true, and confirms none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning.privacy.audit.bounds import epsilon_lower_bound
from phy.backends import in_process
from phy.draws import KeyedDraws
from phy.energy import keyed_dither
from phy.link import Link
from testbench.privacy.adversary import listener_of
from testbench.privacy.energy_design import EnergyDesign
from testbench.scenario import Scenario

__all__ = ["EnergyVerdict", "attack_energies"]

Floats = NDArray[np.float64]

_MOST_ROUNDS = 32  # of a trial
_FIRST_ROUND = 1 << 30  # trials are rounds that no run has
_CONFIDENCE = 0.999
_SIGMAS = 5.0  # by which a mean energy must exceed what is claimed


@dataclass(frozen=True)
class EnergyVerdict:
    """``trials`` of ``rounds`` rounds each against a claim of ``epsilon`` for so many; ``at_least`` holds with ``confidence``.

    ``energy``, ``energy_error``: mean energy per antenna that a device at full scale was heard with, and its standard error;
    the claim reckons with ``energy_claimed``.
    """

    rounds: int
    trials: int
    epsilon: float
    at_least: float
    confidence: float
    energy: float
    energy_error: float
    energy_claimed: float

    @property
    def refuted(self) -> bool:
        """Whether more leaks, or devices are louder, than the claim reckons with."""
        return self.at_least > self.epsilon or self.energy - _SIGMAS * self.energy_error > self.energy_claimed

    @property
    def sentence(self) -> str:
        """What is refuted."""
        if self.at_least > self.epsilon:
            return (
                f"a claim of epsilon = {self.epsilon:.4g} for {self.rounds} rounds is not true of this link: an attack on "
                f"{self.trials} of them finds at least {self.at_least:.4g}"
            )
        return (
            f"the claim reckons with a mean energy of {self.energy_claimed:.4g} per antenna, and devices arrive with "
            f"{self.energy:.4g} (standard error {self.energy_error:.2g})"
        )


def attack_energies(scenario: Scenario, planned: EnergyDesign, trials: int) -> EnergyVerdict:
    """Hold what ``planned`` charges for some rounds against ``trials`` of them in either world."""
    rounds = max(1, min(planned.odometer.admitted, planned.rounds, _MOST_ROUNDS))
    count = rounds * trials
    link = Link(in_process(planned.link), scenario.seed, listener=listener_of(scenario))
    half = min(1.0, planned.sensitivity.ratio / 2.0) * planned.link.clip
    other = 0.0 if planned.sensitivity.relation == "record_add_remove" and planned.sensitivity.payload != "sign" else -half
    scores, full = [], np.zeros(0)
    for world, value in enumerate((other, half)):
        first = _FIRST_ROUND + world * count
        heard = _heard(scenario, planned, link, value, first, count)
        dither = keyed_dither(KeyedDraws(scenario.seed), first, count, planned.directions)
        if heard.shape[2] == 2:
            scores.append((heard[..., 0] - heard[..., 1]).reshape(trials, -1).sum(axis=1))
            full = heard[..., 0].ravel()
        else:  # one tone, which goes up or down with a sign that everybody knows
            scores.append((heard[..., 0] * dither).reshape(trials, -1).sum(axis=1))
            full = heard[..., 0][dither > 0]
    looks = planned.link.noncoherent.looks
    antennas = planned.link.receive_antennas + scenario.privacy.adversary.antennas
    per_antenna = full / antennas - looks * planned.link.n0
    found = epsilon_lower_bound(scores[0], scores[1], planned.settings.delta, _CONFIDENCE)
    return EnergyVerdict(
        rounds=rounds,
        trials=trials,
        epsilon=planned.odometer.after(rounds),
        at_least=float(found.value),
        confidence=_CONFIDENCE,
        energy=float(per_antenna.mean()),
        energy_error=float(per_antenna.std() / math.sqrt(per_antenna.size)),
        energy_claimed=1.0 if planned.sensitivity.payload == "sign" else half / planned.link.clip,
    )


def _heard(scenario: Scenario, planned: EnergyDesign, link: Link, value: float, first: int, count: int) -> Floats:
    """Energies [B, n, tones] over all looks and antennas where one device sends ``value``, and nobody else anything."""
    devices, n = scenario.federation.devices, planned.directions
    payloads = np.zeros((count, devices, n))
    payloads[:, 0] = value
    present = np.zeros((count, devices), np.bool_)
    present[:, 0] = True
    seen = link.observe(np.arange(first, first + count), payloads, present)
    energy = np.square(np.abs(seen.astype(np.complex128)))
    looks = planned.link.noncoherent.looks
    tones = 1 if planned.link.scheme == "ncairfl" else 2
    own = n * looks * tones * planned.link.receive_antennas
    places = [energy[:, :own], energy[:, own:]]
    return np.asarray(sum(place.reshape(count, n, looks, tones, -1).sum(axis=(2, 4)) for place in places if place.size))
