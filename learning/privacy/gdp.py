"""Gaussian differential privacy: exact conversions between mu and (epsilon, delta), and the trade-off curve.

    delta(epsilon) = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu)

(J. Dong, A. Roth, W. Su, "Gaussian differential privacy", arXiv 1905.02383, Corollary 2.13; B. Balle, Y.-X. Wang, "Improving
the Gaussian mechanism", arXiv 1805.06530, Theorem 8). With a = epsilon/mu - mu/2, b = a + mu and the Mills ratio R this is
phi(a) (R(a) - R(b)), where nothing overflows. delta is rounded up, epsilon up and mu down, each by less than 1e-10 relative.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import erfcx, ndtr, ndtri

from learning.privacy.errors import PrivacyError, check_delta

__all__ = ["compose", "delta", "epsilon", "mu", "tradeoff"]

Floats = npt.NDArray[np.float64]

_ROUNDING = 1e-11  # relative; above the error of the evaluation of delta, which the tests bound by 2e-12
_SQRT_HALF_PI = math.sqrt(math.pi / 2)
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_LEGENDRE = tuple(zip(*(x.tolist() for x in np.polynomial.legendre.leggauss(16)), strict=True))
_LARGEST_MU = 1e150  # squares of what is larger overflow; nothing is private there


def delta(eps: float, mu: float) -> float:
    """Smallest delta for which a mu-GDP mechanism is (eps, delta)-DP, rounded up.

    :param eps: at least 0; :param mu: at least 0, infinity meaning no noise
    :raises PrivacyError: a negative or undefined argument
    """
    if not eps >= 0:
        raise PrivacyError(f"epsilon must not be negative, got {eps}")
    _check_mu(mu)
    if mu == 0 or eps == math.inf:
        return 0.0
    if mu > _LARGEST_MU:
        return 1.0
    a = eps / mu - mu / 2
    a -= 2 * math.ulp(max(eps / mu, mu))  # its own rounding, which matters where both terms are large
    if not a < 1e150:
        return 0.0
    if a > -20:
        value = math.exp(-0.5 * a * a - _LOG_SQRT_2PI) * _mills_difference(a, mu)
    else:  # mu > 40: the second term is exp(-a^2/2) R(b), below 1e-80
        value = float(ndtr(-a))
    return min(1.0, value * (1 + _ROUNDING))


def epsilon(mu: float, delta: float) -> float:
    """Smallest epsilon >= 0 for which a mu-GDP mechanism is (epsilon, delta)-DP, rounded up; infinity for mu = infinity.

    :raises PrivacyError: mu negative, or delta not strictly between 0 and 1
    """
    _check_mu(mu)
    check_delta(delta)
    if mu > _LARGEST_MU:
        return math.inf
    if _delta(0.0, mu) <= delta:
        return 0.0
    # Chernoff: the privacy loss is N(mu^2/2, mu^2), and P(loss > eps) bounds delta.
    high = mu * mu / 2 + mu * math.sqrt(-2 * math.log(delta))
    if mu > 1e6:  # the bound is within 1e-5 of exact, and differences no longer resolve the root
        return high
    root = brentq(lambda x: _delta(x, mu) - delta, 0.0, high, xtol=1e-300, rtol=1e-14, maxiter=500)
    step = 4e-16
    while root < high and _delta(root, mu) > delta:
        root *= 1 + step
        step *= 2
    return float(min(root, high))


def mu(eps: float, delta: float) -> float:
    """Largest mu for which every mu-GDP mechanism is (eps, delta)-DP, rounded down.

    :raises PrivacyError: eps negative or infinite, or delta not strictly between 0 and 1
    """
    if not 0 <= eps < math.inf:
        raise PrivacyError(f"epsilon must not be negative or infinite, got {eps}")
    check_delta(delta)
    low = high = max(math.sqrt(2 * eps), delta)
    while _delta(eps, low) > delta:
        low /= 2
    while _delta(eps, high) <= delta:
        high *= 2
    root = brentq(lambda x: _delta(eps, x) - delta, low, high, xtol=1e-300, rtol=1e-14, maxiter=500)
    step = 4e-16
    while root > low and _delta(eps, root) > delta:
        root *= 1 - step
        step *= 2
    return float(max(root, low))


def compose(mus: Iterable[float]) -> float:
    """The one mu of many Gaussian mechanisms, sqrt(sum mu_t^2), exact also where each is chosen from the earlier outputs."""
    return math.nextafter(math.hypot(*mus), math.inf)


def tradeoff(alpha: npt.ArrayLike, mu: float) -> Floats:
    """Smallest type II error of any test of size ``alpha`` against a mu-GDP release, Phi(Phi^-1(1 - alpha) - mu)."""
    _check_mu(mu)
    sizes = np.asarray(alpha, np.float64)
    if not np.all((sizes >= 0) & (sizes <= 1)):
        raise PrivacyError("a type I error is a probability; give numbers between 0 and 1")
    with np.errstate(invalid="ignore"):
        beta = ndtr(-ndtri(sizes) - mu)
    return np.asarray(np.where(sizes == 0, 1.0, np.where(sizes == 1, 0.0, beta)))


_delta = delta  # parameters called delta hide the function


def _check_mu(mu: float) -> None:
    if not mu >= 0:
        raise PrivacyError(f"mu must not be negative or undefined, got {mu}")


def _mills_difference(a: float, width: float) -> float:
    """R(a) - R(a + width) for the Mills ratio R(x) = sqrt(pi/2) erfcx(x / sqrt 2), without cancellation."""
    if width > 1:
        return _SQRT_HALF_PI * float(erfcx(a * math.sqrt(0.5)) - erfcx((a + width) * math.sqrt(0.5)))
    centre, half = a + width / 2, width / 2
    return half * math.fsum(w * _minus_mills_slope(centre + half * x) for x, w in _LEGENDRE)


def _minus_mills_slope(x: float) -> float:
    """-R'(x) = 1 - x R(x); asymptotic series where the difference would cancel."""
    if x < 30:
        return 1 - x * _SQRT_HALF_PI * float(erfcx(x * math.sqrt(0.5)))
    y = 1 / (x * x)
    return y * (1 - y * (3 - y * (15 - y * (105 - y * (945 - y * 10395)))))
