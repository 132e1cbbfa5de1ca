"""Timing in turns, on cores that a neighbour may share.

A virtual core is often one of two threads of a physical core. When another tenant computes on the other thread, everything
here, arithmetic in registers included, takes about 1.6 times as long, for seconds or for hours. A probe, an arithmetic loop
over what fits the first cache, tells the two states apart without knowing what is measured. It compares with its own fastest
of the run: a core that is shared from beginning to end looks unshared.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A probe this much slower than the fastest of the run met a shared core.
_SLACK = 1.2
_ANGLES = np.linspace(0.0, 6.0, 4096, dtype=np.float32)
_COSINES = np.empty_like(_ANGLES)


def probe() -> float:
    """Seconds of a fixed piece of arithmetic, about 0.4 ms."""
    began = time.perf_counter()
    for _ in range(50):
        np.cos(_ANGLES, out=_COSINES)
    return time.perf_counter() - began


@dataclass(frozen=True)
class Turns:
    """``seconds`` [repeats, functions], and the slower of the probes before and after each, ``probes`` [repeats, functions]."""

    seconds: NDArray[np.float64]
    probes: NDArray[np.float64]

    @property
    def medians(self) -> list[float]:
        """Median seconds of each function over all turns."""
        return [float(x) for x in np.median(self.seconds, axis=0)]

    @property
    def unshared(self) -> NDArray[np.bool_]:
        """Where the core was at its full speed before and after. [repeats, functions]."""
        return np.asarray(self.probes <= _SLACK * self.probes.min())

    @property
    def unshared_medians(self) -> list[float]:
        """Median seconds of each function over the turns with an unshared core; NaN with fewer than five of them."""
        kept = [column[mask] for column, mask in zip(self.seconds.T, self.unshared.T, strict=True)]
        return [float(np.median(x)) if len(x) >= 5 else float("nan") for x in kept]


def in_turn(functions: list[Callable[[], object]], repeats: int, warmup: int = 2, probe: Callable[[], float] = probe) -> Turns:
    """Time the functions one after the other, again and again, each between two probes."""
    seconds, probes = np.zeros((repeats, len(functions))), np.zeros((repeats, len(functions)))
    for turn in range(-warmup, repeats):
        before = probe()
        for i, function in enumerate(functions):
            began = time.perf_counter()
            function()
            took = time.perf_counter() - began
            after = probe()
            if turn >= 0:
                seconds[turn, i], probes[turn, i] = took, max(before, after)
            before = after
    return Turns(seconds, probes)
