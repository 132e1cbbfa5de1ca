"""Lower bounds on the privacy loss from the errors of an attack that tells two neighbouring worlds apart.

An attack scores every trial and says "present" where the score reaches a threshold. With the false positive rate FPR (absent,
called present) and the false negative rate FNR, an (epsilon, delta)-private mechanism has, against any attack,

    FPR + e^epsilon FNR >= 1 - delta    and    FNR + e^epsilon FPR >= 1 - delta,

and a mu-Gaussian-private one Phi^-1(1 - FPR) - Phi^-1(FNR) <= mu (J. Dong, A. Roth, W. Su, "Gaussian differential privacy",
arXiv 1905.02383). Rates are replaced by Clopper-Pearson upper limits that hold jointly (M. Nasr et al., "Tight auditing of
differentially private machine learning", arXiv 2302.07956).

A threshold must not be chosen on the trials that measure its errors. Either the trials at even positions choose it and those
at odd positions measure, or thresholds fixed beforehand share the probability of error (union bound).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import beta

from learning.privacy import gdp
from learning.privacy.errors import PrivacyError

__all__ = [
    "LowerBound",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "epsilon_from_rates",
    "epsilon_lower_bound",
    "gaussian_epsilon",
    "mu_from_rates",
    "mu_lower_bound",
    "mu_reach",
]

Floats = NDArray[np.float64]

# Thresholds that the choosing half considers: order statistics, densest in both tails.
_TAIL_CANDIDATES = 96


@dataclass(frozen=True)
class LowerBound:
    """A lower bound ``value`` on epsilon or mu that exceeds the truth with probability at most 1 - ``confidence``.

    ``threshold``: score from which on "present" was said. ``false_positives`` of ``absent`` trials and ``false_negatives`` of
    ``present`` trials: errors on the trials that measured it. ``fpr_upper``, ``fnr_upper``: their joint upper limits.
    """

    value: float
    confidence: float
    threshold: float
    false_positives: int
    absent: int
    false_negatives: int
    present: int
    fpr_upper: float
    fnr_upper: float


def clopper_pearson_upper(events: ArrayLike, trials: ArrayLike, confidence: float) -> Floats:
    """One-sided upper limit of a probability from ``events`` in ``trials`` (broadcast together); 1 where all are events."""
    k, n = np.asarray(events, np.float64), np.asarray(trials, np.float64)
    sure = k >= n
    limit = beta.ppf(confidence, np.where(sure, 1.0, k + 1.0), np.where(sure, 1.0, n - k))
    return np.asarray(np.where(sure, 1.0, limit), np.float64)


def clopper_pearson_lower(events: ArrayLike, trials: ArrayLike, confidence: float) -> Floats:
    """One-sided lower limit of a probability from ``events`` in ``trials`` (broadcast together); 0 where none is an event."""
    k, n = np.asarray(events, np.float64), np.asarray(trials, np.float64)
    return np.asarray(1.0 - clopper_pearson_upper(n - k, n, confidence), np.float64)


def epsilon_from_rates(fpr: ArrayLike, fnr: ArrayLike, delta: float) -> Floats:
    """Smallest epsilon >= 0 that error rates in [0, 1] (broadcast together) leave possible at ``delta``; inf where one is 0."""
    a, b = np.broadcast_arrays(np.asarray(fpr, np.float64), np.asarray(fnr, np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        one = np.log(np.maximum(1.0 - delta - b, 0.0)) - np.log(a)
        other = np.log(np.maximum(1.0 - delta - a, 0.0)) - np.log(b)
    return np.asarray(np.fmax(np.fmax(one, other), 0.0), np.float64)


def mu_from_rates(fpr: ArrayLike, fnr: ArrayLike) -> Floats:
    """Smallest mu >= 0 of Gaussian privacy that error rates in [0, 1] (broadcast together) leave possible."""
    a, b = np.asarray(fpr, np.float64), np.asarray(fnr, np.float64)
    with np.errstate(invalid="ignore"):
        # Phi^-1(1 - x) = -Phi^-1(x), which keeps the precision of small rates.
        mu = -ndtri(a) - ndtri(b)
    return np.asarray(np.fmax(mu, 0.0), np.float64)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Epsilon at ``delta`` of mu-Gaussian privacy: what a lower bound on mu says of an exactly Gaussian release."""
    return 0.0 if mu <= 0 else float(gdp.epsilon(mu, delta))


def epsilon_lower_bound(
    absent: ArrayLike,
    present: ArrayLike,
    delta: float,
    confidence: float = 0.95,
    thresholds: ArrayLike | None = None,
) -> LowerBound:
    """Lower bound on epsilon at ``delta`` from scores [n] and [m] of independent trials without and with the difference.

    Assumes nothing of the mechanism. ``thresholds`` fixed beforehand are all used (union bound); None: chosen on the trials at
    even positions, measured on the others. Raises :class:`learning.privacy.errors.PrivacyError` for too few trials, or numbers
    out of range.
    """
    _check_delta(delta)
    return _lower_bound(absent, present, confidence, thresholds, lambda a, b: epsilon_from_rates(a, b, delta))


