"""A lower bound on the mu of one canary from the coins themselves: no guesses, one regression on what one run let be heard.

Whoever tossed the coins s_i = +-1 knows them. Let y [n] be what was received, less all that is known, in units of the noise
that is stated for it (whitened), and let A [n, m] hold what each canary adds to it where its coin fell on +1, by the claim. The
noise-free sum x = A s is then known, and of

    y = g x + sigma w,    w ~ N(0, I),                                                                  (*)

only two numbers are not: g, how loud canaries are, and sigma, how strong the noise is, both 1 in an honest run. Whoever wants
to tell s_i = +1 from -1, all other coins known, which is what privacy of a record is about, faces two Gaussians a distance of

    mu_i = 2 |a_i| g / sigma

apart: the release is exactly mu_i-Gaussian-private for canary i. The statistic t = <x, y> / (|x| sigma^), sigma^2^ the mean
square of the n - 1 dimensions of the residual, has Student's distribution with noncentrality lambda = |x| g / sigma, whatever
the coins; its lower limit lambda_L times 2 |a| / |x| is an exact lower limit on mu. Neither the stated noise nor the stated
loudness is believed: noise that is weaker than stated, a clip that does not bind, and antennas that are not counted all show.

**Why this is a bound for one canary, though all are pooled.** All coins enter one number, but what is estimated is not their
joint effect: x is known, so that the sum of m canaries serves to measure g / sigma more precisely, and |x| is divided out
again. Where canaries differ, canary i having the gain g_i, the regression estimates their mean weighted by |a_i|^2, what is
left of their differences has random signs and adds to sigma^ (which lowers the limit), and by Cauchy and Schwarz

    sum_i g_i |a_i|^2 / sum_i |a_i|^2 times the root mean square of |a|  <=  max_i g_i |a_i|:

at least one canary carries what is stated. Where devices arrive with different strength, the loudest canaries may be pooled by
themselves (:func:`most_telling`), the others being known.

**What is assumed** is (*): a linear response, and noise that is Gaussian, and white once divided by what is stated of its
shape. Two departures are provided for. Noise whose strength differs from round to round in an unstated way, sigma_t, releases
more than noise of the mean square (Jensen), so that the limit stays one; it makes the residual heavy-tailed and sigma^ less
certain than n - 1 dimensions would, as (sum sigma_t^2)^2 / sum sigma_t^4 of them, which is 3 (n - 1) / kurtosis
(Satterthwaite). Noise that is correlated over rounds, or goes with the signal, as what is not linear does, is tested for: where
a test fails, the limit is void, and says so. Coins need not be told apart by anybody, so that
canaries may interfere, and far more of them than rounds serve. How many are needed is a matter of mu alone: a canary brings
mu^2 / 4 to |x|^2, and the limit lies about z (4 / (m mu^2) + 1 / (2 n))^(1/2) below, as a share of mu.

That canary-aligned signals of one run are a Gaussian of known variance, which thresholded guesses throw away, is the idea of
A. Agrawal et al., "Let's ask Gauss: improved one-run privacy auditing", arXiv 2606.12733; there it holds as a limit over many
steps, here exactly, as receiver noise is Gaussian. That interference among canaries is what holds guesses back: A. Keinan,
M. Shenfeld, K. Ligett, arXiv 2503.07199.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import chi, chi2, norm, normaltest, spearmanr

from learning.privacy import gdp
from learning.privacy.errors import PrivacyError

__all__ = [
    "FEWEST_ROUNDS",
    "KnownCoinsBound",
    "Residual",
    "audit_known_coins",
    "canaries_needed",
    "most_telling",
    "noncentrality_lower",
]

Floats = NDArray[np.float64]

#: Fewer numbers than this say nothing of their own distribution.
FEWEST_ROUNDS = 20
_DOUBT = 1e-4  # probability at which honest noise fails one of the tests of the residual
_NODES = np.polynomial.legendre.leggauss(256)
_FAR = 1e-15


@dataclass(frozen=True)
class Residual:
    """What is left of a run when the known coins' share is taken out.

    ``freedom``: dimensions by which its strength is known; fewer than numbers where that varies. ``level``: its standard
    deviation over the stated one, with limits ``level_lower`` and ``level_upper`` (95 %). p-values: ``gaussian``, D'Agostino
    and Pearson's test of skewness and kurtosis; ``white``, correlation of neighbours; ``even``, whether its power follows the
    signal's (Spearman).
    """

    freedom: float
    level: float
    level_lower: float
    level_upper: float
    gaussian: float
    white: float
    even: float

    @property
    def sound(self) -> bool:
        """Whether the last two tests leave the assumption standing; honest noise fails once in ten thousand runs."""
        return 2.0 * min(self.white, self.even) >= _DOUBT


@dataclass(frozen=True)
class KnownCoinsBound:
    """Lower limit on the mu of one canary.

    ``mu``: the limit, 0 where the assumption is in doubt. ``estimate``: the estimate of mu. ``gain``: g, loudness over the
    claimed one. ``signal``: |x|, what the limit's width goes with. ``rounds``: numbers that were used.
    """

    mu: float
    estimate: float
    gain: float
    signal: float
    rounds: int
    residual: Residual
    confidence: float


def audit_known_coins(observed: ArrayLike, expected: ArrayLike, unit_mu: float, confidence: float = 0.95) -> KnownCoinsBound:
    """Regress what was received on what known coins should have added.

    :param observed: [n] what was received less what is known, over the standard deviation stated of its noise
    :param expected: [n] the known coins' share in it by the claim, in the same unit
    :param unit_mu: root mean square over canaries of mu_i = 2 |a_i| by the claim
    :param confidence: the limit exceeds the truth with probability at most 1 - ``confidence``
    :raises PrivacyError: shapes or numbers that do not fit, or too few of them
    """
    y, x = np.asarray(observed, np.float64), np.asarray(expected, np.float64)
    if y.ndim != 1 or y.shape != x.shape:
        raise PrivacyError(f"what was received and what was expected must be one number each, got {y.shape} and {x.shape}")
    if y.size < FEWEST_ROUNDS:
        raise PrivacyError(f"known coins need at least {FEWEST_ROUNDS} rounds to judge the noise by, got {y.size}; run more")
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise PrivacyError("what was received or expected is not finite; leave out the rounds that were lost")
    if not unit_mu >= 0.0 or not math.isfinite(unit_mu):
        raise PrivacyError(f"a canary's mu must be a number of at least 0, got {unit_mu}")
    if not 0.0 < confidence < 1.0:
        raise PrivacyError(f"confidence must lie between 0 and 1, got {confidence}; 0.95 is usual")
    signal = float(np.linalg.norm(x))
    if signal == 0.0:
        raise PrivacyError("no canary was heard in any round; nothing can be said of them")
    gain = float(x @ y) / signal**2
    left = y - gain * x
    freedom = y.size - 1
    level = float(np.linalg.norm(left)) / math.sqrt(freedom)
    if level == 0.0:
        raise PrivacyError("nothing is left beside the canaries: a run without noise is private to nobody, and needs no audit")
    residual = _judge(left / level, x, level, freedom)
    lowest = noncentrality_lower(gain * signal / level, residual.freedom, confidence)
    scale = unit_mu / signal
    return KnownCoinsBound(
        mu=lowest * scale if residual.sound else 0.0,
        estimate=gain * unit_mu / level,
        gain=gain,
        signal=signal,
        rounds=y.size,
        residual=residual,
        confidence=confidence,
    )


def most_telling(mu: ArrayLike, rounds: int, confidence: float = 0.95) -> NDArray[np.bool_]:
    """Which canaries to pool, bool[m]: few loud ones are too few to be heard well, all of them are no louder than their mean.

    :param mu: [m] of each canary by the claim, which is public; coins and what was received have no say in the choice
    :raises PrivacyError: there is no canary
    """
    each = np.asarray(mu, np.float64)
    if each.ndim != 1 or each.size == 0:
        raise PrivacyError(f"a mu for each of some canaries is needed, got shape {each.shape}")
    order = np.argsort(-each, kind="stable")
    power = np.cumsum(np.square(each[order]))
    with np.errstate(divide="ignore"):
        width = float(norm.ppf(confidence)) * np.sqrt(4.0 / power + 1.0 / (2.0 * rounds))
    limits = np.sqrt(power / np.arange(1, each.size + 1)) * (1.0 - width)
    chosen = np.zeros(each.size, np.bool_)
    # Where not even all are loud enough, all are taken.
    chosen[order[: int(np.argmax(limits)) + 1 if limits.max() > 0 else each.size]] = True
    return chosen


def noncentrality_lower(statistic: float, freedom: float, confidence: float) -> float:
    """Smallest noncentrality >= 0 under which Student's t reaches ``statistic`` with probability 1 - ``confidence``.

    P[t >= T] = E[Phi(lambda - T s)], s^2 = chi^2 / freedom, by quadrature: SciPy's own series fail far out.
    """
    low, high = (math.sqrt(1.0 / freedom) * float(chi.ppf(q, freedom)) for q in (_FAR, 1.0 - _FAR))
    nodes = 0.5 * (low + high) + 0.5 * (high - low) * _NODES[0]
    weights = _NODES[1] * chi.pdf(nodes * math.sqrt(freedom), freedom)
    weights /= weights.sum()

    def excess(noncentrality: float) -> float:
        return float(weights @ norm.cdf(noncentrality - statistic * nodes)) - (1.0 - confidence)

    if excess(0.0) >= 0.0:
        return 0.0
    top = 1.0
    while excess(top) < 0.0:
        top *= 2.0
    return float(brentq(excess, 0.0, top, xtol=1e-10))


def canaries_needed(mu: float, delta: float, rounds: int, share: float, confidence: float = 0.95, power: float = 0.99) -> int:
    """How many canaries of ``mu`` show ``share`` of its epsilon at ``delta`` in a share ``power`` of runs of ``rounds`` rounds.

    :raises PrivacyError: numbers out of range, or rounds that are too few to know the noise by, however many canaries
    """
    if not (mu > 0.0 and 0.0 < share < 1.0 and 0.0 < power < 1.0 and rounds >= FEWEST_ROUNDS):
        raise PrivacyError(
            f"mu must be positive, share and power lie between 0 and 1 and rounds be {FEWEST_ROUNDS} at least, got {mu}, "
            f"{share}, {power} and {rounds}"
        )
    below = 1.0 - gdp.mu(share * gdp.epsilon(mu, delta), delta) / mu
    spread = (below / float(norm.ppf(confidence) + norm.ppf(power))) ** 2 - 1.0 / (2.0 * rounds)
    if spread <= 0.0:
        raise PrivacyError(f"{rounds} rounds do not tell the noise well enough to show {share:g} of epsilon; take more rounds")
    return math.ceil(4.0 / (mu * mu * spread))


def _judge(left: Floats, x: Floats, level: float, freedom: int) -> Residual:
    """Tests of a residual of mean square 1."""
    counted = freedom * min(1.0, 3.0 / float(np.power(left, 4).mean()))
    bounds = np.sqrt(counted / chi2.ppf([0.975, 0.025], counted)) * level
    products = left[1:] * left[:-1]
    neighbours = float(products.sum() / np.linalg.norm(products))
    return Residual(
        freedom=counted,
        level=level,
        level_lower=float(bounds[0]),
        level_upper=float(bounds[1]),
        gaussian=float(normaltest(left).pvalue),
        white=float(2.0 * norm.sf(abs(neighbours))),
        even=1.0 if np.ptp(np.abs(x)) == 0.0 else float(spearmanr(np.abs(left), np.abs(x)).pvalue),
    )
