"""The surest guesses of one run, judged by the law of order statistics, as if every canary were heard alone.

The auditor guesses for those r of m canaries whose scores are largest in magnitude, by their signs. Of a mu-Gaussian-private
release nothing tells more of one coin s = +-1 than z ~ N(s mu / 2, 1), and if what is told of m coins is no better than m such
looks, independent of each other, the number of right guesses is at most that of the r largest |z| of m, whose law is known:
with tau the (r + 1)-th largest, those above it are independent and right with probability

    q(tau) = Phi(mu / 2 - tau) / (Phi(mu / 2 - tau) + Phi(-mu / 2 - tau)),

so that P[V >= v] = E_tau P[Binomial(r, q(tau)) >= v]. A claim under which that is below 1 - confidence is rejected. Releasing
the surest guesses and judging them by order statistics is the refinement of Z. Xiang, T. Wang, H. Xiao, Y. Tian, D. Wang,
"Tight privacy audit in one run", arXiv 2509.08704.

**Its assumption is more than privacy says.** A mechanism that is now and then loud for all records at once may be mu-private
for each, and yet let all coins be guessed more often than independent looks would. No claim should be refuted by this limit
alone; those of :mod:`learning.privacy.audit.one_run` need no such assumption.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr
from scipy.stats import beta, binom

from learning.privacy.audit.one_run import scored
from learning.privacy.errors import PrivacyError

__all__ = ["count_surest", "ordered_mu_lower_bound", "ordered_p_value"]

Floats = NDArray[np.float64]

_STEPS = 2000
_BISECTIONS = 30
_TAIL = 9.0  # beyond so many standard deviations there is no score


def count_surest(scores: ArrayLike, included: ArrayLike, guesses: int) -> int:
    """Right ones of the ``guesses`` surest: coins [m] against the signs of scores [m], the largest magnitudes first.

    Ties go by position. Raises :class:`learning.privacy.errors.PrivacyError` where shapes or numbers do not fit.
    """
    s, coins = scored(scores, included)
    if not 0 <= guesses <= s.size:
        raise PrivacyError(f"the auditor can guess for 0 .. {s.size} canaries, got {guesses}")
    surest = np.argsort(-np.abs(s), kind="stable")[:guesses]
    return int(np.count_nonzero((s[surest] > 0) == coins[surest]))


def ordered_p_value(canaries: int, guesses: int, correct: int, mu: float) -> float:
    """Probability of so many right guesses or more among the surest of independent canaries, from above (within 1e-3).

    Raises :class:`learning.privacy.errors.PrivacyError` where numbers are out of range.
    """
    if not 0 <= correct <= guesses <= canaries or canaries < 1:
        raise PrivacyError(f"correct <= guesses <= canaries must hold, got {correct}, {guesses} and {canaries}")
    if not mu >= 0.0:
        raise PrivacyError(f"mu must not be negative, got {mu}")
    half = mu / 2.0
    if guesses == canaries:
        return float(binom.sf(correct - 1, guesses, ndtr(half)))
    tau = np.linspace(0.0, half + _TAIL, _STEPS)
    right = ndtr(half - tau)
    above = right + ndtr(-half - tau)
    # Within a step of tau the larger q is taken: it grows with tau.
    mass = -np.diff(beta.cdf(above, guesses + 1, canaries - guesses))
    return float(min(1.0, binom.sf(correct - 1, guesses, (right / above)[1:]) @ mass + 1.0 - mass.sum()))


def ordered_mu_lower_bound(canaries: int, guesses: int, correct: int, confidence: float = 0.95) -> float:
    """Largest mu below which every one is rejected, if canaries are heard no better than one by one. 0 if none is.

    Raises :class:`learning.privacy.errors.PrivacyError` where numbers are out of range.
    """
    if not 0.0 < confidence < 1.0:
        raise PrivacyError(f"confidence must lie between 0 and 1, got {confidence}; 0.95 is usual")
    level = 1.0 - confidence
    if guesses == 0 or ordered_p_value(canaries, guesses, correct, 0.0) >= level:
        return 0.0
    low, high = 0.0, 1.0
    while ordered_p_value(canaries, guesses, correct, high) < level:
        low, high = high, 2.0 * high
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if ordered_p_value(canaries, guesses, correct, middle) < level else (low, middle)
    return low
