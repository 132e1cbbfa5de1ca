"""Coherent analog aggregation: the scalar itself is the amplitude (pAirZero, arXiv 2604.12401, section III)."""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig


class Part:
    """Symbol = payload / clip; estimate = clip * (sum of symbols) / (number of devices heard).

    Counted as 16 bits per scalar, as the paper counts one half-precision number.
    """

    payload_bits = 16

    def __init__(self, config: LinkConfig) -> None:
        self._clip = config.clip

    def encode(self, payloads: NDArray[np.float64]) -> NDArray[np.float32]:
        """Payloads in [-clip, clip] to real symbols in [-1, 1], any shape."""
        return (payloads * (1.0 / self._clip)).astype(np.float32)

    def decode(self, symbol_sum: NDArray[np.float64], heard: NDArray[np.float64]) -> NDArray[np.float64]:
        """Estimated sum of symbols and number of devices heard, both [B], to estimates [B]."""
        return self._clip * symbol_sum / heard

    def target(self, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None) -> NDArray[np.float64]:
        """What a perfect link returns for payloads [B, K] and present [B, K]: the mean of those present (None: all). [B]."""
        return _masked_mean(payloads, present)


def _masked_mean(values: NDArray[np.float64], present: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    if present is None:
        return np.asarray(values.sum(axis=1) / values.shape[1])
    count = present.sum(axis=1)
    return np.asarray(np.where(present, values, 0.0).sum(axis=1) / np.maximum(count, 1))
