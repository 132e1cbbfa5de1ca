"""Combining several receive antennas so that one transmit scalar per device can align the sum.

A device with one antenna can invert one complex number. The server therefore announces a unit-norm combiner v, and device
k inverts its effective channel f_k = v^H h_k. Noise after combining stays CN(0, N0).
"""

import numpy as np
from numpy.typing import NDArray


def combiner(rule: str, estimates: NDArray[np.complex64], present: NDArray[np.bool_] | None) -> NDArray[np.complex64]:
    """Unit-norm combining vectors v [B, M] from channel estimates [B, M, K] and who is present [B, K].

    ``equal``: the plain sum of antennas, which brings no gain on average. ``max_min``: of all devices' maximum-ratio
    vectors h_k / |h_k|, the one under which the weakest device is strongest (a search over K candidates, which for K = 1
    is maximum-ratio combining).
    """
    rounds, antennas, devices = estimates.shape
    if antennas == 1:
        return np.ones((rounds, 1), np.complex64)
    if rule == "equal":
        return np.full((rounds, antennas), antennas**-0.5, np.complex64)
    # Sums over antennas are written as a loop of elementwise operations: their rounding is that of a single round.
    power = np.zeros((rounds, devices), np.float32)
    for m in range(antennas):
        power += squared_modulus(estimates[:, m])
    best = np.full(rounds, -1.0, np.float32)
    chosen = np.zeros(rounds, np.intp)
    for candidate in range(devices):
        vector = np.conj(estimates[:, :, candidate])
        worst = squared_modulus(project(vector, estimates)) / power[:, candidate, None]
        if present is not None:
            worst = np.where(present, worst, np.float32(np.inf))
        score = worst.min(axis=1)
        if present is not None:
            score = np.where(present[:, candidate], score, np.float32(-2))
        better = score > best
        best = np.where(better, score, best)
        chosen = np.where(better, candidate, chosen)
    index = np.arange(rounds)
    scale = np.float32(1) / np.sqrt(power[index, chosen])
    return np.asarray(estimates[index, :, chosen] * scale[:, None])


def project(conjugate_vector: NDArray[np.complex64], channels: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """v^H h for conj(v) [B, M] and channels [B, M, K] (or [B, M]). Shape [B, K] (or [B])."""
    if channels.ndim == 3:
        conjugate_vector = conjugate_vector[:, :, None]
    out = multiply(conjugate_vector[:, 0], channels[:, 0])
    for m in range(1, channels.shape[1]):
        out += multiply(conjugate_vector[:, m], channels[:, m])
    return out


def squared_modulus(values: NDArray[np.complex64]) -> NDArray[np.float32]:
    """|x|^2, from separate real products so that vector and scalar code paths round alike."""
    if values.ndim and values.flags.c_contiguous:  # squares of neighbours in memory: twice as fast
        squares = np.square(values.view(values.real.dtype))
        return np.asarray(squares[..., 0::2] + squares[..., 1::2])
    real = values.real * values.real
    real += values.imag * values.imag
    return real


def multiply(a: NDArray[np.complex64], b: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Complex product from real ones: some code paths of a complex product fuse the addition, others do not."""
    out = np.empty(np.broadcast_shapes(a.shape, b.shape), np.complex64)
    out.real = a.real * b.real - a.imag * b.imag
    out.imag = a.real * b.imag + a.imag * b.real
    return out
