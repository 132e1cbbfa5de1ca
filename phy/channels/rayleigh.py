"""Flat Rayleigh fading: independent from round to round, or following Jakes."""

import numpy as np
from numpy.typing import NDArray

from phy.channels._antennas import correlate
from phy.channels._jakes import JakesFading, instants_s
from phy.config import LinkConfig
from phy.draws import CachedDraws


class Part:
    """One path h ~ CN(0, 1) per device and antenna.

    ``doppler_hz`` = 0: a new, independent h in each round (purpose ``fading``). Otherwise h(t) of
    :class:`phy.channels._jakes.JakesFading` at the time of the round.
    """

    def __init__(self, config: LinkConfig, draws: CachedDraws) -> None:
        channel = config.channel
        self._draws = draws
        self._correlation = channel.antenna_correlation
        self._round_s = channel.round_duration_s
        self._jakes = JakesFading(draws, channel.doppler_hz) if channel.doppler_hz > 0 else None
        self.flat = self._jakes is None or config.fidelity == "symbol" or channel.variation == "block"

    def gains(
        self, devices: int, first_round: int, rounds: int, antennas: int, earlier_s: float = 0.0
    ) -> NDArray[np.complex64]:
        """Coefficients [B, M, K] ``earlier_s`` before the rounds; the caller must not write to them."""
        if self._jakes is None:
            drawn = self._draws.complex_normal("fading", devices, first_round, rounds, antennas)
        else:
            times_s = instants_s(first_round, rounds, self._round_s, -earlier_s)
            drawn = self._jakes.at(times_s, devices, antennas, 1)[..., 0]
        return correlate(drawn, self._correlation)

    def paths(
        self,
        devices: int,
        first_round: int,
        rounds: int,
        antennas: int,
        num_time_steps: int = 1,
        sampling_frequency_hz: float = 1.0,
        start_s: float = 0.0,
    ) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
        """Coefficients [B, M, K, 1, T] and zero delays [B, K, 1]."""
        if self._jakes is None or num_time_steps == 1:
            gains = self.gains(devices, first_round, rounds, antennas, -start_s)[..., None, None]
            a = np.repeat(gains, num_time_steps, axis=-1)
        else:
            starts_s = instants_s(first_round, rounds, self._round_s, start_s)
            series = self._jakes.series(starts_s, num_time_steps, sampling_frequency_hz, devices, antennas, 1)
            a = correlate(series, self._correlation)
        return a, np.zeros((rounds, devices, 1))

    def max_delay_s(self, devices: int) -> float:
        """Zero."""
        del devices
        return 0.0
