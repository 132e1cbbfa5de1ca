"""Rebuild the weights of a run from its base weights and its journal, bit for bit.

Training sweeps all weights once per pass; replay takes a cache-sized piece of the weights through all rounds in turn, which
gives the same float32 operations on every weight in the same order, and so the same bits, much faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from learning.errors import JournalError
from learning.journal import Journal, JournalRow
from learning.laws import BLOCK_BYTES, Float32, Law, Rademacher, law
from learning.mezo import MezoDirections
from learning.parameters import WeightVector, trainable, weights_sha256
from learning.passes import Pass, round_passes, update
from learning.perturbation import RawStream, Window, windows

__all__ = ["replay", "replay_rows"]

Progress = Callable[[int, int], None]

_LAWS = ("rademacher", "gaussian", "mezo")


@dataclass(frozen=True)
class _Round:
    index: int
    seed: int
    passes: tuple[Pass, ...]
    decay: np.float32 | None


def replay(
    model: torch.nn.Module,
    journal: Journal,
    upto: int | None = None,
    progress: Progress | None = None,
    *,
    start: int = 0,
    piece_weights: int = 2**19,
) -> int:
    """Apply the journal's rounds ``start`` .. ``upto`` - 1 to ``model`` in place; returns the number of the next round.

    :param upto: first round not to apply; all rounds by default
    :param progress: called with (weights done, weights in all)
    :param start: the round that the model already stands before (a late device that has followed until then)
    :param piece_weights: weights taken through all rounds at a time; speed only
    :raises JournalError: the model is not the journal's base model, or the journal lacks the rounds asked for
    """
    end = len(journal) if upto is None else upto
    if not 0 <= start <= end <= len(journal):
        raise JournalError(f"{journal.path} holds {len(journal)} rounds; rounds {start} to {end} cannot be replayed")
    meta = journal.meta
    if "base_weights_sha256" not in meta:
        raise JournalError(f"{journal.path} has not begun a run; there is nothing to replay")
    rows = journal.rows(end, start=start)
    replay_rows(model, meta, list(rows), journal.path, progress, from_base=start == 0, piece_weights=piece_weights)
    return end


def replay_rows(
    model: torch.nn.Module,
    meta: dict[str, Any],
    rows: Sequence[JournalRow],
    name: str = "the journal",
    progress: Progress | None = None,
    *,
    from_base: bool,
    piece_weights: int = 2**19,
) -> None:
    """Apply ``rows`` under a journal's ``meta`` to ``model`` in place: what a device does that has the rows but not the file.

    :param name: of the journal, for error messages
    :param from_base: the model must hold the base weights, which is checked; else those before the first row
    :raises JournalError: ``meta`` or a row is not whole, or the model is another one
    """
    numbers = [meta.get(key) for key in ("mu", "learning_rate", "parameter_count")]
    if not all(isinstance(value, (int, float)) for value in numbers) or meta.get("perturbation") not in _LAWS:
        raise JournalError(f"{name} lacks mu, learning_rate, perturbation or parameter_count; restore it from a copy")
    weights = trainable(model)
    count = sum(len(vector) for vector in weights)
    if count != meta["parameter_count"]:
        raise JournalError(
            f"{name} is of a model with {meta['parameter_count']} trainable weights, this one has {count}; "
            "load the model that the run started from"
        )
    if from_base and weights_sha256(model) != meta["base_weights_sha256"]:
        raise JournalError(f"{name} starts from other weights than this model's; load the model that the run started from")
    rounds = [_round(row, meta, name) for row in rows]
    if meta["perturbation"] == "mezo":
        _whole_model(weights, rounds, progress, count)
        return
    rule = law(meta["perturbation"], count)
    stream = RawStream()
    done = 0
    for window in windows(weights, rule.weights_per_block, piece_weights):
        values = _gather(window, rule)
        shrinking = _shrinking(window, values) if any(item.decay is not None for item in rounds) else None
        if isinstance(rule, Rademacher):
            _apply_signs(values, window, rounds, rule, stream, shrinking)
        else:
            _apply(values, window, rounds, rule, stream, shrinking)
        done += _scatter(values, window)
        if progress is not None:
            progress(done, count)


def _round(row: JournalRow, meta: dict[str, Any], name: str) -> _Round:
    rate = meta["learning_rate"] if row.learning_rate is None else row.learning_rate
    directions = int(meta.get("directions", 1))
    try:
        after = update(meta["mu"], rate, row.estimates, directions, float(meta.get("weight_decay", 0.0)))
    except ValueError as error:
        raise JournalError(f"{name}, round {row.round}: {error}; restore it from a copy") from error
    return _Round(row.round, row.seed, round_passes(meta["mu"], directions, after), after.decay)


def _whole_model(weights: Sequence[WeightVector], rounds: Sequence[_Round], progress: Progress | None, count: int) -> None:
    # torch's stream cannot be entered in the middle, so every pass goes over the whole model.
    for number, item in enumerate(rounds):
        MezoDirections(weights, item.seed).apply(item.index, item.passes, item.decay)
        if progress is not None:
            progress(count * (number + 1) // len(rounds), count)


def _gather(window: Window, rule: Law) -> Float32:
    values = np.zeros(window.blocks * rule.weights_per_block, dtype=np.float32)
    for piece in window.pieces:
        values[piece.start : piece.start + piece.flat.numel()] = piece.flat.cpu().numpy()
    return values


def _shrinking(window: Window, values: Float32) -> list[Float32]:
    """Views of ``values`` on what weight decay shrinks."""
    return [values[piece.start : piece.start + piece.flat.numel()] for piece in window.pieces if piece.decays]


def _scatter(values: Float32, window: Window) -> int:
    for piece in window.pieces:
        piece.flat.copy_(torch.from_numpy(values[piece.start : piece.start + piece.flat.numel()]))
    return sum(piece.flat.numel() for piece in window.pieces)


def _decay(shrinking: list[Float32] | None, factor: np.float32 | None) -> None:
    if factor is not None and shrinking is not None:
        for part in shrinking:
            np.multiply(part, factor, out=part)


def _apply(
    w: Float32, window: Window, rounds: Sequence[_Round], rule: Law, stream: RawStream, shrinking: list[Float32] | None
) -> None:
    table = rule.table(np.float32(1.0))
    z, product = np.empty_like(w), np.empty_like(w)
    for item in rounds:
        direction = -1
        for each in item.passes:
            if each.direction != direction:
                direction = each.direction
                raw = stream.read(item.seed, item.index, window.first_block, window.blocks, direction=direction)
                rule.expand(table, raw, z)
            np.multiply(z, each.scale, out=product)
            np.add(w, product, out=w)
        _decay(shrinking, item.decay)


def _apply_signs(
    w: Float32, window: Window, rounds: Sequence[_Round], rule: Rademacher, stream: RawStream, shrinking: list[Float32] | None
) -> None:
    # For z = +-1, fl(w + a z) = z fl(z w + a): flipping signs is exact, so a pass is a scalar addition to z w. `held` is z w
    # for the z of the last pass; the next z flips the bits in which the two differ. A decay commutes with the signs.
    flips = rule.table(np.float32(-0.0)).view(np.uint64)  # a set bit is z = +1: row of -0.0, the sign bit alone; two in a word
    mask = np.empty(w.shape, dtype=np.uint32)
    rows = mask.view(np.uint64).reshape(-1, 4)
    held, bits = w, w.view(np.uint32)
    previous = np.zeros(window.blocks * BLOCK_BYTES, dtype=np.uint8)
    for item in rounds:
        direction = -1
        for each in item.passes:
            if each.direction != direction:
                direction = each.direction
                raw = stream.read(item.seed, item.index, window.first_block, window.blocks, direction=direction)
                np.take(flips, raw ^ previous, axis=0, out=rows, mode="clip")
                np.bitwise_xor(bits, mask, out=bits)
                previous = raw
            np.subtract(held, each.scale, out=held)
        _decay(shrinking, item.decay)
    np.take(flips, previous, axis=0, out=rows, mode="clip")
    np.bitwise_xor(bits, mask, out=bits)
    if rounds:
        # An exact zero would carry z's sign here; in training a sum that cancels is +0.
        np.add(w, np.float32(0.0), out=w)
