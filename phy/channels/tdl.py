"""Tapped delay lines of 3GPP TR 38.901, section 7.7.2: Sionna's profiles with keyed coefficients."""

import numpy as np
from numpy.typing import NDArray

from phy.channels._antennas import correlate
from phy.channels._jakes import JakesFading, instants_s
from phy.channels._profile import tdl_profile
from phy.channels._uniform import uniform
from phy.config import LinkConfig
from phy.draws import CachedDraws

# TR 38.901, section 7.7.2: the line of sight of TDL-D and TDL-E moves at 0.7 of the maximum Doppler shift.
_LOS_DOPPLER = 0.7


class Part:
    """Paths of profile ``channel.tdl``, with delays scaled to the RMS delay spread ``channel.delay_spread_s``.

    Each path is CN(0, its power), independent per round (``doppler_hz`` = 0; purpose ``tdl``) or Jakes. The line of sight of
    D and E has the phase 2 pi 0.7 f_d t + phi (purpose ``losphase``), the same at all antennas; without Doppler, phi is drawn
    anew in each round. As in Sionna's ``TDL``, whose sum of sinusoids these draws replace.
    """

    flat = False

    def __init__(self, config: LinkConfig, draws: CachedDraws) -> None:
        channel = config.channel
        self._draws = draws
        self._correlation = channel.antenna_correlation
        self._round_s = channel.round_duration_s
        self._doppler_hz = channel.doppler_hz
        self._jakes = JakesFading(draws, channel.doppler_hz) if channel.doppler_hz > 0 else None
        self.profile = tdl_profile(channel.tdl, channel.delay_spread_s, config.backend)
        self._amplitudes = np.sqrt(self.profile.powers).astype(np.float32)

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
        """Coefficients [B, M, K, P, T] and delays [B, K, P]."""
        delays_s = self.profile.delays_s
        count = len(delays_s)
        starts_s = instants_s(first_round, rounds, self._round_s, start_s)
        if self._jakes is None:
            drawn = self._draws.complex_normal("tdl", devices, first_round, rounds, antennas * count)
            scattered = drawn.reshape(rounds, antennas, count, devices).transpose(0, 1, 3, 2)[..., None]
        elif num_time_steps == 1:
            scattered = self._jakes.at(starts_s, devices, antennas, count)[..., None]
        else:
            scattered = self._jakes.series(starts_s, num_time_steps, sampling_frequency_hz, devices, antennas, count)
        a = correlate(np.ascontiguousarray(scattered * self._amplitudes[:, None]), self._correlation)
        if self.profile.los_power > 0:
            times_s = starts_s[:, None] + np.arange(a.shape[-1]) / sampling_frequency_hz
            a[:, :, :, 0] += self._line_of_sight(devices, first_round, times_s)[:, None]
        if a.shape[-1] != num_time_steps:
            a = np.repeat(a, num_time_steps, axis=-1)
        return a, np.tile(delays_s, (rounds, devices, 1))

    def max_delay_s(self, devices: int) -> float:
        """Delay of the last path."""
        del devices
        return float(self.profile.delays_s.max())

    def _line_of_sight(self, devices: int, first_round: int, times_s: NDArray[np.float64]) -> NDArray[np.complex64]:
        """The specular wave [B, K, T] at the instants [B, T]."""
        if self._jakes is None:
            turns = uniform(self._draws, "losphase", devices, first_round, len(times_s))[:, :, None]
        else:
            turns = uniform(self._draws, "losphase", devices, 0, 1)[:, :, None]
            turns = turns + _LOS_DOPPLER * self._doppler_hz * times_s[:, None, :]
            turns = turns - np.rint(turns)
        wave = np.sqrt(self.profile.los_power) * np.exp(2j * np.pi * turns)
        return np.asarray(wave.astype(np.complex64))
