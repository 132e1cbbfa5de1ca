"""A carrier offset on a stream: a rotation whose phase goes on from piece to piece."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["Turning"]

_PIECE = 8192


class Turning:
    """Multiplies sample n by exp(j (2 pi f n / rate + phi)), with n counted over the whole stream, in float64.

    :param frequency_hz: f
    :param rate_hz: samples per second
    :param phase_rad: phi
    :param gain: factor on every sample beside
    """

    def __init__(self, frequency_hz: float, rate_hz: float, phase_rad: float = 0.0, gain: float = 1.0) -> None:
        self._step_turns = frequency_hz / rate_hz
        self._phase_turns = phase_rad / (2.0 * np.pi)
        self._gain = gain
        self.idle = frequency_hz == 0 and phase_rad == 0 and gain == 1.0
        self._ramp = np.exp(2j * np.pi * self._step_turns * np.arange(_PIECE)).astype(np.complex64)

    def apply(self, samples: NDArray[np.complex64], first: int, out: NDArray[np.complex64]) -> None:
        """Write the turned ``samples`` [N], of which the first is number ``first`` of the stream, to ``out`` [N]."""
        if self.idle:
            out[:] = samples
            return
        for low in range(0, len(samples), _PIECE):
            part = samples[low : low + _PIECE]
            # Whole turns go first: after hours the product alone would have lost its fraction in float32.
            turns = self._step_turns * float(first + low) + self._phase_turns
            start = self._gain * np.exp(2j * np.pi * (turns - np.rint(turns)))
            np.multiply(part, self._ramp[: len(part)], out=out[low : low + _PIECE])
            out[low : low + _PIECE] *= np.complex64(start)
