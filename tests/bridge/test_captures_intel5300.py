"""Recordings of an Intel 5300: packets packed here by the published layout, bit by bit, and a real recording where it is."""

import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from bridge.captures import CaptureError
from bridge.captures.intel5300 import SUBCARRIERS, import_intel5300

needs_csiread = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("csiread") is None,
    reason="csiread is missing; install it with: pip install -c constraints.txt 'pairzero[csi]'",
)
# A folder with intel5300_sample_0x5_64_3000.dat of the repository citysu/csiread, 2,998 packets.
SAMPLE = Path(os.environ.get("PAIRZERO_CSI", "../shared/data/csi")) / "intel5300_sample_0x5_64_3000.dat"
B = 20e6


def packet(csi, clock_us, rssi=(40, 40, 40), agc=60, order=(0, 1, 2), rate=0x101, number=0, streams=1) -> bytes:
    """One record: ``csi`` [30, antennas] of whole numbers -128 .. 127 in the order of the antennas.

    Thirty times: three bits, then of every receive chain eight bits of the real and eight of the imaginary part, lowest first;
    chain i is the antenna ``order[i]``. After log_to_file and read_bfee.c of the Linux 802.11n CSI Tool.
    """
    bits: list[int] = []
    antennas = csi.shape[1]
    for row in csi:
        bits += [0, 0, 0]
        for chain in range(antennas):
            for _ in range(streams):
                for part in (row[order[chain]].real, row[order[chain]].imag):
                    bits += [int(part) >> b & 1 for b in range(8)]
    body = np.packbits(bits, bitorder="little").tobytes()
    select = sum(antenna << 2 * i for i, antenna in enumerate(order))
    head = struct.pack("<IHHBBBBBbBBHH", clock_us, number, 0, antennas, streams, *rssi, -92, agc, select, len(body), rate)
    record = bytes([0xBB]) + head + body
    return struct.pack(">H", len(record)) + record


def flat(*gains) -> np.ndarray:
    return np.tile(np.array(gains, complex), (30, 1))


@needs_csiread
def test_antennas_order_power_and_time_are_those_of_the_packets(tmp_path):
    """Antennas 3, 4j, 12: 9 + 16 + 144 = 169 parts of the power that gain control and strengths state.

    Three strengths of 40 are 44.771 dB, less 44 and a gain of 60: -59.229 dBm for all antennas together.
    """
    file = tmp_path / "a.dat"
    data = [packet(flat(3, 4j, 12), 1000), packet(flat(3, 4j, 12), 3500, order=(2, 0, 1), agc=70)]
    file.write_bytes(b"".join([*data, b"\0\x02\xc1\x55"]))  # and a record of another kind
    one = import_intel5300(file, [0, 1, 2], B, taps=1)
    assert one.coefficients.shape == (2, 1, 3, 1)
    assert one.times_s.tolist() == [0.0, 0.0025]
    first, second = one.coefficients[:, 0, :, 0]
    assert np.allclose(first[1] / first[0], 4j / 3, atol=1e-5)
    assert np.allclose(first[2] / first[0], 4, atol=1e-5)
    assert np.allclose(second, first / np.sqrt(10), atol=1e-5)  # 10 dB of gain more means 10 dB less
    mean_dbm = -59.229 + 10 * np.log10((1 + 0.1) / 2 / 3)
    assert one.gain_reference_db == pytest.approx(mean_dbm, abs=1e-3)
    alone = import_intel5300(file, [1], B, taps=1, records=1)
    assert alone.gain_reference_db == pytest.approx(-59.229 + 10 * np.log10(16 / 169), abs=1e-3)
    assert "100.0 % of the energy" in alone.source


@needs_csiread
@pytest.mark.parametrize(("bandwidth", "rate", "carriers"), [(20e6, 0x101, 64), (40e6, 0x901, 128)])
def test_two_paths_are_two_taps_at_their_distance(tmp_path, bandwidth, rate, carriers):
    """A path of 96 at delay 3 and one of 24j at delay 5 taps: mean delay 3 and a little; the packets are aligned."""
    k = SUBCARRIERS[bandwidth]
    h = 96 * np.exp(-2j * np.pi * k * 3 / carriers) + 24j * np.exp(-2j * np.pi * k * 5 / carriers)
    file = tmp_path / "b.dat"
    turned = h * np.exp(2j * np.pi * (0.3 - k * 2 / carriers))
    file.write_bytes(b"".join(packet(np.round(x)[:, None], 1000 * i + 9, rate=rate) for i, x in enumerate((h, turned))))
    one = import_intel5300(file, [0], bandwidth, taps=8)
    taps = one.coefficients[:, 0, 0]
    assert np.allclose(taps[0], taps[1], atol=0.02)  # another phase, and two taps later: both are removed
    assert one.delays_s[0].tolist() == (np.arange(8) / bandwidth).tolist()
    later = one.timing_s[1, 0] - one.timing_s[0, 0]
    assert later * bandwidth == pytest.approx(2, abs=0.02)
    # The mean delay that was taken away, by the power-weighted phase slope, is between the paths and near the strong one.
    mean = one.timing_s[0, 0] * bandwidth + 2
    assert 3.0 < mean < 3.4
    rebuilt = np.exp(-2j * np.pi * np.outer(k, np.arange(8) + one.timing_s[0, 0] * bandwidth) / carriers) @ taps[0]
    turn = np.vdot(rebuilt, h) / np.abs(np.vdot(rebuilt, h))
    error = np.abs(rebuilt * turn * np.linalg.norm(h) / np.linalg.norm(rebuilt) - h)
    assert np.square(error).sum() / np.square(np.abs(h)).sum() < 0.01


