"""Membership of a known candidate, from the broadcast estimates of a run, and what Gaussian privacy allows any such attack.

Whoever follows the run knows weights and directions, hence the projected gradient p_x(t) that a candidate record x would have
contributed, and correlates it with what was broadcast:

    S_x = sum_t (a_t / sigma_t)^2 p_hat_t clip(p_x(t)) / b.

Up to scale this is the first-order log-likelihood ratio of "x is in the batch of b" against "it is not", for noise of standard
deviation sigma_t on an aligned amplitude a_t and other payloads unknown. Any attack on a mu-Gaussian-private release has
TPR <= Phi(Phi^-1(FPR) + mu) and AUC <= Phi(mu / sqrt 2) (J. Dong, A. Roth, W. Su, arXiv 1905.02383).

Confidence statements assume independent scores: one per independent run. Candidates scored on one run share its noise; for
those see :mod:`learning.privacy.audit.one_run`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from learning.privacy.audit.bounds import clopper_pearson_lower, clopper_pearson_upper
from learning.privacy.errors import PrivacyError

__all__ = [
    "BoundCheck",
    "Roc",
    "auc",
    "auc_bound",
    "auc_lower_limit",
    "check_bound",
    "correlation_scores",
    "roc",
    "tpr_at_fpr",
    "tpr_bound",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Roc:
    """The attack's curve, one point per distinct score from (0, 0) to (1, 1): ``fpr``, ``tpr``, ``thresholds`` [P].

    A candidate is called a member where its score reaches the threshold.
    """

    fpr: Floats
    tpr: Floats
    thresholds: Floats


@dataclass(frozen=True)
class BoundCheck:
    """One point of the curve against the bound: ``violated`` where no curve below the bound explains it at the confidence.

    ``fpr``, ``tpr``: as measured. ``fpr_upper``, ``tpr_lower``: limits that hold jointly. ``bound``: largest TPR allowed at
    ``fpr_upper``.
    """

    fpr: float
    tpr: float
    fpr_upper: float
    tpr_lower: float
    bound: float

    @property
    def violated(self) -> bool:
        """Whether the measured point lies above the bound beyond its confidence limits."""
        return self.tpr_lower > self.bound


def correlation_scores(
    estimates: ArrayLike,
    projections: ArrayLike,
    amplitude_over_sigma: ArrayLike,
    clip: float,
    batch: int,
    rest: ArrayLike | None = None,
) -> Floats:
    """Scores S_x [X] of candidates from estimates p_hat [T], their projected gradients p_x(t) [X, T], and a_t / sigma_t [T].

    ``rest`` [T]: what the attacker knows the estimate to be without the candidate (None: zero). A lost round, whose estimate
    is NaN, tells nothing and counts as zero. Raises :class:`learning.privacy.errors.PrivacyError` where shapes do not fit or
    a projection is not finite.
    """
    heard, p = np.asarray(estimates, np.float64), np.asarray(projections, np.float64)
    ratio = np.asarray(amplitude_over_sigma, np.float64)
    known = np.zeros(heard.shape) if rest is None else np.asarray(rest, np.float64)
    if heard.ndim != 1 or p.ndim != 2 or not p.shape[1:] == heard.shape == ratio.shape == known.shape:
        raise PrivacyError(
            "estimates, amplitudes and the known rest must be one per round and projections [candidates, rounds], got "
            f"{heard.shape}, {ratio.shape}, {known.shape} and {p.shape}"
        )
    if not (clip > 0 and math.isfinite(clip)) or batch < 1:
        raise PrivacyError(f"clip must be positive and the batch at least 1, got {clip} and {batch}")
    if not np.isfinite(p).all():
        raise PrivacyError("a candidate's projected gradient is not finite; leave the candidate out")
    weight = np.nan_to_num(np.square(ratio) * (heard - known), nan=0.0, posinf=np.nan, neginf=np.nan)
    if np.isnan(weight).any():
        raise PrivacyError("an estimate or amplitude is infinite; amplitude over sigma must be finite")
    return np.asarray(np.clip(p, -clip, clip) @ weight / batch)


def roc(members: ArrayLike, nonmembers: ArrayLike) -> Roc:
    """The curve from scores of members [n] and non-members [m]. Raises as :func:`auc`."""
    inside, outside = _both(members, nonmembers)
    levels = np.unique(np.concatenate((inside, outside)))[::-1]
    tpr = 1.0 - np.searchsorted(np.sort(inside), levels, side="left") / inside.size
    fpr = 1.0 - np.searchsorted(np.sort(outside), levels, side="left") / outside.size
    return Roc(np.append(0.0, fpr), np.append(0.0, tpr), np.append(np.inf, levels))


def auc(members: ArrayLike, nonmembers: ArrayLike) -> float:
    """Probability that a member outscores a non-member, ties counted half (Mann and Whitney), from scores [n] and [m].

    Raises :class:`learning.privacy.errors.PrivacyError` where there are none, or one is NaN.
    """
    inside, outside = _both(members, nonmembers)
    ranks = rankdata(np.concatenate((inside, outside)))[: inside.size]
    return float((ranks.sum() - inside.size * (inside.size + 1) / 2.0) / (inside.size * outside.size))


def auc_lower_limit(members: ArrayLike, nonmembers: ArrayLike, confidence: float = 0.95) -> float:
    """Lower limit of the true AUC, whatever the laws of the scores: W. Hoeffding's bound for two-sample U-statistics (1963).

    P(auc - true >= t) <= exp(-2 min(n, m) t^2).
    """
    inside, outside = _both(members, nonmembers)
    margin = math.sqrt(-math.log(1.0 - confidence) / (2.0 * min(inside.size, outside.size)))
    return max(0.0, auc(inside, outside) - margin)


def tpr_at_fpr(members: ArrayLike, nonmembers: ArrayLike, fpr: float) -> float:
    """Largest TPR of the curve whose FPR does not exceed ``fpr``. Raises as :func:`auc`."""
    curve = roc(members, nonmembers)
    return float(curve.tpr[curve.fpr <= fpr + 1e-12].max())


def tpr_bound(fpr: ArrayLike, mu: float) -> Floats:
    """Largest TPR at each FPR of any attack on a mu-Gaussian-private release: Phi(Phi^-1(fpr) + mu)."""
    return np.asarray(ndtr(ndtri(np.asarray(fpr, np.float64)) + mu), np.float64)


def auc_bound(mu: float) -> float:
    """Largest AUC of any attack on a mu-Gaussian-private release: Phi(mu / sqrt 2)."""
    return float(ndtr(mu / math.sqrt(2.0)))


def check_bound(
    members: ArrayLike,
    nonmembers: ArrayLike,
    mu: float,
    targets: Sequence[float] = (0.001, 0.01, 0.1, 0.5),
    confidence: float = 0.95,
) -> tuple[BoundCheck, ...]:
    """Points of the curve near ``targets`` of the FPR, fixed beforehand, each against the bound of mu-Gaussian privacy.

    The threshold at target f is the score that about f of the non-members exceed. It depends on them alone, so that
    Clopper-Pearson holds for the members; and the chance to exceed the k-th largest of n scores has the law Beta(k, n - k + 1)
    whatever the law of the scores, which is Clopper-Pearson for the k - 1 that did. All points hold jointly at
    ``confidence``. Raises as :func:`auc`, or for a target outside (0, 1).
    """
    inside, outside = _both(members, nonmembers)
    if not targets or not all(0.0 < f < 1.0 for f in targets):
        raise PrivacyError(f"target false positive rates must lie between 0 and 1, got {tuple(targets)}")
    level = 1.0 - (1.0 - confidence) / (2.0 * len(targets))
    descending = np.sort(outside)[::-1]
    checks = []
    for target in targets:
        # Strictly above the k-th largest: with ties this only lowers the false positive rate that is bounded.
        k = min(int(target * outside.size), outside.size - 1)
        called, wrong = int((inside > descending[k]).sum()), int((outside > descending[k]).sum())
        fpr_upper = float(clopper_pearson_upper(k, outside.size, level))
        checks.append(
            BoundCheck(
                fpr=wrong / outside.size,
                tpr=called / inside.size,
                fpr_upper=fpr_upper,
                tpr_lower=float(clopper_pearson_lower(called, inside.size, level)),
                bound=float(tpr_bound(fpr_upper, mu)),
            )
        )
    return tuple(checks)


def _both(members: ArrayLike, nonmembers: ArrayLike) -> tuple[Floats, Floats]:
    inside = np.asarray(members, np.float64).reshape(-1)
    outside = np.asarray(nonmembers, np.float64).reshape(-1)
    if 0 in (inside.size, outside.size):
        raise PrivacyError("an attack is measured on members and non-members; one of the two is empty")
    if np.isnan(inside).any() or np.isnan(outside).any():
        raise PrivacyError("an attack's score is NaN; score lost rounds as if nothing had been received")
    return inside, outside
