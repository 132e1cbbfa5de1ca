"""The receiver: one slot of samples in, one complex statistic per scalar, resource and antenna out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft, ifft

from phy.burst.detection import detect
from phy.burst.layout import BurstLayout
from phy.errors import PhyError


@dataclass(frozen=True)
class Reception:
    """One slot as received.

    ``found``: the statistics may be used; where it is False they, timing, frequency and gains are NaN. ``statistics``
    complex64 [n, U, M]: inner products with the resources' waveforms of energy 1, so that a coefficient c that arrives through
    a gain h gives h c, and noise samples of variance N0 give noise of variance N0. ``timing_samples``, ``frequency_hz``: the
    common offsets that were removed. ``metric``: normalised correlation of the preamble. ``gains`` complex128 [M]: sum over
    devices of channel times reference, as the preamble heard it, phase at the slot's reference instant; the statistics keep
    that phase. ``preamble_snr``: energy of the preamble at all antennas over N0, linear. ``instant_samples``: centre of the
    preamble as received. ``why`` nothing was found: see :class:`phy.burst.detection.Finding`. Without synchronisation by
    preamble offsets are 0, and metric, gains, preamble_snr and instant NaN.
    """

    found: bool
    timing_samples: float
    frequency_hz: float
    metric: float
    gains: NDArray[np.complex128]
    preamble_snr: float
    statistics: NDArray[np.complex64]
    instant_samples: float = np.nan
    why: str = ""


def receive(layout: BurstLayout, samples: NDArray[np.complex64], n0: float) -> Reception:
    """Synchronise as configured and filter one slot, ``samples`` [M, slot_samples] with noise variance ``n0``.

    By preamble: a carrier frequency offset is removed about the slot's reference instant t_ref, where the phase stays what
    it is; then a delay is removed by an exact (circular) phase ramp of the spectrum. Raises :class:`phy.errors.PhyError`
    where shapes do not fit the layout.
    """
    if samples.ndim != 2 or samples.shape[1] != layout.slot_samples:
        raise PhyError(f"a slot must have shape [antennas, {layout.slot_samples}], got {samples.shape}")
    samples = np.ascontiguousarray(samples, np.complex64)
    unknown = np.full(len(samples), complex(np.nan, np.nan))
    if layout.config.synchronisation == "slot":
        return Reception(True, 0.0, 0.0, np.nan, unknown, np.nan, matched_filters(layout, samples))
    finding = detect(layout, samples)
    if not finding.found:
        shape = (layout.scalars, layout.resources, len(samples))
        lost = np.full(shape, complex(np.nan, np.nan), np.complex64)
        return Reception(False, np.nan, np.nan, finding.metric, unknown, np.nan, lost, why=finding.why)
    fs = layout.config.sample_rate_hz
    gains = finding.gains_at(layout.reference_sample, fs)
    energy = float((np.abs(layout.preamble_waveform.samples) ** 2).sum() * (np.abs(gains) ** 2).sum())
    still = samples * carrier(-finding.frequency_hz / fs, layout.slot_samples, layout.reference_sample)
    return Reception(
        True,
        finding.timing_samples,
        finding.frequency_hz,
        finding.metric,
        gains,
        energy / n0 if n0 > 0 else np.inf,
        matched_filters(layout, advance(still, finding.timing_samples)),
        finding.instant_samples,
    )


def matched_filters(layout: BurstLayout, samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Statistics [n, U, M] at the nominal instants of samples [M, slot_samples]."""
    filtered = layout.bank.analyse(samples[:, layout.payload.first : layout.payload.stop])
    return np.ascontiguousarray(filtered.reshape(len(samples), layout.scalars, layout.resources).transpose(1, 2, 0))


def advance(samples: NDArray[np.complex64], shift_samples: float) -> NDArray[np.complex64]:
    """Samples [M, N] earlier by any number of samples, circularly, as the band-limited signal through them."""
    if shift_samples == 0:
        return samples
    length = samples.shape[1]
    ramp = carrier(shift_samples / length, length, 0)
    ramp[(length + 1) // 2 :] *= np.complex64(np.exp(-2j * np.pi * (shift_samples % 1.0)))  # the negative frequencies
    return np.asarray(ifft(fft(samples) * ramp), np.complex64)


def carrier(cycles_per_sample: float, length: int, reference_sample: int) -> NDArray[np.complex64]:
    """e^{j 2 pi f (i - reference)} for i = 0 .. length - 1. Shape [length].

    Formed as the outer product of a coarse and a fine ramp: two square roots of the length instead of one exponential each.
    """
    step = int(np.ceil(np.sqrt(length)))
    coarse = np.exp(2j * np.pi * (cycles_per_sample * (np.arange(-(-length // step)) * step - reference_sample) % 1.0))
    fine = np.exp(2j * np.pi * cycles_per_sample * np.arange(step))
    return np.asarray(np.multiply.outer(coarse, fine).astype(np.complex64).reshape(-1)[:length])
