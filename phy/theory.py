"""Closed forms of the symbol link, written independently of it: what its simulation is held against.

Notation: gamma clip, N0 variance of the complex noise sample, a aligned amplitude (peak power 1), K devices, channel given its
estimate h | h' ~ CN(beta h', e2). With x = (a / h') p / gamma the decision variable gives, for given estimates,

    estimate | h'  ~  N( beta mean(p),  sum_k p_k^2 e2 / (2 K^2 |h'_k|^2)  +  gamma^2 N0 / (2 a^2 K^2) ).
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import exp1, j0
from scipy.stats import norm

if TYPE_CHECKING:
    from phy.config import LinkConfig


def noise_variance(clip: float, n0: float, aligned_gain: NDArray[np.float64] | float, devices: int) -> NDArray[np.float64]:
    """Variance of the estimate due to receiver noise, gamma^2 N0 / (2 a^2 K^2)."""
    return np.asarray(clip**2 * n0 / (2.0 * np.square(aligned_gain) * devices**2))


def channel_given_estimate(estimator: str, error_variance: float, correlation: float = 1.0) -> tuple[float, float, float]:
    """(variance of the estimate, beta, e2) of the aged channel given its estimate.

    ``estimator`` is perfect, ls or mmse; ``error_variance`` the least-squares error's variance s2; ``correlation`` that between
    the channel at the pilot and at the payload. From joint Gaussianity: for LS, cov(h, h')/var(h') = rho / (1 + s2).
    """
    s2, rho = error_variance, correlation
    if estimator == "perfect":
        return 1.0, rho, 1.0 - rho**2
    left = 1.0 - rho**2 / (1.0 + s2)
    if estimator == "ls":
        return 1.0 + s2, rho / (1.0 + s2), left
    if estimator == "mmse":
        return 1.0 / (1.0 + s2), rho, left
    raise ValueError(f"no closed form for estimator {estimator!r}; choose perfect, ls or mmse")


def jakes_correlation(doppler_hz: float, delay_s: float) -> float:
    """rho = J0(2 pi f_d tau) of Clarke's and Jakes' model."""
    return float(j0(2.0 * np.pi * doppler_hz * delay_s))


def noise_without_mean(config: "LinkConfig", devices: int) -> bool:
    """Whether the noise of a coherent estimate has no mean square over fades: E[1 / a^2] diverges.

    So it is where the weakest of K Rayleigh devices sets a^2 = min_k |f_k|^2: an exponential variable of mean 1/K, whose
    density at zero is K. A median over rounds exists; a mean square over T rounds grows like log T, and its worst few carry it.
    With several antennas the combiner ``equal`` is no better, nor is ``max_min`` for two devices: where their channels are at
    right angles, the vector of either one is deaf to the other. For one device, or three and more, P(a^2 < x) vanishes faster
    than x. Other channels than the flat Rayleigh ones of this package are not judged.
    """
    rayleigh = config.channel.model in ("rayleigh", "sionna_rayleigh")
    if not rayleigh or config.power.control != "weakest" or config.scheme not in ("analog", "sign"):
        return False
    return config.receive_antennas == 1 or config.combiner == "equal" or devices == 2


def mean_inverse_gain(threshold: float, variance: float = 1.0) -> float:
    """E[1/|h|^2 given |h|^2 >= threshold] for h ~ CN(0, variance): exp(u) E1(u) / variance with u = threshold / variance."""
    u = threshold / variance
    return float(np.exp(u) * exp1(u) / variance)


def truncated_inversion_mse(
    payloads: NDArray[np.float64],
    clip: float,
    n0: float,
    threshold: float,
    estimator: str = "perfect",
    error_variance: float = 0.0,
    correlation: float = 1.0,
) -> float:
    """Mean square error of the estimate of mean(payloads [K]), over fades in which nobody is truncated.

    Bias ((beta - 1) mean p)^2, plus residual-gain variance with :func:`mean_inverse_gain`, plus receiver noise at a^2 =
    threshold.
    """
    devices = len(payloads)
    variance, beta, residual = channel_given_estimate(estimator, error_variance, correlation)
    bias = (beta - 1.0) * payloads.mean()
    gain_error = np.square(payloads).sum() * residual * mean_inverse_gain(threshold, variance) / (2.0 * devices**2)
    return float(bias**2 + gain_error + noise_variance(clip, n0, np.sqrt(threshold), devices))


def vote_error_probability(votes: NDArray[np.float64], aligned_gain: float, n0: float) -> float:
    """P(sign of the received sum differs from that of the sum of votes) = Q(|sum| a / sqrt(N0 / 2)), perfect CSI."""
    return float(norm.sf(abs(votes.sum()) * aligned_gain / np.sqrt(n0 / 2.0)))


def uniform_phase_loss(spread_rad: float) -> float:
    """E[cos phi] for a phase uniform in [-spread, spread]: sin(spread) / spread."""
    return float(np.sinc(spread_rad / np.pi))
