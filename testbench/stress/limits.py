"""The largest offset that a limit allows: its value, a band that leaves nothing out, and where to measure to narrow it.

A curve is measured at some offsets, each with a 95 % band of its metric. The ends of the band of the largest offset are
offsets that were measured: at the lower one, and at all below it, the metric's whole band lies within the limit; at the upper
one the whole band lies beyond. Between neighbours the curve is taken to cross the limit at most once, and nothing else of its
shape: the band holds what sampling and the grid leave open together, and a coarse grid has a wide one. The value between the
ends is interpolated.

:func:`wanted` names the offsets that narrow the band most: the estimated crossings of the metric and of both ends of its band.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = dict[str, Any]
Floats = NDArray[np.float64]

# The grid may add so much to either half of the band, in shares of what sampling leaves open, and of the offset itself.
_OF_SAMPLING, _OF_VALUE = 0.25, 1e-3


@dataclass(frozen=True)
class Largest:
    """The largest offset up to which a metric stays within its limit.

    ``state``: found; none (it fails at the first value); all (it holds up to the last one). ``low`` and ``high``: the band of
    95 %, whose ends were measured; NaN where an end lies outside the range.
    """

    state: str
    value: float
    low: float
    high: float

    def shown(self, factor: float, unit: str) -> str:
        """In a unit of size ``factor``, with half its band (the longer half), or the end that lies inside the range."""
        suffix = f" {unit}" if unit else ""
        if self.state == "none":
            return "none"
        value = f"{self.value / factor:.4g}"
        if self.state == "all":
            sure = "" if self.low == self.value else f" (95 %: {self._end(self.low, '>=', factor)})"
            return f">= {value}{suffix}{sure}"
        if math.isnan(self.low) or math.isnan(self.high):
            ends = [self._end(end, sign, factor) for end, sign in ((self.low, ">="), (self.high, "<=")) if end == end]
            return f"{value}{suffix} (95 %: {ends[0] if ends else 'anywhere in the range'})"
        return f"{plus_minus(self.value / factor, self.low / factor, self.high / factor)}{suffix}"

    @staticmethod
    def _end(end: float, sign: str, factor: float) -> str:
        return "anything" if math.isnan(end) else f"{sign} {end / factor:.4g}"


def plus_minus(value: float, low: float, high: float) -> str:
    """A figure with the longer half of its band in two digits, and no more digits of its own than that; alone without one."""
    half = max(high - value, value - low)
    if not (math.isfinite(low) and math.isfinite(high) and half > 0):
        return f"{value:.4g}"
    digits = 1 - math.floor(math.log10(half))
    return " ± ".join(f"{round(x, digits):.{max(digits, 0)}f}" for x in (value, half))


def crossing(values: Sequence[float], metric: Sequence[float], limit: float) -> tuple[str, float]:
    """Where ``metric`` first exceeds ``limit``, interpolated: linearly, in log value where all values are positive."""
    if not len(values) or not metric[0] <= limit:
        return "none", math.nan
    for i in range(1, len(values)):
        if not metric[i] <= limit:
            if not math.isfinite(metric[i]) or not math.isfinite(metric[i - 1]):
                return "found", values[i - 1]
            part = (limit - metric[i - 1]) / (metric[i] - metric[i - 1])
            if values[0] > 0:
                return "found", values[i - 1] * (values[i] / values[i - 1]) ** part
            return "found", values[i - 1] + part * (values[i] - values[i - 1])
    return "all", values[-1]


def largest(rows: Sequence[Row], metric: str, limit: float) -> Largest:
    """The largest offset of a curve, rows of ascending value, at which ``metric`` stays within ``limit``. See the module."""
    if not rows:
        return Largest("none", math.nan, math.nan, math.nan)
    values = [float(row["value"]) for row in rows]
    state, value = crossing(values, [row[metric] for row in rows], limit)
    upper, lower = _ends(rows, metric)
    low = high = math.nan
    for x, top in zip(values, upper, strict=True):
        if not top <= limit:
            break
        low = x
    for x, bottom, row in zip(values, lower, rows, strict=True):
        if bottom > limit or math.isnan(row[metric]):  # NaN: not a round was heard
            high = x
            break
    return Largest(state, value, low, high)


def wanted(rows: Sequence[Row], metric: str, limit: float) -> list[float]:
    """Offsets to measure next, at most three; none where the grid adds little to the band, or nothing crosses.

    Estimated crossings by a monotone cubic through all that is measured. Those of the ends of the metric's band are moved
    outwards by what the estimate may be wrong, its distance from linear interpolation, so that a measurement there decides.
    """
    values = np.array([float(row["value"]) for row in rows])
    found = largest(rows, metric, limit)
    if len(rows) < 2 or found.state == "none":
        return []
    upper, lower = _ends(rows, metric)
    middle = _estimate(values, [row[metric] for row in rows], limit)
    centre = values[-1] if middle is None else middle[0]  # None: only the upper end of the metric's band may cross
    chosen = []
    for measured, ends, sign in ((found.low, upper, -1.0), (found.high, lower, 1.0)):
        end = _estimate(values, ends, limit)
        if end is None or math.isnan(measured):
            continue
        at, error = end
        gap, allowed = abs(measured - at), _OF_SAMPLING * abs(at - centre) + _OF_VALUE * centre
        if gap > allowed:
            chosen.append(at + sign * min(max(0.4 * allowed, error), 0.5 * gap))
    if middle is not None and chosen:
        chosen.append(centre)
    tight = [float(f"{x:.12g}") for x in chosen]
    return sorted({x for x in tight if values[0] < x < values[-1] and x not in values})


def _ends(rows: Sequence[Row], metric: str) -> tuple[list[float], list[float]]:
    """Upper and lower ends of the metric's bands; a metric without any error at all has itself."""
    exact = [row[metric] == -math.inf for row in rows]
    ends = [
        [row[metric] if sure else float(row[f"{metric}_{end}"]) for row, sure in zip(rows, exact, strict=True)]
        for end in ("high", "low")
    ]
    return ends[0], ends[1]


def _estimate(values: Floats, metric: Sequence[float], limit: float) -> tuple[float, float] | None:
    """Where ``metric`` first exceeds ``limit``, by a monotone cubic, and how far off linear interpolation lies from there.

    None where it does not exceed it, or from the start.
    """
    from scipy.interpolate import PchipInterpolator
    from scipy.optimize import brentq

    state, linear = crossing(values.tolist(), metric, limit)
    if state != "found":
        return None
    known = np.isfinite(metric)
    i = next(j for j, x in enumerate(metric) if not x <= limit)
    x = np.log(values) if values[0] > 0 else values
    ends = float(x[i - 1]), float(x[i])
    if not (known[i - 1] and known[i]):
        at = sum(ends) / 2.0
    elif metric[i - 1] < limit:
        curve = PchipInterpolator(x[known], np.asarray(metric)[known])
        at = float(brentq(lambda u: float(curve(u)) - limit, *ends))
    else:
        at = ends[0]
    at = math.exp(at) if values[0] > 0 else at
    return at, abs(at - linear)
