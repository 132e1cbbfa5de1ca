"""First-order federated fine-tuning: d entries per device and round, through any uplink, in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch

from learning.baselines.local import Rule
from learning.batches import batch, poisson, shards
from learning.config import FederationConfig
from learning.data import TaskData
from learning.federation import Evaluation
from learning.objective import Indices, Objective, metrics_of
from learning.parameters import trainable
from learning.uplink import Uplink

__all__ = ["PLAIN", "Blocks", "FirstOrderFederation", "FirstOrderRecord"]

Floats = npt.NDArray[np.float64]
#: Scalars handed to an uplink at once, so that a payload of many millions of entries needs no second copy in float64.
_SCALARS_AT_ONCE = 2**22


class _Rounds(Protocol):
    estimates: Floats
    lost: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Blocks:
    """How d entries go over an uplink: ``entries`` at a time, clipped to +-``clip`` (None: not).

    Block b of round t is round t * blocks + b of the uplink, so that over the air each block meets a fade of its own. The
    last block is filled up with zeros. ``clip`` is a constant announced beforehand: a scale that follows the data would leak
    it and need a side channel.
    """

    entries: int = 2**18
    clip: float | None = None

    def count(self, parameters: int) -> int:
        """Blocks per round."""
        return -(-parameters // self.entries)


#: Unclipped; the size of the blocks is only one of memory where an uplink treats every entry alike.
PLAIN = Blocks()


@dataclass(frozen=True)
class FirstOrderRecord:
    """An applied round.

    :ivar mean_loss: of the batches that the devices saw first, before anything moved
    :ivar lost_blocks: blocks that nobody was heard in; their entries stay as they are
    :ivar skipped: an entry was not a number, so that nobody moved
    :ivar clipped_fraction: share of entries that were clipped
    """

    round: int
    mean_loss: float
    lost_blocks: int
    skipped: bool
    clipped_fraction: float


class FirstOrderFederation:
    """K devices in one process that share weights, compute vectors from the same keyed batches as a zeroth-order run's, and
    apply what the uplink makes of their mean.

    Batch i of a device in round t is the keyed batch of round t * rule.batches + i: with one batch a round, those of
    :class:`learning.federation.Federation` in round t. Dropout is off, as there. Faults of the protocol do not exist here.

    Holds float32[K, d] besides what the model and its gradients take.
    """

    def __init__(
        self,
        objective: Objective,
        data: TaskData,
        config: FederationConfig,
        rule: Rule,
        uplink: Uplink,
        blocks: Blocks = PLAIN,
    ) -> None:
        self.objective = objective
        self.config = config
        self.next_round = 0
        self._rule, self._uplink, self._blocks = rule, uplink, blocks
        objective.model.eval()
        self._weights = trainable(objective.model)
        self._parameters = [p for p in objective.model.parameters() if p.requires_grad]
        self.parameter_count = sum(len(vector) for vector in self._weights)
        self._shards = shards(data.strata, config, data.files)
        self._train = objective.prepare(data.train)
        self._validation = objective.prepare(data.validation)
        self._validation_count = len(data.validation)

    def run(self, rounds: int) -> Iterator[FirstOrderRecord]:
        """Run ``rounds`` more rounds, yielding each when it is applied."""
        for _ in range(rounds):
            record = self._round(self.next_round)
            self.next_round += 1
            yield record

    def evaluate(self) -> Evaluation:
        """Score and loss on the held-out examples under the present weights."""
        names = metrics_of(self.objective)
        losses, scores = 0.0, np.zeros(len(names))
        for rows in self._chunks(np.arange(self._validation_count)):
            with torch.inference_mode():
                loss, found = self.objective.assess(self._validation, rows)
            losses += float(loss.double().sum())
            scores += np.asarray(found, dtype=np.float64).reshape(len(rows), -1).sum(axis=0)
        means = dict(zip(names, (scores / self._validation_count).tolist(), strict=True))
        score = means.pop(names[0])
        return Evaluation(score, losses / self._validation_count, self._validation_count, names[0], means)

    def _round(self, index: int) -> FirstOrderRecord:
        vectors = np.empty((self.config.devices, self.parameter_count), dtype=np.float32)
        shared = [vector.flat.clone() for vector in self._weights] if self._rule.moves else ()
        losses: list[float] = []
        for device in range(self.config.devices):
            vectors[device] = self._vector(index, device, losses).cpu().numpy()
            for vector, values in zip(self._weights, shared, strict=self._rule.moves):
                vector.flat.copy_(values)
        loss = float(np.mean(losses)) if losses else float("nan")
        if not np.isfinite(vectors).all():
            return FirstOrderRecord(index, loss, 0, True, 0.0)
        mean, lost, clipped = self._send(index, vectors)
        if not np.isfinite(mean).all():
            return FirstOrderRecord(index, loss, lost, True, clipped)
        self._apply(mean)
        return FirstOrderRecord(index, loss, lost, False, clipped)

    def _vector(self, index: int, device: int, losses: list[float]) -> torch.Tensor:
        """The device's vector; its first batch's mean loss is added to ``losses``."""
        draw = poisson if self.config.sampling == "poisson" else batch

        def backward(step: int) -> None:
            at = index * self._rule.batches + step
            rows = draw(self.config.seed, at, device, self._shards[device], self.config.batch_size)
            loss = self._backward(rows)
            if step == 0 and loss is not None:
                losses.append(loss)

        vector = self._rule.vector(self._parameters, self._weights, backward)
        for parameter in self._parameters:
            parameter.grad = None
        return vector

    def _backward(self, rows: Indices) -> float | None:
        """Gradient of the mean loss (of the sum over ``batch_size``, under Poisson sampling) and that loss."""
        for parameter in self._parameters:
            parameter.grad = None
        divisor = self.config.batch_size if self.config.sampling == "poisson" else len(rows)
        total = 0.0
        for chunk in self._chunks(rows):
            loss = self.objective.losses(self._train, chunk).float().sum()
            (loss / divisor).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total / len(rows) if len(rows) else None

    def _send(self, index: int, vectors: npt.NDArray[np.float32]) -> tuple[Floats, int, float]:
        """(estimated mean float64[d], zero where lost; blocks lost; share of entries clipped)."""
        devices, count = vectors.shape
        entries = self._blocks.entries
        blocks = self._blocks.count(count)
        mean = np.zeros(blocks * entries)
        lost, clipped = 0, 0
        together = max(1, _SCALARS_AT_ONCE // (devices * entries))
        for first in range(0, blocks, together):
            last = min(blocks, first + together)
            piece = np.zeros((devices, (last - first) * entries))
            part = vectors[:, first * entries : last * entries]
            piece[:, : part.shape[1]] = part
            if self._blocks.clip is not None:
                clipped += int((np.abs(piece) > self._blocks.clip).sum())
                np.clip(piece, -self._blocks.clip, self._blocks.clip, out=piece)
            payloads = np.ascontiguousarray(piece.reshape(devices, last - first, entries).transpose(1, 0, 2))
            estimates, gone = _aggregate(self._uplink, np.arange(first, last) + index * blocks, payloads)
            estimates[gone] = 0.0
            lost += int(gone.sum())
            mean[first * entries : last * entries] = estimates.reshape(-1)
        return mean[:count], lost, clipped / (devices * count)

    def _apply(self, mean: Floats) -> None:
        """w <- w - server_rate * mean, rounded to float32 once."""
        step = torch.from_numpy((self._rule.server_rate * mean).astype(np.float32))
        start = 0
        for vector in self._weights:
            vector.flat.sub_(step[start : start + len(vector)].to(vector.flat.device))
            start += len(vector)

    def _chunks(self, rows: Indices) -> Iterator[Indices]:
        for start in range(0, len(rows), self.config.rows_per_forward):
            yield rows[start : start + self.config.rows_per_forward]


def _aggregate(uplink: Any, rounds: npt.NDArray[np.int64], payloads: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Payloads [B, K, n] in the rounds [B] to (estimates [B, n], lost [B]); in one request where the uplink has one."""
    if len(rounds) > 1 and hasattr(uplink, "aggregate_rounds"):
        answer = cast(_Rounds, uplink.aggregate_rounds(rounds, payloads))
        return np.array(answer.estimates), np.array(answer.lost)
    answers: Sequence[Any] = [uplink.aggregate(int(at), part) for at, part in zip(rounds, payloads, strict=True)]
    return np.stack([np.asarray(one.estimate, dtype=np.float64) for one in answers]), np.array([one.lost for one in answers])
