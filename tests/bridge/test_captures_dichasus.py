"""DICHASUS files: against a file that TensorFlow wrote, an independent writer, and channels written out by hand."""

import base64
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from bridge.captures import CaptureError
from bridge.captures.dichasus import import_dichasus
from bridge.captures.tfrecord import crc32c, features, read_records, tensor

# Two records of TensorFlow 2.21: csi = 0 .. 15 (+ 100) as [2, 4, 2] float32, cfo (1.5, -2.5), pos-tachy (1, 2, 3) float64, time
# 0.5 and 1.5. Compressed by zlib.
WRITTEN = (
    "eNo7wQABf1dNqOA6ysgVy8WcXJwpFMYVwhXEwSjEI8TEwQTELCBayQGitsEeSADZDkDcAMQLgPgAED8AyTsyMAgAsQIQGwCxAxAHAHECEBc4cglwsZRk5qYKcQix"
    "cbEAVdtzyQItTMsXEuMS4RICWgixiANoINAShQNcxlycBfnFuiWJyRmVQmpcKlxKQPeAFDErSUBc88Ee6gWo6zgcpvTu23iCRH+dcGJgOAXEZ4D4HBBfAOJLQHwF"
    "iK8B8Q0gvgXEd4D4HhA/AOJHQPwEiJ85ofvrAE38ZdAweSUAu5BJ/g=="
)


def test_records_of_tensorflow_are_read(tmp_path):
    (tmp_path / "t.tfrecords").write_bytes(zlib.decompress(base64.b64decode(WRITTEN)))
    found = [features(record) for record in read_records(tmp_path / "t.tfrecords")]
    assert [one["time"].tolist() for one in found] == [[0.5], [1.5]]
    for number, one in enumerate(found):
        assert np.array_equal(tensor(one["csi"], "csi"), np.arange(16.0).reshape(2, 4, 2) + 100 * number)
        assert tensor(one["cfo"], "cfo").tolist() == [1.5, -2.5]
        assert tensor(one["pos-tachy"], "pos").tolist() == [1.0, 2.0, 3.0]


