"""Bursts that arrive out of step, as exact statistics of the intervals between all devices' symbol edges.

    y(t) = sum_k g_k exp(j 2 pi f_k (t + age)) sum_l s_k[l] p(t - tau_k - l T) + w(t),     p = 1 / sqrt(T) on [0, T],

with n scalars back to back, l = 0 .. n-1. Between two neighbouring edges nothing changes but the devices' rotation, so the
means over these intervals are sufficient statistics: whitened matched filtering and sampling (Y. Shao, D. Gunduz, S. C. Liew,
IEEE TWC 2022, arXiv 2102.13604), here for any timings, also beyond a symbol. Of an interval of width d T the mean is
normalised so that a device contributes g s; its noise is white with variance N0 / d, because a unit-energy filter sees N0.

Times count in symbols of duration T inside this module.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phy.errors import PhyError


@dataclass(frozen=True)
class Intervals:
    """Means of B rounds over the intervals between E sorted edges.

    ``edges_symbols`` [B, E], in symbols from the nominal start of the first scalar; ``means`` [B, E-1], zero where an interval
    has no width; ``ranks`` [B, K, n+1]: position among the edges of the start of each device's scalar l (and of the burst's
    end, l = n), as the receiver knows it; ``symbol_duration_s``: T.
    """

    edges_symbols: NDArray[np.float64]
    means: NDArray[np.complex128]
    ranks: NDArray[np.intp]
    symbol_duration_s: float

    @property
    def widths(self) -> NDArray[np.float64]:
        """Widths d of the intervals, in symbols. Shape [B, E-1]."""
        return np.diff(self.edges_symbols, axis=1)

    def integral(self) -> NDArray[np.complex128]:
        """Integral of the received signal up to each edge: sum of d times mean. Shape [B, E]; the first is zero."""
        out = np.zeros(self.edges_symbols.shape, np.complex128)
        np.cumsum(self.widths * self.means, axis=1, out=out[:, 1:])
        return out

    def filtered(self) -> NDArray[np.complex128]:
        """The matched filter at every device's own scalars, as the receiver knows their instants. Shape [B, K, n]."""
        rounds, devices, ends = self.ranks.shape
        at = np.take_along_axis(self.integral(), self.ranks.reshape(rounds, -1), 1).reshape(rounds, devices, ends)
        return np.diff(at, axis=2)


def interval_count(devices: int, scalars: int, *, known_apart: bool = False) -> int:
    """Intervals, and thus normals, of a round: K (n + 1) edges less one; twice the edges if known timings are cut as well."""
    return devices * (scalars + 1) * (2 if known_apart else 1) - 1


def observe(
    symbols: NDArray[np.floating],
    gains: NDArray[np.complexfloating],
    timing_s: NDArray[np.float64],
    noise: NDArray[np.complexfloating],
    *,
    symbol_duration_s: float,
    n0: float,
    frequency_hz: NDArray[np.float64] | None = None,
    age_s: float = 0.0,
    known_timing_s: NDArray[np.float64] | None = None,
) -> Intervals:
    """Statistics of B rounds, exactly.

    :param symbols: s [B, K, n], real
    :param gains: g [B, K], channel times precoder and phase offset; zero for a device that does not transmit
    :param timing_s: tau [B, K], late is positive; any finite value
    :param noise: CN(0, 1) [B, I] with I of :func:`interval_count`: always as many, so that keyed draws stay in place
    :param frequency_hz: f [B, K]; None: no rotation
    :param age_s: time from the instant at which the rotation was zero to the nominal start of the payload
    :param known_timing_s: timings [B, K] the receiver believes in, at which it cuts as well; None: the true ones

    Raises :class:`phy.errors.PhyError` where a timing is not finite or shapes do not fit.
    """
    rounds, devices, scalars = symbols.shape
    expected = (rounds, interval_count(devices, scalars, known_apart=known_timing_s is not None))
    if noise.shape != expected:
        raise PhyError(f"the noise of misaligned bursts must have shape {expected}, got {noise.shape}")
    edges = symbol_edges(timing_s, devices, scalars, symbol_duration_s)
    # What the received level changes by at each edge: g (s[l] - s[l-1]), with silence before and after.
    jumps = gains[:, :, None] * np.diff(symbols, axis=2, prepend=0.0, append=0.0)
    jumps = jumps.reshape(rounds, -1)
    if known_timing_s is not None:
        edges = np.concatenate((edges, symbol_edges(known_timing_s, devices, scalars, symbol_duration_s)), axis=1)
        jumps = np.concatenate((jumps, np.zeros_like(jumps)), axis=1)
    ordered, order, ranks = sort_edges(edges, devices, scalars)
    widths = np.diff(ordered, axis=1)
    if frequency_hz is None:
        means = np.cumsum(np.take_along_axis(jumps, order, 1)[:, :-1], axis=1, dtype=np.complex128)
    else:
        means = _rotating_means(symbols, gains, frequency_hz * symbol_duration_s, ordered, order, age_s / symbol_duration_s)
    some = widths > 0
    means += np.sqrt(n0 / np.where(some, widths, 1.0)) * noise
    means[~some] = 0.0
    return Intervals(ordered, means, ranks, symbol_duration_s)


