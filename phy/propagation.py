"""What the channel does to one isolated scalar: the coefficient that sounding measures, and the one that the payload meets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phy.channel import Channel
from phy.combining import multiply, squared_modulus
from phy.config import LinkConfig
from phy.draws import CachedDraws
from phy.errors import PhyError
from phy.modes import Complexes
from phy.offsets import Offsets

# Independent looks of one round, and the innovation of an ageing channel, are rounds of a distant future.
_LOOK_ROUNDS = 1 << 48
_AGEING_ROUNDS = 1 << 60


class Propagation:
    """Channel coefficients [B, M, K] seen through the matched filter of a pulse.

    A channel of several paths p is folded into one coefficient, sum_p a_p q(tau + tau_p), which is exact for a scalar that
    is alone in its guard.

    :param channel: in place of the one that ``config`` describes
    """

    def __init__(self, config: LinkConfig, cached: CachedDraws, pulse: Any, channel: Channel | None = None) -> None:
        self.channel = Channel(config, cached) if channel is None else channel
        self._antennas = config.receive_antennas
        self._pulse = pulse
        moving = config.channel.doppler_hz > 0
        self._earlier_s = config.csi.age_s if moving else 0.0
        rho = 1.0 if moving else config.ageing_correlation
        self._rho, self._innovation = np.float32(rho), np.float32(np.sqrt(max(0.0, 1.0 - rho**2)))
        if self._innovation > 0 and not self.channel.flat:
            raise PhyError(
                f"channel.model {config.channel.model!r} ages by its own motion: set channel.doppler_hz and leave "
                "csi.doppler_hz out"
            )
        self.still = self.channel.flat and self._earlier_s == 0 and self._innovation == 0
        self.look_fading = _look_fading(config, self.channel.flat)

    def sounded(self, devices: int, first: int, rounds: int) -> Complexes:
        """Channel at the time of the pilots: what noise-free sounding with the payload's pulse measures."""
        if self.channel.flat:
            return self.channel.gains(devices, first, rounds, self._antennas, self._earlier_s)
        zero = np.zeros((rounds, devices))
        return self.folded(first, Offsets(zero, zero, zero), -self._earlier_s, 0.0)

    def aged(self, sounded: Complexes, first: int) -> Complexes:
        """The flat channel when the payload is on the air."""
        rounds, antennas, devices = sounded.shape
        if self._earlier_s > 0:
            return self.channel.gains(devices, first, rounds, antennas)
        if self._innovation == 0:
            return sounded
        # Another realisation of the same channel, with its placement and correlation, is what the old one decays into.
        other = self.channel.gains(devices, first + _AGEING_ROUNDS, rounds, antennas)
        return np.asarray(self._rho * sounded + self._innovation * other)

    def energy(self, sounded: Complexes, first: int) -> NDArray[np.float32]:
        """Channel energy [B, K] over all antennas when the payload is on the air.

        Of several paths it is the most that they can add up to, sum_m (sum_p |a_mp|)^2: an observer of all samples has no more.
        """
        rounds, antennas, devices = sounded.shape
        if self.channel.flat:
            met = squared_modulus(self.aged(sounded, first))
        else:
            a, _ = self.channel.paths(devices, first, rounds, antennas)
            met = np.square(np.abs(a[..., 0]).sum(axis=3))
        return np.asarray(met[:, 0] if antennas == 1 else met.sum(axis=1), np.float32)

    def other_look(self, look: int, devices: int, first: int, rounds: int) -> Complexes:
        """The flat channel of an independently faded look."""
        return self.channel.gains(devices, first + look * _LOOK_ROUNDS, rounds, self._antennas)

    def folded(self, first: int, offsets: Offsets, start_s: float, age_s: float, sent: int = 0, filtered: int = 0) -> Complexes:
        """Coefficients of a channel with several paths, offsets [B, K] included, ``start_s`` after the start of the round."""
        rounds, devices = offsets.timing_s.shape
        a, tau = self.channel.paths(devices, first, rounds, self._antennas, start_s=start_s)
        out = np.zeros((rounds, self._antennas, devices), np.complex64)
        for p in range(tau.shape[2]):
            # A path delays the transmitter's carrier as well.
            phase = offsets.phase_rad - 2.0 * np.pi * offsets.frequency_hz * tau[:, :, p]
            late = Offsets(offsets.timing_s + tau[:, :, p], phase, offsets.frequency_hz)
            gain = self._pulse.gain(late, age_s, sent, filtered).astype(np.complex64)
            out += multiply(a[:, :, :, p, 0], gain[:, None, :])
        return out


def _look_fading(config: LinkConfig, flat: bool) -> str:
    """Whether looks fade independently; where nothing is asked for, as independently as the channel can."""
    asked, looks = config.noncoherent.look_fading, config.noncoherent.looks
    able = config.fidelity == "symbol" and flat and config.channel.doppler_hz == 0
    if asked == "independent" and not able and looks > 1:
        raise PhyError(
            'noncoherent.look_fading "independent" needs fidelity "symbol", a flat channel and channel.doppler_hz = 0; here '
            'looks share a fade: choose "block"'
        )
    return asked or ("independent" if able else "block")
