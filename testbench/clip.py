"""Estimates that no mean of clipped scalars can be."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["beyond_clip"]

#: By how much single precision may carry a mean beyond the clip.
_ROUNDING = 1e-4


def beyond_clip(estimates: NDArray[np.floating], clip: float) -> NDArray[np.bool_]:
    """Which estimates, of any shape, lie outside [-clip, clip] by more than rounding; a lost round (NaN) does not."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(estimates) > clip * (1.0 + _ROUNDING))
