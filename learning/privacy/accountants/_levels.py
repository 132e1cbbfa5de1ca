"""Few levels for many numbers: every mu is rounded up to one of n levels, chosen so that the sum of squares grows least."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["round_up_to_levels"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_CANDIDATES = 512


def round_up_to_levels(mu: Floats, levels: int) -> tuple[Floats, Integers]:
    """Positive mu [T] to (at most ``levels`` levels, how many rounds are charged at each); no mu is above its level.

    Where there are more than 512 distinct values they are first rounded up to 512 in geometric steps. The optimal partition
    of those minimises the sum over rounds of level^2 - mu^2, by dynamic programming.
    """
    values, counts = np.unique(mu, return_counts=True)
    if len(values) > _CANDIDATES:
        # Rounds below a thousandth of the loudest share the lowest steps; together they are below 1e-6 of its square each.
        grid = np.geomspace(max(values[0], values[-1] * 1e-3), values[-1], _CANDIDATES)
        grid[-1] = values[-1]
        values, counts = np.unique(grid[np.searchsorted(grid, mu)], return_counts=True)
    if len(values) <= levels:
        return values, counts.astype(np.int64)
    # Cost of raising candidates i .. j to values[j]: n(i, j) values[j]^2, the sum of the squares themselves being the same.
    number = np.concatenate(([0], np.cumsum(counts)))
    size = len(values)
    # raised[j, i]: candidates i .. j at the level of the last
    raised = (number[1:, None] - number[None, :-1]) * np.square(values)[:, None]
    raised[np.triu_indices(size, 1)] = np.inf
    best = raised[:, 0].copy()  # best[j]: candidates 0 .. j at one level
    starts = np.zeros((levels, size), np.int64)
    for level in range(1, levels):
        # The last level covers i .. j, the earlier ones 0 .. i - 1.
        cost = raised + np.concatenate(([0.0], best[:-1]))
        starts[level] = np.argmin(cost, axis=1)
        best = cost[np.arange(size), starts[level]]
    chosen: list[int] = []
    amounts: list[int] = []
    end = size - 1
    for level in range(levels - 1, -1, -1):
        first = int(starts[level, end])
        chosen.append(end)
        amounts.append(int(number[end + 1] - number[first]))
        end = first - 1
        if end < 0:
            break
    return values[chosen[::-1]], np.array(amounts[::-1], np.int64)
