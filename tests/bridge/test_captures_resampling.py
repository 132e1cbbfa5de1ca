"""Resampling against tones, whose samples at any rate are known."""

from pathlib import Path

import numpy as np
import pytest

from bridge.captures import CaptureError
from bridge.captures.recording import Recording
from bridge.captures.resampling import ratio, resampled


def recording(samples: np.ndarray, rate_hz: float) -> Recording:
    return Recording(Path("x"), samples.astype(np.complex64).reshape(1, -1), rate_hz, None, (), {}, False, "cf32_le")


@pytest.mark.parametrize(("from_hz", "to_hz"), [(1e6, 2e6), (2e6, 1e6), (11.52e6, 1e6), (44100.0, 48000.0), (1e6, 1.0001e6)])
@pytest.mark.parametrize("share", [0.01, -0.3, 0.449])
def test_tones_in_the_band_keep_amplitude_and_phase(from_hz, to_hz, share):
    """Up to 0.9 of half the lower rate, away from the ends: 100 dB, that of single precision."""
    hertz = share * min(from_hz, to_hz)
    sent = np.exp(2j * np.pi * hertz / from_hz * np.arange(round(4000 * max(1.0, from_hz / to_hz))))
    found = resampled(recording(sent, from_hz), to_hz)
    assert found.sample_rate_hz == to_hz
    out = found.samples[0]
    expected = np.exp(2j * np.pi * hertz / to_hz * np.arange(len(out)))
    inner = slice(300, -300)
    assert 10 * np.log10(np.mean(np.abs(out[inner] - expected[inner]) ** 2)) < -80


def test_what_the_lower_rate_cannot_hold_is_gone():
    sent = np.exp(2j * np.pi * 0.52 * np.arange(20_000) / 2)
    out = resampled(recording(sent, 2e6), 1e6).samples[0, 300:-300]
    assert 10 * np.log10(np.mean(np.abs(out) ** 2)) < -85


def test_the_same_rate_is_the_same_recording_and_odd_ratios_are_refused():
    one = recording(np.ones(8), 1e6)
    assert resampled(one, 1e6) is one
    assert ratio(1e6, 23.04e6) == ratio(25, 576)
    with pytest.raises(CaptureError, match="no ratio"):
        resampled(one, 1e6 * np.pi)
    with pytest.raises(CaptureError, match="no ratio"):
        ratio(1e12, 1.0)
