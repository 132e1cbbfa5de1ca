"""How often a detector errs: laws of its metric where no known waveform is there, and where one is.

Under noise alone, one lag and one antenna of N samples, the correlations with the two halves are coordinates of a random
direction in C^N: |c_1|^2 + |c_2|^2 ~ Beta(2, N - 2) of all energy, split uniformly. The same holds for unknown symbols in our
band, with N the number of symbols, after the pulse's matched filter.
"""

from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta, ncx2


def false_alarm_probability(threshold: float, samples: int, both_halves: bool = False) -> float:
    """Probability that noise alone exceeds the threshold, at one lag and one antenna, for two halves of equal energy.

    With s ~ Beta(2, N - 2) the energy in the plane of the two halves and theta its division, the metric is
    s (1 + sin 2 theta) / 2, where sin^2 theta is uniform. ``samples`` N is the length of the window. Several lags: at most
    that many times as much. ``both_halves``: and that neither half explains more by itself, which is to say that theta lies
    within pi / 8 of pi / 4; of the uniform sin^2 theta that leaves 1 / sqrt 2.
    """
    nodes, weights = np.polynomial.legendre.leggauss(128)
    reach = np.pi / 8.0 if both_halves else np.pi / 4.0
    theta = np.pi / 4.0 + reach * nodes
    energy = np.minimum(2.0 * threshold / (1.0 + np.sin(2.0 * theta)), 1.0)
    beyond = (1.0 - energy) ** (samples - 2) * (1.0 + (samples - 2) * energy)
    return float((weights * reach * np.sin(2.0 * theta) * beyond).sum())


@lru_cache(maxsize=64)
def threshold_for(false_alarm: float, samples: int, lags: int, antennas: int) -> float:
    """Least threshold at which noise alone is found with at most this probability, over all lags and antennas.

    One antenna: :func:`false_alarm_probability`, solved. Several: the metric is at most the share of energy in the 2 M
    dimensions of the halves, Beta(2 M, M (N - 2)). Lags by the union bound. At most 1.
    """
    each = false_alarm / lags
    if antennas > 1:
        return float(beta.isf(each, 2 * antennas, antennas * max(samples - 2, 1)))
    if false_alarm_probability(1.0, samples) >= each:
        return 1.0
    return float(brentq(lambda threshold: false_alarm_probability(threshold, samples) - each, 1e-12, 1.0, xtol=1e-9))


def half_miss_probability(half_snr: float) -> float:
    """Probability that a preamble is taken for one half, at one antenna: |c_weak| < (sqrt 2 - 1) |c_strong|.

    ``half_snr``: energy of a received half over N0, linear. Both magnitudes are Rician: 2 |c|^2 / N0 is a non-central chi
    square of two degrees of freedom. Either half may be the weak one.
    """
    non_central = 2.0 * half_snr
    nodes, weights = np.polynomial.legendre.leggauss(400)
    # The strong half's amplitude in units of root N0 / 2, over all that it may plausibly be.
    low, high = max(np.sqrt(non_central) - 10.0, 0.0), np.sqrt(non_central) + 10.0
    strong = low + (nodes + 1.0) * (high - low) / 2.0
    density = 2.0 * strong * ncx2.pdf(strong**2, 2, non_central)
    weak = ncx2.cdf((3.0 - 2.0 * np.sqrt(2.0)) * strong**2, 2, non_central)
    return float(2.0 * (weights * (high - low) / 2.0 * density * weak).sum())


def half_false_probability(half_snr: float) -> float:
    """Probability that one half, over noise where the other would be, is taken for both, at one antenna and one lag.

    With a the strong half's amplitude over root N0 and w = 3 - 2 sqrt 2, the other half is noise, exponential in power:
    E[e^{-w a^2}] - what of it is stronger than the half itself; for a Rician a, exactly
    e^{-rho w / (1 + w)} / (1 + w) - (w / (1 + w)) e^{-rho / (1 + w)}.
    """
    w = 3.0 - 2.0 * np.sqrt(2.0)
    return float(np.exp(-half_snr * w / (1.0 + w)) / (1.0 + w) - w / (1.0 + w) * np.exp(-half_snr / (1.0 + w)))
