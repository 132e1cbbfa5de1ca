"""WAV files of every width and size: what other readers read, and headers that lie about the length."""

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from bridge.captures import CaptureError, read_raw

RATE = 48000
VALUES = np.array([0.5 - 0.25j, -1 + 0j, 0.125 + 0.75j, 0.25 + 0.25j], np.complex64)
PARTS = VALUES.view(np.float32).astype(np.float64)


def part(name: bytes, body: bytes, length: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if length is None else length) + body + b"\0" * (len(body) % 2)


def described(bits: int, tag: int = 1, channels: int = 2) -> bytes:
    frame = channels * bits // 8
    return part(b"fmt ", struct.pack("<HHIIHH", tag, channels, RATE, RATE * frame, frame, bits))


def riff(*parts: bytes, magic: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(parts)
    return magic + struct.pack("<I", 0xFFFFFFFF if magic != b"RIFF" else len(body)) + body


def integers(bits: int) -> bytes:
    whole = np.rint(np.minimum(PARTS * 2.0 ** (bits - 1), 2.0 ** (bits - 1) - 1)).astype("<i4")
    return whole.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()


def read(folder: Path, data: bytes, **options: object):
    (folder / "x.wav").write_bytes(data)
    return read_raw(folder / "x.wav", "wav", None, **options)


DATA16 = integers(16)
DS64 = part(b"ds64", struct.pack("<QQQI", 4 + 36 + 24 + 8 + len(DATA16), len(DATA16), 4, 0))


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_integers_as_the_standard_library_writes_them(tmp_path, bits):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(bits // 8)
        file.setframerate(RATE)
        file.writeframes(integers(bits))
    found = read(tmp_path, buffer.getvalue())
    assert np.array_equal(found.samples[0], VALUES)
    assert found.sample_rate_hz == RATE
    assert not found.notes


@pytest.mark.parametrize(("kind", "bits"), [("f4", 32), ("f8", 64)])
def test_floats_as_scipy_writes_them(tmp_path, kind, bits):
    from scipy.io import wavfile

    wavfile.write(tmp_path / "f.wav", RATE, PARTS.astype(kind).reshape(-1, 2))
    found = read_raw(tmp_path / "f.wav", "wav", RATE)
    assert np.array_equal(found.samples[0], VALUES)
    assert found.format == f"cf{bits}_le"


def test_bytes_lie_about_their_middle(tmp_path):
    found = read(tmp_path, riff(described(8), part(b"data", bytes([0, 255, 127, 128]))))
    assert np.allclose(found.samples, [[-1 + 1j, (-0.5 + 0.5j) / 127.5]], atol=1e-7)


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
def test_rf64_as_scipy_reads_it(tmp_path, magic):
    from scipy.io import wavfile

    data = riff(DS64, described(16), part(b"data", DATA16, 0xFFFFFFFF), magic=magic)
    found = read(tmp_path, data)
    assert np.array_equal(found.samples[0], VALUES)
    assert not found.notes
    if magic == b"RF64":
        rate, theirs = wavfile.read(io.BytesIO(data))
        assert rate == RATE
        assert np.array_equal(theirs.astype(np.float32).reshape(-1).view(np.complex64) / 32768, found.samples[0])
    # The length of ds64 counts: what stands behind it is no sample.
    longer = riff(DS64, described(16), part(b"data", DATA16, 0xFFFFFFFF), part(b"LIST", b"INFOab"), magic=magic)
    assert np.array_equal(read(tmp_path, longer).samples[0], VALUES)


@pytest.mark.parametrize("stated", [0, 8, 0xFFFFFFFF, 0xFFFFFFD3, 0x7FFFF000])
def test_where_the_header_lies_the_files_size_counts_and_that_is_said(tmp_path, stated):
    """8 of 16 bytes: as a length that has wrapped at 4 GiB stands to the true one."""
    found = read(tmp_path, riff(described(16), part(b"data", DATA16, stated)))
    assert np.array_equal(found.samples[0], VALUES)
    assert any(f"the header states {stated} bytes" in note and "16 bytes" in note for note in found.notes)


def test_a_recording_beyond_4_gib_is_whole(tmp_path):
    """The length has wrapped to what remains of it; the file is sparse, and its header alone is taken apart."""
    from bridge.captures.wav import _true_length

    class Long(bytes):
        def __len__(self) -> int:
            return 44 + (1 << 32) + 64

    samples, notes = _true_length(Long(b"\1" * 200), 44, 64, 4, tmp_path / "x.wav")
    assert samples == (1 << 32) + 64
    assert notes


def test_parts_behind_the_samples_are_none(tmp_path):
    for tail in (part(b"LIST", b"INFOabc"), b"\0", b"TAG" + b"a" * 125, part(b"id3 ", b"12") + part(b"LIST", b"")):
        found = read(tmp_path, riff(part(b"JUNK", b"123"), described(16), part(b"data", DATA16), tail))
        assert np.array_equal(found.samples[0], VALUES)
        assert not found.notes


def test_the_centre_frequency_of_an_auxi_part(tmp_path):
    auxi = part(b"auxi", bytes(32) + struct.pack("<IIII", 7_100_000, 0, 0, 0))
    for parts in ((described(16), auxi, part(b"data", DATA16)), (described(16), part(b"data", DATA16), auxi)):
        assert read(tmp_path, riff(*parts)).frequency_hz == 7.1e6


def test_channels_are_stated(tmp_path):
    four = riff(described(16, channels=4), part(b"data", DATA16))
    with pytest.raises(CaptureError, match="4 channels; if they are I and Q of 2 antennas, state --channels 2"):
        read(tmp_path, four)
    assert np.array_equal(read(tmp_path, four, channels=2).samples, VALUES.reshape(2, 2).T)


@pytest.mark.parametrize(("data", "sentence"), [
    (riff(described(16, channels=1), part(b"data", DATA16)), "1 channels; I and Q are two"),
    (riff(described(16, tag=6), part(b"data", DATA16)), "16 bits of kind 6"),
    (riff(described(20), part(b"data", DATA16)), "20 bits of kind 1"),
    (riff(part(b"fmt ", b"1234"), part(b"data", DATA16)), "format part of 4 bytes"),
    (riff(part(b"data", DATA16), described(16)), "samples before the part that describes"),
    (riff(described(16), part(b"data", DATA16, 400)), "truncated: its part 'data' has 16 of 400 bytes"),
    (riff(described(16), part(b"data", DATA16, 0xC0000000)), "truncated: its part 'data' has 16 of"),
    (riff(described(16), part(b"LIST", b"ab", 99)), "truncated: its part 'LIST' has 2 of 99"),
    (riff(described(16), part(b"data", b"", 0)), "without samples"),
    (riff(described(16)), "without samples"),
    (riff(described(16), part(b"data", DATA16[:-2])), "no whole frames of 4"),
    (b"RIFX" + riff(described(16), part(b"data", DATA16))[4:], "big-endian WAV"),
    (b"not a wav file", "no WAV file"),
])  # fmt: skip
def test_faults_have_their_own_sentences(tmp_path, data, sentence):
    with pytest.raises(CaptureError, match=sentence):
        read(tmp_path, data)


def test_what_says_that_it_is_no_raw_samples_is_believed(tmp_path):
    for start, sentence in (
        (riff(DS64, described(16), part(b"data", DATA16), magic=b"RF64"), "is a WAV file, not raw cf32; state --format wav"),
        (b"\x09\x07\x02\x00\x04strt" + bytes(151), "file_meta_sink"),
        (b"\x89HDF\r\n\x1a\n" + bytes(152), "an HDF5 file"),
    ):
        (tmp_path / "x").write_bytes(start)
        with pytest.raises(CaptureError, match=sentence):
            read_raw(tmp_path / "x", "cf32", 1e6)
    (tmp_path / "y").write_bytes(riff(described(16), part(b"data", DATA16)))
    with pytest.raises(CaptureError, match="state --format wav"):
        read_raw(tmp_path / "y", None, None)
