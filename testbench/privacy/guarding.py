"""The guard of a run, from its plan."""

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from learning.privacy.errors import PrivacyError
from learning.privacy.guard import PrivacyGuard
from learning.privacy.odometer import Odometer
from testbench.privacy.design import Design
from testbench.privacy.fitting import ANNOUNCED
from testbench.privacy.sounding import round_gains

__all__ = ["guard_of"]


_REFRESHES = 40  # how often epsilon of sampled rounds is computed over a run; it takes a tenth of a second


class PlannedCharges:
    """What rounds cost under a plan; see :class:`learning.privacy.guard.Charges`."""

    def __init__(self, design: Design, seed: int) -> None:
        self._design = design
        self._gains = round_gains(design.link, seed, len(design.amplitudes))

    def bound(self, round_index: int, present: NDArray[np.bool_]) -> float:
        """Announced mu of the round, for those present."""
        design = self._design
        if round_index >= len(design.amplitudes):
            raise PrivacyError(f"the plan ends after {len(design.amplitudes)} rounds; plan a longer run from its start")
        excess = float(design.sounding.excess[round_index])
        # One antenna: who is absent cannot be the loudest, and leaves the others as they are. Several: the combiner changes.
        if design.link.receive_antennas > 1 and not present.all():
            excess = self._gains(round_index, present)
        amplitude, noise = float(design.amplitudes[round_index]), float(design.artificial_noise[round_index])
        printed = design.settings.as_printed
        return design.charging.bound(amplitude, excess, round_index, noise, as_printed=printed) * ANNOUNCED

    def realised(self, round_index: int, diagnostics: Mapping[str, float]) -> float:
        """What the round cost at the gains that the link reports."""
        design = self._design
        noise = float(design.artificial_noise[round_index])
        return design.charging.realised(diagnostics, noise, as_printed=design.settings.as_printed)

    def noise_variance(self, round_index: int, diagnostics: Mapping[str, float]) -> float:
        """Variance of the estimate's noise at the announced amplitude and number of devices."""
        aligned, active = diagnostics["aligned_gain"], diagnostics["active"]
        noise = float(self._design.artificial_noise[round_index])
        return float(self._design.charging.noise_variance(aligned, noise, active))


def guard_of(design: Design, seed: int) -> PrivacyGuard:
    """A fresh guard, for the first round of a run or to be rebuilt from its journal."""
    settings = design.settings
    odometer = Odometer(
        settings.delta,
        settings.accounting,
        settings.epsilon if settings.on_budget == "stop" else None,
        schedule=design.charged.scaled(ANNOUNCED),
        refresh_rounds=-(-len(design.amplitudes) // _REFRESHES),
    )
    plan = hashlib.sha256(design.amplitudes.astype("<f8").tobytes() + design.artificial_noise.astype("<f8").tobytes())
    identity = {
        "planned_rounds": len(design.amplitudes),
        "privacy_plan_sha256": plan.hexdigest(),
        "privacy_estimate": settings.estimate,
    }
    several = design.directions
    charges = PlannedCharges(design, seed)
    return PrivacyGuard(odometer, charges, settings.estimate, design.full_scale, identity, several.count, several.joint)
