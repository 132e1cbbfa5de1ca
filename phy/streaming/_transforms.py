"""Fourier transforms along the last axis: scipy's, which take several at once, or numpy's where it is not installed."""

import numpy as np
from numpy.typing import NDArray

try:
    from scipy import fft as _library
except ImportError:
    _library = np.fft

__all__ = ["fft", "ifft"]


def fft(samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Forward, in single precision."""
    spectrum: NDArray[np.complex64] = _library.fft(samples)
    return spectrum


def ifft(spectrum: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Backward, in single precision."""
    samples: NDArray[np.complex64] = _library.ifft(spectrum)
    return samples
