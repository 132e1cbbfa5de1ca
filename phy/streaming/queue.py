"""Samples that wait for their turn, with as many behind them as a filter remembers."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["SampleQueue"]


class SampleQueue:
    """A contiguous window of a stream, addressed by sample number; before number 0 there was silence.

    :param memory: how many samples before :attr:`low` stay readable
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._held = np.zeros(memory + (1 << 16), np.complex64)
        self._base = -memory  # the number of the first sample held
        self.low = 0  # first sample that is still needed as new
        self.end = 0  # number of the sample that comes next

    def room(self, count: int) -> NDArray[np.complex64]:
        """Count ``count`` more samples as arrived and return the place [count] to write them to."""
        begin = self.end - self._base
        if begin + count > len(self._held):
            keep = self.low - self._memory - self._base
            kept = self._held[keep:begin]
            need = len(kept) + count
            if need > len(self._held) - len(kept):  # moving too often costs more than memory
                grown = np.zeros(2 * need, np.complex64)
                grown[: len(kept)] = kept
                self._held = grown
            else:
                self._held[: len(kept)] = kept.copy()
            self._base += keep
            begin = len(kept)
        self.end += count
        return self._held[begin : begin + count]

    def view(self, first: int, stop: int) -> NDArray[np.complex64]:
        """Samples number ``first`` .. ``stop - 1``, which must not be written to."""
        return self._held[first - self._base : stop - self._base]

    def forget(self, before: int) -> None:
        """Samples with a number below ``before`` are needed no more, but for the memory."""
        self.low = max(self.low, min(before, self.end))
