"""One-bit aggregation: the sign of the scalar is the symbol (Sign-pAirZero, arXiv 2604.12401, section III).

The paper's pseudo-code applies the soft average of votes while its convergence proof uses the sign of it; both are
here as ``decision = "soft" | "hard"``. sign(0) is taken as +1, so that a device always transmits one bit.
"""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig


class Part:
    """Symbol = sign(payload); estimate = average vote (soft), or its sign (hard)."""

    detection = "coherent"
    payload_bits = 1
    needs_csi = True

    def __init__(self, config: LinkConfig) -> None:
        self._hard = config.decision == "hard"

    def channel_uses(self, devices: int) -> int:
        """Channel uses of one scalar: one, however many devices."""
        del devices
        return 1

    def encode(self, payloads: NDArray[np.float64]) -> NDArray[np.float32]:
        """Payloads to votes -1 or +1, any shape."""
        return np.where(payloads < 0, np.float32(-1), np.float32(1))

    def decode(self, symbol_sum: NDArray[np.float64], heard: NDArray[np.float64]) -> NDArray[np.float64]:
        """Estimated sum of votes and number of devices heard, both [B], to estimates [B]."""
        if self._hard:
            return np.sign(symbol_sum)  # a tie, possible only without noise, moves nothing
        return symbol_sum / heard

    def target(self, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None) -> NDArray[np.float64]:
        """What a perfect link returns for payloads [B, K] and present [B, K]: average vote or majority. [B]."""
        votes = np.where(payloads < 0, -1.0, 1.0)
        if present is None:
            return self.decode(votes.sum(axis=1), np.full(len(votes), float(payloads.shape[1])))
        counted = np.maximum(present.sum(axis=1), 1).astype(np.float64)
        return self.decode(np.where(present, votes, 0.0).sum(axis=1), counted)
