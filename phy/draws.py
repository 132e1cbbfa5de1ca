"""Keyed randomness: every draw is a pure function of (key, purpose, device, round).

Draws come from Philox4x64-10 [1] through numpy's bit generator, whose raw words are a stable, documented stream. Rounds are
taken in groups of 128. Key = (seed, purpose), or (secret, purpose) for the purposes that a secret keys; counter = (position,
group, 0, 0); with n words per round, device k owns the words ``128 n k .. 128 n (k+1) - 1`` of a group. Any group can be drawn
alone, all its devices in one call, and device 3 of 10 sees what device 3 of 20 sees. A complex normal takes one 64-bit word
(Box-Muller: 32 bits of radius, 32 bits of angle).

[1] J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from collections.abc import Container
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray

GROUP_ROUNDS = 128
_RADIUS_STEP = 2.0**-32
# Squared radii below this, 1.6 % of all, are computed in double precision.
_DEEP = np.float32(2.0**-6)
_ANGLE_STEP = np.float32(2.0 * np.pi * 2.0**-32)


@cache
def purpose_key(purpose: str) -> int:
    """The purpose's name, at most 8 ASCII characters, read as a little-endian 64-bit integer."""
    raw = purpose.encode("ascii")
    if not 1 <= len(raw) <= 8:
        raise ValueError(f"purpose {purpose!r} must have 1 to 8 characters")
    return int.from_bytes(raw, "little")


class AllBut:
    """Every purpose but those named."""

    def __init__(self, *purposes: str) -> None:
        self._left_out = frozenset(purposes)

    def __contains__(self, purpose: object) -> bool:
        return purpose not in self._left_out


class KeyedDraws:
    """Draws of one seed. Holds no stream position: equal arguments give equal bits, in any order of calls.

    :param secret: keys the ``secret_purposes`` in place of the seed, 0 .. 2^64 - 1; None: the seed keys all
    """

    def __init__(self, seed: int, secret: int | None = None, secret_purposes: Container[str] = ()) -> None:
        self._seed = int(seed)
        self._secret = None if secret is None else int(secret)
        self._secret_purposes = secret_purposes
        self._bits = Philox(key=0)
        self._state: Any = self._bits.state
        self._state["buffer_pos"], self._state["has_uint32"] = 4, 0  # nothing is left over from a block

    def _at(self, purpose: str, index: int, row: int) -> None:
        """Go to the counter (0, index, row, 0). Setting the state costs about 1 us, a new Philox 7 us."""
        inner = self._state["state"]
        hidden = self._secret is not None and purpose in self._secret_purposes
        inner["key"][:] = (self._secret if hidden else self._seed, purpose_key(purpose))
        inner["counter"][:] = (0, index, row, 0)
        self._bits.state = self._state

    def words(self, purpose: str, devices: int, first_round: int, rounds: int, per_round: int) -> NDArray[np.uint64]:
        """64-bit words of consecutive rounds. Shape [rounds, per_round, devices]."""
        first_group = first_round // GROUP_ROUNDS
        last_group = (first_round + rounds - 1) // GROUP_ROUNDS
        groups = last_group - first_group + 1
        count = devices * GROUP_ROUNDS * per_round
        table = np.empty((groups, GROUP_ROUNDS, per_round, devices), np.uint64)
        # By device first, as the words come.
        by_device = table.transpose(0, 3, 1, 2)
        counter = self._state["state"]["counter"]
        self._at(purpose, first_group, 0)
        for i in range(groups):
            if i > 0:
                counter[1] += 1
                self._bits.state = self._state
            by_device[i] = self._bits.random_raw(count).reshape(devices, GROUP_ROUNDS, per_round)
        skip = first_round - first_group * GROUP_ROUNDS
        return table.reshape(-1, per_round, devices)[skip : skip + rounds]

    def complex_normal(
        self, purpose: str, devices: int, first_round: int, rounds: int, per_round: int
    ) -> NDArray[np.complex64]:
        """CN(0, 1) samples of consecutive rounds. Shape [rounds, per_round, devices], complex64, contiguous.

        The squared radius has all 32 bits of its uniform, to a relative error of 2e-6, so that fades as deep as 1e-10 and
        noise up to 4.8 standard deviations of the modulus have their exact probability; the angle has float32 resolution.
        """
        halves = self.words(purpose, devices, first_round, rounds, per_round).view(np.uint32)
        radius = _exponential(halves)
        np.sqrt(radius, out=radius)
        angle = halves[..., 1::2].astype(np.float32)
        angle *= _ANGLE_STEP
        return _polar(radius, angle, np.empty(radius.shape, np.complex64))

    def long_complex_normal(self, purpose: str, round_index: int, rows: int, count: int) -> NDArray[np.complex64]:
        """CN(0, 1) samples of one round, for vectors of many samples. Shape [rows, count], complex64.

        Here a round is keyed alone, counter (position, round, 1 + row, 0): a group of 128 long rounds would cost 128 times
        what one round needs. Float32 throughout: moduli up to 4.8 standard deviations, quantised by 2^-24 near zero.
        """
        out = np.empty((rows, count), np.complex64)
        for row in range(rows):
            self._at(purpose, round_index, 1 + row)
            halves = self._bits.random_raw(count).view(np.uint32)
            radius = halves[0::2].astype(np.float32)
            radius += np.float32(0.5)
            radius *= np.float32(_RADIUS_STEP)
            np.log(radius, out=radius)
            np.negative(radius, out=radius)
            np.sqrt(radius, out=radius)
            angle = halves[1::2].astype(np.float32)
            angle *= _ANGLE_STEP
            _polar(radius, angle, out[row])
        return out

    def uniform(self, purpose: str, devices: int, first_round: int, rounds: int) -> NDArray[np.float64]:
        """Uniform samples on [0, 1) with 53 bits. Shape [rounds, devices]."""
        words = self.words(purpose, devices, first_round, rounds, 1)[:, 0]
        return np.asarray((words >> np.uint64(11)) * 2.0**-53, np.float64)

    def normal(self, purpose: str, devices: int, first_round: int, rounds: int) -> NDArray[np.float64]:
        """Real standard normal samples. Shape [rounds, devices]."""
        return np.asarray(self.complex_normal(purpose, devices, first_round, rounds, 1)[:, 0].real * np.sqrt(2.0), np.float64)


