"""A fingerprint of a journal's rounds, extended round by round: two that agree have applied the same rounds."""

from __future__ import annotations

import hashlib
import struct
from typing import Self

import numpy as np
import numpy.typing as npt

__all__ = ["History"]

_ROW = struct.Struct("<qd")


class History:
    """h_0 = SHA-256(run); h_(r+1) = SHA-256(h_r, seed and learning rate of round r, its estimates or "lost").

    Numbers are little-endian, 8 bytes each. It depends on the base weights only through `run`.
    """

    def __init__(self, run: str) -> None:
        self._hashes = [hashlib.sha256(run.encode("ascii")).digest()]

    def __len__(self) -> int:
        """How many rounds it has seen."""
        return len(self._hashes) - 1

    def append(self, seed: int, learning_rate: float, estimates: npt.NDArray[np.float64]) -> None:
        """Take in one more round; its estimates [n] are NaN throughout where it was lost."""
        outcome = b"lost" if np.isnan(estimates).all() else np.ascontiguousarray(estimates, dtype="<f8").tobytes()
        self._hashes.append(hashlib.sha256(self._hashes[-1] + _ROW.pack(seed, learning_rate) + outcome).digest())

    def at(self, standing: int) -> str:
        """The fingerprint, in hex, of the rounds before `standing`."""
        return self._hashes[standing].hex()

    def fresh(self) -> Self:
        """Another history of the same run, before its first round."""
        other = type(self)("")
        other._hashes = self._hashes[:1]
        return other
