"""One device of a federation whose devices are processes of their own: what it computes, without a socket.

It measures a round (``ask``), is told the outcome (``tell``), and is brought up to date from the journal's rows
(``catch_up``). Its weights after the same rows are those of every other device, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from learning.batches import batch, poisson
from learning.config import FederationConfig, ZerothOrderConfig
from learning.data import Example
from learning.directions import directions_of
from learning.errors import RoundError
from learning.journal import JournalRow
from learning.keys import Key
from learning.objective import Objective
from learning.parameters import trainable, weights_sha256
from learning.replay import replay_rows
from learning.zeroth_order import SampleLosses, ZerothOrderStep

__all__ = ["Device", "Measured"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """What a device sends in a round, and what it reports of it.

    :ivar payloads: float64[n], the clipped scalars; one that is not a number says that a loss was none
    :ivar mean_loss: mean over the batch of (L+ + L-) / 2; NaN where the batch was empty
    :ivar samples: how many losses the mean is of
    :ivar clipped_fraction: share of values that were clipped
    """

    payloads: Floats
    mean_loss: float
    samples: int
    clipped_fraction: float


class Device:
    """A device's weights, its data, and where it stands.

    :param build: makes the objective with its base weights; called again where the device must start over, so that no second
        copy of the weights is kept
    :param examples: the training examples that it can read
    :param shard: int64, those of them that are its own
    :param number: which device it is; with the key of its batches and the round it decides on them
    :param meta: the run's description, as the coordinator's journal has it
    :param bounded: as in ``learning.zeroth_order.project``
    :param secret: keys its batches, so that nobody else can tell them; None: the seed keys them
    :ivar next_round: the round that it stands before
    """

    def __init__(
        self,
        build: Callable[[], Objective],
        examples: Sequence[Example],
        shard: Indices,
        number: int,
        federation: FederationConfig,
        zo_config: ZerothOrderConfig,
        meta: Mapping[str, Any],
        *,
        bounded: bool = False,
        secret: bytes | None = None,
    ) -> None:
        self.number = number
        self.next_round = 0
        self._build = build
        self._key: Key = federation.seed if secret is None else secret
        self._examples, self._shard = examples, shard
        self._federation, self._zo, self._meta, self._bounded = federation, zo_config, dict(meta), bounded
        self._asked: tuple[int, Measured] | None = None
        self._step: tuple[int, ZerothOrderStep] | None = None  # with the seed that it is along
        self._load()

    @property
    def objective(self) -> Objective:
        """The model and its loss."""
        if self._objective is None:
            raise RoundError("the device has no model: loading it failed")
        return self._objective

    @property
    def examples(self) -> int:
        """How many training examples are its own."""
        return len(self._shard)

    @property
    def measured(self) -> bool:
        """Whether the weights are displaced for a round that was measured and not told yet."""
        return self._asked is not None

    def ask(self, round_index: int, seed: int) -> Measured:
        """Measure the round that the device stands before; asked again, it gives the same answer.

        :raises RoundError: it stands elsewhere
        """
        self._require(round_index)
        if self._asked is not None:
            return self._asked[1]
        draw = poisson if self._federation.sampling == "poisson" else batch
        size = self._federation.batch_size
        rows = draw(self._key, round_index, self.number, self._shard, size)
        found = self._along(seed).ask(round_index, lambda: self._losses(rows))
        measured = Measured(found.payloads[0], found.mean_loss, len(rows), found.clipped_fraction)
        self._asked = (round_index, measured)
        return measured

    def tell(self, row: JournalRow) -> None:
        """Apply the outcome of the round that was measured."""
        self._require(row.round)
        if self._asked is None:
            raise RoundError(f"round {row.round} was not measured; catch up instead")
        self._along(row.seed).tell(row.round, row.estimates, row.learning_rate)
        self._asked = None
        self.next_round += 1

    def catch_up(self, rows: Sequence[JournalRow], progress: Callable[[int, int], None] | None = None) -> None:
        """Apply the rounds ``next_round``, ``next_round`` + 1, ... from the journal's rows.

        :param progress: called with (weights done, weights in all)
        """
        if rows and self._asked is not None:
            self.tell(rows[0])
            rows = rows[1:]
        if not rows:
            return
        for place, row in enumerate(rows):
            self._require(row.round, ahead=place)
        base = self.next_round == 0
        replay_rows(self.objective.model, self._meta, rows, "the coordinator's journal", progress, from_base=base)
        self.next_round = rows[-1].round + 1

    def weights_sha256(self) -> str:
        """The hash of the weights before ``next_round``.

        :raises RoundError: they are displaced
        """
        if self._asked is not None:
            raise RoundError(f"round {self._asked[0]} is measured and the weights are displaced; tell its outcome first")
        return weights_sha256(self.objective.model)

    def restart(self) -> None:
        """Go back to the base weights, before round 0."""
        self._step, self._asked = None, None
        self.next_round = 0
        self._load()

    def _load(self) -> None:
        self._objective: Objective | None = None  # let go of the old weights before the new ones take their memory
        self._dataset: Any = None
        self._objective = self._build()
        self._objective.model.eval()
        self._dataset = self._objective.prepare(self._examples) if self._examples else None

    def _along(self, seed: int) -> ZerothOrderStep:
        if self._step is None or self._step[0] != seed:
            directions = directions_of(trainable(self.objective.model), seed, self._zo.perturbation)
            divisor = self._federation.batch_size if self._federation.sampling == "poisson" else None
            self._step = (seed, ZerothOrderStep(directions, self._zo, divisor=divisor, bounded=self._bounded))
        return self._step[1]

    def _require(self, round_index: int, ahead: int = 0) -> None:
        if round_index != self.next_round + ahead:
            raise RoundError(f"the device stands before round {self.next_round + ahead}, not {round_index}")

    def _losses(self, rows: Indices) -> SampleLosses:
        limit = self._federation.rows_per_forward
        with torch.inference_mode():
            parts = [
                self.objective.losses(self._dataset, rows[start : start + limit]).float().cpu()
                for start in range(0, len(rows), limit)
            ]
        if not parts:
            return [np.zeros(0, dtype=np.float32)]
        return [np.asarray(torch.cat(parts).numpy(), dtype=np.float32)]