def mu_lower_bound(
    absent: ArrayLike, present: ArrayLike, confidence: float = 0.95, thresholds: ArrayLike | None = None
) -> LowerBound:
    """Lower bound on mu of Gaussian privacy; arguments and errors of :func:`epsilon_lower_bound`.

    Any mu-private mechanism has a mu at least as large. As a statement on epsilon (:func:`gaussian_epsilon`) it holds where
    the mechanism is Gaussian, as receiver noise is: its trade-off curve is then the mu-Gaussian one and no better.
    """
    return _lower_bound(absent, present, confidence, thresholds, mu_from_rates)


def mu_reach(absent: int, present: int, confidence: float = 0.95) -> float:
    """Largest mu that :func:`mu_lower_bound` can show with one threshold and so many trials: not one error."""
    level = 1.0 - (1.0 - confidence) / 2.0
    none = clopper_pearson_upper(0, np.array([absent, present]), level)
    return float(mu_from_rates(none[0], none[1]))


def _lower_bound(
    absent: ArrayLike,
    present: ArrayLike,
    confidence: float,
    thresholds: ArrayLike | None,
    loss: Callable[[Floats, Floats], Floats],
) -> LowerBound:
    null, real = _scores(absent), _scores(present)
    _check_confidence(confidence)
    if thresholds is None:
        if min(null.size, real.size) < 4:
            raise PrivacyError(f"an audit needs at least 4 trials of each world, got {null.size} and {real.size}; run more")
        level = 1.0 - (1.0 - confidence) / 2.0
        tried = _candidates(np.concatenate((null[::2], real[::2])))
        # Chosen by limits that hold for all candidates at once: otherwise the luckiest of the noisy tails wins too often.
        strict = 1.0 - (1.0 - level) / tried.size
        best = int(np.argmax(loss(*_limits(null[::2], real[::2], tried, strict))))
        tried, null, real = tried[best : best + 1], null[1::2], real[1::2]
    else:
        tried = _scores(thresholds)
        if 0 in (null.size, real.size, tried.size):
            raise PrivacyError("an audit needs trials of both worlds, and at least one threshold")
        level = 1.0 - (1.0 - confidence) / (2.0 * tried.size)
    fpr, fnr = _limits(null, real, tried, level)
    values = loss(fpr, fnr)
    chosen = int(np.argmax(values))
    false_positives, false_negatives = _errors(null, real, tried[chosen : chosen + 1])
    return LowerBound(
        value=float(values[chosen]),
        confidence=confidence,
        threshold=float(tried[chosen]),
        false_positives=int(false_positives[0]),
        absent=null.size,
        false_negatives=int(false_negatives[0]),
        present=real.size,
        fpr_upper=float(fpr[chosen]),
        fnr_upper=float(fnr[chosen]),
    )


def _errors(null: Floats, real: Floats, thresholds: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """False positives and false negatives at every threshold."""
    false_positives = null.size - np.searchsorted(np.sort(null), thresholds, side="left")
    return false_positives, np.asarray(np.searchsorted(np.sort(real), thresholds, side="left"), np.int64)


def _limits(null: Floats, real: Floats, thresholds: Floats, level: float) -> tuple[Floats, Floats]:
    """Upper limits of both error rates at every threshold, each at ``level``."""
    false_positives, false_negatives = _errors(null, real, thresholds)
    return clopper_pearson_upper(false_positives, null.size, level), clopper_pearson_upper(false_negatives, real.size, level)


def _candidates(scores: Floats) -> Floats:
    """Order statistics of the scores, geometrically spaced from either end."""
    ordered = np.sort(scores)
    from_below = np.unique(np.geomspace(1, ordered.size, _TAIL_CANDIDATES).astype(np.int64)) - 1
    return np.unique(ordered[np.concatenate((from_below, ordered.size - 1 - from_below))])


def _scores(values: ArrayLike) -> Floats:
    out = np.asarray(values, np.float64).reshape(-1)
    if np.isnan(out).any():
        raise PrivacyError("a score of the audit is NaN; leave out the trials in which nothing was received")
    return out


def _check_confidence(confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise PrivacyError(f"confidence must lie between 0 and 1, got {confidence}; 0.95 is usual")


def _check_delta(delta: float) -> None:
    if not (math.isfinite(delta) and 0.0 <= delta < 1.0):
        raise PrivacyError(f"delta must lie in [0, 1), got {delta}")
