"""Keyed randomness: every draw is a pure function of (key, purpose, round, device).

Under the public seed the source is Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11), under a
device's secret SHAKE-256 (FIPS 202); either is read as raw 64-bit words. Distributions are made from the words here or by the
caller, in integers wherever possible, so that a library's change of its sampling algorithms cannot change a result.
"""

from __future__ import annotations

import hashlib
import math
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = [
    "ADAPTERS",
    "BATCHES",
    "INITIAL_WEIGHTS",
    "MAX_SEED",
    "MEZO_SEEDS",
    "PERTURBATION",
    "SELECTION",
    "SPLIT",
    "Bits",
    "Key",
    "Words",
    "bits_of",
    "philox",
]


def _tag(name: bytes) -> int:
    return int.from_bytes(name.ljust(8, b"\0"), "little")


# Second word of the Philox key: streams with different tags are independent under one seed.
PERTURBATION = _tag(b"perturb")
BATCHES = _tag(b"batches")
SPLIT = _tag(b"split")
SELECTION = _tag(b"select")
INITIAL_WEIGHTS = _tag(b"initial")
MEZO_SEEDS = _tag(b"mezoseed")
ADAPTERS = _tag(b"adapters")

#: Largest seed: 63 bits, so that SQLite's signed INTEGER holds it.
MAX_SEED = 2**63 - 1


def philox(seed: int, purpose: int, *, round_index: int = 0, stream: int = 0, first_block: int = 0) -> np.random.Philox:
    """Philox4x64-10 with key (seed, purpose), about to produce block ``first_block`` of (stream, round).

    The counter words are (block, 0, stream, round); numpy increments the first word before each block of four
    64-bit words, so block b is the cipher of counter b + 1. ``stream`` is a direction or a device.
    """
    key = np.array([seed, purpose], dtype=np.uint64)
    counter = np.array([first_block, 0, stream, round_index], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter)


#: What keys a draw: the public seed, or a secret of at least 32 bytes.
Key = int | bytes


class Bits(Protocol):
    """A stream of raw 64-bit words."""

    def random_raw(self, size: int, /) -> npt.ArrayLike:
        """The next ``size`` words."""


class _Shake:
    """SHAKE-256 of secret, purpose, round and stream, read from its start as little-endian 64-bit words.

    Nobody without the secret can tell the words from random ones, whatever other rounds' words he was told.
    """

    def __init__(self, secret: bytes, purpose: int, round_index: int, stream: int) -> None:
        place = np.array([purpose, round_index, stream], dtype="<u8").tobytes()
        self._hash = hashlib.shake_256(b"pairzero" + place + secret)
        self._read = 0

    def random_raw(self, size: int, /) -> npt.NDArray[np.uint64]:
        """The next ``size`` words."""
        start, self._read = self._read, self._read + 8 * size
        return np.frombuffer(self._hash.digest(self._read), dtype="<u8", offset=start).astype(np.uint64)


def bits_of(key: Key, purpose: int, *, round_index: int = 0, stream: int = 0) -> Bits:
    """The words of (key, purpose, round, stream): :func:`philox` under a seed, SHAKE-256 under a secret."""
    if isinstance(key, bytes):
        return _Shake(key, purpose, round_index, stream)
    return philox(key, purpose, round_index=round_index, stream=stream)


class Words:
    """Integers, permutations and gamma draws from the raw words of one keyed stream."""

    def __init__(self, bits: Bits) -> None:
        self._bits = bits

    def below(self, limits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """One integer in [0, limit) per entry of ``limits``: the high word of word * limit (bias below 2^-32)."""
        high32 = self._raw(len(limits)) >> np.uint64(32)
        if len(limits) and int(limits.max()) > 2**31:
            raise ValueError("limits above 2^31 are not supported")
        return ((high32 * limits.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)

    def permutation(self, count: int) -> npt.NDArray[np.int64]:
        """A uniform permutation of 0 .. count-1: the stable order of ``count`` words."""
        return np.argsort(self._raw(count), kind="stable").astype(np.int64)

    def uniform(self) -> float:
        """A double in (0, 1): (the word's top 53 bits + 1/2) / 2^53."""
        return (int(self._raw(1)[0] >> np.uint64(11)) + 0.5) / 2.0**53

    def normal(self) -> float:
        """A standard normal by Box and Muller's cosine branch."""
        radius = math.sqrt(-2.0 * math.log(self.uniform()))
        return radius * math.cos(2.0 * math.pi * self.uniform())

    def log_gamma_draw(self, shape: float) -> float:
        """The logarithm of a Gamma(shape, 1) draw (Marsaglia and Tsang 2000; in logs, so that tiny shapes work)."""
        boost = 0.0
        if shape < 1.0:
            boost = math.log(self.uniform()) / shape
            shape += 1.0
        d = shape - 1.0 / 3.0
        c = 1.0 / math.sqrt(9.0 * d)
        while True:
            x = self.normal()
            v = (1.0 + c * x) ** 3
            if v > 0.0 and math.log(self.uniform()) < 0.5 * x * x + d - d * v + d * math.log(v):
                return math.log(d * v) + boost

    def _raw(self, count: int) -> npt.NDArray[np.uint64]:
        return np.asarray(self._bits.random_raw(count), dtype=np.uint64)
