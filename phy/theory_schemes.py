"""Closed forms of energy detection, of orthogonal access and of aligned sums with unequal levels.

Written independently of the simulation, which is held against them. Notation: K devices with energies e_k in [0, 1] on a tone,
S = sum e_k, Q = sum e_k^2; L looks of 1/L of the energy each, M antennas; N0 variance of a complex statistic. Fading
``independent``: every look and antenna is Rayleigh on its own; ``block``: looks share a fade, antennas do not; ``none``: gain
1. Phases are random per look and device in all of them.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, gammainc

Fading = Literal["independent", "block", "none"]


def majority_probability(plus: int, minus: int, n0: float, looks: int = 1, antennas: int = 1) -> float:
    """P(E+ > E-) when ``plus`` devices vote +1 and ``minus`` -1 by energy, under independent fading.

    E+- is a Gamma variable of shape L M and mean proportional to mu+- = K+- / L + N0, so that E+ / (E+ + E-) is a Beta
    variable: I_x(L M, L M) with x = mu+ / (mu+ + mu-) (A. Sahin et al., arXiv 2111.01850, in our split of the energy).
    With one look, block fading is the same.
    """
    mean_plus, mean_minus = plus / looks + n0, minus / looks + n0
    shape = looks * antennas
    return float(betainc(shape, shape, mean_plus / (mean_plus + mean_minus)))


def energy_variance(
    energies: NDArray[np.float64], n0: float, looks: int = 1, antennas: int = 1, fading: Fading = "independent"
) -> float:
    """Variance of the unbiased estimate of S from received energy, ``energies`` [K] on one tone.

    independent: (S + L N0)^2 / (L M), each look being exponential of mean S / L + N0. block: two looks of an antenna have
    covariance sum_k (e_k / L) exp(j (phi_kl - phi_kl')) given their phases, of mean square Q / L^2, which gives
    [(S + L N0)^2 / L + (1 - 1/L) Q] / M: devices still average each other, their own fades remain. none: a sum of
    QPSK phasors has E|y|^4 = 2 S^2 - Q, which gives [S^2 - Q + (2 S L N0 + (L N0)^2) / M] / L.
    """
    total, squares, noise = float(energies.sum()), float(np.square(energies).sum()), looks * n0
    if fading == "independent":
        return (total + noise) ** 2 / (looks * antennas)
    if fading == "block":
        return ((total + noise) ** 2 / looks + (1.0 - 1.0 / looks) * squares) / antennas
    return (total**2 - squares + (2.0 * total * noise + noise**2) / antennas) / looks


def reed_variance(
    payloads: NDArray[np.float64],
    clip: float,
    n0: float,
    looks: int = 1,
    antennas: int = 1,
    fading: Fading = "independent",
) -> float:
    """Variance of the estimate of mean(payloads [K]) of scheme ``reed``: (clip / K)^2 (V(S_0) + V(S_1)).

    The tones are independent, because no device sends on both.
    """
    tones = (np.maximum(payloads, 0.0) / clip, np.maximum(-payloads, 0.0) / clip)
    return (clip / len(payloads)) ** 2 * sum(energy_variance(e, n0, looks, antennas, fading) for e in tones)


def ncairfl_variance(
    payloads: NDArray[np.float64],
    clip: float,
    n0: float,
    looks: int = 1,
    antennas: int = 1,
    fading: Fading = "independent",
) -> float:
    """Variance of the estimate of mean(payloads [K]) of scheme ``ncairfl`` without memory.

    Given phi = +-1 the estimate has mean 2 phi sum max(phi p, 0) / K and variance (2 clip / K)^2 V(S_phi). Averaged over phi:
    twice :func:`reed_variance`, plus (sum |p_k| / K)^2 from the two means.
    """
    dither = float(np.abs(payloads).mean()) ** 2
    return 2.0 * reed_variance(payloads, clip, n0, looks, antennas, fading) + dither


def digital_outage(n0: float, bits: int, symbols: int, antennas: int = 1) -> float:
    """P(a device of the digital reference is not heard) under Rayleigh fading with maximum-ratio combining.

    The gain is a Gamma variable of shape M: P(M, symbols N0 (2^(bits / symbols) - 1)), for M = 1 an exponential's.
    """
    return float(gammainc(antennas, symbols * n0 * (2.0 ** (bits / symbols) - 1.0)))


def aligned_sum_mse(
    levels: NDArray[np.float64], scaling: NDArray[np.float64] | float, n0: float, mean_square: float
) -> NDArray[np.float64]:
    """Mean square error of (1/K) Re(y) / a as an estimate of the mean of K uncorrelated zero-mean symbols, ``levels`` [..., K].

    Device k arrives with amplitude level_k: (1/K^2) [s2 sum (level_k / a - 1)^2 + N0 / (2 a^2)], ``scaling`` a of shape [...].
    """
    scaling = np.asarray(scaling)
    short = np.square(levels / scaling[..., None] - 1.0).sum(axis=-1)
    return np.asarray((mean_square * short + n0 / (2.0 * np.square(scaling))) / levels.shape[-1] ** 2)
