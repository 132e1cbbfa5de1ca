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
from phy.faults import build
from phy.impairments.sampling_offset import sampling_offset
from phy.modes import Complexes, Floats
from phy.offsets import OffsetDraws, Offsets
from phy.propagation import Propagation
from phy.ramps import ramp, tables


class Part:
    """One slot at a time: bursts [K, N] in, samples [M, N] out. Equal calls give equal bits.

    :param propagation: the channel, shared with the sounding that transmitters rely on
    :param reference_sample: the instant at which the payload starts, from which carrier phases are counted
    """

    def __init__(self, config: LinkConfig, draws: KeyedDraws, cached: CachedDraws, propagation: Propagation) -> None:
        del cached
        self._config = config
        self._draws = draws
        self._propagation = propagation
        self._offsets = OffsetDraws(config, draws)
        self._rate = config.burst.sample_rate_hz
        self._transmitter, self._receiver = build(config.impairments, self._rate)
        self._noise_std = float(np.sqrt(config.n0))
        self._kept: tuple[tuple[bytes, int], torch.Tensor] | None = None

    def transmit(self, bursts: Complexes, round_index: int, sounded: Complexes, reference_sample: int) -> Complexes:
        """Received samples [M, N] of one slot for device bursts [K, N] and the channel [M, K] that sounding saw."""
        devices, count = bursts.shape
        offsets = self._offsets.draw(devices, round_index, 1)
        x = torch.from_numpy(bursts)
        for part in self._transmitter:
            x = part.apply(x, self._draws, round_index)
        ppm = self._config.clock.sampling_ppm
        if ppm.on:
            rate = 1e-6 * self._offsets.sampling_ppm(devices, round_index, 1)[0]
            # Clocks agree at the payload's start: what they have drifted until then is in the timing offset.
            x = sampling_offset(x, torch.from_numpy(rate), torch.from_numpy(reference_sample * rate / (1.0 + rate)))
        x = self._turned(x, offsets, reference_sample)
        y = self._through(x, offsets.timing_s[0], round_index, sounded, reference_sample)
        if self._noise_std > 0:
            noise = self._draws.long_complex_normal("noise", round_index, y.shape[0], count)
            y = y + self._noise_std * torch.from_numpy(noise)
        for part in self._receiver:
            y = part.apply(y, self._draws, round_index)
        return np.ascontiguousarray(y.numpy())

    def _turned(self, x: torch.Tensor, offsets: Offsets, reference_sample: int) -> torch.Tensor:
        """Bursts [K, N] on their own carriers, with phases as the server's clock counts them."""
        frequency, phase = offsets.frequency_hz[0], offsets.phase_rad[0]
        if not (frequency.any() or phase.any()):
            return x
        # The burst's sample n is heard at n / f_s + tau; the phase reference lies `age` before the payload's nominal start.
        elapsed = offsets.timing_s[0] - reference_sample / self._rate + self._config.csi.age_s
        start = phase / (2.0 * np.pi) + frequency * elapsed
        return x * ramp(frequency / self._rate, x.shape[1], start)

    def _through(
        self, x: torch.Tensor, timing_s: Floats, round_index: int, sounded: Complexes, reference_sample: int
    ) -> torch.Tensor:
        """The sum [M, N] over devices of their bursts [K, N] through their channels."""
        devices, count = x.shape
        channel = self._propagation.channel
        if channel.flat:
            gains = torch.from_numpy(self._propagation.aged(sounded[None], round_index)[0])
            if not timing_s.any():
                return gains @ x
            return self._filtered(x, gains[:, :, None], np.zeros((devices, 1)), timing_s)
        antennas = self._config.receive_antennas
        steps = count if channel.moves else 1
        start_s = -reference_sample / self._rate if channel.moves else 0.0
        paths, delays = channel.paths(devices, round_index, 1, antennas, steps, self._rate, start_s)
        if channel.moves:
            return self._by_sample(x, torch.from_numpy(paths[0]), timing_s[:, None] + delays[0])
        return self._filtered(x, torch.from_numpy(np.ascontiguousarray(paths[0, :, :, :, 0])), delays[0], timing_s)

    def _filtered(self, x: torch.Tensor, a: torch.Tensor, delays_s: Floats, timing_s: Floats) -> torch.Tensor:
        """Paths a [M, K, P] with delays [K, P] and timing offsets [K] on the spectra of x [K, N], summed over devices."""
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

    def _by_sample(self, x: torch.Tensor, a: torch.Tensor, tau: Floats) -> torch.Tensor:
        """Paths a [M, K, P, N] that move while the burst is on the air."""
        count = x.shape[1]
        spectrum = torch.fft.fft(x)
        out = torch.zeros(a.shape[0], count, dtype=torch.complex64)
        for p in range(tau.shape[1]):
            cycles = -tau[:, p] * (self._rate / count)
            shift = torch.fft.ifftshift(ramp(cycles, count, -(count // 2) * cycles), dim=-1)
            delayed = torch.fft.ifft(spectrum * shift)
            out += (a[:, :, p] * delayed).sum(dim=1)
        return out
