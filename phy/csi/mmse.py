"""Minimum mean-square error estimate from pilots: the least-squares one shrunk by 1 / (1 + s2).

Inverting it is unbiased, E[h | h_mmse] = h_mmse, with residual variance s2 / (1 + s2).
"""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig


class Part:
    """MMSE for unit-variance Rayleigh fading from ``pilot_symbols`` pilots at ``pilot_snr_db``."""

    uses_pilots = True

    def __init__(self, config: LinkConfig) -> None:
        s2 = config.pilot_error_variance
        self._std = np.float32(np.sqrt(s2))
        self._shrink = np.float32(1.0 / (1.0 + s2))

    def estimate(self, channel: NDArray[np.complex64], noise: NDArray[np.complex64] | None) -> NDArray[np.complex64]:
        """Channel [B, M, K] at the pilot and CN(0,1) noise of the same shape to the estimate."""
        assert noise is not None
        out = noise * self._std
        out += channel
        out *= self._shrink
        return out

    @staticmethod
    def law(error_variance: float) -> tuple[float, float, float]:
        """(variance of the estimate, beta, e2) such that channel | estimate ~ CN(beta * estimate, e2)."""
        s2 = error_variance
        return 1.0 / (1.0 + s2), 1.0, s2 / (1.0 + s2)
