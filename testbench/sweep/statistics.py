"""Statistics over seeds: mean with a confidence band, and paired differences on common random numbers.

- ``t``: mean +- t_(n-1) s / sqrt(n) with the sample's standard deviation s, for approximately normal metrics.
- ``bootstrap``: percentiles of the means of resamples with replacement (Efron), drawn from a keyed generator.
- paired: seed by seed, metric at one value minus metric at the reference, then the same bands on the differences. All draws of
  a scenario are keyed by its seed, so that two schemes meet the very same fades, noise and batches, and what they have in
  common cancels: ``variance_ratio`` is the variance of the difference over that of independent samples, below 1 where pairing
  helps.

Metrics in dB are averaged in dB. A single seed has no band.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from testbench.errors import TestbenchError
from testbench.stress.plan import nearest
from testbench.sweep.config import PairedConfig, StatisticsConfig, SweepConfig
from testbench.sweep.points import SweepPoint
from testbench.sweep.table import Row

__all__ = ["Band", "band", "difference_rows", "enough", "statistics_rows"]

GroupedRows = Sequence[tuple[SweepPoint, Row]]


@dataclass(frozen=True)
class Band:
    """Mean of ``count`` values, their standard deviation, and the ends of the band; NaN where there are too few."""

    count: int
    mean: float
    std: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the width of the band."""
        return (self.high - self.low) / 2.0


def band(values: Sequence[float], settings: StatisticsConfig, key: str = "") -> Band:
    """Mean and band of independent values; ``key`` names the bootstrap's draws."""
    from scipy.stats import t

    data = np.asarray([v for v in values if v is not None and math.isfinite(v)], np.float64)
    count = len(data)
    if not count:
        return Band(0, math.nan, math.nan, math.nan, math.nan)
    mean = float(data.mean())
    if count == 1:
        return Band(1, mean, math.nan, math.nan, math.nan)
    std = float(data.std(ddof=1))
    if settings.band == "bootstrap":
        digest = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=16).digest(), "little")
        draws = np.random.Generator(np.random.Philox(key=digest))
        means = data[draws.integers(0, count, (settings.resamples, count))].mean(axis=1)
        tail = 50.0 * (1.0 - settings.level)
        low, high = (float(q) for q in np.percentile(means, [tail, 100.0 - tail]))
        return Band(count, mean, std, low, high)
    half = float(t.ppf(0.5 + settings.level / 2.0, count - 1)) * std / math.sqrt(count)
    return Band(count, mean, std, mean - half, mean + half)


def enough(values: Sequence[float], sweep: SweepConfig, key: str = "") -> int | None:
    """After how many of ``values``, in the order of the seeds, the band is tight enough to stop; None where it is not yet.

    The first prefix decides, so that it does not depend on which seed was finished first.
    """
    if sweep.stop is None:
        return None
    for count in range(sweep.stop.min_seeds, len(values) + 1):
        if band(values[:count], sweep.statistics, key).half_width <= sweep.stop.half_width:
            return count
    return None


def statistics_rows(sweep: SweepConfig, rows: GroupedRows) -> list[Row]:
    """A row per group of seeds and metric."""
    found = []
    for members in _groups(rows).values():
        point = members[0][0]
        for metric in sweep.metrics:
            values = _values(members, metric)
            if not values:
                continue
            result = band(values, sweep.statistics, f"{point.group}/{metric}")
            found.append({**_labels(point), "metric": metric, **_band_cells(result, sweep.statistics)})
    return found


def difference_rows(sweep: SweepConfig, rows: GroupedRows) -> list[Row]:
    """A row per group, metric and value of the paired axis other than the reference."""
    paired = sweep.paired
    if paired is None:
        return []
    contexts: dict[str, dict[Any, dict[int, Row]]] = {}
    points: dict[str, SweepPoint] = {}
    for point, row in rows:
        if paired.axis not in point.labels:
            raise TestbenchError(f"paired.axis: there is no axis {paired.axis!r}{nearest(paired.axis, point.labels)}")
        rest = repr({name: value for name, value in point.labels.items() if name != paired.axis})
        contexts.setdefault(rest, {}).setdefault(_hashable(point.labels[paired.axis]), {})[point.seed] = row
        points.setdefault(f"{rest}/{_hashable(point.labels[paired.axis])}", point)
    reference = _hashable(paired.reference)
    found = []
    for rest, by_value in contexts.items():
        base = by_value.get(reference, {})
        for value, mine in by_value.items():
            common = sorted(base.keys() & mine.keys())
            if value == reference or not common:
                continue
            for metric in sweep.metrics:
                pairs = [(mine[s].get(metric), base[s].get(metric)) for s in common]
                both = np.array(
                    [(a, b) for a, b in pairs if isinstance(a, (int, float)) and isinstance(b, (int, float))], float
                )
                if not len(both):
                    continue
                point = points[f"{rest}/{value}"]
                result = band((both[:, 0] - both[:, 1]).tolist(), sweep.statistics, f"{point.group}/{metric}/paired")
                spread = both.var(axis=0, ddof=1).sum() if len(both) > 1 else math.nan
                found.append(
                    {
                        **_labels(point),
                        "reference": paired.reference,
                        "metric": metric,
                        **_band_cells(result, sweep.statistics),
                        "variance_ratio": result.std**2 / spread if spread > 0 else math.nan,
                    }
                )
    return found


def check_paired(paired: PairedConfig | None, points: Sequence[SweepPoint]) -> None:
    """Refuse a paired comparison of an axis or with a reference that the sweep does not have."""
    if paired is None:
        return
    labels = points[0].labels
    if paired.axis not in labels:
        raise TestbenchError(f"paired.axis: there is no axis {paired.axis!r}{nearest(paired.axis, labels)}")
    values = list(dict.fromkeys(_hashable(point.labels[paired.axis]) for point in points))
    if _hashable(paired.reference) not in values:
        raise TestbenchError(
            f"paired.reference: the axis {paired.axis} has no value {paired.reference!r}"
            f"{nearest(str(paired.reference), map(str, values))}"
        )


def _groups(rows: GroupedRows) -> dict[str, list[tuple[SweepPoint, Row]]]:
    found: dict[str, list[tuple[SweepPoint, Row]]] = {}
    for point, row in rows:
        found.setdefault(point.group, []).append((point, row))
    return {key: sorted(members, key=lambda member: member[0].order) for key, members in found.items()}


def _values(members: GroupedRows, metric: str) -> list[float]:
    cells = [row.get(metric) for _, row in members]
    return [float(value) for value in cells if isinstance(value, (int, float)) and math.isfinite(value)]


def _labels(point: SweepPoint) -> Row:
    return {name: value if isinstance(value, (str, int, float, bool)) else repr(value) for name, value in point.labels.items()}


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) else repr(value)


def _band_cells(result: Band, settings: StatisticsConfig) -> Row:
    return {
        "seeds": result.count,
        "mean": result.mean,
        "std": result.std,
        "low": result.low,
        "high": result.high,
        "band": f"{100 * settings.level:g} % {settings.band}",
    }
