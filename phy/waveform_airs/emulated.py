"""The emulated air: hardware faults, clocks, multipath, superposition and receiver noise on sampled bursts.

The channel is applied on the spectrum of the slot: the guard keeps delayed samples from wrapping into a burst, and any delay,
in fractions of a sample, is exact for band-limited bursts. Delays, paths and their sum over p are one matrix product,

    H_k[m] = sum_p a_kp exp(-2 pi j m (tau_k + tau_kp) f_s / N),

whose exponentials factor into a coarse and a fine table of m. Held over a burst (``variation = block``), the channel costs
one product per spectral line; per sample, one inverse transform per path and device.
"""

import numpy as np
import torch

from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.impairments.sampling_offset import sampling_offset
from phy.modes import Complexes, Floats
from phy.propagation import Propagation
from phy.ramps import ramp, tables
from phy.waveform_airs._emulation import Emulation


class Part(Emulation):
    """The emulated air of backend sionna, in PyTorch; see :class:`phy.waveform_airs._emulation.Emulation`."""

    keyed = True

    def __init__(self, config: LinkConfig, draws: KeyedDraws, cached: CachedDraws, propagation: Propagation) -> None:
        super().__init__(config, draws, cached, propagation)
        self._kept: tuple[tuple[bytes, int], torch.Tensor] | None = None

    def taken(self, bursts: Complexes) -> torch.Tensor:
        """The bursts as a tensor."""
        return torch.from_numpy(bursts)

    def given(self, y: torch.Tensor) -> Complexes:
        """The samples as an array."""
        return np.ascontiguousarray(y.numpy())

    def stretched(self, x: torch.Tensor, rate: Floats, delay_samples: Floats) -> torch.Tensor:
        """Bursts by clocks that are off."""
        return sampling_offset(x, torch.from_numpy(rate), torch.from_numpy(delay_samples))

    def turned(self, x: torch.Tensor, cycles_per_sample: Floats, start_cycles: Floats) -> torch.Tensor:
        """Bursts on their own carriers."""
        return x * ramp(cycles_per_sample, x.shape[1], start_cycles)

    def with_noise(self, y: torch.Tensor, unit: Complexes) -> torch.Tensor:
        """Samples with receiver noise."""
        return y + self._noise_std * torch.from_numpy(unit)

    def flat(self, x: torch.Tensor, gains: Complexes, timing_s: Floats) -> torch.Tensor:
        """Bursts through one path."""
        if not timing_s.any():
            return torch.from_numpy(gains) @ x
        return self.filtered(x, gains[:, :, None], np.zeros((len(timing_s), 1)), timing_s)

    def filtered(self, x: torch.Tensor, paths: Complexes, delays_s: Floats, timing_s: Floats) -> torch.Tensor:
        """Paths [M, K, P] with delays [K, P] and timing offsets [K] on the spectra of x [K, N], summed over devices."""
        a = torch.from_numpy(paths)
        devices, count = x.shape
        antennas = a.shape[0]
        # Spectral lines -N/2 .. N/2-1 throughout; the transform's own order is restored by shifting its output once.
        if (delays_s == delays_s[0]).all():
            response = (a.reshape(antennas * devices, -1) @ self._common(delays_s[0], count)).reshape(antennas, devices, count)
            tau = timing_s[:, None]
        else:
            response, tau = None, timing_s[:, None] + delays_s
        spectra = torch.fft.fftshift(torch.fft.fft(x), dim=-1)
        if response is None:
            cycles = -tau * (self._rate / count)
            coarse, fine = (torch.from_numpy(table) for table in tables(cycles, count, -(count // 2) * cycles))
            weighted = a.permute(1, 0, 2)[:, :, None, :] * coarse.permute(0, 2, 1)[:, None]  # [K, M, I, P]
            joined = torch.bmm(weighted.flatten(1, 2), fine)  # [K, M I, 64]
            response = joined.reshape(devices, antennas, -1)[:, :, :count].transpose(0, 1)
        elif timing_s.any():
            cycles = -timing_s * (self._rate / count)
            spectra = spectra * ramp(cycles, count, -(count // 2) * cycles)
        total: torch.Tensor = torch.fft.ifft(torch.fft.ifftshift((response * spectra).sum(dim=1), dim=-1))
        return total

    def _common(self, delays_s: Floats, count: int) -> torch.Tensor:
        """Responses [P, N] of unit paths with delays [P] that all devices share; the last ones are kept."""
        key = (delays_s.tobytes(), count)
        if self._kept is None or self._kept[0] != key:
            cycles = -delays_s * (self._rate / count)
            self._kept = (key, ramp(cycles, count, -(count // 2) * cycles).contiguous())
        return self._kept[1]

    def by_sample(self, x: torch.Tensor, paths: Complexes, delays_s: Floats) -> torch.Tensor:
        """Paths [M, K, P, N] that move while the burst is on the air."""
        a, tau = torch.from_numpy(paths), delays_s
        count = x.shape[1]
        spectrum = torch.fft.fft(x)
        out = torch.zeros(a.shape[0], count, dtype=torch.complex64)
        for p in range(tau.shape[1]):
            cycles = -tau[:, p] * (self._rate / count)
            shift = torch.fft.ifftshift(ramp(cycles, count, -(count // 2) * cycles), dim=-1)
            delayed = torch.fft.ifft(spectrum * shift)
            out += (a[:, :, p] * delayed).sum(dim=1)
        return out
