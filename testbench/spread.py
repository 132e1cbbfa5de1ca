"""How the noise of estimates is stated: its root mean square, and what must be said where that has no expectation."""

import math

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig
from phy.theory import noise_without_mean

__all__ = ["root_mean_square", "unbounded"]


def unbounded(link: LinkConfig, devices: int, what: str) -> str:
    """A clause on ``what`` (a mean square, an NMSE) of such a link; empty where its expectation is finite or not known."""
    if not noise_without_mean(link, devices):
        return ""
    return (
        "weakest-device inversion of Rayleigh fades: E[1/min|h|²], and with it the noise's mean square over fades, is "
        f"infinite, so that {what} is that of these rounds alone and its expectation has no band"
    )


def root_mean_square(std: NDArray[np.float64]) -> float:
    """Root mean square of standard deviations [T] over rounds that are not silent; infinite where all are."""
    audible = std[np.isfinite(std)]
    return float(np.sqrt(np.square(audible).mean())) if audible.size else math.inf
