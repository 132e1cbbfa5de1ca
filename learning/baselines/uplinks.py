"""Error-free digital uplinks in process: floats as they are sent, and one-bit majority votes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from learning.uplink import Aggregate

__all__ = ["DigitalUplink", "MajorityUplink"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class DigitalUplink:
    """Every payload arrives as an IEEE float of ``bits`` bits; the server broadcasts the mean, again as such a float.

    The link of DeComFL (arXiv 2405.15861), FedSGD and FedAvg (arXiv 1602.05629): no noise, no fading, no lost rounds.
    """

    repeatable = True

    def __init__(self, bits: Literal[16, 32]) -> None:
        self._float = np.float16 if bits == 16 else np.float32

    def aggregate(self, round_index: int, payloads: Floats, present: Bools | None = None) -> Aggregate:
        """Mean over the devices that are present, rounded to what is sent; lost where there are none."""
        heard = payloads if present is None else payloads[present]
        if not len(heard):
            return Aggregate(np.full(payloads.shape[1:], np.nan), lost=True)
        with np.errstate(over="ignore"):  # beyond half precision's range: not a number that anybody applies
            mean = heard.astype(self._float).astype(np.float64).mean(axis=0)
            return Aggregate(mean.astype(self._float).astype(np.float64))


class MajorityUplink:
    """One bit up and one bit down, error-free: FeedSign's vote (arXiv 2501.17610).

    A device sends the sign of its scalar (+1 for zero), the server broadcasts the sign of the sum. One bit has no room for
    a tie, which an even number of devices can bring about: it counts as +1.
    """

    repeatable = True

    def aggregate(self, round_index: int, payloads: Floats, present: Bools | None = None) -> Aggregate:
        """+1 or -1 for each scalar; lost where nobody is present."""
        heard = payloads if present is None else payloads[present]
        if not len(heard):
            return Aggregate(np.full(payloads.shape[1:], np.nan), lost=True)
        votes = np.where(heard >= 0.0, 1.0, -1.0).sum(axis=0)
        return Aggregate(np.where(votes >= 0.0, 1.0, -1.0))
