"""Filters that delay by any real number of samples."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["HALF_SAMPLES", "delay_filters"]

# A filter reaches this many samples to either side of its delay. With the window below, tones up to 0.4 of the sample rate
# are delayed to within 1e-4 of their amplitude.
HALF_SAMPLES = 24
_KAISER_BETA = 9.0
# Points of the prototype per sample; between them it is linear, to within (pi / 4096)^2 / 8.
_FINE = 4096


@cache
def _prototype() -> NDArray[np.float64]:
    """sinc(t) w(t) for t = 0 .. HALF_SAMPLES + 1 in steps of 1 / _FINE."""
    away = np.arange((HALF_SAMPLES + 1) * _FINE + 2) / _FINE
    inside = np.clip(1.0 - (away / HALF_SAMPLES) ** 2, 0.0, None)
    values = np.sinc(away) * np.i0(_KAISER_BETA * np.sqrt(inside)) / np.i0(_KAISER_BETA)
    values[_FINE::_FINE] = 0.0  # a sinc at whole samples, where floating point leaves 1e-17
    values[HALF_SAMPLES * _FINE :] = 0.0
    return np.asarray(values)


def delay_filters(delays_samples: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Taps h(j) = sinc(j - d) w(j - d), j = 0 .. count - 1, of each delay d: a sinc in a Kaiser window centred on d.

    A delay of whole samples is one tap of 1. What lies beyond ``count`` is cut.

    :param delays_samples: [...]
    :returns: [..., count]
    """
    table = _prototype()
    away = np.minimum(np.abs(np.arange(count) - np.asarray(delays_samples)[..., None]), HALF_SAMPLES + 1) * _FINE
    low = away.astype(np.int64)
    below = table[low]
    return np.asarray(below + (away - low) * (table[low + 1] - below))
