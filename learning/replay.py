"""Rebuild the weights of a run from its base weights and its journal, bit for bit.

Training sweeps all weights once per pass; replay takes a cache-sized piece of the weights through all rounds in turn, which
gives the same float32 operations on every weight in the same order, and so the same bits, much faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from learning.errors import JournalError
from learning.journal import Journal
from learning.laws import BLOCK_BYTES, Float32, Law, Rademacher, law
from learning.parameters import trainable, weights_sha256
from learning.perturbation import RawStream, Window, windows
from learning.zeroth_order import Scales, scales

__all__ = ["replay"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Round:
    index: int
    seed: int
    scales: Scales


def replay(
    model: torch.nn.Module,
    journal: Journal,
    upto: int | None = None,
    progress: Progress | None = None,
    *,
    start: int = 0,
    piece_weights: int = 2**17,
) -> int:
    """Apply the journal's rounds ``start`` .. ``upto`` - 1 to ``model`` in place; returns the number of the next round.

    :param upto: first round not to apply; all rounds by default
    :param progress: called with (weights done, weights in all)
    :param start: the round that the model already stands before (a late device that has followed until then)
    :param piece_weights: weights taken through all rounds at a time; speed only
    :raises JournalError: the model is not the journal's base model, or the journal lacks the rounds asked for
    """
    meta = journal.meta
    if "base_weights_sha256" not in meta:
        raise JournalError(f"{journal.path} has not begun a run; there is nothing to replay")
    numbers = [meta.get(key) for key in ("mu", "learning_rate", "parameter_count")]
    if not all(isinstance(value, (int, float)) for value in numbers) or meta.get("perturbation") not in (
        "rademacher",
        "gaussian",
    ):
        raise JournalError(f"{journal.path} lacks mu, learning_rate, perturbation or parameter_count; restore it from a copy")
    end = len(journal) if upto is None else upto
    if not 0 <= start <= end <= len(journal):
        raise JournalError(f"{journal.path} holds {len(journal)} rounds; rounds {start} to {end} cannot be replayed")
    weights = trainable(model)
    count = sum(len(vector) for vector in weights)
    if count != meta["parameter_count"]:
        raise JournalError(
            f"{journal.path} is of a model with {meta['parameter_count']} trainable weights, this one has {count}; "
            "load the model that the run started from"
        )
    if start == 0 and weights_sha256(model) != meta["base_weights_sha256"]:
        raise JournalError(
            f"{journal.path} starts from other weights than this model's; load the model that the run started from"
        )
    rounds = [
        _Round(row.round, row.seed, scales(meta["mu"], meta["learning_rate"], row.estimate))
        for row in journal.rows(end)
        if row.round >= start
    ]
    rule = law(meta["perturbation"], count)
    stream = RawStream()
    done = 0
    for window in windows(weights, rule.weights_per_block, piece_weights):
        values = _gather(window, rule)
        if isinstance(rule, Rademacher):
            _apply_signs(values, window, rounds, rule, stream)
        else:
            _apply(values, window, rounds, rule, stream)
        done += _scatter(values, window)
        if progress is not None:
            progress(done, count)
    return end


def _gather(window: Window, rule: Law) -> Float32:
    values = np.zeros(window.blocks * rule.weights_per_block, dtype=np.float32)
    for piece in window.pieces:
        values[piece.start : piece.start + piece.flat.numel()] = piece.flat.cpu().numpy()
    return values


def _scatter(values: Float32, window: Window) -> int:
    for piece in window.pieces:
        piece.flat.copy_(torch.from_numpy(values[piece.start : piece.start + piece.flat.numel()]))
    return sum(piece.flat.numel() for piece in window.pieces)


def _apply(w: Float32, window: Window, rounds: Sequence[_Round], rule: Law, stream: RawStream) -> None:
    table = rule.table(np.float32(1.0))
    z, product = np.empty_like(w), np.empty_like(w)
    for item in rounds:
        rule.expand(table, stream.read(item.seed, item.index, window.first_block, window.blocks), z)
        for scale in (item.scales.forward, item.scales.back, item.scales.update):
            np.multiply(z, scale, out=product)
            np.add(w, product, out=w)


def _apply_signs(w: Float32, window: Window, rounds: Sequence[_Round], rule: Rademacher, stream: RawStream) -> None:
    # For z = +-1, fl(w + a z) = z fl(z w + a): flipping signs is exact, so a round is three scalar additions to z w.
    # `held` is z w for the z of the last round; the next round flips the bits in which the two z differ.
    flips = rule.table(np.float32(-0.0)).view(np.uint32)  # a set bit is z = +1: row of -0.0, the sign bit alone
    mask = np.empty(w.shape, dtype=np.uint32)
    held, bits = w, w.view(np.uint32)
    previous = np.zeros(window.blocks * BLOCK_BYTES, dtype=np.uint8)
    for item in rounds:
        raw = stream.read(item.seed, item.index, window.first_block, window.blocks)
        np.take(flips, raw ^ previous, axis=0, out=mask.reshape(-1, 8), mode="clip")
        np.bitwise_xor(bits, mask, out=bits)
        for scale in (item.scales.forward, item.scales.back, item.scales.update):
            np.subtract(held, scale, out=held)
        previous = raw
    np.take(flips, previous, axis=0, out=mask.reshape(-1, 8), mode="clip")
    np.bitwise_xor(bits, mask, out=bits)
    if rounds:
        # An exact zero would carry z's sign here; in training a sum that cancels is +0.
        np.add(w, np.float32(0.0), out=w)
