"""Pulses of unit energy: root raised cosine and rectangle, on the sample grid and at any instant between.

A pulse belongs to a symbol that starts at instant 0 and lasts ``period_samples``. The rectangle fills these samples; the root
raised cosine peaks at sample ``period_samples // 2`` and reaches half its span to either side.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from phy.config_burst import BurstConfig


def root_raised_cosine(instants_symbols: NDArray[np.float64], rolloff: float) -> NDArray[np.float64]:
    """Untruncated root raised cosine of energy 1 for a symbol duration of 1, at any instants.

    Written as the inverse Fourier transform of its three spectral pieces (the flat part and the two cosine edges), which are
    sincs: unlike the textbook quotient this has no singular points. The textbook form: Proakis, Digital Communications, 9.2-3.
    """
    t = np.asarray(instants_symbols, np.float64)
    flat = (1.0 - rolloff) * np.sinc((1.0 - rolloff) * t)
    upper = np.cos(np.pi * (0.25 + t)) * np.sinc(0.25 + rolloff * t)
    lower = np.cos(np.pi * (0.25 - t)) * np.sinc(0.25 - rolloff * t)
    return np.asarray(flat + rolloff * (upper + lower))


@dataclass(frozen=True)
class Pulse:
    """One real pulse: ``kind``, roll-off, duration of its symbol, and half length of a root raised cosine, in samples."""

    kind: Literal["rrc", "rect"]
    rolloff: float
    period_samples: int
    half_samples: int

    @property
    def lead_samples(self) -> int:
        """Samples of the pulse that precede its symbol's start."""
        return self.half_samples - self.period_samples // 2 if self.kind == "rrc" else 0

    @property
    def length_samples(self) -> int:
        """Number of samples that are not zero by construction."""
        return 2 * self.half_samples + 1 if self.kind == "rrc" else self.period_samples

    @property
    def samples(self) -> NDArray[np.float64]:
        """The pulse on the grid, its first sample ``lead_samples`` before the symbol's start; sum of squares exactly 1."""
        raw = self._raw(np.arange(self.length_samples) - self.lead_samples)
        return np.asarray(raw / np.sqrt((raw**2).sum()))

    def at(self, instants_samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """The pulse at any instants, in samples since its symbol's start; zero outside its span; same scale as ``samples``."""
        grid = self._raw(np.arange(self.length_samples) - self.lead_samples)
        return np.asarray(self._raw(np.asarray(instants_samples, np.float64)) / np.sqrt((grid**2).sum()))

    def _raw(self, instants: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
        if self.kind == "rect":
            return np.where((instants >= 0) & (instants < self.period_samples), 1.0, 0.0)
        centred = instants - self.period_samples // 2
        inside = np.abs(centred) <= self.half_samples
        return np.where(inside, root_raised_cosine(centred / self.period_samples, self.rolloff), 0.0)


def pulse(config: BurstConfig, duration_symbols: int = 1) -> Pulse:
    """The configured pulse, stretched to a symbol that lasts ``duration_symbols`` symbols."""
    period = config.samples_per_symbol * duration_symbols
    # A span of an odd number of symbols and an odd period has a half-sample half: the shorter side is taken.
    return Pulse(config.pulse, config.rolloff, period, config.span_symbols * period // 2 if config.pulse == "rrc" else 0)
