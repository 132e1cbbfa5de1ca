"""The inverse of the noise covariance, applied: receiver noise on both axes, and noise that devices add."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["whitened"]

Complexes = NDArray[np.complex128]


def whitened(difference: Complexes, noise: Complexes | None, n0: float) -> Complexes:
    """C^-1 times differences [T, D], with real and imaginary parts stacked: C = (N0 / 2) I + sum_j r_j r_j'.

    :param noise: [T, D, J] what one standard deviation of each device's own noise adds; None: there is none
    """
    if noise is None or not noise.any():
        return difference * (2.0 / n0)
    d = np.concatenate((difference.real, difference.imag), axis=1)[..., None]
    r = np.concatenate((noise.real, noise.imag), axis=1)
    turned = r.transpose(0, 2, 1)
    inner = turned @ r + np.eye(r.shape[2]) * (n0 / 2.0)
    stacked = ((d - r @ np.linalg.solve(inner, turned @ d)) * (2.0 / n0))[..., 0]  # Woodbury's identity
    half = difference.shape[1]
    return np.asarray(stacked[:, :half] + 1j * stacked[:, half:])
