"""Canaries that are as exposed as a claim reckons with, in a real fine-tuning run.

A promise about records holds for every record, also for one whose projected gradient along every direction exceeds the clip.
Such a canary stands here beside real records: in round t it sends s_xt clip where its coin is "in", and -s_xt clip where it is
"out", with public signs s_xt that tell canaries apart. Everything after the loss is the run's own: clipping per sample,
division by b, schedule, power, channels and noise, and the model learns from the real records all the while. (Records with one
label or the other, :mod:`testbench.privacy.canaries`, carry less, and nearly the same as each other: their differences span few
dimensions.) A canary needs no text and costs no forward pass, so that there may be many more of them than records.

The auditor knows what the real records send, and listens at the antennas (:mod:`testbench.privacy.listening`): what is
received, less the real records' part, is a linear measurement of the coins in the link's noise. It holds that against the coins
that it tossed (:mod:`learning.privacy.audit.known_coins`), and, as one who did not, guesses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learning.batches import batch, shards
from learning.data import Example, TaskData
from learning.objective import Indices, Objective
from learning.privacy.audit.known_coins import most_telling
from testbench.errors import TestbenchError
from testbench.privacy.canaries import CanaryScores, check_scorable
from testbench.privacy.design import Design
from testbench.privacy.listening import Heard, listen
from testbench.privacy.tuning import InProcessAir, Tuned
from testbench.scenario import Scenario

__all__ = ["Aligned", "Exposed", "Exposure", "Placed", "crowd", "exposure", "score_exposed", "weigh"]

Floats = NDArray[np.float64]

_SIGNS = 0x7369676E  # "sign": keys the canaries' signs and coins, apart from everything else of the seed
_BLOCK = 4096  # canaries worked on at once
_BEYOND = 1.5  # times the clip: what float32 does to losses must not bring a projection below it


class Exposure:
    """Who is a canary, the coins, and the public signs.

    :param positions: [m] training records that are canaries; :param included: bool[m], the coins
    :param signs: int8[m, T]: of each canary's n-th appearance in a batch, 1 or -1
    """

    def __init__(self, positions: NDArray[np.int64], included: NDArray[np.bool_], signs: NDArray[np.int8]) -> None:
        self.positions, self.included, self.signs = positions, included, signs

    @property
    def sent(self) -> NDArray[np.int8]:
        """Projected gradient over the clip, of each canary's n-th appearance. [m, T]."""
        return np.where(self.included, 1, -1).astype(np.int8)[:, None] * self.signs