def symbol_edges(timing_s: NDArray[np.float64], devices: int, scalars: int, symbol_duration_s: float) -> NDArray[np.float64]:
    """Starts of all scalars and ends of all bursts, in symbols. Shape [B, K (n + 1)], a device's own side by side."""
    if timing_s.ndim != 2 or timing_s.shape[1] != devices or not np.isfinite(timing_s).all():
        raise PhyError(f"timings must be finite and of shape [rounds, {devices}], got shape {timing_s.shape}")
    starts = timing_s[:, :, None] / symbol_duration_s + np.arange(scalars + 1.0)
    return starts.reshape(len(timing_s), -1)


def sort_edges(
    edges: NDArray[np.float64], devices: int, scalars: int
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Sorted edges [B, E], their order, and where the last K (n + 1) of the given ones went, [B, K, n+1]."""
    order = np.argsort(edges, axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(edges.shape[1])[None, :], 1)
    ranks = places[:, -devices * (scalars + 1) :].reshape(len(edges), devices, scalars + 1)
    return np.take_along_axis(edges, order, 1), order, ranks


def _rotating_means(
    symbols: NDArray[np.floating],
    gains: NDArray[np.complexfloating],
    turns: NDArray[np.float64],
    edges: NDArray[np.float64],
    order: NDArray[np.intp],
    age_symbols: float,
) -> NDArray[np.complex128]:
    """Clean means [B, E-1]: each device's level times the mean of its rotation by ``turns`` [B, K] turns per symbol.

    The mean of exp(j 2 pi f t) over a width d centred at c is sinc(f d) exp(j 2 pi f c).
    """
    rounds, devices, scalars = symbols.shape
    widths = np.diff(edges, axis=1)
    centres = 0.5 * (edges[:, 1:] + edges[:, :-1]) + age_symbols
    owner = order[:, :-1] // (scalars + 1)
    levels = np.zeros((rounds, scalars + 2))  # silence, s[0] .. s[n-1], silence
    means = np.zeros(widths.shape, np.complex128)
    for k in range(devices):
        levels[:, 1:-1] = symbols[:, k]
        level = np.take_along_axis(levels, np.cumsum(owner == k, axis=1), 1)
        f = turns[:, k, None]
        level *= np.sinc(f * widths)
        phase = f * centres
        phase -= np.rint(phase)
        phase *= 2.0 * np.pi
        # Real products: some code paths of a complex one fuse the addition, and bits would depend on the batch.
        cosine, sine = level * np.cos(phase), level * np.sin(phase)
        real, imag = gains.real[:, k, None], gains.imag[:, k, None]
        means.real += real * cosine - imag * sine
        means.imag += real * sine + imag * cosine
    return means
