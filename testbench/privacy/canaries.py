"""Canaries: records whose label is a fair coin, in a real fine-tuning run; and what the broadcasts tell of every coin.

"Out", a canary has its own label; "in", another one: two data sets that differ in one record, replaced. The auditor knows
everything but the coins: directions, batches and all other records, and so, replaying the run, the projected gradient that
either label would have contributed in every round. With d_x(t) their difference (both clipped), the score is

    S_x = sum over rounds with x in the batch of (a_t / sigma_t)^2 (p_hat_t - rest_t) d_x(t) / b,

rest_t being the mean payload with every coin undecided. It is the log-likelihood ratio of the coin to first order, other
coins taken for part of the noise. Over the air one round's p_hat is all that the server hears of a scalar (matched filter,
perfect channels), so nothing is lost by scoring broadcasts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from learning.batches import batch, shards
from learning.data import TaskData
from learning.objective import Objective
from learning.parameters import trainable
from learning.perturbation import Perturbation
from learning.privacy.audit.membership import correlation_scores
from learning.zeroth_order import ZerothOrderStep
from testbench.errors import TestbenchError
from testbench.privacy.tuning import Tuned
from testbench.scenario import Scenario

__all__ = ["CanaryScores", "Planted", "check_scorable", "joint_scores", "plant", "score"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_COINS = 0x636F696E  # "coin": keys the draw of canaries and coins, apart from everything else of the seed


@dataclass(frozen=True)
class Planted:
    """A task with canaries.

    :param data: what the run is trained on; :param twins: the same with every coin the other way round
    :param positions: [m] rows of the canaries; :param included: [m] the coins
    """

    data: TaskData
    twins: TaskData
    positions: Indices
    included: NDArray[np.bool_]


@dataclass(frozen=True)
class CanaryScores:
    """What the run tells of the coins.

    :param scores: [m] S_x; :param joint: [m] linear least-mean-square estimates of the coins; :param included: [m] the coins
    :param present: bool[m, T], rounds in which a canary is in the batch and something was received
    :param audible_mu: [m] mu of each canary at the projections that it really had: the loss to first order
    """

    scores: Floats
    joint: Floats
    included: NDArray[np.bool_]
    present: NDArray[np.bool_]
    audible_mu: Floats

    @property
    def appearances(self) -> Floats:
        """Number of rounds in which each canary could be heard. [m]."""
        return np.asarray(self.present.sum(axis=1), np.float64)

    def worst_mu(self, round_mu: Floats) -> float:
        """Largest sqrt(sum mu_t^2) of a canary over the rounds that it was in: a bound for whoever knows the batches."""
        if self.present.all():
            return float(np.linalg.norm(round_mu))
        # A few at a time: a million booleans become numbers here.
        blocks = (self.present[first : first + 1024] for first in range(0, len(self.present), 1024))
        return math.sqrt(max(float((block @ np.square(round_mu)).max()) for block in blocks))


def plant(data: TaskData, count: int, seed: int) -> Planted:
    """Choose ``count`` training records and toss their coins.

    :raises TestbenchError: more canaries than records, or fewer than two
    """
    if not 2 <= count <= len(data.train):
        raise TestbenchError(
            f"a task with {len(data.train)} training records can hold 2 .. {len(data.train)} canaries, not {count}"
        )
    generator = np.random.Generator(np.random.Philox(key=[seed, _COINS]))
    positions = np.sort(generator.permutation(len(data.train))[:count]).astype(np.int64)
    included = generator.random(count) < 0.5

    def with_coins(coins: NDArray[np.bool_]) -> TaskData:
        records = list(data.train)
        for position, coin in zip(positions.tolist(), coins.tolist(), strict=True):
            text, label = records[position]
            records[position] = (text, (label + 1) % (len(data.answers) or len(data.labels)) if coin else label)
        return replace(data, train=tuple(records))

    return Planted(with_coins(included), with_coins(~included), positions, included)


def score(
    scenario: Scenario, planted: Planted, objective: Objective, run: Tuned, progress: Callable[[int], None] | None = None
) -> CanaryScores:
    """Replay ``run`` on ``objective`` (base weights) and score every canary.

    :raises TestbenchError: another scheme than analog, or batches or clipping for which a record's share is not p / b
    """
    federation, step_config = scenario.federation, scenario.zeroth_order
    check_scorable(scenario)
    weights = trainable(objective.model)
    objective.model.eval()
    step = ZerothOrderStep(Perturbation(weights, federation.seed, step_config.perturbation), step_config)
    true, twin = objective.prepare(planted.data.train), objective.prepare(planted.twins.train)
    dealt = shards(planted.data.strata, federation, planted.data.files)
    slot = np.full(len(planted.data.train), -1, np.int64)
    slot[planted.positions] = np.arange(len(planted.positions))
    clip, size = step_config.clip, federation.batch_size
    two_mu = 2.0 * float(np.float32(step_config.mu))
    rounds = len(run.estimates)
    differences = np.zeros((len(planted.positions), rounds))
    present = np.zeros(differences.shape, np.bool_)
    rest = np.zeros(rounds)
    sign = np.where(planted.included, 1.0, -1.0)
    for t in range(rounds):
        rows = np.concatenate([batch(federation.seed, t, k, dealt[k], size) for k in range(federation.devices)])
        mine = rows[slot[rows] >= 0]
        sides: list[tuple[Floats, Floats]] = []

        def losses(
            rows: Indices = rows, mine: Indices = mine, sides: list[tuple[Floats, Floats]] = sides
        ) -> list[NDArray[np.float32]]:
            with torch.inference_mode():
                found = objective.losses(true, rows).float().cpu().numpy()
                other = objective.losses(twin, mine).float().cpu().numpy() if len(mine) else np.zeros(0, np.float32)
            sides.append((found.astype(np.float64), other.astype(np.float64)))
            return [found]

        step.ask(t, losses)
        own, other = (np.clip((plus - minus) / two_mu, -clip, clip) for plus, minus in zip(*sides, strict=True))
        held = slot[rows] >= 0
        which = slot[rows[held]]
        # Half the difference of "in" and "out": what the coin adds to the mean of the two, or takes from it.
        half = sign[which] * (own[held] - other) / 2.0
        np.add.at(differences[:, t], which, half)
        undecided = own.copy()
        undecided[held] = (own[held] + other) / 2.0
        rest[t] = undecided.sum() / (size * federation.devices)
        if math.isfinite(run.estimates[t]):
            present[which, t] = True
        step.tell(t, (float(run.estimates[t]),) if math.isfinite(run.estimates[t]) else None)
        if progress is not None:
            progress(t + 1)
    ratio = run.amplitudes / math.sqrt(scenario.link.n0 / 2.0)
    scores = correlation_scores(run.received, differences, ratio, clip, size, rest)
    audible = np.where(np.isfinite(run.estimates), ratio, 0.0)
    mu = np.sqrt(np.square(2.0 * differences / (size * clip)) @ np.square(audible))
    return CanaryScores(scores, joint_scores(scenario, run, differences, rest), planted.included, present, mu)


def joint_scores(scenario: Scenario, run: Tuned, differences: Floats, rest: Floats) -> Floats:
    """E[coin | broadcasts] of the linear model p_hat - rest = sum_x (+-1) d_x / (b K) + noise, to second order. Shape [m].

    ``differences`` [m, T]: half of what a canary's value changes with its coin; ``rest`` [T]: the mean without any coin.
    """
    size, devices, clip = scenario.federation.batch_size, scenario.federation.devices, scenario.zeroth_order.clip
    heard = np.isfinite(run.received) & (run.amplitudes > 0)
    if not heard.any():
        return np.zeros(len(differences))
    mixing = differences[:, heard].T / (size * devices)
    noise = (clip / devices) ** 2 * scenario.link.n0 / (2.0 * np.square(run.amplitudes[heard]))
    weighted = mixing / noise[:, None]
    precision = np.eye(len(differences)) + mixing.T @ weighted
    return np.asarray(np.linalg.solve(precision, weighted.T @ (run.received - rest)[heard]))


def check_scorable(scenario: Scenario) -> None:
    """Whether a record's part in a device's value is its own clipped projection over b."""
    if scenario.link.scheme != "analog":
        raise TestbenchError(
            f"canaries are scored by what they add to analog payloads; link.scheme is {scenario.link.scheme!r}"
        )
    if scenario.zeroth_order.clip_scope != "sample":
        raise TestbenchError('canaries need a bound on what one record adds: set zeroth_order.clip_scope = "sample"')
    if scenario.zeroth_order.directions > 1:
        raise TestbenchError("canaries are scored by one scalar a round: set zeroth_order.directions = 1")
    if scenario.federation.sampling != "fixed":
        raise TestbenchError('canaries are scored for batches that the auditor knows: set federation.sampling = "fixed"')
    if scenario.federation.faults.any:
        raise TestbenchError("canaries are scored without protocol faults; leave out federation.faults")
