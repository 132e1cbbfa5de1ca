"""Raw recordings: samples without metadata, and WAV files whose two channels are I and Q. Nothing is guessed."""

import math
import struct
from pathlib import Path

import numpy as np

from bridge.captures.errors import CaptureError
from bridge.captures.formats import refuse_not_finite, sample_format
from bridge.captures.recording import Recording

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE


def read_raw(
    path: str | Path, format: str | None, sample_rate_hz: float | None, *, scale: float = 1.0, frequency_hz: float | None = None
) -> Recording:
    """Read a raw recording of a stated format (``cf32``, ``sc16``, ..., or ``wav``) and sample rate.

    ``scale`` multiplies the samples; integers are at full scale 1 before. Raises
    :class:`bridge.captures.errors.CaptureError` where either is not stated, or what is stated does not fit the file.
    """
    path = Path(path)
    if format is None or sample_rate_hz is None:
        raise CaptureError(f"{path} does not say what it holds; state --format (cf32, sc16, wav, ...) and --sample-rate in Hz")
    if not (sample_rate_hz > 0 and math.isfinite(sample_rate_hz)) or not (math.isfinite(scale) and scale != 0):
        raise CaptureError(
            f"{path} needs a positive sample rate and a scale that is not zero, got {sample_rate_hz} and {scale}"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror}") from error
    if format == "wav":
        name, rate, data = _wav(data, path)
        if rate != sample_rate_hz:
            raise CaptureError(
                f"{path} says that it was sampled at {rate} Hz, not at the {sample_rate_hz:g} Hz that were stated"
            )
    else:
        name = format
        if data[:4] in (b"RIFF", b"RF64"):
            raise CaptureError(f"{path} is a WAV file, not raw {format}; state --format wav")
    layout = sample_format(name, str(path))
    if not data or len(data) % layout.sample_bytes:
        raise CaptureError(
            f"{path} holds {len(data)} bytes, which is no whole number of {format} samples of {layout.sample_bytes} bytes: it "
            "is truncated, or of another format"
        )
    samples = layout.decode(data)
    refuse_not_finite(samples, str(path))
    if scale != 1.0:
        samples = samples * np.float32(scale)
    return Recording(path, samples[None], float(sample_rate_hz), frequency_hz, (), {}, False, layout.name)


def _wav(data: bytes, path: Path) -> tuple[str, int, bytes]:
    """Sample format, rate and payload of a RIFF WAVE file of two channels, 16-bit integers or 32-bit floats."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise CaptureError(f"{path} is no WAV file; state the format that it has")
    described: tuple[int, int, int, int] | None = None
    at = 12
    while at + 8 <= len(data):
        name, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        body = data[at + 8 : at + 8 + length]
        if len(body) < length:
            raise CaptureError(f"{path} is truncated: its part {name!r} has {len(body)} of {length} bytes")
        if name == b"fmt " and length >= 16:
            tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
            if tag == _EXTENSIBLE and length >= 26:
                tag = struct.unpack_from("<H", body, 24)[0]
            described = (tag, channels, rate, bits)
        elif name == b"data" and described is not None:
            tag, channels, rate, bits = described
            known = {(_PCM, 16): "ci16_le", (_FLOAT, 32): "cf32_le"}.get((tag, bits))
            if channels != 2 or known is None:
                raise CaptureError(
                    f"{path} has {channels} channels of {bits} bits (kind {tag}); I and Q are two channels of 16-bit integers "
                    "or 32-bit floats"
                )
            return known, rate, body
        at += 8 + length + length % 2
    raise CaptureError(f"{path} is truncated: it is a WAV file without samples")
