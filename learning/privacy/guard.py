"""Privacy in a run: asks before every round, charges after it, and makes of the estimate what is free to make of it.

The guard decides on a round *before* anything is sent, from a bound on what it will cost; afterwards it charges what the link
reports. It holds nothing that the journal does not hold, and is rebuilt from there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from learning.journal import Journal
from learning.privacy.errors import PrivacyError
from learning.privacy.odometer import Odometer
from learning.privacy.postprocess import Broadcast, Processing

__all__ = ["ABSENT", "EPSILON", "MU", "RAW", "UNANSWERED", "Charges", "Counter", "PrivacyGuard", "present_in"]

Bools = npt.NDArray[np.bool_]

#: Names of the guard's diagnostics in a journal: MU is what a coherent round cost, RAW what was received (RAW_1, RAW_2, ... of
#: further directions) where something else was applied, UNANSWERED marks a round that may have been on the air before the run
#: was cut off.
EPSILON, MU, RAW, UNANSWERED = "epsilon_spent", Odometer.unit, "raw_estimate", "unanswered"
#: Before the number of a device that was not on the air.
ABSENT = "absent_"

_NOTHING: Mapping[str, float] = {}


class Counter(Protocol):
    """Adds up what rounds cost: an :class:`learning.privacy.odometer.Odometer`, or one of energy detection."""

    #: What a cost is called in the journal.
    unit: str

    @property
    def rounds(self) -> int:
        """Rounds so far, those that cost nothing included."""

    @property
    def epsilon(self) -> float:
        """Spent so far, never less than was."""

    def would_exceed(self, cost: float, /) -> bool:
        """Whether one more round of this cost would pass the budget."""

    def spend(self, cost: float, /) -> None:
        """Record one round; raises :class:`PrivacyError` where it would pass the budget."""


class Charges(Protocol):
    """What rounds cost, in the unit of their counter. A round is charged once, however many scalars it carries."""

    def bound(self, round_index: int, present: Bools) -> float:
        """What the round costs, known before it is sent to those present [K]."""

    def commit(self, round_index: int, present: Bools) -> None:
        """The round was sent: later ones are counted on top of it."""

    def forfeit(self, round_index: int, cost: float) -> None:
        """The round may have been sent, by nobody knows whom, at ``cost``."""

    def check(self, round_index: int, diagnostics: Mapping[str, float]) -> None:
        """Refuse, with :class:`CostlierThanPlanned`, a link that by its diagnostics is not the one that was planned for."""

    def noise_variance(self, round_index: int, diagnostics: Mapping[str, float]) -> float:
        """Variance of the noise of each estimate, from what is public; infinity where nothing was heard."""


def present_in(diagnostics: Mapping[str, float | None], devices: int) -> Bools:
    """Who was on the air in a round of a journal. bool[K]."""
    present = np.ones(devices, dtype=np.bool_)
    for name in diagnostics:
        if name.startswith(ABSENT):
            present[int(name.removeprefix(ABSENT))] = False
    return present


class PrivacyGuard:
    """Odometer, filter and post-processing of one run.

    :param odometer: with a budget, the run stops before the round that would pass it; without one it only counts
    :param charges: what rounds cost
    :param estimate: what is applied: the estimates as they are, clipped to ``limit``, or shrunk (Wiener, causal) and clipped
    :param limit: largest magnitude that a true mean can have; in Euclidean norm over the directions where ``joint``
    :param identity: what a resumed run must share with the first one; goes into the journal
    :param directions: estimates of a round
    :param joint: whether a device's values of a round are clipped jointly
    """

    def __init__(
        self,
        odometer: Counter,
        charges: Charges,
        estimate: Processing,
        limit: float,
        identity: Mapping[str, Any],
        directions: int = 1,
        joint: bool = False,
    ) -> None:
        self.identity = dict(identity)
        self._odometer = odometer
        self._charges = charges
        self._estimate = estimate
        self._broadcast = Broadcast(estimate, limit, directions, joint)
        self._directions = directions
        self._bound = math.inf
        self._present: Bools = np.ones(0, dtype=np.bool_)

    @property
    def epsilon(self) -> float:
        """Spent so far."""
        return self._odometer.epsilon

    @property
    def bound(self) -> float:
        """The most that the round which was admitted last may cost."""
        return self._bound

    def admits(self, round_index: int, present: Bools) -> bool:
        """Whether the next round may be sent.

        :raises PrivacyError: rounds out of order, or beyond the plan
        """
        if round_index != self._odometer.rounds:
            raise PrivacyError(
                f"the odometer stands at round {self._odometer.rounds}, not {round_index}; resume from the journal"
            )
        self._bound = self._charges.bound(round_index, present) if present.any() else 0.0
        self._present = present.copy()
        return not self._odometer.would_exceed(self._bound)

    def settle(
        self, round_index: int, estimates: Sequence[float] | None, diagnostics: Mapping[str, float] | None
    ) -> tuple[tuple[float, ...] | None, dict[str, float]]:
        """The estimates to apply, one per direction, and what goes into the journal.

        :param estimates: as they were received; None where the round was lost
        :param diagnostics: the link's own; None where nothing was sent
        :raises CostlierThanPlanned: the link is not the one that was planned for
        :raises PrivacyError: another number of estimates than directions
        """
        cost = 0.0
        if diagnostics is not None:
            self._charges.check(round_index, diagnostics)
            cost = self._bound
        self._odometer.spend(cost)
        notes = {self._odometer.unit: cost, EPSILON: self._odometer.epsilon}
        if diagnostics is not None:
            self._charges.commit(round_index, self._present)
            notes.update({f"{ABSENT}{device}": 1.0 for device in np.flatnonzero(~self._present).tolist()})
        if estimates is None:
            return None, notes
        if len(estimates) != self._directions:
            raise PrivacyError(
                f"round {round_index} has {len(estimates)} estimates, and privacy was planned for {self._directions}"
            )
        if self._estimate != "none":
            notes.update(zip(self._raw_names, estimates, strict=True))
        return self._processed(round_index, estimates, diagnostics or _NOTHING), notes

    def forfeit(self, round_index: int, cost: float) -> dict[str, float]:
        """Charge a round whose outcome nobody has, and which may have been on the air; returns what goes into the journal.

        :param cost: what it was bound to cost when it was about to be sent
        :raises PrivacyError: rounds out of order, or a cost beyond the budget
        """
        if round_index != self._odometer.rounds:
            raise PrivacyError(
                f"the odometer stands at round {self._odometer.rounds}, not {round_index}; resume from the journal"
            )
        self._odometer.spend(cost)
        self._charges.forfeit(round_index, cost)
        return {self._odometer.unit: cost, EPSILON: self._odometer.epsilon, UNANSWERED: 1.0}

    def rebuild(self, journal: Journal, devices: int) -> None:
        """Charge, and learn from, the journal's rounds of so many devices that are not accounted yet.

        :raises PrivacyError: the journal lacks what the guard wrote
        """
        for row in journal.rows():
            if row.round < self._odometer.rounds:
                continue
            cost = row.diagnostics.get(self._odometer.unit)
            if cost is None:
                raise PrivacyError(f"{journal.path} does not say what round {row.round} cost; restore it from a copy")
            self._odometer.spend(cost)
            if UNANSWERED in row.diagnostics:
                self._charges.forfeit(row.round, cost)
            elif cost > 0:
                self._charges.commit(row.round, present_in(row.diagnostics, devices))
            raw = [value for name in self._raw_names if (value := row.diagnostics.get(name)) is not None]
            if len(raw) == self._directions:
                known = {name: value for name, value in row.diagnostics.items() if value is not None}
                self._processed(row.round, raw, known)

    @property
    def _raw_names(self) -> list[str]:
        return [f"{RAW}_{i}" if i else RAW for i in range(self._directions)]

    def _processed(self, round_index: int, raw: Sequence[float], diagnostics: Mapping[str, float]) -> tuple[float, ...]:
        variance = self._charges.noise_variance(round_index, diagnostics) if self._estimate == "wiener" else math.nan
        return self._broadcast.apply(raw, variance)
