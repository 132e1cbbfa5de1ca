"""Majority vote by energy on two tones (A. Sahin et al., "Distributed learning over a wireless network with non-coherent
majority vote computation", arXiv 2111.01850).

Each device puts all its energy on the tone of its sign; the server asks which tone received more. The decision is hard: the
``decision`` setting, which is that of scheme ``sign``, changes nothing here.
"""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig


class Part:
    """Tone 0 for payload >= 0, tone 1 otherwise; estimate = sign of the difference of energies, -1 or +1.

    sign(0) is taken as +1, as in scheme ``sign``. Error probability: :func:`phy.theory_schemes.majority_probability`.
    """

    detection = "energy"
    tones = 2
    dithered = False
    payload_bits = 1
    needs_csi = False

    def __init__(self, config: LinkConfig) -> None:
        self._looks = config.noncoherent.looks

    def channel_uses(self, devices: int) -> int:
        """Channel uses of one scalar: two tones per look, however many devices."""
        del devices
        return 2 * self._looks

    def energies(self, payloads: NDArray[np.float64], dither: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Payloads [B, K, n] to energies [B, K, n, 2]: (1, 0) or (0, 1)."""
        del dither
        minus = payloads < 0
        return np.stack((~minus, minus), axis=-1).astype(np.float64)

    def decode(
        self, received: NDArray[np.float64], heard: NDArray[np.float64], dither: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """Estimated sums of energies [B, n, 2] to votes [B, n]."""
        del heard, dither
        return np.asarray(np.sign(received[..., 0] - received[..., 1]))

    def target(self, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None) -> NDArray[np.float64]:
        """Majority of payloads [B, K] over present [B, K] (None: all): -1, +1, or 0 at a tie. [B]."""
        votes = np.where(payloads < 0, -1.0, 1.0)
        return np.asarray(np.sign((votes if present is None else np.where(present, votes, 0.0)).sum(axis=1)))
