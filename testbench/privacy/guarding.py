"""The guard of a run, from its plan."""

import hashlib
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from learning.privacy.errors import CostlierThanPlanned, PrivacyError
from learning.privacy.guard import PrivacyGuard
from learning.privacy.odometer import Odometer
from testbench.privacy.design import Design
from testbench.privacy.fitting import ANNOUNCED
from testbench.privacy.sounding import round_sounder

__all__ = ["PlannedCharges", "guard_of", "plan_sha256"]


_REFRESHES = 40  # how often epsilon of sampled rounds is computed over a run; it takes a tenth of a second


class PlannedCharges:
    """What rounds cost under a plan; see :class:`learning.privacy.guard.Charges`.

    Without sampling every device has a sum of its own, and a round costs the run what it adds to the largest of them, so that
    the costs so far add up to the most exposed device's.

    :param as_printed: charge by the printed formulas; None: as the plan says
    """

    def __init__(self, design: Design, seed: int, as_printed: bool | None = None) -> None:
        self._design = design
        self._printed = design.settings.as_printed if as_printed is None else as_printed
        self._sounder = round_sounder(design.link, seed, design.listener)
        self._planned = design.charging.squares(design.amplitudes, design.artificial_noise, as_printed=self._printed)
        self._sums = np.zeros(self._planned.shape[1])

    @property
    def most_exposed(self) -> float:
        """Largest sum of mu^2 of a device so far."""
        return float(self._sums.max())

    def bound(self, round_index: int, present: NDArray[np.bool_]) -> float:
        """mu that the round costs with those present [K], announced a little dearer than planned."""
        if round_index >= len(self._planned):
            raise PrivacyError(f"the plan ends after {len(self._planned)} rounds; plan a longer run from its start")
        squares = self._squares(round_index, present)
        if self._design.charging.sampling_rate is not None:
            return math.sqrt(float(squares.max())) * ANNOUNCED
        more = float((self._sums + squares).max()) - self.most_exposed
        return math.sqrt(max(more, 0.0)) * ANNOUNCED

    def commit(self, round_index: int, present: NDArray[np.bool_]) -> None:
        """The round was sent by those present [K]."""
        self._sums += self._squares(round_index, present)

    def forfeit(self, round_index: int, cost: float) -> None:
        """The round may have been sent at ``cost``: it counts as if everybody had sent, and for no less."""
        before = self.most_exposed
        self.commit(round_index, np.ones(self._planned.shape[1], np.bool_))
        self._sums += max(cost**2 - (self.most_exposed - before), 0.0)

    def check(self, round_index: int, diagnostics: Mapping[str, float]) -> None:
        """:raises CostlierThanPlanned: the link reports that devices were louder than the plan lets them be"""
        aligned, planned = diagnostics.get("aligned_gain"), float(self._design.amplitudes[round_index])
        if aligned is None or aligned > planned * ANNOUNCED:
            raise CostlierThanPlanned(
                self._cost_at(round_index, planned if aligned is None else aligned),
                f"round {round_index} was sent with amplitude {'unknown' if aligned is None else f'{aligned:g}'} where "
                f"{planned:g} was planned: the link is not the one that the plan was made for; use the scenario's own",
            )

    def noise_variance(self, round_index: int, diagnostics: Mapping[str, float]) -> float:
        """Variance of the estimate's noise at the announced amplitude and number of devices."""
        aligned, active = diagnostics["aligned_gain"], diagnostics["active"]
        noise = float(self._design.artificial_noise[round_index])
        return float(self._design.charging.noise_variance(aligned, noise, active))

    def _cost_at(self, index: int, aligned: float) -> float:
        """What a round costs at most where devices arrive with ``aligned`` in place of what was planned."""
        design, one = self._design, slice(index, index + 1)
        louder = design.charging.squares(
            np.array([max(aligned, float(design.amplitudes[index]))]),
            design.artificial_noise[one],
            as_printed=self._printed,
            sounding=design.charging.sounding.of_round(index),
        )
        return math.sqrt(float(louder.max())) * ANNOUNCED

    def _squares(self, index: int, present: NDArray[np.bool_]) -> NDArray[np.float64]:
        """mu^2 [K] of one round."""
        if present.all():
            return np.asarray(self._planned[index])
        one = slice(index, index + 1)
        design, heard = self._design, self._sounder(index, present)
        found: NDArray[np.float64] = design.charging.squares(
            design.amplitudes[one], design.artificial_noise[one], as_printed=self._printed, sounding=heard
        )
        return np.asarray(found[0])


def plan_sha256(design: Design) -> str:
    """Hash of the amplitudes and the artificial noise of all rounds."""
    plan = hashlib.sha256(design.amplitudes.astype("<f8").tobytes() + design.artificial_noise.astype("<f8").tobytes())
    return plan.hexdigest()


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
    identity = {
        "planned_rounds": len(design.amplitudes),
        "privacy_plan_sha256": plan_sha256(design),
        "privacy_estimate": settings.estimate,
    }
    several = design.directions
    charges = PlannedCharges(design, seed)
    return PrivacyGuard(odometer, charges, settings.estimate, design.full_scale, identity, several.count, several.joint)
