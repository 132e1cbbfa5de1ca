"""Raw recordings and WAV files: stated, never guessed."""

import wave
from pathlib import Path

import numpy as np
import pytest

from bridge.captures import CaptureError, read_raw

RATE = 48000
VALUES = np.array([0.5 - 0.25j, -1 + 0j, 0.125 + 0.75j], np.complex64)  # whole numbers in 16 and in 8 bits


def pairs(values: np.ndarray) -> np.ndarray:
    return values.view(np.float32)


@pytest.mark.parametrize(("name", "content"), [
    ("cf32", pairs(VALUES).astype("<f4")),
    ("cf32_be", pairs(VALUES).astype(">f4")),
    ("fc64", pairs(VALUES).astype("<f8")),
    ("sc16", (pairs(VALUES) * 32768).astype("<i2")),
    ("ci16_be", (pairs(VALUES) * 32768).astype(">i2")),
    ("cs8", (pairs(VALUES) * 128).astype("i1")),
    ("ci32_le", (pairs(VALUES).astype(float) * 2**31).astype("<i4")),
])  # fmt: skip
def test_every_format_gives_the_same_samples(tmp_path, name, content):
    (tmp_path / "x").write_bytes(content.tobytes())
    read = read_raw(tmp_path / "x", name, RATE, scale=2.0)
    assert np.array_equal(read.samples, 2 * VALUES[None])
    assert read.sample_rate_hz == RATE


def test_unsigned_bytes_lie_about_their_middle(tmp_path):
    (tmp_path / "x").write_bytes(bytes([0, 255, 127, 128]))
    read = read_raw(tmp_path / "x", "cu8", RATE)
    assert np.allclose(read.samples, [[-1 + 1j, (-0.5 + 0.5j) / 127.5]], atol=1e-7)


def pcm(path: Path, channels: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((pairs(VALUES) * 32768).astype("<i2").tobytes())
    return path


def test_wav_of_integers_and_of_floats(tmp_path):
    from scipy.io import wavfile

    assert np.array_equal(read_raw(pcm(tmp_path / "i.wav"), "wav", RATE).samples[0], VALUES)
    wavfile.write(tmp_path / "f.wav", RATE, pairs(VALUES).reshape(-1, 2))
    assert np.array_equal(read_raw(tmp_path / "f.wav", "wav", RATE).samples[0], VALUES)


def test_what_is_not_stated_or_does_not_fit_is_refused(tmp_path):
    raw = tmp_path / "x"
    raw.write_bytes(VALUES.tobytes())
    stereo = pcm(tmp_path / "s.wav")
    cut = tmp_path / "cut.wav"
    cut.write_bytes(stereo.read_bytes()[:-4])
    for path, name, rate, sentence in (
        (raw, None, RATE, "state --format"),
        (raw, "cf32", None, "state --format"),
        (raw, "cf31", RATE, "datatype 'cf31'"),
        (raw, "wav", RATE, "no WAV file"),
        (raw, "cf32", 0.0, "positive sample rate"),
        (tmp_path / "none", "cf32", RATE, "there is no recording"),
        (tmp_path, "cf32", RATE, "cannot be read: Is a directory"),
        (stereo, "sc16", RATE, "state --format wav"),
        (stereo, "wav", 44100, "not at the 44100 Hz"),
        (cut, "wav", RATE, "truncated"),
        (pcm(tmp_path / "m.wav", 1), "wav", RATE, "1 channels"),
    ):
        with pytest.raises(CaptureError, match=sentence):
            read_raw(path, name, rate)
    raw.write_bytes(VALUES.tobytes()[:-1])
    with pytest.raises(CaptureError, match="no whole number of cf32 samples"):
        read_raw(raw, "cf32", RATE)
    raw.write_bytes(np.array([1, np.nan], np.complex64).tobytes())
    with pytest.raises(CaptureError, match="not finite"):
        read_raw(raw, "cf32", RATE)
