"""The directions of a run, by the name of their law."""

from __future__ import annotations

from collections.abc import Sequence

from learning.mezo import MezoDirections
from learning.parameters import WeightVector
from learning.perturbation import Directions, Perturbation

__all__ = ["directions_of"]


def directions_of(weights: Sequence[WeightVector], seed: int, law: str) -> Directions:
    """The directions under ``seed`` for the given weights: ``rademacher``, ``gaussian`` or ``mezo``."""
    return MezoDirections(weights, seed) if law == "mezo" else Perturbation(weights, seed, law)
