"""Signed sums as a difference of energies on two tones (REED, "Resource-element energy difference for noncoherent
over-the-air federated learning", arXiv 2605.07263).

Unbiased wherever the mean channel gain is 1. Not even a noiseless link is exact: the energy of a fading sum fluctuates by as
much as itself, and only looks and antennas average that away (:func:`phy.theory_schemes.reed_variance`).
"""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig
from phy.schemes._mean import masked_mean


class Part:
    """Energy |p| / clip on tone 0 for p >= 0, on tone 1 otherwise; estimate = clip (S_0 - S_1) / (devices heard).

    Counted as 16 bits per scalar, as scheme ``analog`` is.
    """

    detection = "energy"
    tones = 2
    dithered = False
    payload_bits = 16
    needs_csi = False

    def __init__(self, config: LinkConfig) -> None:
        self._clip = config.clip
        self._looks = config.noncoherent.looks

    def channel_uses(self, devices: int) -> int:
        """Channel uses of one scalar: two tones per look, however many devices."""
        del devices
        return 2 * self._looks

    def energies(self, payloads: NDArray[np.float64], dither: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Payloads [B, K, n] in [-clip, clip] to energies [B, K, n, 2], positive and negative part."""
        del dither
        return np.stack((np.maximum(payloads, 0.0), np.maximum(-payloads, 0.0)), axis=-1) / self._clip

    def decode(
        self, received: NDArray[np.float64], heard: NDArray[np.float64], dither: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """Estimated sums of energies [B, n, 2] and devices heard [B] to estimates [B, n]."""
        del dither
        return self._clip * (received[..., 0] - received[..., 1]) / heard[:, None]

    def target(self, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None) -> NDArray[np.float64]:
        """Mean of payloads [B, K] over present [B, K] (None: all). [B]."""
        return masked_mean(payloads, present)
