"""Uniform draws from keyed complex normals, whose angle is uniform and independent of their modulus."""

import numpy as np
from numpy.typing import NDArray

from phy.draws import CachedDraws


def uniform(draws: CachedDraws, purpose: str, devices: int, first_round: int, rounds: int) -> NDArray[np.float64]:
    """Uniform samples on [0, 1), of 24 bits. Shape [rounds, devices]."""
    drawn = draws.complex_normal(purpose, devices, first_round, rounds, 1)[:, 0]
    turns = np.arctan2(drawn.imag, drawn.real).astype(np.float64) / (2.0 * np.pi)
    return turns - np.floor(turns)
