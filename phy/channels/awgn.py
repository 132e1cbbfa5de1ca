"""No fading: one path of gain 1."""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig
from phy.draws import CachedDraws


class Part:
    """The channel h = 1 at every antenna. Antenna correlation has nothing to act on: all antennas hear the same."""

    flat = True

    def __init__(self, config: LinkConfig, draws: CachedDraws) -> None:
        del config, draws

    def gains(
        self, devices: int, first_round: int, rounds: int, antennas: int, earlier_s: float = 0.0
    ) -> NDArray[np.complex64]:
        """Ones [B, M, K]."""
        del first_round, earlier_s
        return np.ones((rounds, antennas, devices), np.complex64)

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
        """Ones [B, M, K, 1, T] and zero delays [B, K, 1]."""
        del first_round, sampling_frequency_hz, start_s
        return np.ones((rounds, antennas, devices, 1, num_time_steps), np.complex64), np.zeros((rounds, devices, 1))

    def max_delay_s(self, devices: int) -> float:
        """Zero."""
        del devices
        return 0.0
