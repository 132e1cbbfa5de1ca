"""The plain reference: Rayleigh block fading and superposition in numpy, no framework."""

import numpy as np
from numpy.typing import NDArray

from phy.draws import CachedDraws


class Part:
    """Flat Rayleigh block fading, a new independent CN(0, 1) per round, device and receive antenna."""

    def __init__(self, draws: CachedDraws) -> None:
        self._draws = draws

    def fading(self, devices: int, first_round: int, rounds: int, antennas: int) -> NDArray[np.complex64]:
        """Channel coefficients [B, M, K] of consecutive rounds; the caller must not write to them."""
        return self._draws.complex_normal("fading", devices, first_round, rounds, antennas)

    def superpose(self, channel: NDArray[np.complex64], signals: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Noise-free received samples y[b, m] = sum_k h[b, m, k] x[b, k], for h [B, M, K] and x [B, K]. [B, M]."""
        return np.asarray((channel * signals[:, None, :]).sum(axis=2))
