"""Privacy in a run: asks before every round, charges after it, and makes of the estimate what is free to make of it.

The guard decides on a round *before* anything is sent, from a bound on what it will cost; afterwards it charges what the link
reports. It holds nothing that the journal does not hold, and is rebuilt from there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from learning.journal import Journal
from learning.privacy.errors import PrivacyError
from learning.privacy.odometer import Odometer
from learning.privacy.postprocess import RunningWiener

__all__ = ["EPSILON", "MU", "RAW", "Charges", "PrivacyGuard"]

Bools = npt.NDArray[np.bool_]

#: Names of the guard's diagnostics in a journal.
EPSILON, MU, RAW = "epsilon_spent", "privacy_mu", "raw_estimate"

_NOTHING: Mapping[str, float] = {}


class Charges(Protocol):
    """What rounds cost."""

    def bound(self, round_index: int, present: Bools) -> float:
        """No less than ``realised`` of the round, known before it is sent to those present [K]."""

    def realised(self, round_index: int, diagnostics: Mapping[str, float]) -> float:
        """What the round cost, from the link's diagnostics."""

    def noise_variance(self, round_index: int, diagnostics: Mapping[str, float]) -> float:
        """Variance of the estimate's noise, from what is public; infinity where nothing was heard."""


class PrivacyGuard:
    """Odometer, filter and post-processing of one run.

    :param odometer: with a budget, the run stops before the round that would pass it; without one it only counts
    :param charges: what rounds cost
    :param estimate: what is applied: the estimate as it is, clipped to ``limit``, or shrunk (Wiener, causal) and clipped
    :param limit: largest magnitude that a true mean can have
    :param identity: what a resumed run must share with the first one; goes into the journal
    """

    def __init__(
        self,
        odometer: Odometer,
        charges: Charges,
        estimate: Literal["none", "clip", "wiener"],
        limit: float,
        identity: Mapping[str, Any],
    ) -> None:
        self.identity = dict(identity)
        self._odometer = odometer
        self._charges = charges
        self._estimate = estimate
        self._limit = limit
        self._wiener = RunningWiener(limit * limit) if estimate == "wiener" else None
        self._bound = math.inf

    @property
    def epsilon(self) -> float:
        """Spent so far."""
        return self._odometer.epsilon

    def admits(self, round_index: int, present: Bools) -> bool:
        """Whether the next round may be sent.

        :raises PrivacyError: rounds out of order, or beyond the plan
        """
        if round_index != self._odometer.rounds:
            raise PrivacyError(
                f"the odometer stands at round {self._odometer.rounds}, not {round_index}; resume from the journal"
            )
        self._bound = self._charges.bound(round_index, present) if present.any() else 0.0
        return not self._odometer.would_exceed(self._bound)

    def settle(
        self, round_index: int, estimate: float | None, diagnostics: Mapping[str, float] | None
    ) -> tuple[float | None, dict[str, float]]:
        """The estimate to apply, and what goes into the journal.

        :param estimate: as it was received; None where the round was lost
        :param diagnostics: the link's own; None where nothing was sent
        :raises PrivacyError: the round cost more than its bound
        """
        mu = 0.0 if diagnostics is None else self._charges.realised(round_index, diagnostics)
        if mu > self._bound:
            raise PrivacyError(
                f"round {round_index} cost mu = {mu:g}, more than the {self._bound:g} that was planned: the link is not the "
                "one that the plan was made for; use the scenario's own air server"
            )
        self._odometer.spend(mu)
        notes = {MU: mu, EPSILON: self._odometer.epsilon}
        if estimate is None:
            return None, notes
        if self._estimate != "none":
            notes[RAW] = estimate
        return self._processed(round_index, estimate, diagnostics or _NOTHING), notes

    def rebuild(self, journal: Journal) -> None:
        """Charge, and learn from, the journal's rounds that are not accounted yet.

        :raises PrivacyError: the journal lacks what the guard wrote
        """
        for row in journal.rows():
            if row.round < self._odometer.rounds:
                continue
            mu = row.diagnostics.get(MU)
            if mu is None:
                raise PrivacyError(f"{journal.path} does not say what round {row.round} cost; restore it from a copy")
            self._odometer.spend(mu)
            raw = row.diagnostics.get(RAW)
            if raw is not None:
                known = {name: value for name, value in row.diagnostics.items() if value is not None}
                self._processed(row.round, raw, known)

    def _processed(self, round_index: int, raw: float, diagnostics: Mapping[str, float]) -> float:
        value = raw
        if self._wiener is not None:
            variance = self._charges.noise_variance(round_index, diagnostics)
            value = float(self._wiener.apply(np.array([raw]), variance)[0])
        return value if self._estimate == "none" else min(max(value, -self._limit), self._limit)
