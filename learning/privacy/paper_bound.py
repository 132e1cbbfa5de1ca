"""The privacy budget R_dp of "privacy for free" (D. Liu, O. Simeone, arXiv 2006.05459), as in pAirZero (2604.12401).

    sum_t (sqrt(2) c_t gamma / m_t)^2 <= R_dp(eps, delta) = (sqrt(eps + x^2) - x)^2,
    x = C^-1(1/delta),   C(x) = sqrt(pi) x e^(x^2).

The left side is mu^2/2 of the composed Gaussian mechanism. The bound is valid but loose: it bounds the probability that the
privacy loss N(R, 2R) leaves [-eps, eps], twice the tail 2 Q(sqrt(2) x) <= delta, by the Mills ratio.
"""

from __future__ import annotations

import math

from scipy.special import wrightomega

from learning.privacy.errors import PrivacyError, check_delta, check_epsilon

__all__ = ["delta", "epsilon", "inverse_c", "r_dp"]

_ROUNDING = 1e-12


def inverse_c(delta: float) -> float:
    """C^-1(1/delta) = sqrt(W0(2 / (pi delta^2)) / 2), rounded up.

    :raises PrivacyError: delta not strictly between 0 and 1
    """
    check_delta(delta)
    # W0(e^z) without forming e^z, which overflows for small delta.
    omega = float(wrightomega(math.log(2 / math.pi) - 2 * math.log(delta)))
    return math.sqrt(omega / 2) * (1 + _ROUNDING)


def r_dp(eps: float, delta: float) -> float:
    """Largest sum of (sqrt(2) c_t gamma_t / m_t)^2 that the paper admits, rounded down.

    :raises PrivacyError: eps not positive and finite, or delta not strictly between 0 and 1
    """
    check_epsilon(eps)
    x = inverse_c(delta)
    return (eps / (math.sqrt(eps + x * x) + x)) ** 2 * (1 - 4 * _ROUNDING)


def epsilon(spent: float, delta: float) -> float:
    """Epsilon that the paper's bound charges for ``spent`` = sum of (sqrt(2) c_t gamma_t / m_t)^2 = mu^2/2, rounded up.

    :raises PrivacyError: spent negative, or delta not strictly between 0 and 1
    """
    _check_spent(spent)
    return (spent + 2 * inverse_c(delta) * math.sqrt(spent)) * (1 + _ROUNDING)


def delta(spent: float, eps: float) -> float:
    """Delta that the paper's bound charges at ``eps`` for ``spent``, rounded up and at most 1.

    :raises PrivacyError: spent negative, or eps not positive and finite
    """
    _check_spent(spent)
    check_epsilon(eps)
    if spent == 0:
        return 0.0
    if not spent < eps:
        return 1.0
    x = (eps - spent) / (2 * math.sqrt(spent)) * (1 - _ROUNDING)
    if x > 1e100:
        return 0.0
    return min(1.0, math.exp(-x * x) / (math.sqrt(math.pi) * x) * (1 + _ROUNDING))


def _check_spent(spent: float) -> None:
    if not spent >= 0:
        raise PrivacyError(f"the spent budget must not be negative or undefined, got {spent}")
