"""Least-squares estimate from pilots: the channel plus CN(0, s2), s2 = 1 / (L_p SNR_p).

Inverting it leaves a bias, E[h | h_ls] = h_ls / (1 + s2), because a large estimate is more often noise than gain.
"""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig


class Part:
    """Least squares from ``pilot_symbols`` pilots at ``pilot_snr_db``."""

    uses_pilots = True

    def __init__(self, config: LinkConfig) -> None:
        self._std = np.float32(np.sqrt(config.pilot_error_variance))

    def estimate(self, channel: NDArray[np.complex64], noise: NDArray[np.complex64] | None) -> NDArray[np.complex64]:
        """Channel [B, M, K] at the pilot and CN(0,1) noise of the same shape to the estimate."""
        assert noise is not None
        out = noise * self._std
        out += channel
        return out

    @staticmethod
    def law(error_variance: float) -> tuple[float, float, float]:
        """(variance of the estimate, beta, e2) such that channel | estimate ~ CN(beta * estimate, e2)."""
        s2 = error_variance
        return 1.0 + s2, 1.0 / (1.0 + s2), s2 / (1.0 + s2)
