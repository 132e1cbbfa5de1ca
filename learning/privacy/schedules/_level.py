"""Water-filling: the level at which clipped straight lines add up to a total."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["fill"]

Floats = npt.NDArray[np.float64]


def fill(total: float, slope: Floats, cap: Floats, offset: float = 0.0, guess: float = 0.0) -> tuple[Floats, float]:
    """Find s with sum_t v_t = total for v_t = min{cap_t, [slope_t s - offset]_+}.

    The sum is a continuous, non-decreasing, piecewise linear function of s. Newton steps inside a bracket end on the root's
    own piece; with offset 0 the sum is concave and they need no bracket. A bisection of s in its logarithm is the fallback.

    :param total: positive, may be infinite
    :param slope: float64[T], positive
    :param cap: float64[T], not negative, may be infinite
    :param offset: not negative
    :param guess: where to start, if it lies inside the bracket
    :return: v float64[T], and s; infinite if the caps add up to no more than the total
    """
    if float(cap.sum()) <= total:
        return cap.copy(), math.inf
    open_ended = np.isinf(cap)
    if open_ended.any():
        high = (offset + total) / float(slope[open_ended].max())
    else:
        high = float(((offset + cap) / slope).max())
    low = min(total / float(slope.sum()), high)  # each v_t is at most slope_t s
    level = guess if low < guess < high else low
    for _ in range(400):
        line = slope * level - offset
        value = np.minimum(np.maximum(line, 0.0), cap)
        gap = total - float(value.sum())
        if abs(gap) <= 4e-15 * total:
            break
        if gap > 0.0:
            low = level
        else:
            high = level
        steep = float(slope[(line > 0.0) & (line < cap)].sum())
        step = level + gap / steep if steep > 0.0 else math.nan
        if not low < step < high:
            step = math.sqrt(low) * math.sqrt(high)
        if step in (low, high) or not low < step < high:
            break
        level = step
    # Cancellation against a large offset may leave a residue; the rounds strictly between silence and cap absorb it.
    free = (value > 0.0) & (value < cap)
    within = float(value[free].sum())
    if within > 0.0:
        rest = max(total - float(value[~free].sum()), 0.0)
        value[free] = np.minimum(value[free] * (rest / within), cap[free])
    return value, level
