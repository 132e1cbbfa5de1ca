"""Asynchrony of the protocol, on purpose: missed and late answers, wrong seeds, lost broadcasts.

docs/faults.md says what each fault means. Every event is a pure function of (seed, event, round, device), so it depends
neither on the number of devices nor on where a run was cut off and resumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from learning.config import FaultsConfig, ZerothOrderConfig
from learning.drift import Term
from learning.errors import RoundError
from learning.journal import Journal
from learning.passes import moves, update
from learning.perturbation import RawStream

__all__ = ["FAULTS", "Event", "FaultDraws", "Faults", "Plan"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Second word of the Philox key of every fault, beside those of ``learning.keys``.
FAULTS = int.from_bytes(b"faults".ljust(8, b"\0"), "little")

_WORDS_PER_BLOCK = 4
_LATE_PAYLOAD = "late_payload_"


class Event(IntEnum):
    """What is drawn for every round and device; the number is the stream of the draw."""

    MISS = 0
    LATE = 1
    WRONG_SEED = 2
    OTHER_SEED = 3
    LOST_BROADCAST = 4


class FaultDraws:
    """The events of any round: word k of the Philox stream (seed, faults, event, round) is device k's."""

    def __init__(self, seed: int, devices: int) -> None:
        self._seed = seed
        self.devices = devices
        self._stream = RawStream(FAULTS)

    def happens(self, event: Event, round_index: int, probability: float) -> Bools:
        """bool[K]: for each device, true with ``probability`` (the word's top 53 bits against it)."""
        if probability == 0.0:
            return np.zeros(self.devices, dtype=np.bool_)
        top = (self._words(event, round_index) >> np.uint64(11)).astype(np.float64)  # exact
        return np.asarray(top < probability * 2.0**53)

    def other_seeds(self, round_index: int) -> list[int]:
        """For each device, the seed (63 bits) that it works along where its seed is wrong."""
        return [word >> 1 for word in self._words(Event.OTHER_SEED, round_index).tolist()]

    def _words(self, event: Event, round_index: int) -> npt.NDArray[np.uint64]:
        blocks = -(-self.devices // _WORDS_PER_BLOCK)
        raw = self._stream.read(self._seed, round_index, 0, blocks, direction=int(event))
        return raw.view("<u8").astype(np.uint64, copy=False)[: self.devices]


@dataclass(frozen=True, eq=False)
class Plan:
    """What befalls the devices in one round.

    :ivar missed: bool[K], the devices whose answer never comes
    :ivar late: bool[K], the devices whose answer comes in a later round
    :ivar stale: device -> the earlier round's scalars [n] that it sends now instead of its own
    :ivar wrong_seeds: device -> the seed that it takes for the shared one
    :ivar deaf: bool[K], the devices that will not hear this round's estimate
    :ivar terms: device -> its displacement from the reference weights, for those that have drifted
    """

    round: int
    missed: Bools
    late: Bools
    stale: Mapping[int, Floats]
    wrong_seeds: Mapping[int, int]
    deaf: Bools
    terms: Mapping[int, tuple[Term, ...]]

    @property
    def present(self) -> Bools:
        """bool[K]: who is on the air."""
        return ~(self.missed | self.late)

    @property
    def apart(self) -> list[int]:
        """The devices that cannot share the evaluation of the others, because of their weights or their seed."""
        return sorted(self.terms.keys() | self.wrong_seeds.keys())

    def on_air(self, fresh: Floats) -> Floats:
        """float64[K, n]: what each device sends, given the scalars that were measured; zero for those that are silent."""
        sent = np.where(self.present[:, None], fresh, 0.0)
        for device, payload in self.stale.items():
            sent[device] = payload
        return sent

    def report(self, fresh: Floats, estimates: Sequence[float] | None, distance: float) -> dict[str, float]:
        """Diagnostics of the round; ``late_payload_<device>`` keeps the scalars that are still to come.

        Where a round has several directions, those after the first are ``late_payload_<device>_<direction>``.
        """
        numbers = {
            "present_devices": self.present.sum(),
            "missed_devices": self.missed.sum(),
            "late_devices": self.late.sum(),
            "stale_devices": len(self.stale),
            "wrong_seed_devices": len(self.wrong_seeds),
            "lost_broadcast_devices": 0 if estimates is None else self.deaf.sum(),
            "drifted_devices": len(self.terms),
            "drift_distance": distance,
            **{
                f"{_LATE_PAYLOAD}{device}" + (f"_{j}" if j else ""): value
                for device in np.flatnonzero(self.late)
                for j, value in enumerate(fresh[device])
            },
        }
        return {name: float(value) for name, value in numbers.items()}


class Faults:
    """What the devices of a run still owe and how far they have drifted.

    Call ``plan``, then ``commit``, once per round. The state is a function of the draws and of the journal's newest rows;
    ``rebuild`` takes it from there.
    """

    def __init__(self, config: FaultsConfig, zo_config: ZerothOrderConfig, seed: int, devices: int) -> None:
        if config.drifts and (zo_config.weight_decay or zo_config.perturbation == "mezo"):
            raise RoundError(
                "drifting devices are followed along the directions that they missed, which zeroth_order.weight_decay and the "
                "perturbation mezo do not allow; leave out lost broadcasts and wrong seeds, or those settings"
            )
        self._config = config
        self._zo = zo_config
        self._seed = seed
        self._draws = FaultDraws(seed, devices)
        self._late: dict[int, dict[int, Floats]] = {}  # round of the measurement -> device -> scalars
        self._terms: dict[int, list[Term]] = {}

    def plan(self, round_index: int) -> Plan:
        """The faults of the round that comes next."""
        config, happens = self._config, self._draws.happens
        stale = self._late.get(round_index - config.late_rounds, {})
        free = np.ones(self._draws.devices, dtype=np.bool_)
        free[list(stale)] = False  # one radio: who sends an old scalar sends no new one
        missed = happens(Event.MISS, round_index, config.miss_probability) & free
        late = happens(Event.LATE, round_index, config.late_probability) & free & ~missed
        return Plan(
            round=round_index,
            missed=missed,
            late=late,
            stale=dict(stale),
            wrong_seeds=self._wrong_seeds(round_index),
            deaf=self._deaf(round_index),
            terms={device: tuple(terms) for device, terms in self._terms.items()},
        )

    def commit(self, plan: Plan, fresh: Floats, estimates: Sequence[float] | None, learning_rate: float | None = None) -> None:
        """Take note of a round that has been applied; ``estimates`` [n] None where it was lost."""
        self._late.pop(plan.round - self._config.late_rounds, None)
        if plan.late.any():
            self._late[plan.round] = {int(device): fresh[device].copy() for device in np.flatnonzero(plan.late)}
        self._drift(plan.round, estimates, plan.deaf, plan.wrong_seeds, learning_rate)

    def rebuild(self, journal: Journal) -> None:
        """The state after the journal's last round."""
        self._late, self._terms = {}, {}
        count, every = len(journal), self._config.resync_every
        synchronised = count - count % every if every else 0
        for row in journal.rows():
            if row.round >= count - self._config.late_rounds:
                owed = self._owed(row.diagnostics)
                if owed:
                    self._late[row.round] = owed
            if row.round >= synchronised:
                deaf, wrong = self._deaf(row.round), self._wrong_seeds(row.round)
                self._drift(row.round, row.estimates, deaf, wrong, row.learning_rate)

    def _owed(self, diagnostics: Mapping[str, float | None]) -> dict[int, Floats]:
        """Device -> the scalars that a row of the journal keeps for it."""
        found: dict[int, Floats] = {}
        for name, value in diagnostics.items():
            if name.startswith(_LATE_PAYLOAD):
                device, _, direction = name.removeprefix(_LATE_PAYLOAD).partition("_")
                scalars = found.setdefault(int(device), np.zeros(self._zo.directions))
                scalars[int(direction or 0)] = np.nan if value is None else float(value)
        return found

    def _drift(
        self,
        round_index: int,
        estimates: Sequence[float] | None,
        deaf: Bools,
        wrong_seeds: Mapping[int, int],
        learning_rate: float | None,
    ) -> None:
        rate = self._zo.learning_rate if learning_rate is None else learning_rate
        # What the round moves the reference by, as its float32 factors add up.
        for moved in moves(self._zo.mu, update(self._zo.mu, rate, estimates, self._zo.directions)):
            missed = Term(round_index, self._seed, np.float32(-moved.scale), moved.direction)
            for device in np.flatnonzero(deaf).tolist():
                self._terms.setdefault(device, []).append(missed)
            if self._config.wrong_seed_applies:
                for device, seed in wrong_seeds.items():
                    if not deaf[device]:
                        own = Term(round_index, seed, moved.scale, moved.direction)
                        self._terms.setdefault(device, []).extend([missed, own])
        if self._config.resync_every and (round_index + 1) % self._config.resync_every == 0:
            self._terms.clear()

    def _deaf(self, round_index: int) -> Bools:
        return self._draws.happens(Event.LOST_BROADCAST, round_index, self._config.lost_broadcast_probability)

    def _wrong_seeds(self, round_index: int) -> dict[int, int]:
        wrong = self._draws.happens(Event.WRONG_SEED, round_index, self._config.wrong_seed_probability)
        if not wrong.any():
            return {}
        others = self._draws.other_seeds(round_index)
        return {device: others[device] for device in np.flatnonzero(wrong).tolist()}