def slow_crc(data: bytes) -> int:
    """Bit by bit, by the polynomial x^32 + x^28 + ... of RFC 3720."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize("count", [0, 1, 2047, 2048, 3001, 131071, 131072, 131075])
def test_the_checksum_in_lanes_is_that_of_the_definition(count):
    data = np.random.default_rng(count).integers(0, 256, count, dtype=np.uint8).tobytes()
    assert crc32c(data) == slow_crc(data)
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720's check value


def field(number: int, data: bytes) -> bytes:
    size, out = len(data), bytes([number << 3 | 2])
    while size > 0x7F:
        out, size = out + bytes([size & 0x7F | 0x80]), size >> 7
    return out + bytes([size]) + data


def serialised(values: np.ndarray) -> bytes:
    shape = b"".join(field(2, bytes([0x08]) + varint(size)) for size in values.shape)
    return bytes([0x08, 1]) + field(2, shape) + field(4, values.astype("<f4").tobytes())


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def record(csi: np.ndarray, seconds: float, cfo: np.ndarray | None = None) -> bytes:
    pair = np.stack((csi.real, csi.imag), axis=2)
    entries = {"csi": field(1, field(1, serialised(pair))), "time": field(2, field(1, struct.pack("<f", seconds)))}
    if cfo is not None:
        entries["cfo"] = field(1, field(1, serialised(cfo)))
    data = field(1, b"".join(field(1, field(1, key.encode()) + field(2, value)) for key, value in entries.items()))
    return framed(data)


def framed(data: bytes) -> bytes:
    def masked(raw: bytes) -> bytes:
        crc = slow_crc(raw)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    head = struct.pack("<Q", len(data))
    return head + masked(head) + data + masked(data)


N, BANDWIDTH = 64, 50e6


def responses(taps: dict[int, complex], antennas: int = 3) -> np.ndarray:
    """Frequency responses by the sum over taps; antenna m has (m + 1) times the channel."""
    k = np.arange(N)
    one = sum(gain * np.exp(-2j * np.pi * k * delay / N) for delay, gain in taps.items())
    return np.outer(np.arange(1, antennas + 1), one)


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "d.tfrecords"
    rows = [
        record(responses({62: 0.2j, 63: 1.0 + 0.1 * t, 1: 0.5}), 3.0 + 0.25 * t, np.array([10.0, 20.0 + t, 30.0]))
        for t in range(6)
    ]
    path.write_bytes(b"".join(rows))
    return path


def test_antennas_are_devices_and_taps_stand_where_they_were_measured(file):
    """Delays 62, 63 and 1 of 64 are -2, -1 and +1 taps; four taps from -2 on hold everything."""
    one = import_dichasus(file, [0, 2], BANDWIDTH, records=3, every=2, taps=4)
    raw = np.array([[0.2j, 1.0 + 0.2 * t, 0, 0.5] for t in range(3)])
    expected = np.stack([raw, 3 * raw], axis=1)[:, None]
    energy = (np.abs(expected) ** 2).sum(axis=3).mean()
    assert np.allclose(one.coefficients, expected / np.sqrt(energy), atol=1e-6)
    assert one.gain_reference_db == pytest.approx(10 * np.log10(energy), abs=1e-5)
    assert np.allclose(one.timing_s, -2 / BANDWIDTH)
    assert np.allclose(one.delays_s, np.arange(4) / BANDWIDTH)
    assert one.times_s.tolist() == [0.0, 0.5, 1.0]
    assert one.frequency_offset_hz.tolist() == [[10.0, 30.0]] * 3
    assert "100.0 % of the energy" in one.source


def test_positions_are_devices(file):
    one = import_dichasus(file, [1], BANDWIDTH, records=6, positions=3, taps=1)
    strongest = np.array([[1.0, 1.2, 1.4], [1.1, 1.3, 1.5]])  # position k has the records 2 k and 2 k + 1
    assert one.coefficients.shape == (2, 1, 3, 1)
    assert np.allclose(one.coefficients[:, 0, :, 0], strongest / np.sqrt((strongest**2).mean()), atol=1e-6)
    assert one.frequency_offset_hz.tolist() == [[20.0, 22.0, 24.0], [21.0, 23.0, 25.0]]
    assert one.times_s.tolist() == [0.0, 0.25]


def test_the_data_sets_calibration_moves_taps_and_turns_phases(file, tmp_path):
    """A phase of 2 pi sto k / N over subcarriers k advances by sto taps; k = 0 is the lowest, N / 2 below the carrier."""
    (tmp_path / "o.json").write_text(json.dumps({"sto": [-3.0, 0.0, 0.0], "cpo": [0.5, 0.0, 0.0]}))
    plain = import_dichasus(file, [0], BANDWIDTH, records=1, taps=4)
    moved = import_dichasus(file, [0], BANDWIDTH, records=1, taps=4, offsets=tmp_path / "o.json")
    assert np.allclose(moved.timing_s - plain.timing_s, 3 / BANDWIDTH)
    turn = np.exp(1j * (0.5 + 2 * np.pi * -3.0 * (N // 2) / N))
    assert np.allclose(moved.coefficients, plain.coefficients * turn, atol=1e-5)


def test_damage_and_misfits_are_refused_in_one_sentence(file, tmp_path):
    whole = file.read_bytes()
    bad = tmp_path / "bad.tfrecords"

    def refused(data: bytes, sentence: str, **changes: object) -> None:
        bad.write_bytes(data)
        with pytest.raises(CaptureError, match=sentence) as caught:
            import_dichasus(bad, [0, 1], BANDWIDTH, **{"records": 6, **changes})
        assert "\n" not in str(caught.value)

    refused(whole[:200], "cut off in record 0")
    refused(whole[:-3], "cut off in record 5")
    refused(whole + b"abc", "cut off in the head of record 6", records=7)
    refused(whole[:500] + bytes([whole[500] ^ 4]) + whole[501:], "record 0 fails its checksum")
    refused(b"\1" + whole[1:], "no TFRecord file, or altered")
    refused(framed(b"\x0a\x7f"), "cut off inside a field")
    refused(framed(b"\xff" * 12), "number")
    refused(framed(field(1, field(1, field(1, b"csi") + field(2, field(2, b""))))), "without csi")
    refused(whole, "no record number 9", first=9)
    refused(record(responses({0: 1}), 1.0) * 2, "do not increase")
    refused(record(responses({0: np.nan}), 1.0), "not finite")
    refused(record(responses({0: 1}, antennas=1), 1.0), "antennas 0 .. 0")
    refused(whole, "into 7 positions", positions=7)
    with pytest.raises(CaptureError, match="different antennas"):
        import_dichasus(file, [], BANDWIDTH)
    with pytest.raises(CaptureError, match="cannot be read"):
        import_dichasus(tmp_path / "none", [0], BANDWIDTH)
    (tmp_path / "o.json").write_text('{"sto": [1.0]}')
    with pytest.raises(CaptureError, match="holds no offsets"):
        import_dichasus(file, [0], BANDWIDTH, offsets=tmp_path / "o.json")


def test_transposed_axes_are_noticed_by_what_else_counts_antennas(tmp_path):
    """csi [64, 3, 2] in the place of [3, 64, 2]: by the number of carrier offsets, of calibrated antennas, or by the size."""
    h = responses({62: 0.2j, 63: 1.0, 1: 0.5})
    file, offsets = tmp_path / "d.tfrecords", tmp_path / "o.json"
    cfo = np.array([10.0, 20.0, 30.0])
    offsets.write_text(json.dumps({"sto": [0.0] * 3, "cpo": [0.0] * 3}))
    file.write_bytes(record(h, 1.0, cfo))
    right = import_dichasus(file, [0, 2], BANDWIDTH, taps=4)
    with pytest.raises(CaptureError, match=r"csi of 64 antennas and 3 subcarriers, and cfo of 3: .*leave out --transposed"):
        import_dichasus(file, [0, 2], BANDWIDTH, transposed=True)

    file.write_bytes(record(h.T, 1.0, cfo))
    with pytest.raises(CaptureError, match="cfo of 3: its axes are transposed, add --transposed"):
        import_dichasus(file, [0, 2], BANDWIDTH)
    turned = import_dichasus(file, [0, 2], BANDWIDTH, taps=4, transposed=True)
    assert np.array_equal(turned.coefficients, right.coefficients)

    file.write_bytes(record(h.T, 1.0))
    with pytest.raises(CaptureError, match="64 antennas and only 3 subcarriers; if its axes are transposed, add --transposed"):
        import_dichasus(file, [0, 2], BANDWIDTH)
    with pytest.raises(CaptureError, match="the file of offsets of 3: its axes are transposed"):
        import_dichasus(file, [0, 2], BANDWIDTH, offsets=offsets)
    offsets.write_text(json.dumps({"sto": [0.0] * 5, "cpo": [0.0] * 5}))
    with pytest.raises(CaptureError, match="the file of offsets of 5: they are not of one data set"):
        import_dichasus(file, [0, 2], BANDWIDTH, offsets=offsets, transposed=True)
    # More antennas than subcarriers, where the offsets say so.
    wide = responses({0: 1.0}, antennas=70)
    file.write_bytes(record(wide, 1.0, np.zeros(70)))
    assert import_dichasus(file, [69], BANDWIDTH, taps=1).coefficients.shape == (1, 1, 1, 1)
