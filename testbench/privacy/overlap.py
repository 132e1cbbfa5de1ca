"""What several symbols of a round release together where their waveforms overlap: the worst admissible change of them."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["largest_over_signs", "overlap_of"]

Floats = NDArray[np.float64]

_ENUMERATED = 16  # symbols whose sign patterns are all tried


def overlap_of(gram: Floats, joint: bool) -> float:
    """Largest x' M x over changes x of unit norm (``joint``), or over x with all entries +-1/sqrt(n), rounded up; M [n, n].

    The latter is what clipping one by one admits, in units of the norm sqrt(n) that it is charged by.
    """
    if joint:
        return float(np.linalg.eigvalsh(gram)[-1])
    return largest_over_signs(gram) / len(gram)


def largest_over_signs(gram: Floats) -> float:
    """max x' M x over x in {-1, 1}^n: exact up to 16 symbols, from above beyond."""
    n = len(gram)
    everything = float(np.abs(gram).sum())
    if n <= _ENUMERATED:
        low = np.arange(1 << (n - 1), dtype=np.int64)
        signs = 1.0 - 2.0 * ((low[:, None] >> np.arange(n)) & 1)
        return float(np.einsum("vi,ij,vj->v", signs, gram, signs, optimize=True).max())
    return min(everything, n * float(np.linalg.eigvalsh(gram)[-1]))
