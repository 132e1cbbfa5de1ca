"""Bring a recording to another sample rate, by a ratio of whole numbers.

One windowed sinc filter, in phase with the samples: what lies below 0.9 of half the lower rate passes to within 0.01 dB, what
lies above half of it is 90 dB down.
"""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from bridge.captures.errors import CaptureError
from bridge.captures.recording import Recording

# Half the filter's length in samples of the lower rate, where its passband ends, and Kaiser's beta for 90 dB.
_HALF, _EDGE, _BETA = 64, 0.95, 8.96
# A filter has 2 * 64 * this many coefficients at most.
_MOST = 20_000


def ratio(to_hz: float, from_hz: float) -> Fraction:
    """The ratio of two rates as whole numbers; raises :class:`CaptureError` where there is none with numbers up to 20000."""
    found = Fraction(to_hz / from_hz).limit_denominator(_MOST)
    if found <= 0 or found.numerator > _MOST or not math.isclose(float(found), to_hz / from_hz, rel_tol=1e-9):
        raise CaptureError(
            f"{from_hz:g} Hz and {to_hz:g} Hz have no ratio of whole numbers up to {_MOST}; resample it elsewhere, or choose "
            "another link.burst.sample_rate_hz"
        )
    return found


def resampled(recording: Recording, sample_rate_hz: float) -> Recording:
    """The recording at another rate. Sample 0 stays where it is; annotations are dropped, since they count other samples."""
    if math.isclose(recording.sample_rate_hz, sample_rate_hz, rel_tol=1e-9):
        return recording
    by = ratio(sample_rate_hz, recording.sample_rate_hz)
    try:
        from scipy.signal import resample_poly
    except ImportError as error:
        raise CaptureError("resampling needs scipy; install it with: pip install 'pairzero[phy]'") from error
    out = resample_poly(recording.samples, by.numerator, by.denominator, axis=1, window=_filter(by))
    return dataclasses.replace(
        recording, samples=np.ascontiguousarray(out, np.complex64), sample_rate_hz=sample_rate_hz, annotations=()
    )


def _filter(by: Fraction) -> npt.NDArray[np.float32]:
    widest = max(by.numerator, by.denominator)
    n = np.arange(-_HALF * widest, _HALF * widest + 1) / widest
    taps = np.sinc(_EDGE * n) * np.kaiser(len(n), _BETA)
    return np.asarray(taps / taps.sum(), np.float32)
