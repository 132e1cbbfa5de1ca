"""Orthogonal access: devices take turns, so nothing is superposed and a round is decided device by device.

The mode draws no noise: whether a device is heard follows from its fade alone (outage under a fixed rate), and the bits of
a device that is heard arrive as they were sent.
"""

from dataclasses import dataclass

import numpy as np

from phy.combining import squared_modulus
from phy.config import LinkConfig
from phy.draws import KeyedDraws
from phy.modes import Bools, Complexes, Floats
from phy.schemes.digital import Part as Digital


@dataclass(frozen=True)
class Exchange:
    """Outcome of B rounds.

    ``estimates`` [B, n], NaN where lost; ``heard`` [B]: devices whose bits arrived; ``lost`` [B]: none did; ``truncated`` [B]:
    devices present that were not heard; ``power_mean`` and ``power_peak`` [B]: transmit energy per scalar, mean over the
    devices present and maximum; ``received_power`` [B]: sum over devices present of the energy that a scalar brings.
    """

    estimates: Floats
    heard: Floats
    lost: Bools
    truncated: Floats
    power_mean: Floats
    power_peak: Floats
    received_power: Floats


class OrthogonalMode:
    """Quantise, take turns at full energy, average what is heard. The receiver combines its antennas by maximum ratio."""

    def __init__(self, config: LinkConfig, draws: KeyedDraws, scheme: Digital) -> None:
        del draws  # no randomness beyond the channel's
        self._least_gain = scheme.least_snr * config.n0
        self._scheme = scheme

    def exchange(
        self,
        first: int,
        payloads: Floats,
        present: Bools | None,
        channel: Complexes,
        residual: Complexes | None = None,
    ) -> Exchange:
        """Rounds first .. first+B-1: payloads [B, K, n], present [B, K], channel [B, M, K], residual gains q [B, K].

        Device k is heard where |q_k|^2 sum_m |h_mk|^2 reaches the rate's least gain, all scalars of a round alike.
        """
        del first
        batch, devices, _ = payloads.shape
        gains = np.zeros((batch, devices))
        for m in range(channel.shape[1]):
            gains += squared_modulus(channel[:, m])
        if residual is not None:
            gains *= squared_modulus(residual)
        arrived = gains >= self._least_gain
        sending = np.full(batch, float(devices))
        if present is not None:
            arrived &= present
            gains = np.where(present, gains, 0.0)
            sending = present.sum(axis=1).astype(np.float64)
        heard = arrived.sum(axis=1).astype(np.float64)
        lost = heard == 0
        values = np.where(arrived[:, :, None], self._scheme.quantise(payloads), 0.0)
        # Devices on the contiguous axis: one order of additions for every batch and number of scalars.
        sums = np.ascontiguousarray(values.transpose(0, 2, 1)).sum(axis=2)
        estimates = sums / np.maximum(heard, 1.0)[:, None]
        estimates[lost] = np.nan
        power = (sending > 0).astype(np.float64)
        return Exchange(estimates, heard, lost, sending - heard, power, power.copy(), gains.sum(axis=1))
