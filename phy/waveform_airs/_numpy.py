"""The airs of the backend without a framework: the plain reference for the other two."""

import numpy as np

from phy.modes import Complexes, Floats
from phy.ramps import ramp_array
from phy.waveform_airs._emulation import Emulation
from phy.waveform_airs._lags import Lags


class _Arrays(Emulation):
    """What both airs have in common: numpy arrays throughout."""

    def taken(self, bursts: Complexes) -> Complexes:
        """The bursts themselves."""
        return bursts

    def given(self, y: Complexes) -> Complexes:
        """The samples in single precision."""
        return np.ascontiguousarray(y, np.complex64)

    def turned(self, x: Complexes, cycles_per_sample: Floats, start_cycles: Floats) -> Complexes:
        """Bursts on their own carriers."""
        return x * ramp_array(cycles_per_sample, x.shape[1], start_cycles)

    def with_noise(self, y: Complexes, unit: Complexes) -> Complexes:
        """Samples with receiver noise."""
        return np.asarray(y + np.float32(self._noise_std) * unit)


class Emulated(_Arrays):
    """Delays of any size as phase ramps on the spectrum of the slot; see :mod:`phy.waveform_airs.emulated`."""

    keyed = True

    def delayed(self, x: Complexes, delay_s: Floats) -> Complexes:
        """Bursts [K, N] late by delay_s [K], circularly."""
        return np.asarray(np.fft.ifft(np.fft.fft(x) * self._ramps(delay_s, x.shape[1])), np.complex64)

    def flat(self, x: Complexes, gains: Complexes, timing_s: Floats) -> Complexes:
        """Bursts through one path."""
        return np.asarray(gains @ (self.delayed(x, timing_s) if timing_s.any() else x))

    def filtered(self, x: Complexes, paths: Complexes, delays_s: Floats, timing_s: Floats) -> Complexes:
        """Paths with delays on the spectra, summed over devices before the one inverse transform."""
        spectra = np.fft.fft(x)
        total = np.zeros((len(paths), x.shape[1]), np.complex64)
        for p in range(delays_s.shape[1]):
            total += paths[:, :, p] @ (spectra * self._ramps(timing_s + delays_s[:, p], x.shape[1]))
        return np.asarray(np.fft.ifft(total), np.complex64)

    def by_sample(self, x: Complexes, paths: Complexes, delays_s: Floats) -> Complexes:
        """One delayed burst for each path and device, times the path's gain at every sample."""
        out = np.zeros((len(paths), x.shape[1]), np.complex64)
        for p in range(delays_s.shape[1]):
            out += (paths[:, :, p] * self.delayed(x, delays_s[:, p])).sum(axis=1)
        return out

    def _ramps(self, delay_s: Floats, count: int) -> Complexes:
        """Phase ramps [K, N] of delays [K], in the order of the transform."""
        cycles = -delay_s * (self._rate / count)
        return np.fft.ifftshift(ramp_array(cycles, count, -(count // 2) * cycles), axes=-1)


class TimeChannel(_Arrays):
    """Sionna's discrete-time channel, written out: taps a_p sinc(l - W tau_p) at the lags l, and a sum over them."""

    keyed = True

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._lags = Lags(self._config, self._propagation)

    def steps(self, count: int) -> int:
        """Outputs of the whole convolution."""
        return count + self._lags.last - self._lags.first

    def start_s(self, reference_sample: int) -> float:
        """Outputs start at the first lag."""
        return super().start_s(reference_sample) + self._lags.first / self._rate

    def flat(self, x: Complexes, gains: Complexes, timing_s: Floats) -> Complexes:
        """Bursts through one path."""
        return self.filtered(x, gains[:, :, None], np.zeros((len(timing_s), 1)), timing_s)

    def filtered(self, x: Complexes, paths: Complexes, delays_s: Floats, timing_s: Floats) -> Complexes:
        """Paths that stand still."""
        return self.by_sample(x, paths[..., None], timing_s[:, None] + delays_s)

    def by_sample(self, x: Complexes, paths: Complexes, delays_s: Floats) -> Complexes:
        """Paths [M, K, P, T] at every output, T = 1 where they stand still."""
        count, (first, last) = x.shape[1], (self._lags.first, self._lags.last)
        self._lags.refuse_beyond(delays_s)
        out = np.zeros((len(paths), self.steps(count)), np.complex64)
        for lag in range(first, last + 1):
            weights = np.sinc(lag - self._rate * delays_s).astype(np.float32)
            taps = (paths * weights[:, :, None]).sum(axis=2)  # [M, K, T]
            begin = lag - first
            part = slice(begin, begin + count)
            out[:, part] += (taps[:, :, part if taps.shape[2] > 1 else slice(0, 1)] * x).sum(axis=1)
        return out[:, -first : count - first]
