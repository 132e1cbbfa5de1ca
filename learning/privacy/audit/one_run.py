"""A lower bound on epsilon from a single run in which many canaries were included by independent fair coins.

The auditor guesses for r of m canaries, by their scores, whether they were in, abstains on the others, and gets v guesses
right. Under (epsilon, delta)-privacy the number of right guesses is almost dominated by r coins of probability
q = e^epsilon / (1 + e^epsilon): the chance of v or more is at most

    p(epsilon) = P[B >= v] + 2 m delta max_{1 <= i <= v} P[v - i <= B < v] / i,    B ~ Binomial(r, q)

(T. Steinke, M. Nasr, M. Jagielski, "Privacy auditing with one (1) training run", arXiv 2305.08846,
appendix D), for adding or removing one canary. Every epsilon below the first one with p(epsilon) >= 1 - confidence is
rejected. Where 2 m delta <= 1 each term of the maximum rises with epsilon, as

    dp/dq = r (1 - c) P[B' = v - 1] + r c P[B' = v - i - 1],    c = 2 m delta / i,  B' ~ Binomial(r - 1, q),

and that epsilon is the only crossing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from learning.privacy.audit.bounds import clopper_pearson_lower
from learning.privacy.errors import PrivacyError

__all__ = ["OneRunBound", "audit_one_run", "count_correct", "epsilon_lower_bound", "p_value"]

# Where the p-value need not be monotonic, its first crossing is looked for on so many points.
_GRID = 64
_BISECTIONS = 50


@dataclass(frozen=True)
class OneRunBound:
    """The bound ``epsilon``, from ``correct`` of ``guesses`` guesses on ``canaries`` canaries, at a joint ``confidence``."""

    epsilon: float
    confidence: float
    canaries: int
    guesses: int
    correct: int


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Bound on the probability of so many correct guesses (r = ``guesses`` of m = ``canaries``) under (epsilon, delta)-privacy.

    Raises :class:`learning.privacy.errors.PrivacyError` where numbers are out of range.
    """
    _check(canaries, guesses, correct, delta)
    if not epsilon >= 0:
        raise PrivacyError(f"epsilon must not be negative, got {epsilon}")
    q = 1.0 / (1.0 + math.exp(-epsilon))
    p = float(binom.sf(correct - 1, guesses, q))
    if delta > 0 and correct > 0:
        # Entry i - 1: P[v - i <= B < v], summed downwards from v - 1.
        below = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, q))
        p += 2.0 * canaries * delta * float((below / np.arange(1, correct + 1)).max())
    return min(p, 1.0)


def epsilon_lower_bound(canaries: int, guesses: int, correct: int, delta: float, confidence: float = 0.95) -> float:
    """Largest epsilon below which every one is rejected: at most the true one with probability ``confidence``. 0 if none is.

    Raises :class:`learning.privacy.errors.PrivacyError` where numbers are out of range.
    """
    _check(canaries, guesses, correct, delta)
    if not 0.0 < confidence < 1.0:
        raise PrivacyError(f"confidence must lie between 0 and 1, got {confidence}; 0.95 is usual")
    level = 1.0 - confidence
    if guesses == 0:
        return 0.0
    # Without the term of delta p is a binomial tail, whose crossing is Clopper and Pearson's limit: nothing lies beyond it.
    q = float(clopper_pearson_lower(correct, guesses, confidence))
    if q <= 0.5:
        return 0.0
    last = math.log(q) - math.log1p(-q)
    if delta == 0:
        return last
    grid = np.linspace(0.0, last, 2 if 2.0 * canaries * delta <= 1.0 else _GRID)
    accepted = [p_value(canaries, guesses, correct, float(e), delta) >= level for e in grid]
    if accepted[0]:
        return 0.0
    first = accepted.index(True) if any(accepted) else grid.size - 1
    low, high = float(grid[first - 1]), float(grid[first])
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if p_value(canaries, guesses, correct, middle, delta) < level:
            low = middle
        else:
            high = middle
    return low


def count_correct(scores: ArrayLike, included: ArrayLike, guesses: int) -> int:
    """Correct guesses where the r/2 highest of scores [m] are called in, and the r/2 lowest out (one more in for odd r).

    ``included`` [m]: the coins. Ties go by position, which knows nothing of the coins. Raises
    :class:`learning.privacy.errors.PrivacyError` where shapes or numbers do not fit.
    """
    s, coins = _canaries(scores, included)
    if not 0 <= guesses <= s.size:
        raise PrivacyError(f"the auditor can guess for 0 .. {s.size} canaries, got {guesses}")
    order = np.argsort(s, kind="stable")
    out, into = order[: guesses // 2], order[s.size - (guesses - guesses // 2) :]
    return int(coins[into].sum() + (~coins[out]).sum())


def audit_one_run(
    scores: ArrayLike, included: ArrayLike, delta: float, guesses: int | Sequence[int], confidence: float = 0.95
) -> OneRunBound:
    """The best bound from scores [m] and coins [m] over numbers of guesses that were fixed beforehand.

    Several of them share the probability of error, so that the best one keeps the confidence. Raises
    :class:`learning.privacy.errors.PrivacyError` where shapes or numbers do not fit.
    """
    s, coins = _canaries(scores, included)
    tried = (guesses,) if isinstance(guesses, int) else tuple(guesses)
    if not tried:
        raise PrivacyError("a one-run audit needs at least one number of guesses")
    each = 1.0 - (1.0 - confidence) / len(tried)
    best: OneRunBound | None = None
    for r in tried:
        v = count_correct(s, coins, r)
        epsilon = epsilon_lower_bound(s.size, r, v, delta, each)
        if best is None or epsilon > best.epsilon:
            best = OneRunBound(epsilon, confidence, s.size, r, v)
    assert best is not None
    return best


def _canaries(scores: ArrayLike, included: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    s, coins = np.asarray(scores, np.float64), np.asarray(included, np.bool_)
    if s.ndim != 1 or s.shape != coins.shape or s.size == 0:
        raise PrivacyError(f"scores and coins must be one per canary, got shapes {s.shape} and {coins.shape}")
    if np.isnan(s).any():
        raise PrivacyError("a canary's score is NaN; score lost rounds as if nothing had been received")
    return s, coins


def _check(canaries: int, guesses: int, correct: int, delta: float) -> None:
    if not 0 <= correct <= guesses <= canaries or canaries < 1:
        raise PrivacyError(f"correct <= guesses <= canaries must hold, got {correct}, {guesses} and {canaries}")
    if not 0.0 <= delta < 1.0:
        raise PrivacyError(f"delta must lie in [0, 1), got {delta}")
