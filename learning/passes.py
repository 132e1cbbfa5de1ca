"""The law of a round as float32 passes over the weights: docs/perturbation.md, section 5.

A pass (j, a) does w <- fl32(w + fl32(a z_j)). Whoever applies the same passes in the same order has the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Pass", "Update", "measuring", "moves", "round_passes", "update"]


@dataclass(frozen=True)
class Pass:
    """Add ``scale`` times the z of ``direction`` to the weights."""

    direction: int
    scale: np.float32


@dataclass(frozen=True)
class Update:
    """What follows the measurements: passes, and the factor of the matrices after them (None: no weight decay)."""

    passes: tuple[Pass, ...]
    decay: np.float32 | None = None

    @property
    def finite(self) -> bool:
        """Whether float32 can hold every scale."""
        return all(bool(np.isfinite(item.scale)) for item in self.passes)


def measuring(mu: float, directions: int) -> list[tuple[Pass, ...]]:
    """The passes before each of the 2 n evaluations: forward and back along each direction, then on to the next one.

    With a = float32(mu): +a, then -2a (exact); the weights are left at w - mu z_n.
    """
    ahead = np.float32(mu)
    back = np.float32(-2.0 * float(ahead))
    found: list[tuple[Pass, ...]] = []
    for j in range(directions):
        restore = (Pass(j - 1, ahead),) if j else ()
        found.append((*restore, Pass(j, ahead)))
        found.append((Pass(j, back),))
    return found


def update(
    mu: float, learning_rate: float, estimates: Sequence[float] | None, directions: int, weight_decay: float = 0.0
) -> Update:
    """The passes after the last evaluation; a lost round (``estimates`` None) only restores.

    The last direction first, its restore folded in: float32(a - eta p_n / n); then the others, float32(-(eta p_j / n)), each
    from float64 with one rounding. ``decay`` is float32(1 - eta lambda).

    :raises ValueError: not one estimate per direction
    """
    ahead = np.float32(mu)
    if estimates is None:
        return Update((Pass(directions - 1, ahead),))
    if len(estimates) != directions:
        raise ValueError(f"a round of {directions} directions has {len(estimates)} estimates")
    steps = [learning_rate * float(value) / directions for value in estimates]
    with np.errstate(over="ignore"):
        last = Pass(directions - 1, np.float32(float(ahead) - steps[-1]))
        others = tuple(Pass(j, np.float32(-step)) for j, step in enumerate(steps[:-1]))
    decay = np.float32(1.0 - learning_rate * weight_decay) if weight_decay else None
    return Update((last, *others), decay)


def round_passes(mu: float, directions: int, after: Update) -> tuple[Pass, ...]:
    """Every pass of a round, in order."""
    return (*(item for passes in measuring(mu, directions) for item in passes), *after.passes)


def moves(mu: float, after: Update) -> tuple[Pass, ...]:
    """What a round moves the weights by, as its float32 factors add up, without weight decay; nothing where it was lost."""
    last, *others = after.passes
    total = (Pass(last.direction, np.float32(float(last.scale) - float(np.float32(mu)))), *others)
    return tuple(item for item in total if item.scale != 0.0)
