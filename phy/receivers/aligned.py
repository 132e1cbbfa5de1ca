"""Aligned-sample estimator: integrate only while every transmitting device shows the same scalar.

Y. Shao, D. Gunduz, S. C. Liew, "Federated edge learning with misaligned over-the-air computation", IEEE TWC 2022 (arXiv
2102.13604). The window of scalar l is [l T + max tau, (l + 1) T + min tau], of width d T with d = 1 - (max tau - min tau) / T.
It is free of interference and knows no phases; its noise is N0 / d.
"""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig
from phy.misaligned import Intervals

# A common window narrower than this, in symbols, is rounding of the edges rather than a window.
_LEAST_WIDTH_SYMBOLS = 1e-9


class Part:
    """Mean over the common window, divided by the amplitude a. Without a common window the round is lost (NaN)."""

    uses_intervals = True

    def __init__(self, config: LinkConfig) -> None:
        del config  # it has no settings

    def estimate(
        self,
        observation: Intervals,
        gains: NDArray[np.complex64],
        timing_s: NDArray[np.float64],
        amplitude: NDArray[np.float32],
        heard: NDArray[np.float64],
    ) -> NDArray[np.complex128]:
        """Estimated sums of symbols [B, n]; see :mod:`phy.receivers`. Of ``gains`` only their being zero matters."""
        silent = (gains == 0)[:, :, None]
        ranks = observation.ranks
        last = observation.edges_symbols.shape[1] - 1
        first = np.where(silent, 0, ranks[:, :, :-1]).max(axis=1)
        final = np.where(silent, last, ranks[:, :, 1:]).min(axis=1)
        edges, integral = observation.edges_symbols, observation.integral()
        width = np.take_along_axis(edges, final, 1) - np.take_along_axis(edges, first, 1)
        found = (width > _LEAST_WIDTH_SYMBOLS).all(axis=1) & (heard > 0) & (amplitude > 0)
        total = np.take_along_axis(integral, final, 1) - np.take_along_axis(integral, first, 1)
        scale = np.where(found[:, None], width * amplitude.astype(np.float64)[:, None], 1.0)
        return np.asarray(np.where(found[:, None], total / scale, np.nan))
