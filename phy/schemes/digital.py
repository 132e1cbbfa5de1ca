"""The plain digital reference: every device sends its quantised scalar by itself, in channel uses of its own.

No superposition and no analog amplitude: what over-the-air aggregation is to be compared with. A device is heard where the
Shannon capacity of its channel uses carries its bits. Left out: the loss of finite block lengths, coding and
modulation, errors that a code does not notice, and a carrier offset inside the slot beyond the energy that it costs.
"""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig
from phy.schemes._mean import masked_mean


class Part:
    """Uniform mid-rise quantiser of 2^bits levels over [-clip, clip]; estimate = mean over the devices heard.

    Levels are the centres of equal cells, so that the error is at most half a cell, clip / 2^bits, and zero is not a level.
    ``needs_csi`` is that of the receiver, which tracks each device's channel; devices know theirs not.
    """

    detection = "orthogonal"
    needs_csi = True

    def __init__(self, config: LinkConfig) -> None:
        self.payload_bits = config.digital.bits
        self._symbols = config.digital.symbols
        self._clip = config.clip
        self._levels = 2.0**config.digital.bits
        self._step = 2.0 * config.clip / self._levels

    def channel_uses(self, devices: int) -> int:
        """Channel uses of one scalar of all devices."""
        return devices * self._symbols

    @property
    def step(self) -> float:
        """Width of a quantiser cell, in the unit of the payload."""
        return self._step

    @property
    def least_snr(self) -> float:
        """Least gain / N0, with energy 1 per scalar, at which a device is heard: symbols (2^(bits / symbols) - 1).

        From symbols log2(1 + gain / (symbols N0)) >= bits, each channel use having energy 1 / symbols.
        """
        return float(self._symbols * np.expm1(np.log(2.0) * self.payload_bits / self._symbols))

    def quantise(self, payloads: NDArray[np.float64]) -> NDArray[np.float64]:
        """Payloads in [-clip, clip] to the centres of their cells, any shape."""
        cell = np.floor((payloads + self._clip) / self._step)
        return (np.clip(cell, 0.0, self._levels - 1.0) + 0.5) * self._step - self._clip

    def target(self, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None) -> NDArray[np.float64]:
        """Mean of payloads [B, K] over present [B, K] (None: all), before quantisation. [B]."""
        return masked_mean(payloads, present)
