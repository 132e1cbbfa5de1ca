"""Known patterns, one per device, from which a stream proves what it does to each branch.

A pattern is a pseudo-random sequence of constant modulus, sent by one device after the other, each with its own; a number that
is new at every opening tells it from whatever a flowgraph still holds of an earlier run. It carries nothing of a payload.

It is found by correlation in pieces, whose powers are added, so that a carrier offset below 1/(2 PIECE) cycles per sample does
not hide it; from the pieces' phases follow that offset and the gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["AMPLITUDE", "Branch", "Pattern", "metric_at", "noise_power", "search"]

Samples = npt.NDArray[np.complex64]

# Of a pattern's samples, before `level`: below the peak of a burst's preamble.
AMPLITUDE = 0.125
# Samples that are correlated coherently, and in patterns so long that only much noise asks for them.
PIECE, LONG_PIECE = 128, 1024
_LONG = 32768
# A peak counts as found from here on, above the mean of all lags, in standard deviations of that statistic.
_STANDS_OUT = 7.0
# And above what samples of the same power give, in standard deviations: over 10^5 lags, one in a hundred.
_ABOVE_LOCAL = 9.0
# Of the strongest tap's power: from here on another one belongs to the channel.
_TAP = 0.25


@dataclass(frozen=True)
class Pattern:
    """Patterns of K devices in turn: ``gap`` zeros, for each device ``length`` samples and ``gap`` zeros, then ``rest``."""

    devices: int
    length: int
    gap: int
    rest: int
    nonce: int

    @property
    def samples(self) -> int:
        """Length of the block, a multiple of 64: GNU Radio's blocks keep back what does not fill a vector register."""
        return -(-(self.gap + self.devices * (self.length + self.gap) + self.rest) // 64) * 64

    def start(self, device: int) -> int:
        """Where a device's pattern begins in the block."""
        return self.gap + device * (self.length + self.gap)

    def sequence(self, device: int) -> Samples:
        """A device's pattern, of modulus 1. Shape [length]."""
        turns = np.random.default_rng((self.nonce, device)).integers(0, 4, self.length)
        found: Samples = np.exp(0.5j * np.pi * turns + 0.25j * np.pi).astype(np.complex64)
        return found

    def block(self, level: float) -> Samples:
        """What all devices send. Shape [devices, samples]."""
        out = np.zeros((self.devices, self.samples), np.complex64)
        for k in range(self.devices):
            out[k, self.start(k) : self.start(k) + self.length] = self.sequence(k) * np.float32(AMPLITUDE * level)
        return out


@dataclass(frozen=True)
class Branch:
    """What a stream does to one device on its way to one antenna.

    ``lag_samples``: by how many samples it arrives later than it was sent, counted on both sides. ``gain``: complex, its
    phase that of the strongest tap, its power that of all within 8 samples. ``cycles_per_sample``: carrier
    offset. ``stands_out``: by how many standard deviations the pattern did.
    ``spread_samples``: from the first to the last path.
    """

    device: int
    antenna: int
    lag_samples: int
    gain: complex
    cycles_per_sample: float
    stands_out: float
    spread_samples: int


def search(pattern: Pattern, device: int, antenna: int, received: Samples, level: float) -> Branch | None:
    """Find a device's pattern in what one antenna received of a block, from the sample on with which the block was sent.

    ``lag_samples`` of the result is relative to that. None where it does not stand out.
    """
    from scipy.fft import fft, ifft, next_fast_len

    known = pattern.sequence(device)
    piece = LONG_PIECE if len(known) >= _LONG else min(PIECE, len(known))
    pieces = len(known) // piece
    lags = len(received) - len(known) + 1
    if lags < 1:
        return None
    size = next_fast_len(len(received) + piece)
    spectrum = fft(received, size)
    power = np.zeros(lags, np.float64)
    for p in range(pieces):
        part = ifft(spectrum * np.conj(fft(known[p * piece : (p + 1) * piece], size)))
        power += np.square(np.abs(part[p * piece : p * piece + lags]), dtype=np.float64)
    at = int(power.argmax())
    away = np.ones(lags, np.bool_)
    away[max(0, at - 8) : at + 9] = False
    others = power[away] if away.sum() > 64 else power
    floor, spread = float(others.mean()), float(others.std())
    # Of |c|^2 of noise, averaged over the pieces; a numerical zero stands for a stream without noise.
    spread = max(spread, floor / np.sqrt(pieces), 1e-9 * float(power[at]))
    stands_out = (float(power[at]) - floor) / spread if power[at] > 0 else 0.0
    least = floor + _STANDS_OUT * spread * (1.0 + 1.0 / pieces)
    if stands_out < _STANDS_OUT * (1.0 + 1.0 / pieces):
        return None
    # The same against what is there: samples that are no pattern give 1, and a mean of exponential variables about it.
    here = received[at : at + pieces * piece].reshape(pieces, piece)
    local = float(np.vdot(here, here).real)
    if power[at] < local * (1.0 + _ABOVE_LOCAL / np.sqrt(pieces)):
        return None
    taps = np.flatnonzero(power >= max(_TAP * power[at], least))
    taps = taps[np.abs(taps - at) <= max(PIECE, pattern.gap)]
    inner = (here * np.conj(known[: pieces * piece]).reshape(pieces, piece)).sum(axis=1) / piece
    turn = float(np.angle((inner[1:] * np.conj(inner[:-1])).sum())) if pieces > 1 else 0.0
    phase = float(np.angle((inner * np.exp(-1j * turn * np.arange(pieces))).sum()))
    # The energy of a delay in fractions of a sample lies in several taps.
    near = power[max(0, at - 8) : at + 9]
    energy = max(float((near[near > least] - floor).sum()), float(power[at]) - floor) / (pieces * piece**2)
    gain = complex(np.sqrt(energy) * np.exp(1j * phase)) / (AMPLITUDE * level)
    lag = at - pattern.start(device)
    return Branch(device, antenna, lag, gain, turn / (2 * np.pi * piece), stands_out, int(taps[-1] - taps[0]))


def metric_at(known: Samples, received: Samples) -> float:
    """Share of the received power that a known sequence explains, in pieces. From 0 to 1."""
    piece = min(PIECE, len(known))
    pieces = len(known) // piece
    here = received[: pieces * piece].reshape(pieces, piece)
    inner = np.einsum("ij,ij->i", here, np.conj(known[: pieces * piece]).reshape(pieces, piece))
    power = float(np.vdot(here, here).real)
    return float(np.vdot(inner, inner).real) / (piece * power) if power > 0 else 0.0


def noise_power(pattern: Pattern, received: Samples, branches: Sequence[Branch], level: float) -> float:
    """Variance of one complex sample while nobody sends: the second halves of the gaps, and the rest. 0 where none is left."""
    lags = [branch.lag_samples for branch in branches] or [0]
    late = max(lags) + max((branch.spread_samples for branch in branches), default=0)
    early = min(lags)
    silent = np.zeros(len(received), np.bool_)
    for k in range(pattern.devices + 1):
        stop = pattern.start(k) if k < pattern.devices else pattern.samples
        first = pattern.start(k) - pattern.gap // 2 if k < pattern.devices else pattern.start(k - 1) + pattern.length + 64
        silent[max(0, first + late) : max(0, stop + early)] = True
    heard = received[silent]
    return float(np.square(np.abs(heard), dtype=np.float64).mean()) / level**2 if len(heard) else 0.0
