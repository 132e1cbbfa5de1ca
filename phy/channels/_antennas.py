"""Correlation of neighbouring receive antennas, falling off exponentially."""

import numpy as np
from numpy.typing import NDArray


def correlate(scattered: NDArray[np.complex64], correlation: float) -> NDArray[np.complex64]:
    """Give independent antennas [B, M, ...] the correlation matrix R_ij = correlation^|i - j|. The input is not written to.

    The Cholesky factor of this matrix, which Sionna's ``KroneckerModel`` multiplies with, acts as a first-order recursion
    over antennas: h_0 = w_0, h_m = correlation h_(m-1) + sqrt(1 - correlation^2) w_m. It costs M instead of M^2 products,
    and elementwise sums round alike for every batch. Only scattered parts are correlated: a line of sight is the same
    wave at all antennas already.
    """
    if correlation == 0.0 or scattered.shape[1] == 1:
        return scattered
    out = scattered * np.float32(np.sqrt(1.0 - correlation**2))
    out[:, 0] = scattered[:, 0]
    for m in range(1, scattered.shape[1]):
        out[:, m] += np.float32(correlation) * out[:, m - 1]
    return out
