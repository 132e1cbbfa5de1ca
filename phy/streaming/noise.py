"""Receiver noise on a stream, keyed by the place in it."""

import numpy as np
from numpy.typing import NDArray

from phy.draws import KeyedDraws

__all__ = ["StreamNoise"]

_BLOCK = 8192


class StreamNoise:
    """CN(0, N0) on sample n of a receiver: a pure function of (seed, receiver, n).

    :param draws: keyed source; purpose ``airnoise``, in which a round is a block of 8192 samples
    :param n0: variance of one complex sample, for sample amplitudes of 1
    :param receiver: its number, among all that are drawn from one seed
    """

    def __init__(self, draws: KeyedDraws, n0: float, receiver: int) -> None:
        self._draws, self._receiver = draws, receiver
        self._deviation = np.float32(np.sqrt(n0))
        self._kept: tuple[int, NDArray[np.complex64]] | None = None

    def add(self, samples: NDArray[np.complex64], first: int) -> None:
        """Add noise to ``samples`` [N] in place; the first is number ``first`` of the stream."""
        if self._deviation == 0:
            return
        done = 0
        while done < len(samples):
            block, skip = divmod(first + done, _BLOCK)
            if self._kept is None or self._kept[0] != block:
                # Receivers take the place of the upper half of the round number: each has rounds of its own.
                drawn = self._draws.long_complex_normal("airnoise", block + (self._receiver << 40), 1, _BLOCK)[0]
                drawn *= self._deviation
                self._kept = (block, drawn)
            part = self._kept[1][skip : skip + len(samples) - done]
            samples[done : done + len(part)] += part
            done += len(part)
