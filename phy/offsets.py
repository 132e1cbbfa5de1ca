"""Residual timing, phase and frequency offsets as their exact effect on the decision variable.

The payload is one rectangular symbol of duration T with a guard on both sides; the receiver integrates over [0, T]. A device
that is late by tau, rotated by phi and off by f contributes, with o = max(0, 1 - |tau|/T) the overlap,

    q = (1/T) * integral of exp(j (2 pi f (t + age) + phi)) over the overlap
      = o sinc(f T o) exp(j (phi + 2 pi f ((T + tau)/2 + age))),

because the overlap is centred at (T + tau)/2 for either sign of tau. ``age`` is the time from the pilot, which set the
phase reference, to the start of the payload symbol. The guard keeps neighbouring symbols out, so there is no
inter-symbol interference.
"""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig
from phy.draws import KeyedDraws
from phy.laws import OffsetLaw


def residual_gain(
    timing_s: NDArray[np.float64],
    phase_rad: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    symbol_duration_s: float,
    age_s: float = 0.0,
) -> NDArray[np.complex128]:
    """Complex factor q on a device's contribution, for offsets of one broadcast shape. See the module's formula."""
    overlap = np.maximum(0.0, 1.0 - np.abs(timing_s) / symbol_duration_s)
    centre_s = 0.5 * (symbol_duration_s + timing_s) + age_s
    loss = overlap * np.sinc(frequency_hz * symbol_duration_s * overlap)
    return np.asarray(loss * np.exp(1j * (phase_rad + 2.0 * np.pi * frequency_hz * centre_s)))


class OffsetDraws:
    """Offsets of every device and round, drawn by the laws of an :class:`phy.config.OffsetsConfig`."""

    def __init__(self, config: LinkConfig, draws: KeyedDraws) -> None:
        self._offsets = config.offsets
        self._age_s = config.csi.age_s
        self._draws = draws

    def gains(self, devices: int, first_round: int, rounds: int) -> NDArray[np.complex64]:
        """Residual gains q of consecutive rounds. Shape [B, K]."""
        offsets = self._offsets

        def total(*parts: tuple[str, OffsetLaw]) -> NDArray[np.float64]:
            out = np.zeros((rounds, devices))
            for purpose, law in parts:
                if law.on:
                    out += law.draw(self._draws, purpose, devices, first_round, rounds)
            return out

        timing = total(("timing", offsets.timing_s), ("timejit", offsets.timing_jitter_s))
        phase = total(("phase", offsets.phase_rad), ("phasejit", offsets.phase_jitter_rad))
        frequency = total(("freq", offsets.frequency_hz))
        return residual_gain(timing, phase, frequency, offsets.symbol_duration_s, self._age_s).astype(np.complex64)
