"""Weights that stand beside the reference: where a device is whose updates differ from the journal's.

Such a device is at w_k = w + d with d a sum of few directions, d = sum_i c_i z_i: one for every update that it missed, two
for every update that it made along a wrong direction. So no copy of the model is kept for it, only its list of terms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from learning.laws import law
from learning.parameters import WeightVector
from learning.perturbation import RawStream, windows

__all__ = ["Displacement", "Term"]


@dataclass(frozen=True)
class Term:
    """``scale`` times the z of (seed, round, direction)."""

    round: int
    seed: int
    scale: np.float32
    direction: int = 0


class Displacement:
    """Moves the given weights, in place, by a sum of terms.

    d is summed in float32 apart from the weights, term by term, in pieces that fit a cache, and added to them once: its
    error is that of numbers of its own size, and |d| comes with it. No memory of the model's size is used.

    :param weights: the trainable tensors, in the order that numbers them
    :param law_name: ``rademacher`` or ``gaussian``
    :param chunk_weights: weights handled at a time; speed only, never the weights' bits
    """

    def __init__(self, weights: Sequence[WeightVector], law_name: str, *, chunk_weights: int = 2**17) -> None:
        self._law = law(law_name, sum(len(vector) for vector in weights))
        self._windows = windows(weights, self._law.weights_per_block, chunk_weights)
        self._stream = RawStream()

    def add(self, terms: Sequence[Term]) -> float:
        """w <- fl(w + d); returns the Euclidean norm of d."""
        if not terms:
            return 0.0
        table = self._law.table(np.float32(1.0))
        largest = max(window.blocks for window in self._windows) * self._law.weights_per_block
        sums, directions = np.empty(largest, dtype=np.float32), np.empty(largest, dtype=np.float32)
        energy = 0.0
        for window in self._windows:
            size = window.blocks * self._law.weights_per_block
            d, z = sums[:size], directions[:size]
            d[:] = 0.0
            for term in terms:
                raw = self._stream.read(term.seed, term.round, window.first_block, window.blocks, direction=term.direction)
                self._law.expand(table, raw, z)
                np.multiply(z, term.scale, out=z)
                np.add(d, z, out=d)
            for piece in window.pieces:
                part = d[piece.start : piece.start + piece.flat.numel()]
                piece.flat.add_(torch.from_numpy(part).to(piece.flat.device))
                energy += float(np.square(part, dtype=np.float64).sum())
        return math.sqrt(energy)