def test_subcarriers_are_those_of_the_standard():
    assert SUBCARRIERS[20e6].tolist() == [
        -28, -26, -24, -22, -20, -18, -16, -14, -12, -10, -8, -6, -4, -2, -1,
        1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 28,
    ]  # fmt: skip
    assert len(SUBCARRIERS[40e6]) == 30
    assert SUBCARRIERS[40e6][[0, 14, 15, 29]].tolist() == [-58, -2, 2, 58]


@needs_csiread
def test_positions_are_parts_of_the_packets_and_the_clock_starts_over(tmp_path):
    file = tmp_path / "p.dat"
    data = [packet(flat(10 + i, 20), ((1 << 32) - 1500 + 1000 * i) % (1 << 32), rssi=(30 + i, 0, 0)) for i in range(6)]
    file.write_bytes(b"".join(data))
    one = import_intel5300(file, [0, 1], B, taps=1, positions=3)
    assert one.coefficients.shape == (2, 2, 3, 1)
    assert one.times_s.tolist() == [0.0, 0.001]
    energy = np.square(np.abs(one.coefficients[..., 0])).sum(axis=1)  # [instants, positions]
    assert np.allclose(10 * np.log10(energy / energy[0, 0]), [[0, 2, 4], [1, 3, 5]], atol=1e-3)


def test_damage_is_refused_before_csiread_sees_it(tmp_path):
    whole = packet(flat(1, 2, 3), 1000)
    file = tmp_path / "x.dat"

    def refused(data, sentence, antennas=(0,), rate=B, **changes):
        file.write_bytes(data)
        with pytest.raises(CaptureError, match=sentence) as caught:
            import_intel5300(file, antennas, rate, **changes)
        assert "\n" not in str(caught.value)

    refused(b"", "is empty")
    refused(b"hello, world\n" * 9, "is no recording of an Intel 5300, or cut off: at its start")
    refused(bytes(100), "is no recording of an Intel 5300")
    refused(whole[:100], "cut off: at its start")
    refused(whole + whole[:100], "cut off: after 1 packets")
    refused(whole + b"\1", "cut off: after 1 packets")
    refused(b"\0\x02\xc1\x55", "no packet with channel state information")
    refused(b"\0\x05\xbbabcd", "of 4 bytes, which is no head")
    for place in (11, 12):  # antennas and streams: lengths that do not follow from them are never read
        for value in (0, 2, 200):
            refused(whole[:place] + bytes([value]) + whole[place + 1 :], "do not fit together")
    refused(whole, "different receive antennas", antennas=())
    refused(whole, "different receive antennas", antennas=(0, 0))
    refused(whole, "different receive antennas", antennas=(3,))
    refused(packet(flat(1), 5), "1 receive antennas in packet 0", antennas=(1,))
    refused(packet(flat(1), 5, streams=2), "2 streams in packet 0")
    refused(whole, "packets of 20 MHz.* state --sample-rate 2e[+]07", rate=1e6)
    refused(whole + packet(flat(1, 2, 3), 2000, rate=0x901), "mixes packets of 20 and 40 MHz")
    refused(packet(flat(1), 5, rate=1), "not of 802.11n")
    refused(whole + whole, "the clock does not advance from packet 0 to 1")
    refused(whole, "not 64", taps=64)
    refused(whole, "none from number 4 on", first=4)
    with pytest.raises(CaptureError, match="there is no file"):
        import_intel5300(tmp_path / "none.dat", [0], B)


@needs_csiread
def test_packets_without_a_signal_are_named(tmp_path):
    file = tmp_path / "x.dat"
    for silent in (packet(flat(1), 2000, rssi=(0, 0, 0)), packet(flat(0), 2000)):
        file.write_bytes(packet(flat(1), 1000) + silent)
        with pytest.raises(CaptureError, match="no signal in packet 1"):
            import_intel5300(file, [0], B)
    with pytest.raises(CaptureError, match="cannot be cut into 3 positions"):
        import_intel5300(file, [0], B, positions=3, records=1)


def test_without_csiread_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "csiread", None)
    (tmp_path / "x.dat").write_bytes(packet(flat(1), 1000))
    with pytest.raises(CaptureError, match=r"csiread is missing; install it with: pip install 'pairzero\[csi\]'"):
        import_intel5300(tmp_path / "x.dat", [0], B)


@needs_csiread
@pytest.mark.skipif(not SAMPLE.is_file(), reason=f"no {SAMPLE.name}; set PAIRZERO_CSI to the folder that has it")
def test_a_real_recording():
    assert hashlib.sha256(SAMPLE.read_bytes()).hexdigest().startswith("a27c463e319f33b0")
    one = import_intel5300(SAMPLE, [0, 1, 2], B)
    assert one.coefficients.shape == (2998, 1, 3, 8)
    assert 2.9 < one.times_s[-1] < 3.1
    assert np.median(np.diff(one.times_s)) == pytest.approx(1e-3)
    assert one.mean_gain_db() == pytest.approx(0.0, abs=1e-4)
    assert -75 < one.gain_reference_db < -65
    # Eight taps hold the channel, and it moves slowly: neighbours are alike, a second apart they are less so.
    assert float(one.source.split(",")[1].split()[0]) > 99
    h = one.coefficients[:, 0].reshape(2998, -1)
    h = h / np.linalg.norm(h, axis=1, keepdims=True)
    alike = [np.abs((h[lag:].conj() * h[:-lag]).sum(axis=1)).mean() for lag in (1, 1000)]
    assert alike[0] > 0.97
    assert alike[1] < alike[0]