def _exponential(halves: NDArray[np.uint32]) -> NDArray[np.float32]:
    """-log((u + 1/2) / 2^32) of every other entry u [..., n] of halves [..., 2n], which must be contiguous. [..., n]."""
    energy = halves[..., 0::2].astype(np.float32)
    energy += np.float32(0.5)
    energy *= np.float32(_RADIUS_STEP)
    np.log(energy, out=energy)
    np.negative(energy, out=energy)
    # Float32 cannot tell numbers near 1 apart, which are deep fades: those few again, by their distance from 1.
    deep = np.flatnonzero(energy < _DEEP)
    below_one = (np.invert(halves.reshape(-1)[2 * deep]) + 0.5) * _RADIUS_STEP
    energy.reshape(-1)[deep] = -np.log1p(-below_one)
    return energy


def _polar(radius: NDArray[np.float32], angle: NDArray[np.float32], out: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """radius exp(j angle), written to ``out``."""
    np.cos(angle, out=out.real)
    np.sin(angle, out=out.imag)
    out *= radius
    return out


class CachedDraws:
    """Complex normals with the last group kept, so that a learner asking round by round is served from memory.

    The cache changes nothing but speed: the draws are those of :class:`KeyedDraws`.
    """

    def __init__(self, draws: KeyedDraws) -> None:
        self._draws = draws
        self._kept: dict[str, tuple[tuple[int, int, int], NDArray[np.complex64]]] = {}

    def complex_normal(
        self, purpose: str, devices: int, first_round: int, rounds: int, per_round: int
    ) -> NDArray[np.complex64]:
        """CN(0, 1) for consecutive rounds. Shape [rounds, per_round, devices]; the caller must not write to it."""
        start = first_round - first_round % GROUP_ROUNDS
        if rounds >= GROUP_ROUNDS or first_round + rounds > start + GROUP_ROUNDS:
            return self._draws.complex_normal(purpose, devices, first_round, rounds, per_round)
        key = (devices, start, per_round)
        place = f"{purpose}{start >> 48}"  # a look or an innovation lies in a far region of its own
        kept = self._kept.get(place)
        if kept is None or kept[0] != key:
            drawn = self._draws.complex_normal(purpose, devices, start, GROUP_ROUNDS, per_round)
            kept = self._kept[place] = (key, drawn)
        low = first_round - start
        return kept[1][low : low + rounds]
