"""Residual timing, phase and frequency offsets as their exact effect on the decision variable.

The payload is one rectangular symbol of duration T with a guard on both sides; the receiver integrates over [0, T]. A device
that is late by tau, rotated by phi and off by f contributes, with o = max(0, 1 - |tau|/T) the overlap,

    q = (1/T) * integral of exp(j (2 pi f (t + age) + phi)) over the overlap
      = o sinc(f T o) exp(j (phi + 2 pi f ((T + tau)/2 + age))),

because the overlap is centred at (T + tau)/2 for either sign of tau. ``age`` is the time from the pilot, which set the
phase reference, to the start of the symbol. The guard keeps neighbouring symbols out, so there is no inter-symbol
interference; :mod:`phy.symbol_carrier` adds it where scalars are sent back to back.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig
from phy.draws import GROUP_ROUNDS, KeyedDraws
from phy.laws import OffsetLaw

Floats = NDArray[np.float64]


def residual_gain(
    timing_s: Floats, phase_rad: Floats, frequency_hz: Floats, symbol_duration_s: float, age_s: float = 0.0
) -> NDArray[np.complex128]:
    """Complex factor q on a device's contribution, for offsets of one broadcast shape. See the module's formula."""
    overlap = np.maximum(0.0, 1.0 - np.abs(timing_s) / symbol_duration_s)
    centre_s = 0.5 * (symbol_duration_s + timing_s) + age_s
    loss = overlap * np.sinc(frequency_hz * symbol_duration_s * overlap)
    return np.asarray(loss * np.exp(1j * (phase_rad + 2.0 * np.pi * frequency_hz * centre_s)))


@dataclass(frozen=True)
class Offsets:
    """Offsets of consecutive rounds: each [B, K], float64."""

    timing_s: Floats
    phase_rad: Floats
    frequency_hz: Floats


class OffsetDraws:
    """Offsets of every device and round, drawn by the laws of a link's ``offsets`` and ``clock``."""

    def __init__(self, config: LinkConfig, draws: KeyedDraws) -> None:
        self._offsets, self._clock = config.offsets, config.clock
        self._draws = draws
        self._kept: tuple[tuple[int, int], Offsets] | None = None

    @property
    def on(self) -> bool:
        """Whether any offset is ever drawn."""
        return self._offsets.any or self._clock.moves

    @property
    def bound_s(self) -> float:
        """Largest timing offset that the laws can give (6 standard deviations where they have no bound)."""
        offsets, clock = self._offsets, self._clock
        return offsets.timing_s.bound + offsets.timing_jitter_s.bound + clock.sampling_ppm.bound * 1e-6 * clock.since_sync_s

    def _total(self, devices: int, first: int, rounds: int, *parts: tuple[str, OffsetLaw]) -> Floats:
        out = np.zeros((rounds, devices))
        for purpose, law in parts:
            if law.on:
                out += law.draw(self._draws, purpose, devices, first, rounds)
        return out

    def sampling_ppm(self, devices: int, first_round: int, rounds: int) -> Floats:
        """Clock rate errors of consecutive rounds, positive for a fast clock. Shape [B, K]."""
        return self._total(devices, first_round, rounds, ("sampppm", self._clock.sampling_ppm))

    def draw(self, devices: int, first_round: int, rounds: int) -> Offsets:
        """Offsets of consecutive rounds. A device whose clock is fast is early: its timing offset falls."""
        start = first_round - first_round % GROUP_ROUNDS
        if rounds >= GROUP_ROUNDS or first_round + rounds > start + GROUP_ROUNDS:
            return self._draw(devices, first_round, rounds)
        # Round by round, the group in which draws are made anyway is kept.
        if self._kept is None or self._kept[0] != (devices, start):
            self._kept = ((devices, start), self._draw(devices, start, GROUP_ROUNDS))
        group, part = self._kept[1], slice(first_round - start, first_round - start + rounds)
        return Offsets(group.timing_s[part], group.phase_rad[part], group.frequency_hz[part])

    def _draw(self, devices: int, first_round: int, rounds: int) -> Offsets:
        offsets, clock = self._offsets, self._clock
        where = (devices, first_round, rounds)
        timing = self._total(*where, ("timing", offsets.timing_s), ("timejit", offsets.timing_jitter_s))
        phase = self._total(*where, ("phase", offsets.phase_rad), ("phasejit", offsets.phase_jitter_rad))
        frequency = self._total(*where, ("freq", offsets.frequency_hz))
        if clock.moves:
            rate = 1e-6 * self.sampling_ppm(*where)
            timing -= rate * clock.since_sync_s
            if clock.one_oscillator:
                frequency += rate * clock.carrier_hz
        return Offsets(timing, phase, frequency)


class RectangularPulse:
    """A scalar as one rectangle of duration T, or as one of two tones at +-1/T for schemes that send energy.

    The tones stay in time with the device's clock: tone F late by tau is turned by -2 pi F tau as well.
    """

    def __init__(self, duration_s: float, tones: int = 1) -> None:
        self.duration_s = duration_s
        self._tones_hz = (0.0,) if tones == 1 else (1.0 / duration_s, -1.0 / duration_s)

    def gain(self, offsets: Offsets, age_s: float, sent: int = 0, filtered: int = 0) -> NDArray[np.complex128]:
        """Output of the filter for tone ``filtered`` where the unit tone ``sent`` was sent. Shape of the offsets."""
        tone, against = self._tones_hz[sent], self._tones_hz[filtered]
        # The filter's own rotation starts with the symbol, the device's frequency offset at the pilot.
        phase = offsets.phase_rad + 2.0 * np.pi * (offsets.frequency_hz * age_s - tone * offsets.timing_s)
        frequency = offsets.frequency_hz + (tone - against)
        return residual_gain(offsets.timing_s, phase, frequency, self.duration_s)
