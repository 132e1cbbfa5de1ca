"""The two laws of the perturbation z: how the bytes of a Philox stream become numbers.

Both have mean zero and unit variance, independent entries, and are fixed by integers and one table, so that every
machine gets the same float32 values. docs/perturbation.md is the specification.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK_BYTES", "GAUSSIAN_UPPER_HALF", "Gaussian", "Law", "Rademacher", "law"]

Float32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

#: A Philox4x64 block: four words of 64 bits.
BLOCK_BYTES = 32

# Bit patterns of the upper half (entries 128 .. 255) of the Gaussian table as float32: entry b is the mean of the standard
# normal over its b-th of 256 equally likely bins, 256 (phi(q_b) - phi(q_b+1)) with q_b the b/256 quantile, over the
# root mean square of all 256. The lower half is its mirror image with the sign changed. Kurtosis 2.964.
GAUSSIAN_UPPER_HALF = """
    3ba07c32 3c70bc43 3cc8a02b 3d0c7391 3d349a80 3d5cc5e1 3d827b58 3d9696f7
    3daab64d 3dbed9dc 3dd30224 3de72fa9 3dfb62ec 3e07ce3a 3e11ee62 3e1c1232
    3e2639ed 3e3065d9 3e3a963b 3e44cb59 3e4f057a 3e5944e6 3e6389e6 3e6dd4c4
    3e7825cc 3e813ea4 3e866dc4 3e8ba06d 3e90d6c7 3e9610fb 3e9b4f33 3ea09198
    3ea5d857 3eab239b 3eb07391 3eb5c868 3ebb224e 3ec08174 3ec5e60c 3ecb5047
    3ed0c05a 3ed6367a 3edbb2dd 3ee135bb 3ee6bf4f 3eec4fd3 3ef1e784 3ef786a1
    3efd2d6b 3f016e12 3f044988 3f07293c 3f0a0d53 3f0cf5f1 3f0fe33e 3f12d564
    3f15cc8b 3f18c8df 3f1bca8f 3f1ed1c7 3f21deba 3f24f199 3f280a9a 3f2b29f4
    3f2e4fde 3f317c96 3f34b058 3f37eb67 3f3b2e06 3f3e787b 3f41cb12 3f452618
    3f4889df 3f4bf6bd 3f4f6d0c 3f52ed2b 3f56777f 3f5a0c70 3f5dac6f 3f6157f1
    3f650f73 3f68d379 3f6ca48f 3f70834b 3f74704a 3f786c36 3f7c77c4 3f8049d9
    3f826069 3f848000 3f86a915 3f88dc28 3f8b19c4 3f8d627d 3f8fb6f7 3f9217e1
    3f9485fa 3f970216 3f998d18 3f9c27fd 3f9ed3db 3fa191e4 3fa46370 3fa749f8
    3faa4728 3fad5cde 3fb08d37 3fb3da9b 3fb747ca 3fbad7ed 3fbe8eb2 3fc27062
    3fc6820e 3fcac9c1 3fcf4ec2 3fd419f9 3fd9366f 3fdeb215 3fe49ee6 3feb14a5
    3ff233b5 3ffa29f1 40019dc2 4006ea52 400d58e3 4015a6cb 4021c11f 403e17d9
"""


class Law(Protocol):
    """One law of z, seen as a table lookup on bytes."""

    name: str
    weights_per_block: int

    def table(self, scale: np.float32) -> Float32:
        """The lookup table of ``scale * z``: every entry rounded once to float32."""

    def expand(self, table: Float32, raw: Bytes, out: Float32) -> None:
        """Write the numbers of the bytes ``raw`` into ``out`` (float32, one per weight)."""


class Rademacher:
    """z = +1 or -1, one bit per weight: bit i of the little-endian stream, 1 for +1.

    E[z z^T] = I exactly, and the variance of the two-point estimator is no larger than under the Gaussian law.
    """

    name = "rademacher"
    weights_per_block = 8 * BLOCK_BYTES

    def __init__(self) -> None:
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
        self._signs: Float32 = np.where(bits == 1, 1.0, -1.0).astype(np.float32)

    def table(self, scale: np.float32) -> Float32:
        """256 rows of the 8 values that a byte stands for."""
        return self._signs * np.float32(scale)

    def expand(self, table: Float32, raw: Bytes, out: Float32) -> None:
        """Eight weights per byte."""
        # mode="clip" (an index never needs clipping) lets numpy write to `out` without an intermediate copy.
        np.take(table, raw, axis=0, out=out.reshape(-1, 8), mode="clip")


class Gaussian:
    """z close to N(0, 1): one byte per weight through a table of 256 normal bin means."""

    name = "gaussian"
    weights_per_block = BLOCK_BYTES

    def __init__(self, *, pairs: bool = True) -> None:
        """:param pairs: look two weights up at once: faster where the larger table pays, same values."""
        words = np.array([int(word, 16) for word in GAUSSIAN_UPPER_HALF.split()], dtype=np.uint32)
        upper = words.view(np.float32)
        self._values: Float32 = np.concatenate([-upper[::-1], upper])
        self._pairs = pairs

    def table(self, scale: np.float32) -> Float32:
        """256 rows of one value for a byte, or 65,536 rows of two for a 16-bit word."""
        values = self._values * np.float32(scale)
        if not self._pairs:
            return values[:, None]
        rows = np.empty((256, 256, 2), dtype=np.float32)  # [high byte, low byte]; the low byte comes first
        rows[:, :, 0] = values[None, :]
        rows[:, :, 1] = values[:, None]
        return rows.reshape(65536, 2)

    def expand(self, table: Float32, raw: Bytes, out: Float32) -> None:
        """One weight per byte."""
        index = raw.view("<u2") if self._pairs else raw
        np.take(table, index, axis=0, out=out.reshape(-1, table.shape[1]), mode="clip")


def law(name: str, weight_count: int) -> Law:
    """The law called ``name``, ``rademacher`` or ``gaussian``, for a model of ``weight_count`` weights."""
    if name == "rademacher":
        return Rademacher()
    if name == "gaussian":
        return Gaussian(pairs=weight_count > 2**19)
    raise ValueError(f'no perturbation law is called "{name}"; the laws are rademacher and gaussian')
