"""Filters that delay by any real number of samples."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["HALF_SAMPLES", "delay_filters"]

# A filter reaches this many samples to either side of its delay. With the window below, tones up to 0.4 of the sample rate
# are delayed to within 1e-4 of their amplitude.
HALF_SAMPLES = 24
_KAISER_BETA = 9.0


def delay_filters(delays_samples: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Taps h(j) = sinc(j - d) w(j - d), j = 0 .. count - 1, of each delay d: a sinc in a Kaiser window centred on d.

    A delay of whole samples is one tap of 1. What lies beyond ``count`` is cut.

    :param delays_samples: [...]
    :returns: [..., count]
    """
    away = np.arange(count) - np.asarray(delays_samples)[..., None]
    inside = np.clip(1.0 - (away / HALF_SAMPLES) ** 2, 0.0, None)
    window = np.where(inside > 0, np.i0(_KAISER_BETA * np.sqrt(inside)) / np.i0(_KAISER_BETA), 0.0)
    return np.asarray(np.sinc(away) * window)
