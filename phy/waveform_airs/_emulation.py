"""What every emulated air does in the same way, whatever computes it: offsets, hardware faults, clocks and receiver noise.

A subclass is an engine. It has a kind of array of its own and says how bursts are turned, filtered and superposed in it.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError
from phy.faults import build
from phy.modes import Complexes, Floats
from phy.offsets import OffsetDraws, Offsets
from phy.propagation import Propagation


class Emulation(ABC):
    """One slot at a time: bursts [K, N] in, samples [M, N] out. Equal calls give equal bits.

    :param propagation: the channel, shared with the sounding that transmitters rely on
    :param reference_sample: the instant at which the payload starts, from which carrier phases are counted
    :cvar keyed: its noise is a function of the draws
    """

    keyed: ClassVar[bool] = True

    def __init__(self, config: LinkConfig, draws: KeyedDraws, cached: CachedDraws, propagation: Propagation) -> None:
        del cached
        self._config = config
        self._draws = draws
        self._propagation = propagation
        self._offsets = OffsetDraws(config, draws)
        self._rate = config.burst.sample_rate_hz
        self._transmitter, self._receiver = build(config.impairments, self._rate)
        self._noise_std = float(np.sqrt(config.n0))

    def transmit(self, bursts: Complexes, round_index: int, sounded: Complexes, reference_sample: int) -> Complexes:
        """Received samples [M, N] of one slot for device bursts [K, N] and the channel [M, K] that sounding saw."""
        devices, count = bursts.shape
        offsets = self._offsets.draw(devices, round_index, 1)
        x = self.taken(bursts)
        for part in self._transmitter:
            x = part.apply(x, self._draws, round_index)
        ppm = self._config.clock.sampling_ppm
        if ppm.on:
            rate = 1e-6 * self._offsets.sampling_ppm(devices, round_index, 1)[0]
            # Clocks agree at the payload's start: what they have drifted until then is in the timing offset.
            x = self.stretched(x, rate, reference_sample * rate / (1.0 + rate))
        x = self._turned(x, offsets, reference_sample)
        y = self._through(x, offsets.timing_s[0], round_index, sounded, reference_sample)
        if self._noise_std > 0:
            y = self.with_noise(y, self._draws.long_complex_normal("noise", round_index, len(sounded), count))
        for part in self._receiver:
            y = part.apply(y, self._draws, round_index)
        return self.given(y)

    def _turned(self, x: Any, offsets: Offsets, reference_sample: int) -> Any:
        """Bursts [K, N] on their own carriers, with phases as the server's clock counts them."""
        frequency, phase = offsets.frequency_hz[0], offsets.phase_rad[0]
        if not (frequency.any() or phase.any()):
            return x
        # The burst's sample n is heard at n / f_s + tau; the phase reference lies `age` before the payload's nominal start.
        elapsed = offsets.timing_s[0] - reference_sample / self._rate + self._config.csi.age_s
        start = phase / (2.0 * np.pi) + frequency * elapsed
        return self.turned(x, frequency / self._rate, start)

    def _through(self, x: Any, timing_s: Floats, round_index: int, sounded: Complexes, reference_sample: int) -> Any:
        """The sum [M, N] over devices of their bursts [K, N] through their channels."""
        devices, count = x.shape
        channel = self._propagation.channel
        if channel.flat:
            gains = self._propagation.aged(sounded[None], round_index)[0]
            return self.flat(x, gains, timing_s)
        antennas = self._config.receive_antennas
        steps, start_s = (self.steps(count), self.start_s(reference_sample)) if channel.moves else (1, 0.0)
        paths, delays = channel.paths(devices, round_index, 1, antennas, steps, self._rate, start_s)
        if channel.moves:
            return self.by_sample(x, paths[0], timing_s[:, None] + delays[0])
        return self.filtered(x, np.ascontiguousarray(paths[0, :, :, :, 0]), delays[0], timing_s)

    def steps(self, count: int) -> int:
        """Instants at which a moving channel is evaluated for a slot of ``count`` samples."""
        return count

    def start_s(self, reference_sample: int) -> float:
        """The first of these instants, from the start of the payload."""
        return -reference_sample / self._rate

    def stretched(self, x: Any, rate: Floats, delay_samples: Floats) -> Any:
        """Bursts [K, N] played by clocks that are off by ``rate`` [K], and late by ``delay_samples`` [K]."""
        del x, rate, delay_samples
        raise PhyError(f"backend {self._config.backend!r} plays no clock.sampling_ppm; choose backend sionna")

    @abstractmethod
    def taken(self, bursts: Complexes) -> Any:
        """Bursts as an array of the engine."""

    @abstractmethod
    def given(self, y: Any) -> Complexes:
        """Samples as a numpy array, complex64."""

    @abstractmethod
    def turned(self, x: Any, cycles_per_sample: Floats, start_cycles: Floats) -> Any:
        """Bursts [K, N] times exp(2 pi j (start + cycles n))."""

    @abstractmethod
    def flat(self, x: Any, gains: Complexes, timing_s: Floats) -> Any:
        """Bursts through one path of gains [M, K], late by timing_s [K]."""

    @abstractmethod
    def filtered(self, x: Any, paths: Complexes, delays_s: Floats, timing_s: Floats) -> Any:
        """Paths [M, K, P] with delays [K, P] and timing offsets [K] on bursts [K, N], summed over devices: [M, N]."""

    @abstractmethod
    def by_sample(self, x: Any, paths: Complexes, delays_s: Floats) -> Any:
        """Paths [M, K, P, T] that move while bursts [K, N] are on the air, T = steps(N), with delays [K, P]: [M, N]."""

    @abstractmethod
    def with_noise(self, y: Any, unit: Complexes) -> Any:
        """Samples [M, N] with noise of variance N0, from CN(0, 1) draws."""
