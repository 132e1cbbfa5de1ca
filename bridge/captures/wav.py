"""WAV files whose channels are I and Q: RIFF, RF64 and BW64, 8 to 64 bits, and headers that lie about the length.

RIFF counts bytes in 32 bits: recordings of more than 4 GiB are RF64 (EBU Tech 3306, the lengths in a part ``ds64``), or their
length has wrapped. Recorders that write to a pipe, or crash, leave 0 or a placeholder. Where the header's length cannot be
true, the file's size is, and the reader says so.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from bridge.captures.errors import CaptureError
from bridge.captures.formats import SampleFormat, sample_format

MAGICS = (b"RIFF", b"RF64", b"BW64")
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_NAMES = {(_PCM, 8): "cu8", (_PCM, 16): "ci16_le", (_PCM, 24): "ci24_le", (_PCM, 32): "ci32_le", (_FLOAT, 32): "cf32_le",
          (_FLOAT, 64): "cf64_le"}  # fmt: skip
_UNKNOWN = 0xFFFFFFFF
_FILL_BYTES = 1 << 16
# Tags of music players behind the last part.
_TAGS = (b"TAG", b"ID3", b"APETAGEX")


@dataclass(frozen=True)
class Wav:
    """Samples of a WAV file: ``payload`` holds frames of ``channels`` numbers in ``layout``; ``notes`` are for the user."""

    layout: SampleFormat
    channels: int
    sample_rate_hz: int
    frequency_hz: float | None
    payload: memoryview
    notes: tuple[str, ...]


def is_wav(path: Path) -> bool:
    """Whether a file begins as a WAV file does."""
    with path.open("rb") as file:
        start = file.read(12)
    return start[:4] in MAGICS and start[8:] == b"WAVE"


def read_wav(data: bytes, path: Path) -> Wav:
    """Take a WAV file apart; raises :class:`bridge.captures.errors.CaptureError` in one sentence for each fault."""
    if data[:4] == b"RIFX":
        raise CaptureError(f"{path} is a big-endian WAV file (RIFX); convert it to RIFF, with sox for instance")
    if data[:4] not in MAGICS or data[8:12] != b"WAVE":
        raise CaptureError(f"{path} is no WAV file; state the format that it has")
    described: tuple[int, int, int, int, int] | None = None
    long_length: int | None = None
    frequency: float | None = None
    at = 12
    while at + 8 <= len(data):
        name, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        rest = len(data) - at - 8
        if name == b"data":
            if described is None:
                raise CaptureError(f"{path} has samples before the part that describes them; it is damaged")
            if length == _UNKNOWN and long_length is not None:
                length = long_length
            tag, channels, rate, frame, bits = described
            size, notes = _true_length(data, at + 8, length, frame, path)
            frequency = _centre(data, at + 8 + size + size % 2, frequency)
            layout = sample_format(_NAMES[tag, bits], str(path))
            return Wav(layout, channels, rate, frequency, memoryview(data)[at + 8 : at + 8 + size], notes)
        if length > rest:
            raise CaptureError(f"{path} is truncated: its part {_text(name)} has {rest} of {length} bytes")
        if name == b"ds64" and length >= 16:
            long_length = struct.unpack_from("<Q", data, at + 16)[0]
        elif name == b"fmt ":
            described = _describe(data[at + 8 : at + 8 + length], path)
        else:
            frequency = _centre(data, at, frequency)
        at += 8 + length + length % 2
    raise CaptureError(f"{path} is truncated: it is a WAV file without samples")


def _describe(body: bytes, path: Path) -> tuple[int, int, int, int, int]:
    """Kind, channels, rate, bytes of a frame and bits, checked."""
    if len(body) < 16:
        raise CaptureError(f"{path} has a format part of {len(body)} bytes; it is damaged")
    tag, channels, rate, _, frame, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:
        tag = struct.unpack_from("<H", body, 24)[0]
    if (tag, bits) not in _NAMES:
        raise CaptureError(
            f"{path} has samples of {bits} bits of kind {tag}; PCM of 8, 16, 24 or 32 bits and floats of 32 or 64 are read: "
            "convert it"
        )
    if channels < 1 or frame != channels * bits // 8 or rate < 1:
        raise CaptureError(
            f"{path} describes {channels} channels of {bits} bits in frames of {frame} bytes at {rate} Hz, which is no "
            "recording; it is damaged"
        )
    return tag, channels, rate, frame, bits


def _true_length(data: bytes, start: int, stated: int, frame: int, path: Path) -> tuple[int, tuple[str, ...]]:
    """Bytes of samples from ``start``, and a note where the header states others."""
    there = len(data) - start
    if stated > there:
        # 0xFFFFFFFF, 0x7FFFF000 and their like stand for a length that was not known when the header was written.
        if not (stated >= 0xFFFFFF00 or 0x7FFFF000 <= stated <= 0x7FFFFFFF):
            raise CaptureError(f"{path} is truncated: its part 'data' has {there} of {stated} bytes")
        return _by_size(there, stated, frame, path)
    end = start + stated + stated % 2
    if stated and (_are_parts(data, end) or data[end : end + 8].startswith(_TAGS)):
        if stated % frame:
            raise CaptureError(f"{path} states {stated} bytes of samples, which are no whole frames of {frame}; it is damaged")
        return stated, ()
    if not there:
        raise CaptureError(f"{path} is truncated: it is a WAV file without samples")
    return _by_size(there, stated, frame, path)


def _by_size(there: int, stated: int, frame: int, path: Path) -> tuple[int, tuple[str, ...]]:
    kept = there - there % frame
    if not kept:
        raise CaptureError(f"{path} is truncated: it is a WAV file without samples")
    return kept, (
        f"{path.name}: the header states {stated} bytes of samples, which cannot be (wrapped at 4 GiB, a pipe, a crash): taken "
        f"are the {kept} bytes that the file has, {kept // frame} frames",
    )


def _are_parts(data: bytes, at: int) -> bool:
    """Whether bytes from ``at`` are a chain of RIFF parts to the end, or a few zeros that fill a block."""
    if len(data) - at <= _FILL_BYTES and not data[at:].strip(b"\0"):
        return True
    while at + 8 <= len(data):
        name, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if len(name) < 4 or any(not 32 <= letter < 127 for letter in name):
            return False
        at += 8 + length + length % 2
    return at in (len(data), len(data) + 1)


def _centre(data: bytes, at: int, known: float | None) -> float | None:
    """The centre frequency of an ``auxi`` part (SpectraVue's, also of HDSDR and SDRuno) that begins at byte ``at``."""
    if known is None and data[at : at + 4] == b"auxi" and at + 8 + 36 <= len(data):
        stated = struct.unpack_from("<I", data, at + 8 + 32)[0]
        return float(stated) if stated else None
    return known


def _text(name: bytes) -> str:
    return repr(name.decode("ascii", "replace"))
