"""A federation whose devices are elsewhere: the rounds as their coordinator sees them, without a socket."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from learning.config import FederationConfig, ZerothOrderConfig
from learning.data import TaskData
from learning.errors import RoundError
from learning.federation import Federation, RoundRecord, numbered
from learning.journal import Journal, JournalRow
from learning.objective import Objective
from learning.parameters import weights_sha256
from learning.replay import replay
from learning.uplink import Uplink

if TYPE_CHECKING:
    from learning.privacy.guard import PrivacyGuard

__all__ = ["Devices", "FleetFederation", "Slot"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Slot(Protocol):
    """What the devices sent in a round."""

    @property
    def payloads(self) -> Floats:
        """float64[K, n]; zero for those who did not answer."""

    @property
    def present(self) -> Bools:
        """bool[K]: who answered in time."""

    @property
    def mean_loss(self) -> float:
        """Mean training loss of the batches of those who answered; NaN where there is none."""

    @property
    def clipped_fraction(self) -> float:
        """Share of values that were clipped."""


class Devices(Protocol):
    """The devices, wherever they are."""

    def open(self) -> None:
        """Let devices join; the journal's rounds are broadcast already."""

    def measure(self, round_index: int, seed: int) -> Slot:
        """Open the slot of a round and wait for those who answer."""

    def broadcast(self, seed: int, learning_rate: float, estimates: Floats | None) -> None:
        """Tell all devices the outcome of the next round, which the journal holds already; None: it was lost."""

    def checkpoint(self, next_round: int, sha256: str) -> None:
        """From now on, devices that come to stand before ``next_round`` prove that their weights have this hash."""

    def finish(self, reason: str) -> None:
        """Let the devices go."""


@dataclass(frozen=True)
class _Unasked:
    """The slot of a round that nobody was asked to measure."""

    payloads: Floats
    present: Bools
    mean_loss: float = math.nan
    clipped_fraction: float = math.nan

    @classmethod
    def of(cls, devices: int, scalars: int) -> _Unasked:
        return cls(np.zeros((devices, scalars)), np.zeros(devices, dtype=np.bool_))


class FleetFederation(Federation):
    """K devices elsewhere, an uplink, and a journal; the model here follows the journal and is what is evaluated.

    :param devices: made from the run's description, once the journal holds it
    :param hash_every: rounds between two comparisons of the devices' weights
    :raises RoundError: the configuration plays faults of the protocol, which are played among devices of one process
    """

    def __init__(
        self,
        objective: Objective,
        data: TaskData,
        config: FederationConfig,
        zo_config: ZerothOrderConfig,
        uplink: Uplink,
        journal: Journal,
        guard: PrivacyGuard | None = None,
        *,
        devices: Callable[[dict[str, Any]], Devices],
        hash_every: int = 50,
    ) -> None:
        if config.faults.any:
            raise RoundError(
                "federation.faults are played among devices of one process; a fleet has its own: leave federation.faults out"
            )
        super().__init__(objective, data, config, zo_config, uplink, journal, guard)
        self._hash_every = hash_every
        meta = journal.meta
        del meta["format_version"]
        self._devices = devices(meta)
        self._tell(journal.rows())
        self._devices.open()

    def resume(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Bring the base weights up to the journal, with a checkpoint on the way; returns the next round."""
        last = len(self.journal) // self._hash_every * self._hash_every
        if last > self.next_round:
            self.next_round = replay(self.objective.model, self.journal, last, progress, start=self.next_round)
            self._devices.checkpoint(last, weights_sha256(self.objective.model))
        return super().resume(progress)

    def run(self, rounds: int | None = None) -> Iterator[RoundRecord]:
        """Run ``rounds`` more rounds (up to ``config.rounds`` in all by default), yielding each when it is applied."""
        more = max(0, self.config.rounds - self.next_round) if rounds is None else rounds
        for _ in range(more):
            self._require_whole()
            if not self._admits(np.ones(self.config.devices, dtype=np.bool_)):
                break
            slot: Slot
            if self._may_have_been_sent:  # it is not sent again, so nobody need measure it
                slot = _Unasked.of(self.config.devices, self._zo.directions)
            else:
                slot = self._measured()
                # Only now is it known who sends; nothing was on the air yet.
                if not slot.present.all() and not self._admits(slot.present):
                    break
            self._broken = self.next_round
            record = self._round_of(self.next_round, slot)
            self._broken = None
            self.next_round += 1
            if self.next_round % self._hash_every == 0:
                self._devices.checkpoint(self.next_round, weights_sha256(self.objective.model))
            yield record
        if self.next_round % self._hash_every:
            self._devices.checkpoint(self.next_round, weights_sha256(self.objective.model))
        self._devices.finish("the run is complete" if self.stopped is None else "the privacy budget is spent")

    def _measured(self) -> Slot:
        return self._devices.measure(self.next_round, self.config.seed)

    def _report(self, slot: Slot, means: list[float]) -> dict[str, float]:
        """What the journal says of the devices' own values."""
        return {"loss": slot.mean_loss, "clipped_fraction": slot.clipped_fraction, **numbered("payload_mean", means)}

    def _round_of(self, index: int, slot: Slot) -> RoundRecord:
        rate = self._zo.rate(index, self.config.rounds)
        sent, present = slot.payloads, slot.present
        estimates, diagnostics = self._send(index, sent, present, rate)
        if self._guard is not None and not np.isfinite(sent).all():
            # Nothing was on the air; a device that obeys the bound sends numbers only, but not every device is ours.
            diagnostics = {**diagnostics, **self._guard.settle(index, None, None)[1]}
        means = sent[present].mean(axis=0).tolist() if present.any() else [math.nan] * self._zo.directions
        own = self._report(slot, means)
        counts = {"present_devices": float(present.sum()), "missed_devices": float((~present).sum())}
        if isinstance(slot, _Unasked):
            counts = {}  # whoever was there then, nobody knows
        written_rate = None if self._zo.constant_rate else rate
        self.journal.append(index, self.config.seed, estimates, {**own, **diagnostics, **counts}, written_rate)
        self._devices.broadcast(self.config.seed, rate, None if estimates is None else np.array(estimates))
        # The same three passes as on every device, so the same bits.
        silent = np.zeros(1, dtype=np.float32)
        self._step.ask(index, lambda: [silent])
        self._step.tell(index, estimates, rate)
        return RoundRecord(
            round=index,
            mean_loss=slot.mean_loss,
            payloads=sent,
            present=present,
            payload_mean=means[0],
            estimates=estimates,
            lost=estimates is None,
            clipped_fraction=slot.clipped_fraction,
            diagnostics={**diagnostics, **counts},
        )

    def _tell(self, rows: Iterable[JournalRow]) -> None:
        for row in rows:
            rate = self._zo.learning_rate if row.learning_rate is None else row.learning_rate
            self._devices.broadcast(row.seed, rate, None if row.estimates is None else np.array(row.estimates))
