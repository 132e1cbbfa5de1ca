"""Coherent analog aggregation: the scalar itself is the amplitude (pAirZero, arXiv 2604.12401, section III)."""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig
from phy.schemes._mean import masked_mean


class Part:
    """Symbol = payload / clip; estimate = clip * (sum of symbols) / (number of devices heard).

    Counted as 16 bits per scalar, as the paper counts one half-precision number.
    """

    detection = "coherent"
    payload_bits = 16
    needs_csi = True

    def __init__(self, config: LinkConfig) -> None:
        self._clip = config.clip

    def channel_uses(self, devices: int) -> int:
        """Channel uses of one scalar: one, however many devices."""
        del devices
        return 1

    def encode(self, payloads: NDArray[np.float64]) -> NDArray[np.float32]:
        """Payloads in [-clip, clip] to real symbols in [-1, 1], any shape."""
        symbols = payloads.astype(np.float32)
        # Rounding keeps the order of payload and clip, so that no symbol exceeds 1.
        symbols /= np.float32(self._clip)
        return symbols

    def decode(self, symbol_sum: NDArray[np.float64], heard: NDArray[np.float64]) -> NDArray[np.float64]:
        """Estimated sum of symbols and number of devices heard, both [B], to estimates [B]."""
        return self._clip * symbol_sum / heard

    def target(self, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None) -> NDArray[np.float64]:
        """What a perfect link returns for payloads [B, K] and present [B, K]: the mean of those present (None: all). [B]."""
        return masked_mean(payloads, present)
