"""Between openings: whether a slot that came back can be trusted, at next to no cost.

Two things are looked at. Every few slots a short pattern per device follows the slot, so that all patterns together take at
most 2 % of the samples. And of every slot: how much of what returned is no sum of what was sent, once the noise is taken off.
Neither decides. Where one is odd, long patterns are sent at once (``StreamExchange.prove``), and these decide.
"""

from __future__ import annotations

import math
import secrets
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.streams.opening import Proof
from bridge.streams.proof import AMPLITUDE, PIECE, Pattern, metric_at

__all__ = ["SHARE", "Watch"]

Samples = npt.NDArray[np.complex64]

# Of all samples, those of patterns.
SHARE = 0.02
# Energy over noise of a pattern that is recognised where it is expected.
_ENERGY = 60.0
_SHORTEST, _LONGEST = 64, 4096
_GAP = 32
# Of the way from noise alone to what the opening saw.
_MIDWAY = 0.4
# Standard deviations of the noise's energy.
_DEVIATIONS = 5.0
# Samples at the front of a slot that may be silent, and are then noise alone.
_FRONT = 64
_RATIO = 3.0
# Of a slot's samples, about so many are compared with what was sent.
_LOOKED_AT = 320


class Watch:
    """For the stream whose opening found `proof`.

    Args:
        proof: what the opening measured.
        level: factor on samples that leave.
    """

    def __init__(self, proof: Proof, level: float) -> None:
        self._proof, self._level = proof, level
        devices = len(proof.branches)
        weakest = min(abs(branch.gain) for branch in proof.branches) * AMPLITUDE
        needed = _ENERGY * proof.n0 / max(weakest**2, 1e-30)
        length = PIECE * math.ceil(needed / PIECE) if needed > PIECE else _SHORTEST
        late = max(branch.lag_samples for branch in proof.branches) - proof.latency_samples
        self._pattern = Pattern(devices, min(length, _LONGEST), _GAP, max(_GAP, late + _GAP), secrets.randbits(62))
        self._sequences = [self._pattern.sequence(k) for k in range(devices)]
        self.block = self._pattern.block(level)
        self._shifts = [branch.lag_samples - proof.latency_samples for branch in proof.branches]
        self._ridge = 1e-6 * np.eye(devices, dtype=np.complex64)
        self._silent, self._scale = 0, 0.0
        self._seen = slice(0)
        self._turned: Samples = self._ridge
        self._inverse: npt.NDArray[Any] = self._ridge
        self._spent = 0.0
        self._misfit = 0.0
        self._odd = (0.0, 0.0)
        self._noise_sum, self._noise_count = 0.0, 0

    @property
    def n0(self) -> float:
        """Variance of one complex sample of noise, as measured where nobody sends."""
        if self._noise_count < 2048:
            return self._proof.n0
        return self._noise_sum / self._noise_count / self._level**2

    def due(self, samples: int) -> Pattern | None:
        """The pattern that has to follow a slot of so many samples; None where it would be too early."""
        self._spent += SHARE * samples
        if self._spent < self._pattern.samples:
            return None
        self._spent -= self._pattern.samples
        return self._pattern

    def fits(self, sent: Samples, received: Samples, behind: Samples, pattern: Pattern | None) -> bool:
        """Whether nothing is odd about what came back of a slot [K, N] as [M, N], and of the pattern behind it."""
        fine = self._is_sum(sent, received)
        return fine and (pattern is None or self._stands(behind))

    def accept(self) -> None:
        """The last slot was odd and proved right: its kind is no longer odd."""
        self._misfit = max(self._misfit, self._odd[0])

    def _stands(self, behind: Samples) -> bool:
        for branch, metric in zip(self._proof.branches, self._proof.metrics, strict=True):
            first = self._pattern.start(branch.device) + branch.lag_samples - self._proof.latency_samples
            known = self._sequences[branch.device]
            here = behind[branch.antenna, max(0, first) : max(0, first) + len(known)]
            if len(here) < len(known) or first < 0:
                return False
            floor = 1.0 / min(PIECE, len(known))
            if metric_at(known, here) < floor + _MIDWAY * max(0.0, metric - 1.0 / PIECE):
                return False
        return True

    def expect(self, sent: Samples) -> None:
        """Prepare for what comes back of a slot [K, N], while it is under way."""
        occupied = np.asarray(sent[:, :_FRONT].any(axis=0), np.bool_)
        self._silent = int(occupied.argmax()) if occupied.any() else occupied.size
        count = sent.shape[1]
        # Some samples tell as much as all: what slipped is wrong everywhere.
        first, stop = max(0, *self._shifts), count + min(0, *self._shifts)
        step = max(1, count // _LOOKED_AT)
        self._seen = slice(first, stop, step)
        self._scale = 0.0
        if stop - first < 2 * len(sent) * step:
            return
        rows = np.stack([sent[k, first - shift : stop - shift : step] for k, shift in enumerate(self._shifts)])
        self._turned = rows.conj().T
        gram = rows @ self._turned
        self._scale = float(gram.real.trace())
        if self._scale > 0:
            self._inverse = np.linalg.inv(gram + np.float32(self._scale) * self._ridge)

    def _is_sum(self, sent: Samples, received: Samples) -> bool:
        if self._silent > 8:
            quiet = received[:, : self._silent // 2]
            self._noise_sum += float(np.vdot(quiet, quiet).real)
            self._noise_count += quiet.size
        if self._scale <= 0:
            return True
        n0 = self.n0 * self._level**2
        received = np.ascontiguousarray(received[:, self._seen])
        inner = received @ self._turned
        power = float(np.vdot(received, received).real)
        if power <= 0:
            return True
        explained = float(np.vdot(inner, inner @ self._inverse).real)
        size = received.size
        rest = max(0.0, power - explained - n0 * size)
        share = rest / power
        least = min(0.02, 0.25 / len(sent) ** 2)
        self._odd = (share, power)
        if rest <= max(_RATIO * self._misfit, least) * power + _DEVIATIONS * n0 * math.sqrt(size):
            self._misfit += 0.05 * (share - self._misfit)
            return True
        return False
