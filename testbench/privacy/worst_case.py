"""Canaries that are as exposed as a claim reckons with, in a real fine-tuning run.

A promise about records holds for every record, also for one whose projected gradient along every direction exceeds the clip.
Such a canary stands here beside real records: in round t it sends s_xt clip where its coin is "in", and -s_xt clip where it is
"out", with public signs s_xt that tell canaries apart. Everything after the loss is the run's own: clipping per sample,
division by b, schedule, power, channels and noise, and the model learns from the real records all the while. (Records with one
label or the other, :mod:`testbench.privacy.canaries`, carry less, and nearly the same as each other: their differences span few
dimensions.) The auditor knows all but the coins, so that what is received, less the real records' part, is a linear measurement
of the coins in the link's noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learning.batches import batch, shards
from learning.data import Example, TaskData
from learning.objective import Indices, Objective
from learning.privacy.audit.membership import correlation_scores
from testbench.errors import TestbenchError
from testbench.privacy.canaries import CanaryScores, check_scorable, joint_scores
from testbench.privacy.tuning import Tuned
from testbench.scenario import Scenario

__all__ = ["Exposed", "Exposure", "exposure", "score_exposed"]

Floats = NDArray[np.float64]

_SIGNS = 0x7369676E  # "sign": keys the canaries' signs and coins, apart from everything else of the seed
_BEYOND = 1.5  # times the clip: what float32 does to losses must not bring a projection below it


class Exposure:
    """Who is a canary, the coins, and the public signs.

    :param positions: [m] training records that are canaries; :param included: bool[m], the coins
    :param signs: float64[m, T]: of each canary's n-th appearance in a batch
    """

    def __init__(self, positions: NDArray[np.int64], included: NDArray[np.bool_], signs: Floats) -> None:
        self.positions, self.included, self.signs = positions, included, signs

    @property
    def sent(self) -> Floats:
        """Projected gradient over the clip, of each canary's n-th appearance. [m, T]."""
        return np.where(self.included, 1.0, -1.0)[:, None] * self.signs


def exposure(records: int, count: int, rounds: int, seed: int) -> Exposure:
    """Choose ``count`` of the training records, toss their coins, and draw their signs.

    :raises TestbenchError: more canaries than records, or fewer than two
    """
    if not 2 <= count <= records:
        raise TestbenchError(f"a task with {records} training records can hold 2 .. {records} canaries, not {count}")
    generator = np.random.Generator(np.random.Philox(key=[seed, _SIGNS]))
    positions = np.sort(generator.permutation(records)[:count]).astype(np.int64)
    included = generator.random(count) < 0.5
    return Exposure(positions, included, np.where(generator.random((count, rounds)) < 0.5, 1.0, -1.0))


class Exposed:
    """``objective`` with canaries: their losses at w + mu z and w - mu z, in turn, differ by what they are to send.

    The first data set that is prepared is the training set.
    """

    def __init__(self, objective: Objective, chosen: Exposure, mu: float, clip: float) -> None:
        self._inner = objective
        self._sent = chosen.sent
        self._swing = _BEYOND * clip * mu
        self._positions = chosen.positions
        self._slot: NDArray[np.int64] | None = None
        self._train: Any = None
        self._turns = np.zeros(len(chosen.positions), np.int64)

    @property
    def model(self) -> torch.nn.Module:
        """See :class:`learning.objective.Objective`."""
        return self._inner.model

    @property
    def base_weights_sha256(self) -> str:
        """See :class:`learning.objective.Objective`."""
        return self._inner.base_weights_sha256

    @property
    def identity(self) -> dict[str, str]:
        """See :class:`learning.objective.Objective`."""
        return {**self._inner.identity, "canaries": str(len(self._positions))}

    @property
    def notes(self) -> list[str]:
        """See :class:`learning.objective.Objective`."""
        return self._inner.notes

    def prepare(self, examples: Sequence[Example]) -> Any:
        """See :class:`learning.objective.Objective`."""
        prepared = self._inner.prepare(examples)
        if self._slot is None:
            self._train = prepared
            self._slot = np.full(len(examples), -1, np.int64)
            self._slot[self._positions] = np.arange(len(self._positions))
        return prepared

    def losses(self, dataset: Any, indices: Indices) -> torch.Tensor:
        """See :class:`learning.objective.Objective`; canaries cost no forward pass."""
        if dataset is not self._train or self._slot is None:
            return self._inner.losses(dataset, indices)
        slots = self._slot[indices]
        out = np.zeros(len(indices), np.float32)
        canaries = slots[slots >= 0]
        appearance, side = np.divmod(self._turns[canaries], 2)
        out[slots >= 0] = np.where(side == 0, 1.0, -1.0) * self._swing * self._sent[canaries, appearance]
        self._turns[canaries] += 1
        real = np.flatnonzero(slots < 0)
        if real.size:
            out[real] = self._inner.losses(dataset, indices[real]).float().cpu().numpy()
        return torch.from_numpy(out)

    def assess(self, dataset: Any, indices: Indices) -> tuple[torch.Tensor, NDArray[Any]]:
        """See :class:`learning.objective.Objective`."""
        return self._inner.assess(dataset, indices)


def score_exposed(scenario: Scenario, data: TaskData, chosen: Exposure, run: Tuned) -> CanaryScores:
    """What ``run`` tells of the coins.

    :raises TestbenchError: a scenario in which a record's share is not p / b
    """
    check_scorable(scenario)
    federation, clip, size = scenario.federation, scenario.zeroth_order.clip, scenario.federation.batch_size
    rounds, count = len(run.received), len(chosen.positions)
    dealt = shards(data.strata, federation, data.files)
    slot = np.full(len(data.train), -1, np.int64)
    slot[chosen.positions] = np.arange(count)
    differences, coins = np.zeros((count, rounds)), np.zeros((count, rounds))
    present = np.zeros((count, rounds), np.bool_)
    turns = np.zeros(count, np.int64)
    for t in range(rounds):
        rows = np.concatenate([batch(federation.seed, t, k, dealt[k], size) for k in range(federation.devices)])
        who = slot[rows[slot[rows] >= 0]]
        differences[who, t] = clip * chosen.signs[who, turns[who]]
        coins[who, t] = clip * chosen.sent[who, turns[who]]
        present[who, t] = math.isfinite(run.estimates[t])
        turns[who] += 1
    rest = run.payload_means - coins.sum(axis=0) / (size * federation.devices)
    ratio = run.amplitudes / math.sqrt(scenario.link.n0 / 2.0)
    scores = correlation_scores(run.received, differences, ratio, clip, size, rest)
    audible = np.where(np.isfinite(run.estimates), ratio, 0.0)
    mu = np.sqrt(np.square(2.0 * differences / (size * clip)) @ np.square(audible))
    return CanaryScores(scores, joint_scores(scenario, run, differences, rest), chosen.included, present, mu)