def exposure(records: int, count: int, rounds: int, seed: int) -> Exposure:
    """Choose ``count`` of the training records, toss their coins, and draw their signs.

    :raises TestbenchError: more canaries than records, or fewer than two
    """
    if not 2 <= count <= records:
        raise TestbenchError(f"a task with {records} training records can hold 2 .. {records} canaries, not {count}")
    generator = np.random.Generator(np.random.Philox(key=[seed, _SIGNS]))
    positions = np.sort(generator.permutation(records)[:count]).astype(np.int64)
    included = generator.random(count) < 0.5
    bits = np.unpackbits(np.frombuffer(generator.bytes((count * rounds + 7) // 8), np.uint8), count=count * rounds)
    return Exposure(positions, included, (2 * bits.astype(np.int8) - 1).reshape(count, rounds))


def crowd(data: TaskData, canaries: int) -> TaskData:
    """``data`` with a blank record for every canary where it has fewer records than ``canaries``; else ``data`` itself.

    Canaries are chosen among all of them at random; as their text is never read, a blank may as well stay a real record.
    """
    if canaries <= len(data.train):
        return data
    files = data.files
    if files is not None:
        files = (*files, *(files[index % len(files)] for index in range(canaries)))
    return replace(data, train=(*data.train, *((data.train[0],) * canaries)), files=files)


class Exposed:
    """``objective`` with canaries: their losses at w + mu z and w - mu z, in turn, differ by what they are to send.

    The first data set that is prepared is the training set. What real records send is noted as it passes.
    """

    def __init__(self, objective: Objective, chosen: Exposure, mu: float, clip: float) -> None:
        self._inner = objective
        self._sent = chosen.sent
        self._swing = _BEYOND * clip * mu
        self._two_mu, self._clip = 2.0 * float(np.float32(mu)), clip
        self._positions = chosen.positions
        self._slot: NDArray[np.int64] | None = None
        self._train: Any = None
        self._turns = np.zeros(0, np.int64)
        self._plus = np.zeros(0)
        self._noted: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats]] = []

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

    @property
    def projections(self) -> dict[int, Floats]:
        """Clipped projected gradients of every real record, one per appearance in a batch so far."""
        if not self._noted:
            return {}
        rows, turns, values = (np.concatenate(column) for column in zip(*self._noted, strict=True))
        order = np.lexsort((turns, rows))
        found, starts = np.unique(rows[order], return_index=True)
        return dict(zip(found.tolist(), np.split(values[order], starts[1:]), strict=True))

    def prepare(self, examples: Sequence[Example]) -> Any:
        """See :class:`learning.objective.Objective`."""
        if self._slot is not None:
            return self._inner.prepare(examples)
        # Canaries' text is not read: they all stand on the first record.
        self._slot = np.full(len(examples), -1, np.int64)
        self._slot[self._positions] = np.arange(len(self._positions))
        real = np.flatnonzero(self._slot < 0)
        self._place = np.zeros(len(examples), np.int64)
        self._place[real] = np.arange(real.size)
        self._train = self._inner.prepare([examples[row] for row in real.tolist()] or examples[:1])
        self._turns, self._plus = np.zeros(len(examples), np.int64), np.zeros(len(examples))
        return self._train

    def losses(self, dataset: Any, indices: Indices) -> torch.Tensor:
        """See :class:`learning.objective.Objective`; canaries cost no forward pass."""
        if dataset is not self._train or self._slot is None:
            return self._inner.losses(dataset, indices)
        slots, out = self._slot[indices], np.zeros(len(indices), np.float32)
        appearance, side = np.divmod(self._turns[indices], 2)
        self._turns[indices] += 1
        canary = slots >= 0
        out[canary] = np.where(side == 0, 1.0, -1.0)[canary] * self._swing * self._sent[slots[canary], appearance[canary]]
        real = np.flatnonzero(~canary)
        if real.size:
            rows = indices[real]
            out[real] = self._inner.losses(dataset, self._place[rows]).float().cpu().numpy()
            first = side[real] == 0
            self._plus[rows[first]] = out[real[first]]
            last = real[~first]
            swing = (self._plus[indices[last]] - out[last].astype(np.float64)) / self._two_mu
            self._noted.append((indices[last], appearance[last], np.clip(swing, -self._clip, self._clip)))
        return torch.from_numpy(out)

    def assess(self, dataset: Any, indices: Indices) -> tuple[torch.Tensor, NDArray[Any]]:
        """See :class:`learning.objective.Objective`."""
        return self._inner.assess(dataset, indices)


@dataclass(frozen=True)
class Aligned:
    """What the known coins are held against, see :func:`learning.privacy.audit.known_coins.audit_known_coins`.

    ``observed``, ``expected``: one per round that was on the air; ``unit_mu``: root mean square of the pooled canaries' mu by
    the claim; ``pooled``: how many there are; ``numbers``: real numbers that the antennas receive in a round.
    """

    observed: Floats
    expected: Floats
    unit_mu: float
    pooled: int
    numbers: int


@dataclass(frozen=True)
class Placed:
    """Which canary sends what in which round.

    ``device`` [m]: who holds it; ``signs`` int8[m, T]: its sign in a round, 0 where it is not in the batch; ``included`` [m]:
    its coin; ``known`` [T, K]: what devices send of real records; ``share``: the most that a record adds to a payload, which is
    clip / b.
    """

    device: NDArray[np.int64]
    signs: NDArray[np.int8]
    included: NDArray[np.bool_]
    known: Floats
    share: float

    def sent(self, canaries: NDArray[np.bool_]) -> Floats:
        """What devices send of some canaries (bool[m]), by the claim. [T, K]."""
        coins = np.where(self.included, 1, -1).astype(np.float32)
        members = [canaries & (self.device == k) for k in range(self.known.shape[1])]
        return np.stack([self.share * (coins[mine] @ self.signs[mine].astype(np.float32)) for mine in members], axis=1)


def score_exposed(
    scenario: Scenario, data: TaskData, planned: Design, chosen: Exposure, objective: Exposed, air: InProcessAir, run: Tuned
) -> tuple[CanaryScores, Aligned]:
    """What ``run`` tells of the coins, to whoever guesses them and to whoever knows them.

    :raises TestbenchError: a scenario in which a record's share is not p / b, or a receiver that keeps no statistics
    """
    check_scorable(scenario)
    rounds = int(np.isfinite(run.payloads).all(axis=1).sum())
    return weigh(planned, _place(scenario, data, chosen, objective, rounds), air, run.payloads[:rounds])


def weigh(planned: Design, placed: Placed, air: InProcessAir, payloads: Floats) -> tuple[CanaryScores, Aligned]:
    """What the payloads [T, K] of rounds 0 .. T-1, sent over ``air``, tell of the coins.

    :raises TestbenchError: a receiver that keeps no statistics
    """
    rounds, devices = payloads.shape
    own, everyone = planned.artificial_noise[:rounds], np.ones(len(placed.device), np.bool_)
    heard = listen(air, payloads, placed.known, placed.sent(everyone), own)
    present = placed.signs != 0
    mu, scores, joint = np.empty(len(present)), np.empty(len(present)), _guess(heard, placed)
    for k in range(devices):
        mine = placed.device == k
        # Coins turn a payload from -share to share.
        mu[mine] = np.sqrt(present[mine].astype(np.float32) @ (np.square(2.0 * placed.share) * heard.energy[:, k]))
        scores[mine] = placed.signs[mine].astype(np.float32) @ (placed.share * heard.mixing[:, k] * heard.mean)
    pooled = most_telling(mu, rounds)
    if not pooled.all():
        heard = listen(air, payloads, placed.known + placed.sent(~pooled), placed.sent(pooled), own)
    unit_mu, audible = float(np.sqrt(np.square(mu[pooled]).mean())), np.isfinite(heard.along)
    aligned = Aligned(heard.along[audible], heard.expected[audible], unit_mu, int(pooled.sum()), heard.numbers)
    return CanaryScores(scores, joint, placed.included, present, mu), aligned


def _place(scenario: Scenario, data: TaskData, chosen: Exposure, objective: Exposed, rounds: int) -> Placed:
    federation, size = scenario.federation, scenario.federation.batch_size
    dealt = shards(data.strata, federation, data.files)
    slot = np.full(len(data.train), -1, np.int64)
    slot[chosen.positions] = np.arange(len(chosen.positions))
    device = np.empty(len(chosen.positions), np.int64)
    signs = np.zeros((len(chosen.positions), rounds), np.int8)
    known = np.zeros((rounds, federation.devices))
    projections = objective.projections
    for k, shard in enumerate(dealt):
        device[slot[shard][slot[shard] >= 0]] = k
        turns = np.zeros(len(data.train), np.int64)
        for t in range(rounds):
            # A batch of all is the same set in every round.
            rows = shard if size == len(shard) else batch(federation.seed, t, k, shard, size)
            who = slot[rows]
            canaries = who[who >= 0]
            signs[canaries, t] = chosen.signs[canaries, turns[rows[who >= 0]]]
            known[t, k] = sum(projections[row][turns[row]] for row in rows[who < 0].tolist()) / size
            turns[rows] += 1
    return Placed(device, signs, chosen.included, known, scenario.zeroth_order.clip / size)


def _guess(heard: Heard, placed: Placed) -> Floats:
    """E[coin | what was received along the mean response], of the linear model in white noise, to second order. [m].

    By the smaller of both systems: canaries, or rounds.
    """
    count, rounds = placed.signs.shape
    weights = (placed.share * heard.mixing).astype(np.float32)
    blocks = [slice(first, first + _BLOCK) for first in range(0, count, _BLOCK)]

    def mixing(block: slice) -> NDArray[np.float32]:
        return placed.signs[block] * weights[:, placed.device[block]].T

    if count <= rounds:
        a = np.concatenate([mixing(block) for block in blocks]).astype(np.float64)
        return np.asarray(np.linalg.solve(np.eye(count) + a @ a.T, a @ heard.mean))
    gram = np.eye(rounds)
    for block in blocks:
        gram += mixing(block).T @ mixing(block)
    weighed = np.linalg.solve(gram, heard.mean)
    return np.concatenate([mixing(block) @ weighed for block in blocks])
