"""The residual gain of a sampled waveform: its ambiguity function, where a rectangle has a closed form.

With s_u the unit-energy waveform of a resource, late by tau, turned by phi and off by f, the filter matched to s_v gives

    q = exp(j (phi + 2 pi f age)) sum_n conj(s_v[n]) s_u(n - tau f_s) exp(j 2 pi f n / f_s),   n = 0 at the scalar's start,

with the delayed waveform interpolated on its spectrum: what the waveform carrier gives for a scalar alone in its guard.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft, fftfreq, ifft, next_fast_len

from phy.burst.layout import BurstLayout
from phy.config_burst import BurstConfig
from phy.errors import PhyError
from phy.offsets import Offsets

_CHUNK = 1 << 20


class BurstPulse:
    """Residual gains of the scalar that a :class:`phy.config_burst.BurstConfig` describes. Same use as ``RectangularPulse``.

    :param tones: resources of one block, 1 or 2
    """

    def __init__(self, config: BurstConfig, tones: int = 1) -> None:
        self.duration_s = config.scalar_duration_s
        self._rate = config.sample_rate_hz
        waveforms, self._lead = BurstLayout(config, 1, 1, tones).waveforms()
        # Room for the delayed waveform on either side, so that the circular delay is a linear one.
        room = 2 * config.guard_symbols * config.samples_per_symbol
        self._room_s = room / config.sample_rate_hz
        self._count = int(next_fast_len(waveforms.shape[1] + room))
        self._waveforms = np.zeros((tones, self._count), np.complex128)
        self._waveforms[:, : waveforms.shape[1]] = waveforms
        self._spectra = fft(self._waveforms)
        self._bins = fftfreq(self._count, 1.0 / self._rate)

    def gain(self, offsets: Offsets, age_s: float, sent: int = 0, filtered: int = 0) -> NDArray[np.complex128]:
        """Output of the filter ``filtered`` where the unit waveform ``sent`` was sent. Shape of the offsets."""
        timing, frequency = offsets.timing_s.ravel(), offsets.frequency_hz.ravel()
        reach_s = self._room_s
        if timing.size and np.abs(timing).max() > reach_s:
            raise PhyError(
                f"a timing offset of {np.abs(timing).max():.3g} s reaches beyond twice the guard, {reach_s:.3g} s; lengthen "
                "burst.guard_symbols"
            )
        out = np.empty(timing.shape, np.complex128)
        step = max(1, _CHUNK // self._count)
        for low in range(0, len(timing), step):
            part = slice(low, low + step)
            out[part] = self._gain(timing[part, None], frequency[part, None], sent, filtered)
        turn = np.exp(1j * (offsets.phase_rad.ravel() + 2.0 * np.pi * frequency * age_s))
        return np.asarray((out * turn).reshape(offsets.timing_s.shape))

    def _gain(
        self, timing: NDArray[np.float64], frequency: NDArray[np.float64], sent: int, filtered: int
    ) -> NDArray[np.complex128]:
        delayed = self._spectra[sent] * np.exp(-2j * np.pi * self._bins * timing)
        if not frequency.any():
            return np.asarray((delayed * self._spectra[filtered].conj()).sum(axis=1) / self._count)
        instants = (np.arange(self._count) - self._lead) / self._rate
        carrier = np.exp(2j * np.pi * frequency * instants)
        return np.asarray((ifft(delayed) * carrier * self._waveforms[filtered].conj()).sum(axis=1))
