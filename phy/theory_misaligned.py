"""Closed forms of the receivers under timing misalignment, written densely and independently of them; no frequency offsets.

Every receiver is linear: its real estimate of sum_k s_k[l] has the mean sum_(k,l') R[l, k, l'] s_k[l'] and Gaussian noise.
Notation: gains g_k, timings tau_k, symbol T, amplitude a, N0 variance of the complex noise; V(x) = max(0, 1 - |x| / T).

- matched:  R[l, k, l'] = Re(g_k) V(tau_k + (l' - l) T) / a,   variance N0 / (2 a^2): edge loss and inter-symbol interference.
- aligned:  R[l, k, l] = Re(g_k) / a,   variance N0 / (2 d a^2) with d = 1 - (max tau - min tau) / T.
- ml: information matrix J = (2 / N0) A with A[(k,l),(k',l')] = Re(conj(g_k) g_k') V(tau_k - tau_k' + (l - l') T), R the
  identity, variance 1^T J^-1 1 over the devices of l; with a ridge, J^-1 becomes (A + ridge)^-1 A (A + ridge)^-1 N0 / 2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Moments:
    """A linear estimator's response R [n, K, n] to the symbols and its noise variance [n], of the real sum of symbols."""

    response: NDArray[np.float64]
    variance: NDArray[np.float64]

    def bias(self, symbols: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of the estimate minus sum_k s_k[l], for symbols [K, n]. Shape [n]."""
        return np.asarray(np.tensordot(self.response, symbols, 2) - symbols.sum(axis=0))

    def mean_square_error(self, symbol_variance: float = 1.0 / 3.0) -> NDArray[np.float64]:
        """Mean square error for independent zero-mean symbols; 1/3 is that of symbols uniform on [-1, 1]. Shape [n]."""
        scalars = len(self.variance)
        off = self.response - np.eye(scalars)[:, None, :]
        return np.asarray(symbol_variance * np.square(off).sum(axis=(1, 2)) + self.variance)


def overlaps(timing_s: NDArray[np.float64], scalars: int, symbol_duration_s: float) -> NDArray[np.float64]:
    """Inner products of all devices' unit-energy rectangles, at timings [K]. Shape [K, n, K, n]."""
    starts = np.add.outer(timing_s / symbol_duration_s, np.arange(scalars))
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(starts[:, :, None, None] - starts[None, None])), np.float64)


def matched(
    gains: NDArray[np.complex128],
    timing_s: NDArray[np.float64],
    scalars: int,
    symbol_duration_s: float,
    amplitude: float,
    n0: float,
) -> Moments:
    """Moments of the plain matched filter, for gains and timings [K]."""
    nominal = np.concatenate(([0.0], timing_s))
    seen = overlaps(nominal, scalars, symbol_duration_s)[0][:, 1:]
    response = gains.real[None, :, None] / amplitude * seen
    return Moments(response, np.full(scalars, n0 / (2.0 * amplitude**2)))


def aligned(
    gains: NDArray[np.complex128],
    timing_s: NDArray[np.float64],
    scalars: int,
    symbol_duration_s: float,
    amplitude: float,
    n0: float,
) -> Moments:
    """Moments of the aligned-sample estimator; infinite variance where no window is common to all devices of gain not zero."""
    heard = timing_s[gains != 0]
    width = 1.0 - np.ptp(heard) / symbol_duration_s
    response = np.eye(scalars)[:, None, :] * gains.real[None, :, None] / amplitude
    variance = n0 / (2.0 * width * amplitude**2) if width > 0 else np.inf
    return Moments(response, np.full(scalars, variance))


def ml(
    gains: NDArray[np.complex128],
    timing_s: NDArray[np.float64],
    scalars: int,
    symbol_duration_s: float,
    n0: float,
    ridge: float = 0.0,
) -> Moments:
    """Moments of maximum likelihood for real symbols; of its regularised form with a ridge above zero."""
    devices = len(gains)
    size = devices * scalars
    matrix = _gram(gains, timing_s, scalars, symbol_duration_s).real
    adder = np.tile(np.eye(scalars), (devices, 1))  # [K n, n], devices first
    weights = np.linalg.solve(matrix + ridge * np.eye(size), adder)
    variance = 0.5 * n0 * np.einsum("il,ij,jl->l", weights, matrix, weights)
    response = (weights.T @ matrix).reshape(scalars, devices, scalars)
    return Moments(response, variance)


def ml_complex(
    gains: NDArray[np.complex128], timing_s: NDArray[np.float64], scalars: int, symbol_duration_s: float, n0: float
) -> Moments:
    """The same for the paper's complex unknowns: the real part of the sum, unbiased, with variance (N0 / 2) 1^T A^-1 1."""
    devices = len(gains)
    matrix = _gram(gains, timing_s, scalars, symbol_duration_s)
    adder = np.tile(np.eye(scalars), (devices, 1))
    variance = 0.5 * n0 * np.einsum("il,il->l", adder, np.linalg.solve(matrix, adder)).real
    response = np.repeat(np.eye(scalars)[:, None, :], devices, axis=1)
    return Moments(response, variance)


def _gram(
    gains: NDArray[np.complex128], timing_s: NDArray[np.float64], scalars: int, symbol_duration_s: float
) -> NDArray[np.complex128]:
    """Inner products of the received symbols, conj(g_k) g_k' V. Shape [K n, K n]."""
    full = np.repeat(gains, scalars)
    size = len(full)
    return np.asarray(np.outer(np.conj(full), full) * overlaps(timing_s, scalars, symbol_duration_s).reshape(size, size))
