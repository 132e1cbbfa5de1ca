"""A lower bound on epsilon from a single run in which many canaries were included by independent fair coins.

The auditor guesses for r of m canaries, by their scores, whether they were in, abstains on the others, and v guesses are right.

**Whatever the mechanism.** Under (epsilon, delta)-privacy the number of right guesses is almost dominated by r coins of
probability q = e^epsilon / (1 + e^epsilon): the chance of v or more is at most

    p(epsilon) = P[B >= v] + 2 m delta max_{1 <= i <= v} P[v - i <= B < v] / i,    B ~ Binomial(r, q)

(T. Steinke, M. Nasr, M. Jagielski, "Privacy auditing with one (1) training run", arXiv 2305.08846, appendix D), for adding or
removing one canary. Every epsilon below the first one with p(epsilon) >= 1 - confidence is rejected. Where 2 m delta <= 1 each
term of the maximum rises with epsilon, as

    dp/dq = r (1 - c) P[B' = v - 1] + r c P[B' = v - i - 1],    c = 2 m delta / i,  B' ~ Binomial(r - 1, q),

and that epsilon is the only crossing.

**Where the claim is Gaussian.** A claim of mu-Gaussian privacy says more than its (epsilon, delta): an event of probability x
when a coin fell one way has at least phi(x) = Phi(Phi^-1(x) - mu) when it fell the other way. With h_i and r_i the share of
canaries that are guessed wrongly, and rightly, in outcomes with i right guesses or more, this bounds h_i from below by phi
of r_{i+1}, and the step from i + 1 to i ties both; from the tail beta = 1 - confidence at v downwards,

    r_v = beta v / m,  h_v = beta (r - v) / m,
    h_i = max{h_{i+1}, phi(r_{i+1})},    r_i = r_{i+1} + i / (r - i) (h_i - h_{i+1}),

a claim under which r_0 + h_0 exceeds all guesses there are, r / m, is rejected (S. Mahloujifar, L. Melis, K. Chaudhuri,
"Auditing f-differential privacy in one run", arXiv 2410.22235, algorithm 3). It is the tighter of the two, by far for large mu.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from learning.privacy.audit.bounds import clopper_pearson_lower, gaussian_epsilon
from learning.privacy.errors import PrivacyError

__all__ = [
    "OneRunBound",
    "audit_one_run",
    "count_correct",
    "epsilon_lower_bound",
    "gaussian_rejected",
    "mu_lower_bound",
    "p_value",
    "scored",
]

# Where the p-value need not be monotonic, its first crossing is looked for on so many points.
_GRID = 64
_BISECTIONS = 50


@dataclass(frozen=True)
class OneRunBound:
    """Lower bounds at ``delta`` that hold jointly with probability ``confidence``, each by its best number of guesses.

    ``epsilon_any``: whatever the mechanism, from ``correct`` of ``guesses`` guesses. ``mu``, ``epsilon_gaussian``: where the
    claim is one of Gaussian privacy, from ``gaussian_correct`` of ``gaussian_guesses``. ``canaries``: m.
    """

    epsilon_any: float
    guesses: int
    correct: int
    mu: float
    epsilon_gaussian: float
    gaussian_guesses: int
    gaussian_correct: int
    canaries: int
    confidence: float

    @property
    def epsilon(self) -> float:
        """The better of both: what claims of Gaussian mechanisms are held against."""
        return max(self.epsilon_any, self.epsilon_gaussian)


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
    s, coins = scored(scores, included)
    if not 0 <= guesses <= s.size:
        raise PrivacyError(f"the auditor can guess for 0 .. {s.size} canaries, got {guesses}")
    order = np.argsort(s, kind="stable")
    out, into = order[: guesses // 2], order[s.size - (guesses - guesses // 2) :]
    return int(coins[into].sum() + (~coins[out]).sum())


def gaussian_rejected(canaries: int, guesses: int, correct: int, mu: float, beta: float) -> bool:
    """Whether a claim of mu-Gaussian privacy gives so many correct guesses a probability below ``beta``.

    Raises :class:`learning.privacy.errors.PrivacyError` where numbers are out of range.
    """
    _check(canaries, guesses, correct, 0.0)
    if not mu >= 0.0 or not 0.0 < beta < 1.0:
        raise PrivacyError(f"mu must not be negative and beta must lie between 0 and 1, got {mu} and {beta}")
    right, wrong = beta * correct / canaries, beta * (guesses - correct) / canaries
    for i in range(correct - 1, -1, -1):
        more = max(wrong, float(ndtr(ndtri(right) - mu)))
        if more == wrong:  # and so it stays
            break
        right, wrong = min(1.0, right + i / (guesses - i) * (more - wrong)), more
    return right + wrong > guesses / canaries


def mu_lower_bound(canaries: int, guesses: int, correct: int, confidence: float = 0.95) -> float:
    """Largest mu below which every one is rejected: at most the true one with probability ``confidence``. 0 if none is.

    Raises :class:`learning.privacy.errors.PrivacyError` where numbers are out of range.
    """
    if not 0.0 < confidence < 1.0:
        raise PrivacyError(f"confidence must lie between 0 and 1, got {confidence}; 0.95 is usual")
    beta = 1.0 - confidence
    if guesses == 0 or not gaussian_rejected(canaries, guesses, correct, 0.0, beta):
        return 0.0
    low, high = 0.0, 1.0
    while gaussian_rejected(canaries, guesses, correct, high, beta):
        low, high = high, 2.0 * high
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if gaussian_rejected(canaries, guesses, correct, middle, beta) else (low, middle)
    return low


def audit_one_run(
    scores: ArrayLike, included: ArrayLike, delta: float, guesses: int | Sequence[int], confidence: float = 0.95
) -> OneRunBound:
    """The best bounds from scores [m] and coins [m] over numbers of guesses that were fixed beforehand.

    Both analyses of all of them share the probability of error, so that the best ones keep the confidence. Raises
    :class:`learning.privacy.errors.PrivacyError` where shapes or numbers do not fit.
    """
    s, coins = scored(scores, included)
    tried = (guesses,) if isinstance(guesses, int) else tuple(guesses)
    if not tried:
        raise PrivacyError("a one-run audit needs at least one number of guesses")
    each = 1.0 - (1.0 - confidence) / (2 * len(tried))
    correct = [count_correct(s, coins, r) for r in tried]
    plain = [epsilon_lower_bound(s.size, r, v, delta, each) for r, v in zip(tried, correct, strict=True)]
    gaussian = [mu_lower_bound(s.size, r, v, each) for r, v in zip(tried, correct, strict=True)]
    best, best_gaussian = int(np.argmax(plain)), int(np.argmax(gaussian))
    mu = gaussian[best_gaussian]
    return OneRunBound(
        epsilon_any=plain[best],
        guesses=tried[best],
        correct=correct[best],
        mu=mu,
        # From below: the smallest epsilon of mu at any delta is rounded up elsewhere.
        epsilon_gaussian=gaussian_epsilon(mu, delta) if delta > 0 else 0.0,
        gaussian_guesses=tried[best_gaussian],
        gaussian_correct=correct[best_gaussian],
        canaries=s.size,
        confidence=confidence,
    )


def scored(scores: ArrayLike, included: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores and coins as arrays [m]. Raises :class:`learning.privacy.errors.PrivacyError` where they do not fit."""
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
