"""Closed forms of the link with truncated inversion, for the payloads of a link measurement.

Scalars are p_k = limit(sigma g_k), unit clip, correlation c; m = mean of all K of them. A device transmits with probability
q = P(|h'|^2 >= g_th); of A active ones the server forms the mean, so that with n = |A| and beta, e2 as in :mod:`phy.theory`

    E (p_hat - m)^2 | n = (beta - 1)^2 s2 [(1 - c)/n + c] + (2 beta - 1) s2 (1 - c)(1/n - 1/K)
                          + s2 e2 E[1/|h'|^2 | active] / (2 n) + N0 / (2 g_th n^2),

averaged over n ~ Bin(K, q) given n > 0 (a round without anybody is lost). As E[mean_A m] = E[m^2], wrong signs follow from the
correlation r of p_hat and m as arccos(r) / pi, as if both were Gaussian.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, norm

from phy.theory import channel_given_estimate, mean_inverse_gain

__all__ = ["Expected", "clipped_normal_variance", "truncated_link"]


@dataclass(frozen=True)
class Expected:
    """NMSE [dB] of the estimate and probability of a wrong sign."""

    nmse_db: float
    wrong_sign: float


def clipped_normal_variance(sigma: float) -> float:
    """E[limit(sigma g)^2] for a standard normal g and the limits +-1."""
    a = 1.0 / sigma
    tail = 2.0 * float(norm.sf(a))
    return float(sigma**2 * (1.0 - tail - 2.0 * a * norm.pdf(a)) + tail)


def truncated_link(
    devices: int,
    snr_max_db: float,
    threshold: float,
    estimator: str = "perfect",
    error_variance: float = 0.0,
    age_correlation: float = 1.0,
    sigma: float = 0.3,
    correlation: float = 0.5,
) -> Expected:
    """NMSE and wrong signs of analog aggregation over Rayleigh block fading. See the module."""
    s2, c, n0 = clipped_normal_variance(sigma), correlation, 10.0 ** (-snr_max_db / 10.0)
    variance, beta, residual = channel_given_estimate(estimator, error_variance, age_correlation)
    active = np.arange(1, devices + 1)
    weights = binom.pmf(active, devices, np.exp(-threshold / variance))
    weights /= weights.sum()
    mine, all_ = (1.0 - c) / active + c, (1.0 - c) / devices + c
    noise = s2 * residual * mean_inverse_gain(threshold, variance) / (2.0 * active) + n0 / (2.0 * threshold * active**2)
    error = (beta - 1.0) ** 2 * s2 * mine + (2.0 * beta - 1.0) * s2 * (mine - all_) + noise
    alike = beta * s2 * all_ / np.sqrt((beta**2 * s2 * mine + noise) * s2 * all_)
    wrong = np.arccos(np.clip(alike, -1.0, 1.0)) / np.pi
    return Expected(float(10.0 * np.log10((weights * error).sum() / (s2 * all_))), float((weights * wrong).sum()))
