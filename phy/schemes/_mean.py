"""The target that several schemes share."""

import numpy as np
from numpy.typing import NDArray


def masked_mean(values: NDArray[np.float64], present: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Mean of values [B, K] over present [B, K] (None: all); 0 where nobody is. [B]."""
    if present is None:
        return np.asarray(values.sum(axis=1) / values.shape[1])
    count = present.sum(axis=1)
    return np.asarray(np.where(present, values, 0.0).sum(axis=1) / np.maximum(count, 1))
