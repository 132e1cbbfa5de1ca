"""Truncated channel inversion: a device whose estimated gain is below the threshold stays silent.

G. Zhu, Y. Wang, K. Huang, "Broadband analog aggregation for low-latency federated edge learning", IEEE TWC 2020
(arXiv 1812.11494), here with a peak instead of an average power limit. The server divides by the number of devices that
transmitted, which they announce on the control channel.
"""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig


class Part:
    """Aligned amplitude a = sqrt(P g_th), the same in every round."""

    def __init__(self, config: LinkConfig) -> None:
        self._threshold = np.float32(config.power.threshold)

    def align(
        self, gains: NDArray[np.float32], present: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.bool_] | None, NDArray[np.float32]]:
        """Estimated gains |f|^2 [B, K] and who is present [B, K] to (who transmits [B, K], amplitude a [B])."""
        active = gains >= self._threshold
        if present is not None:
            active &= present
        return active, np.full(gains.shape[0], np.sqrt(self._threshold), np.float32)
