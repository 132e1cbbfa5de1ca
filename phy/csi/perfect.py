"""Perfect channel knowledge, as the paper assumes; no pilots are charged, and the run's description says so."""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig


class Part:
    """The estimate is the channel."""

    uses_pilots = False

    def __init__(self, config: LinkConfig) -> None:
        del config

    def estimate(self, channel: NDArray[np.complex64], noise: NDArray[np.complex64] | None) -> NDArray[np.complex64]:
        """Channel [B, M, K] at the pilot and CN(0,1) noise of the same shape (unused) to the estimate."""
        del noise
        return channel

    @staticmethod
    def law(error_variance: float) -> tuple[float, float, float]:
        """(variance of the estimate, beta, e2) such that channel | estimate ~ CN(beta * estimate, e2)."""
        del error_variance
        return 1.0, 1.0, 0.0
