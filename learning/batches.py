"""Who holds which training examples, and which of them a device uses in a round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from learning.config import FederationConfig
from learning.errors import TaskError
from learning.keys import BATCHES, SPLIT, Words, philox

__all__ = ["batch", "poisson", "shards"]

Indices = npt.NDArray[np.int64]


def batch(seed: int, round_index: int, device: int, shard: Indices, size: int) -> Indices:
    """``size`` entries of a device's shard, a pure function of (seed, round, device, shard).

    Without replacement (a sparse Fisher-Yates shuffle of Philox words); with replacement where the shard is smaller.
    """
    words = Words(philox(seed, BATCHES, round_index=round_index, stream=device))
    count = len(shard)
    if count < size:
        return shard[words.below(np.full(size, count, dtype=np.int64))]
    offsets = words.below(count - np.arange(size, dtype=np.int64))
    moved: dict[int, int] = {}
    chosen = np.empty(size, dtype=np.int64)
    for place, offset in enumerate(offsets.tolist()):
        other = place + offset
        chosen[place] = moved.get(other, other)
        moved[other] = moved.get(place, place)
    return shard[chosen]


def poisson(seed: int, round_index: int, device: int, shard: Indices, size: int) -> Indices:
    """Each entry of a device's shard with probability ``size`` / its length (at most 1), independently; it may be none.

    A pure function of (seed, round, device, shard): word i of the batch's Philox stream decides on entry i.
    """
    if len(shard) <= size:
        return shard
    words = np.asarray(philox(seed, BATCHES, round_index=round_index, stream=device).random_raw(len(shard)), dtype=np.uint64)
    top = (words >> np.uint64(11)).astype(np.float64)  # exact
    return shard[top < size / len(shard) * 2.0**53]


def shards(labels: Sequence[int], config: FederationConfig) -> tuple[Indices, ...]:
    """Deal the training examples to the devices; every example to exactly one, at least one each.

    ``iid``: a random permutation dealt round robin. ``dirichlet``: per label, shares drawn from Dirichlet(alpha) over
    devices (Hsu et al., arXiv 1909.06335); small alpha gives devices with hardly more than one label.
    """
    if len(labels) < config.devices:
        raise TaskError(
            f"{len(labels)} training examples cannot serve {config.devices} devices; add examples or use fewer devices"
        )
    if config.split == "iid":
        order = Words(philox(config.seed, SPLIT)).permutation(len(labels))
        return tuple(np.sort(order[device :: config.devices]) for device in range(config.devices))
    return _dirichlet(np.asarray(labels, dtype=np.int64), config)


def _dirichlet(labels: Indices, config: FederationConfig) -> tuple[Indices, ...]:
    parts: list[list[Indices]] = [[] for _ in range(config.devices)]
    for label in np.unique(labels).tolist():
        words = Words(philox(config.seed, SPLIT, stream=label + 1))
        members = np.flatnonzero(labels == label)
        members = members[words.permutation(len(members))]
        logs = np.array([words.log_gamma_draw(config.dirichlet_alpha) for _ in range(config.devices)])
        shares = np.exp(logs - logs.max())
        ends = np.rint(np.cumsum(shares) / shares.sum() * len(members)).astype(np.int64)
        starts = np.concatenate([[0], ends[:-1]])
        for device, (start, end) in enumerate(zip(starts, ends, strict=True)):
            parts[device].append(members[start:end])
    dealt = [np.sort(np.concatenate(part)) for part in parts]
    for device in range(config.devices):
        if len(dealt[device]) == 0:  # a device without data could not take part: the richest gives one example
            richest = max(range(config.devices), key=lambda k: len(dealt[k]))
            dealt[device], dealt[richest] = dealt[richest][-1:], dealt[richest][:-1]
    return tuple(dealt)
