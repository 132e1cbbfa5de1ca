"""A fleet whose scalars go to the air alone: its coordinator is told who sends, never what."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from learning.config import FederationConfig, ZerothOrderConfig
from learning.data import TaskData
from learning.federation import RoundRecord
from learning.fleet import Devices, FleetFederation, Slot
from learning.journal import Journal
from learning.objective import Objective
from learning.uplink import Deposits, Received

if TYPE_CHECKING:
    from learning.privacy.guard import PrivacyGuard

__all__ = ["DepositFederation"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class _AtTheAir:
    """An uplink whose payloads lie at the air already: those that it is handed only stand for them."""

    def __init__(self, deposits: Deposits) -> None:
        self._deposits = deposits

    @property
    def repeatable(self) -> bool:
        """Whether a round may be sent again; see :func:`learning.uplink.is_repeatable`."""
        return getattr(self._deposits, "repeatable", False) is True

    def aggregate(self, round_index: int, payloads: Floats, present: Bools | None = None) -> Received:
        """See :class:`learning.uplink.Uplink`."""
        who = np.ones(len(payloads), dtype=np.bool_) if present is None else present
        return self._deposits.collect(round_index, who)


@dataclass(frozen=True)
class _There:
    """A slot of those whose deposits are there."""

    payloads: Floats
    present: Bools
    mean_loss: float = math.nan
    clipped_fraction: float = math.nan


class DepositFederation(FleetFederation):
    """As :class:`FleetFederation`, except that neither losses nor scalars nor what follows from them comes here.

    A slot's payloads are zero, or NaN where a device says that it has no number to send: everyone then skips the round. A
    device that answered and whose deposit is missing is absent. The journal's rows have no ``loss``, ``clipped_fraction``
    and ``payload_mean``, and the records NaN in their place.

    :param deposits: takes the place of the uplink
    """

    def __init__(
        self,
        objective: Objective,
        data: TaskData,
        config: FederationConfig,
        zo_config: ZerothOrderConfig,
        deposits: Deposits,
        journal: Journal,
        guard: PrivacyGuard | None = None,
        *,
        devices: Callable[[dict[str, Any]], Devices],
        hash_every: int = 50,
    ) -> None:
        self._deposits = deposits
        uplink = _AtTheAir(deposits)
        super().__init__(objective, data, config, zo_config, uplink, journal, guard, devices=devices, hash_every=hash_every)

    def _measured(self) -> Slot:
        self._deposits.open(self.next_round)
        slot = super()._measured()
        there = self._deposits.close(self.next_round)
        return _There(slot.payloads, slot.present & (there | ~np.isfinite(slot.payloads).all(axis=1)))

    def _report(self, slot: Slot, means: list[float]) -> dict[str, float]:
        del slot, means
        return {}

    def _round_of(self, index: int, slot: Slot) -> RoundRecord:
        record = super()._round_of(index, slot)
        return replace(record, payloads=np.full_like(slot.payloads, math.nan), payload_mean=math.nan)
