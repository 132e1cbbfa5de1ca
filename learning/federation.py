"""Federated zeroth-order fine-tuning: the rounds of one run, from measured scalars to moved weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from learning.batches import batch, shards
from learning.config import FederationConfig, ZerothOrderConfig
from learning.data import TaskData
from learning.errors import RoundError
from learning.journal import Journal
from learning.objective import Objective
from learning.parameters import trainable
from learning.perturbation import Perturbation
from learning.replay import replay
from learning.uplink import Uplink
from learning.zeroth_order import Projections, ZerothOrderStep, scales

__all__ = ["Evaluation", "Federation", "RoundRecord"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RoundRecord:
    """A committed and applied round.

    :ivar payloads: float64[K], the clipped scalars that the devices sent
    :ivar payload_mean: mean of the payloads; what a perfect link delivers is the link's own affair (votes, for signs)
    :ivar estimate: what the link delivered; None in a lost round
    :ivar mean_loss: mean training loss of the round's batches
    :ivar clipped_fraction: share of values that were clipped
    :ivar diagnostics: the link's own report
    """

    round: int
    mean_loss: float
    payloads: Floats
    payload_mean: float
    estimate: float | None
    lost: bool
    clipped_fraction: float
    diagnostics: Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Accuracy and mean loss over the held-out examples."""

    accuracy: float
    loss: float
    examples: int


class Federation:
    """K devices in one process, an uplink, and a journal.

    A new journal is begun; an existing one must be of the same run, and ``resume`` must bring the weights up to it
    before ``run`` continues. ``objective.model`` must hold the base weights.

    A journal replays to the same bits on any machine. New rounds have the same bits as those of an uninterrupted run on the
    same machine with the same number of torch threads: the last bits of a loss depend on both.

    :raises JournalError: the journal is of another run
    """

    def __init__(
        self,
        objective: Objective,
        data: TaskData,
        config: FederationConfig,
        zo_config: ZerothOrderConfig,
        uplink: Uplink,
        journal: Journal,
    ) -> None:
        self.objective = objective
        self.config = config
        self.journal = journal
        self.next_round = 0
        self._uplink = uplink
        self._zo = zo_config
        self._broken: int | None = None
        objective.model.eval()  # dropout would make L+ and L- losses of two different networks
        weights = trainable(objective.model)
        self.parameter_count = sum(len(vector) for vector in weights)
        self._step = ZerothOrderStep(Perturbation(weights, config.seed, zo_config.perturbation), zo_config)
        self._shards = shards([label for _, label in data.train], config)
        self._train = objective.prepare(data.train)
        self._validation = objective.prepare(data.validation)
        self._validation_count = len(data.validation)
        journal.begin(self._description(data))

    def _description(self, data: TaskData) -> dict[str, Any]:
        return {
            "base_weights_sha256": self.objective.base_weights_sha256,
            "parameter_count": self.parameter_count,
            "task_sha256": data.sha256(),
            **self.objective.identity,
            **self._zo.model_dump(mode="json"),
            **self.config.model_dump(mode="json", exclude={"rounds"}),
        }

    def resume(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Bring the base weights up to the journal; returns the next round."""
        self.next_round = replay(self.objective.model, self.journal, progress=progress, start=self.next_round)
        return self.next_round

    def run(self, rounds: int | None = None) -> Iterator[RoundRecord]:
        """Run ``rounds`` more rounds (up to ``config.rounds`` in all by default), yielding each when it is applied."""
        more = max(0, self.config.rounds - self.next_round) if rounds is None else rounds
        for _ in range(more):
            self._require_whole()
            self._broken = self.next_round
            record = self._round(self.next_round)
            self._broken = None
            self.next_round += 1
            yield record

    def evaluate(self, progress: Callable[[int, int], None] | None = None) -> Evaluation:
        """Accuracy and loss on the held-out examples under the present weights; ``progress`` gets (done, in all)."""
        self._require_whole()
        losses, hits = 0.0, 0
        for indices in self._chunks(np.arange(self._validation_count)):
            with torch.inference_mode():
                loss, correct = self.objective.assess(self._validation, indices)
            losses += float(loss.double().sum())
            hits += int(correct.sum())
            if progress is not None:
                progress(int(indices[-1]) + 1, self._validation_count)
        return Evaluation(hits / self._validation_count, losses / self._validation_count, self._validation_count)

    def _round(self, index: int) -> RoundRecord:
        size = self.config.batch_size
        rows = np.concatenate(
            [batch(self.config.seed, index, device, shard, size) for device, shard in enumerate(self._shards)]
        )
        measured = self._step.ask(index, lambda: list(self._losses(rows).reshape(-1, size)))
        estimate, diagnostics = self._send(index, measured)
        payload_mean = float(measured.payloads.mean())
        own = {"loss": measured.mean_loss, "payload_mean": payload_mean, "clipped_fraction": measured.clipped_fraction}
        self.journal.append(index, self.config.seed, estimate, {**own, **diagnostics})
        self._step.tell(index, estimate)
        return RoundRecord(
            round=index,
            mean_loss=measured.mean_loss,
            payloads=measured.payloads,
            payload_mean=payload_mean,
            estimate=estimate,
            lost=estimate is None,
            clipped_fraction=measured.clipped_fraction,
            diagnostics=diagnostics,
        )

    def _send(self, index: int, measured: Projections) -> tuple[float | None, dict[str, float]]:
        if not measured.finite:  # a device with no number to send spoils the sum: nobody moves
            return None, {"nonfinite_payloads": float((~np.isfinite(measured.payloads)).sum())}
        answer = self._uplink.aggregate(index, measured.payloads[:, None])
        diagnostics = {str(name): float(value) for name, value in answer.diagnostics.items()}
        if answer.lost:
            return None, diagnostics
        if np.shape(answer.estimate) != (1,):
            raise RoundError(f"the uplink answered {np.shape(answer.estimate)} estimates in round {index} instead of (1,)")
        estimate = float(answer.estimate[0])
        if not math.isfinite(scales(self._zo.mu, self._zo.learning_rate, estimate).update):
            return None, diagnostics
        return estimate, diagnostics

    def _losses(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            parts = [self.objective.losses(self._train, chunk).float().cpu() for chunk in self._chunks(rows)]
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)

    def _chunks(self, rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        for start in range(0, len(rows), self.config.rows_per_forward):
            yield rows[start : start + self.config.rows_per_forward]

    def _require_whole(self) -> None:
        if self._broken is not None:
            raise RoundError(
                f"round {self._broken} was cut off half way and the weights are perturbed; build the federation again and "
                "resume from its journal"
            )
        if self.next_round != len(self.journal):
            raise RoundError(
                f"{self.journal.path} holds {len(self.journal)} rounds and the weights stand at {self.next_round}; resume first"
            )
