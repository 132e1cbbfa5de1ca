"""Who holds which training examples, and which of them a device uses in a round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from learning.config import FederationConfig
from learning.errors import TaskError
from learning.keys import BATCHES, SPLIT, Key, Words, bits_of, philox

__all__ = ["batch", "poisson", "shards"]

Indices = npt.NDArray[np.int64]


def batch(key: Key, round_index: int, device: int, shard: Indices, size: int) -> Indices:
    """``size`` entries of a device's shard, a pure function of (key, round, device, shard).

    Without replacement (a sparse Fisher-Yates shuffle of keyed words); with replacement where the shard is smaller.

    :param key: the public seed, or the device's secret: then nobody else can tell the batch
    """
    words = Words(bits_of(key, BATCHES, round_index=round_index, stream=device))
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


def poisson(key: Key, round_index: int, device: int, shard: Indices, size: int) -> Indices:
    """Each entry of a device's shard with probability ``size`` / its length (at most 1), independently; it may be none.

    A pure function of (key, round, device, shard): word i of the batch's keyed stream decides on entry i.

    :param key: as in :func:`batch`
    """
    if len(shard) <= size:
        return shard
    bits = bits_of(key, BATCHES, round_index=round_index, stream=device)
    words = np.asarray(bits.random_raw(len(shard)), dtype=np.uint64)
    top = (words >> np.uint64(11)).astype(np.float64)  # exact
    return shard[top < size / len(shard) * 2.0**53]


def shards(labels: Sequence[int], config: FederationConfig, files: Sequence[int] | None = None) -> tuple[Indices, ...]:
    """Deal the training examples to the devices; every example to exactly one.

    ``iid``: a random permutation dealt round robin. ``dirichlet``: per label, shares drawn from Dirichlet(alpha) over
    devices (Hsu et al., arXiv 1909.06335); small alpha gives devices with hardly more than one label. ``by_file``: device k
    holds the examples of file k.

    :param labels: what a Dirichlet split makes uneven (``TaskData.strata``)
    :param files: the number of each example's file; None: there is one source
    :raises TaskError: a device, which the sentence names, would hold nothing, or files and devices do not match
    """
    if len(labels) < config.devices:
        raise TaskError(
            f"{len(labels)} training examples cannot serve {config.devices} devices; add examples or use fewer devices"
        )
    if config.split == "iid":
        order = Words(philox(config.seed, SPLIT)).permutation(len(labels))
        return tuple(np.sort(order[device :: config.devices]) for device in range(config.devices))
    dealt = _by_file(files, config) if config.split == "by_file" else _dirichlet(np.asarray(labels, dtype=np.int64), config)
    for device, shard in enumerate(dealt):
        if len(shard) == 0:
            raise TaskError(f"device {device} would hold no training examples {_remedy(config)}")
    return dealt


def _remedy(config: FederationConfig) -> str:
    if config.split == "by_file":
        return (
            'under federation.split "by_file", which gives device k the chosen examples of file k of task.train; list a '
            "file for each device, or raise task.train_examples"
        )
    return (
        f"under federation.dirichlet_alpha = {config.dirichlet_alpha:g} and seed {config.seed}; raise it, set "
        "federation.dirichlet_min_examples to let the fullest devices give some, or choose another seed"
    )


def _by_file(files: Sequence[int] | None, config: FederationConfig) -> tuple[Indices, ...]:
    if files is None:
        raise TaskError(
            'federation.split "by_file" takes a list of training files, one per device; set task.train to such a list'
        )
    numbers = np.asarray(files, dtype=np.int64)
    if numbers.max() >= config.devices:
        raise TaskError(
            f"task.train lists {numbers.max() + 1} files or more for {config.devices} devices; set federation.devices to "
            "their number"
        )
    return tuple(np.flatnonzero(numbers == device) for device in range(config.devices))


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
        while len(dealt[device]) < config.dirichlet_min_examples:
            fullest = max(range(config.devices), key=lambda k: len(dealt[k]))
            if len(dealt[fullest]) <= config.dirichlet_min_examples:
                raise TaskError(
                    f"{len(labels)} training examples do not give each of {config.devices} devices "
                    f"{config.dirichlet_min_examples}; lower federation.dirichlet_min_examples"
                )
            dealt[device], dealt[fullest] = np.append(dealt[device], dealt[fullest][-1]), dealt[fullest][:-1]
    return tuple(np.sort(part) for part in dealt)
