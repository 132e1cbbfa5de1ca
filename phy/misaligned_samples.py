"""Interval statistics of oversampled samples, so that the receivers of :mod:`phy.receivers` work on waveforms too.

The pulse is the rectangle of W samples with unit energy, 1 / sqrt(W) each; a sample is worth the time [m, m + 1) / f_s. Of
samples with noise variance N0 the mean over d W of them, times sqrt(W), carries N0 / d: the statistics of
:func:`phy.misaligned.observe`. An edge inside a sample divides it in proportion: the integral up to that edge errs by at
most a quarter of a sample times the jump there, and the noise of the two neighbours is slightly correlated.
"""

import numpy as np
from numpy.typing import NDArray

from phy.errors import PhyError
from phy.misaligned import Intervals, sort_edges, symbol_edges


def interval_statistics(
    samples: NDArray[np.complexfloating],
    sample_rate_hz: float,
    edges_s: NDArray[np.float64],
    symbol_duration_s: float,
) -> NDArray[np.complex128]:
    """Normalised means over the intervals between sorted edges.

    :param samples: [..., N]; the first starts at time 0
    :param edges_s: [E], ascending, within the samples
    :param symbol_duration_s: duration T of the rectangle, W / f_s

    Returns [..., E-1]; zero where an interval has no width. Raises :class:`phy.errors.PhyError` where edges leave the samples.
    """
    count = samples.shape[-1]
    at = np.asarray(edges_s, np.float64) * sample_rate_hz
    # A thousandth of a sample beyond the ends is rounding of the instants.
    if at.ndim != 1 or not (at.min() > -1e-3 and at.max() < count + 1e-3):
        raise PhyError(
            f"symbol edges between {at.min():.1f} and {at.max():.1f} samples leave the slot of {count}; use a longer guard"
        )
    at = np.clip(at, 0.0, count)
    sums = np.zeros((*samples.shape[:-1], count + 1), np.complex128)
    np.cumsum(samples, axis=-1, dtype=np.complex128, out=sums[..., 1:])
    whole = np.minimum(at.astype(np.intp), count - 1)
    integral = sums[..., whole] + (at - whole) * samples[..., whole]
    widths = np.diff(at)
    scale = np.sqrt(symbol_duration_s * sample_rate_hz) / np.where(widths > 0, widths, np.inf)
    return np.asarray(np.diff(integral, axis=-1) * scale)


def observe_samples(
    samples: NDArray[np.complexfloating],
    sample_rate_hz: float,
    timing_s: NDArray[np.float64],
    *,
    scalars: int,
    symbol_duration_s: float,
    start_s: float,
) -> Intervals:
    """Statistics of one round's samples [N], cut at the known timings [K]; ``start_s``: nominal start of the payload.

    Returns :class:`phy.misaligned.Intervals` with B = 1.
    """
    devices = len(timing_s)
    ordered, _, ranks = sort_edges(symbol_edges(timing_s[None], devices, scalars, symbol_duration_s), devices, scalars)
    edges_s = start_s + ordered[0] * symbol_duration_s
    means = interval_statistics(samples, sample_rate_hz, edges_s, symbol_duration_s)
    return Intervals(ordered, means[None], ranks, symbol_duration_s)
