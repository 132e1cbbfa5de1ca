"""Metrics of a point from sums over its batches, each with a band.

With estimate e, target m (what a perfect link returns of the fresh scalars of all devices) and sums over the rounds heard:

- NMSE = sum (e - m)^2 / sum m^2, a ratio estimator. Band: with batch sums N_b and D_b, ratio R and B batches,
  var R = B / (B - 1) * sum (N_b - R D_b)^2 / (sum D_b)^2 (linearisation); 95 % by Student's t with B - 1 degrees of freedom,
  taken on log R so that it stays positive.
- gain = sum e m / sum m^2: the common shrinkage, which a receiver could undo; NMSE counts it as an error.
- wrong sign: P(sign e != sign of the mean of the fresh scalars). Wilson's 95 % interval, with the number of trials divided by
  the design effect of the batches (variance between them over that of independent trials) where it exceeds 1.
- lost: share of rounds without any estimate; the same interval.
- median error: median over rounds of |e - m| (root mean square over entries), over the root mean square of m.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

FIELDS = ("rounds", "heard", "trials", "wrong", "error2", "target2", "estimate2", "cross", "power", "peak")
_LEVEL = 0.975


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % band; NaN where there is none."""

    value: float
    low: float
    high: float


def batch_sums(
    estimates: NDArray[np.float64],
    target: NDArray[np.float64],
    mean: NDArray[np.float64],
    lost: NDArray[np.bool_],
    diagnostics: dict[str, NDArray[np.float64]],
) -> tuple[dict[str, float], NDArray[np.float32]]:
    """Sums of one batch for estimates, targets and plain means [B, n]; and the root mean square error of each heard round."""
    heard = ~lost & np.isfinite(estimates).all(axis=1)
    e, m, plain = estimates[heard], target[heard], mean[heard]
    decided = plain != 0
    error2 = np.square(e - m)

    def total(name: str) -> float:
        values = diagnostics.get(name)
        return float("nan") if values is None else float(values.sum())

    peak = diagnostics.get("power_peak")
    sums = {
        "rounds": float(len(lost)),
        "heard": float(heard.sum()),
        "trials": float(decided.sum()),
        "wrong": float((decided & (np.sign(e) != np.sign(plain))).sum()),
        "error2": float(error2.sum()),
        "target2": float(np.square(m).sum()),
        "estimate2": float(np.square(e).sum()),
        "cross": float((e * m).sum()),
        "power": total("power_mean"),
        "peak": float("nan") if peak is None else float(peak.max()),
        "active": total("active"),
    }
    return sums, np.sqrt(error2.mean(axis=1)).astype(np.float32)


def ratio(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> Interval:
    """Ratio of sums over batches with its band. See the module."""
    top, bottom = float(numerators.sum()), float(denominators.sum())
    if bottom <= 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    value, batches = top / bottom, len(numerators)
    if batches < 2 or value <= 0:
        return Interval(value, float("nan"), float("nan"))
    variance = batches / (batches - 1) * float(np.square(numerators - value * denominators).sum()) / bottom**2
    spread = float(np.exp(t.ppf(_LEVEL, batches - 1) * np.sqrt(variance) / value))
    return Interval(value, value / spread, value * spread)


def share(hits: NDArray[np.float64], trials: NDArray[np.float64]) -> Interval:
    """Share of hits over batches with Wilson's interval, trials reduced by the design effect. See the module."""
    n, batches = float(trials.sum()), len(trials)
    if n <= 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    p = float(hits.sum()) / n
    effect = 1.0
    if batches > 1 and 0 < p < 1:
        clustered = batches / (batches - 1) * float(np.square(hits - p * trials).sum()) / n**2
        effect = max(1.0, clustered / (p * (1 - p) / n))
    count, z = n / effect, float(norm.ppf(_LEVEL))
    centre = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    return Interval(p, float(max(0.0, centre - half)), float(min(1.0, centre + half)))


def decibel(value: float) -> float:
    """10 log10, with -inf for zero and NaN for NaN."""
    with np.errstate(divide="ignore"):
        return float(10.0 * np.log10(value)) if value >= 0 else float("nan")


def summarise(batches: list[dict[str, float]], errors: NDArray[np.float32], entries: int) -> dict[str, Any]:
    """All metrics of a point from its batches' sums and its rounds' errors."""
    column = {name: np.array([batch[name] for batch in batches]) for name in FIELDS}
    nmse = ratio(column["error2"], column["target2"])
    wrong = share(column["wrong"], column["trials"])
    lost = share(column["rounds"] - column["heard"], column["rounds"])
    heard, target2 = float(column["heard"].sum()), float(column["target2"].sum())
    scale = np.sqrt(target2 / (heard * entries)) if heard else float("nan")
    median = float(np.median(errors)) / scale if len(errors) and scale > 0 else float("nan")
    return {
        "rounds": int(column["rounds"].sum()),
        "nmse_db": decibel(nmse.value),
        "nmse_db_low": decibel(nmse.low),
        "nmse_db_high": decibel(nmse.high),
        "median_error_db": decibel(median**2),
        "gain": float(column["cross"].sum()) / target2 if target2 > 0 else float("nan"),
        "wrong_sign": wrong.value,
        "wrong_sign_low": wrong.low,
        "wrong_sign_high": wrong.high,
        "lost": lost.value,
        "lost_low": lost.low,
        "lost_high": lost.high,
        "mean_power": float(column["power"].sum() / column["rounds"].sum()),
        "peak_power": float(column["peak"].max()),
    }
