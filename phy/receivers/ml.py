"""Maximum likelihood under misalignment: whitened least squares for every device's symbols, then their sum.

Y. Shao, D. Gunduz, S. C. Liew, IEEE TWC 2022 (arXiv 2102.13604). Over the intervals i of widths d_i the mean is
r_i = sum_k g_k s_k[l_k(i)] plus noise of variance N0 / d_i. The likelihood's normal equations are A s = b with

    A[(k,l), (k',l')] = Re(conj(g_k) g_k') max(0, 1 - |tau_k + l T - tau_k' - l' T| / T),
    b[(k,l)] = Re(conj(g_k) z_k[l]),     z_k[l] the matched filter at device k's own instants,

so the intervals enter through K n filter outputs alone. In the order of their starts a symbol overlaps no more than the K - 1
symbols that follow it, whatever the timings: A is banded, and solving costs n K^3. The paper's unknowns are complex; ours are
the real symbols that devices send, so that both I and Q speak for them and A has the real part above: never more noise, and
devices of different phase are told apart even when they arrive together.

Known gains and timings are the link's own unless estimates are passed in. A carrier frequency offset is not modelled: the gains
should hold the rotation at mid-burst, and what turns away from it is an error.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from phy.config import LinkConfig
from phy.errors import PhyError
from phy.misaligned import Intervals

# Entries of the banded matrices built at once.
_CHUNK_ELEMENTS = 1 << 19


class Part:
    """Least squares with a small ridge, because devices in step leave only their sum observable.

    ridge = N0 / (2 V) states a prior of variance V per symbol, here V = 100 though symbols are at most 1. It is held between
    1e-10 of the largest received power, which floating point needs, and 1e-3 of a^2, so that even in the deepest noise a
    symbol of amplitude a that meets no other is shrunk by at most 0.1 %. In directions that are hardly observable the answer
    tends to the one of least norm, which shares a sum equally among devices that cannot be told apart; the noise variance in
    any direction stays below max(V, 1000 N0 / (2 a^2)) / 4.
    """

    uses_intervals = True
    prior_variance = 100.0
    largest_shrinkage = 1e-3

    def __init__(self, config: LinkConfig) -> None:
        self._config = config
        self._n0 = config.n0

    def ridge(self, gains: NDArray[np.complex64], amplitude: NDArray[np.float32]) -> NDArray[np.float64]:
        """What is added to the diagonal of A, from gains [B, K] and amplitude a [B]. Shape [B]."""
        power = np.square(amplitude.astype(np.float64))
        largest = np.maximum(np.square(np.abs(gains).astype(np.float64)).max(axis=1), power)
        wanted = np.minimum(self._n0 / (2.0 * self.prior_variance), self.largest_shrinkage * power)
        return np.asarray(np.maximum(wanted, 1e-10 * largest))

    def estimate(
        self,
        observation: Intervals,
        gains: NDArray[np.complex64],
        timing_s: NDArray[np.float64],
        amplitude: NDArray[np.float32],
        heard: NDArray[np.float64],
    ) -> NDArray[np.complex128]:
        """Estimated sums of symbols [B, n], with no imaginary part; see :mod:`phy.receivers`."""
        filtered = observation.filtered()
        rounds, devices, scalars = filtered.shape
        out = np.full((rounds, scalars), np.nan, np.complex128)
        some = np.flatnonzero((heard > 0) & (amplitude > 0))
        ridge = self.ridge(gains, amplitude)
        step = max(1, _CHUNK_ELEMENTS // (devices * devices * scalars))
        for low in range(0, len(some), step):
            which = some[low : low + step]
            starts = timing_s[which] / observation.symbol_duration_s
            out[which] = _sums(filtered[which], gains[which].astype(np.complex128), starts, ridge[which])
        return out

    def with_prior(self) -> "Lmmse":
        """The estimator to use where gains and timings are themselves estimates."""
        return Lmmse(self._config)


class Lmmse(Part):
    """The same with the prior of symbols uniform on [-1, 1], V = 1/3: least mean square error, but the sum is shrunk.

    Chosen by ``receiver = "phy.receivers.ml:Lmmse"``.
    """

    prior_variance = 1.0 / 3.0
    largest_shrinkage = np.inf


def _sums(
    filtered: NDArray[np.complex128],
    gains: NDArray[np.complex128],
    timing_symbols: NDArray[np.float64],
    ridge: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Solve A s = b for each of B rounds and add up the devices. Shape [B, n]."""
    rounds, devices, scalars = filtered.shape
    starts = (timing_symbols[:, :, None] + np.arange(float(scalars))).reshape(rounds, -1)
    order = np.argsort(starts, axis=1, kind="stable")
    starts = np.take_along_axis(starts, order, 1)
    # Real products, here and below: some code paths of a complex one fuse the addition, and bits would depend on the batch.
    right = gains.real[:, :, None] * filtered.real + gains.imag[:, :, None] * filtered.imag
    right = right.reshape(rounds, -1)
    right = np.take_along_axis(right, order, 1)
    ordered = np.take_along_axis(gains, order // scalars, 1)
    real, imag = ordered.real, ordered.imag

    # band[:, j, m] = A[j + m, j], the lower diagonals; transposed, LAPACK takes it as it lies.
    unknowns = devices * scalars
    band = np.zeros((rounds, unknowns, devices))
    for m in range(devices):
        near, far = slice(0, unknowns - m), slice(m, unknowns)
        overlap = np.maximum(0.0, 1.0 - (starts[:, far] - starts[:, near]))
        product = real[:, far] * real[:, near] + imag[:, far] * imag[:, near]
        band[:, near, m] = overlap * product
    band[:, :, 0] += ridge[:, None]
    symbols = np.empty((rounds, unknowns))
    for r in range(rounds):
        _, solution, info = lapack.dpbsv(band[r].T, right[r], lower=1, overwrite_ab=1)
        if info:
            raise PhyError("the equations of receiver ml are singular; check the gains, or choose receiver aligned")
        symbols[r] = solution
    back = np.empty_like(symbols)
    np.put_along_axis(back, order, symbols, 1)
    return np.asarray(back.reshape(rounds, devices, scalars).sum(axis=1))
