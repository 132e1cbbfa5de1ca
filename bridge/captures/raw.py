"""Raw recordings: samples without metadata, and WAV files whose channels are I and Q. Nothing is guessed."""

import math
from pathlib import Path

import numpy as np

from bridge.captures.errors import CaptureError
from bridge.captures.formats import refuse_not_finite, sample_format
from bridge.captures.places import compression, read_file
from bridge.captures.recording import Recording
from bridge.captures.wav import is_wav, read_wav

# What files begin with that hold no raw samples, and the way out.
_OTHERS = {
    b"RIFX": "a WAV file of big-endian samples; convert it to RIFF",
    b"\x89HDF": "an HDF5 file; write its samples as cf32",
    b"BLUE": "a MIDAS BLUE file; convert it to SigMF with sigmf_convert",
    b"\x09\x07\x02\x00": "of GNU Radio's file_meta_sink with headers between the samples; write it with a detached header, or "
    "read it with file_meta_source into a file_sink",
}


def read_raw(
    path: str | Path,
    format: str | None,
    sample_rate_hz: float | None,
    *,
    scale: float = 1.0,
    frequency_hz: float | None = None,
    channels: int | None = None,
) -> Recording:
    """Read a raw recording of a stated format (``cf32``, ``sc16``, ..., or ``wav``) and sample rate.

    ``scale`` multiplies the samples; integers are at full scale 1 before. ``channels``: how many complex channels are
    interleaved (none: one). A WAV file has two numbers per channel, and its own sample rate, which may be left out. Raises
    :class:`bridge.captures.errors.CaptureError` where either is not stated, or what is stated does not fit the file.
    """
    path = Path(path)
    if not path.exists():
        raise CaptureError(f"there is no recording {path}")
    if format is None and path.is_file() and is_wav(path):
        raise CaptureError(f"{path} is a WAV file; if its channels are I and Q, state --format wav")
    if format is None or (sample_rate_hz is None and format != "wav"):
        raise CaptureError(f"{path} does not say what it holds; state --format (cf32, sc16, wav, ...) and --sample-rate in Hz")
    if sample_rate_hz is not None and not (sample_rate_hz > 0 and math.isfinite(sample_rate_hz)):
        raise CaptureError(f"{path} needs a positive sample rate in Hz, got {sample_rate_hz}")
    if channels is not None and channels < 1:
        raise CaptureError(f"{path} needs 1 channel or more, got {channels}")
    data = read_file(path)
    notes: tuple[str, ...] = ()
    payload: bytes | memoryview = data
    if format == "wav":
        wav = read_wav(data, path)
        layout, rate, payload, notes = wav.layout, float(wav.sample_rate_hz), wav.payload, wav.notes
        if sample_rate_hz is not None and rate != sample_rate_hz:
            raise CaptureError(
                f"{path} says that it was sampled at {rate:.12g} Hz, not at the {sample_rate_hz:g} Hz that were stated"
            )
        if wav.channels != 2 * (channels or 1):
            raise CaptureError(f"{path} has {wav.channels} channels{_wav_channels(wav.channels, channels)}")
        frequency_hz = wav.frequency_hz if frequency_hz is None else frequency_hz
    else:
        assert sample_rate_hz is not None
        layout, rate = sample_format(format, str(path)), sample_rate_hz
        _refuse_others(path, data, format)
    row = layout.sample_bytes * (channels or 1)
    if not payload or len(payload) % row:
        each = f"samples of {layout.sample_bytes} bytes" + (f" in {channels} channels" if channels else "")
        raise CaptureError(
            f"{path} holds {len(payload)} bytes, which is no whole number of {format} {each}: it is truncated, or of "
            "another format"
        )
    samples = np.ascontiguousarray(layout.decode(payload).reshape(-1, channels or 1).T)
    refuse_not_finite(samples.T.reshape(-1), str(path))
    return Recording(path, samples, rate, frequency_hz, (), {}, False, layout.name, notes=notes).scaled(scale)


def _wav_channels(there: int, stated: int | None) -> str:
    if stated is not None:
        return f", which are not I and Q of the {stated} that were stated"
    if there > 2 and there % 2 == 0:
        return f"; if they are I and Q of {there // 2} antennas, state --channels {there // 2}"
    return "; I and Q are two channels: record both"


def _refuse_others(path: Path, data: bytes, format: str) -> None:
    """A file that says itself that it is no raw samples."""
    if is_wav(path):
        raise CaptureError(f"{path} is a WAV file, not raw {format}; state --format wav")
    packed = compression(data[:8])
    if packed is not None and path.suffix.lower() in (".gz", ".bz2", ".xz", ".zip"):
        raise CaptureError(f"{path} is compressed ({packed}), not raw {format}; unpack it first")
    for magic, what in _OTHERS.items():
        if data.startswith(magic):
            raise CaptureError(f"{path} is {what}")
