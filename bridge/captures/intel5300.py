"""Channel state information that an Intel 5300 recorded (Linux 802.11n CSI Tool), as soundings; read by ``csiread``.

Packets follow one another in time, each with the responses of up to three receive antennas at 30 subcarriers: -28, -26, ... -2,
-1, 1, 3, ... 27, 28 of a channel of 20 MHz, -58, -54, ... 58 of one of 40 MHz, 312.5 kHz apart (IEEE 802.11n, 7.3.1.28).
The receiver's gain control is undone: the energy of a packet is the power that it was received with, in mW.

What the recorder cannot know is removed: every packet comes with a timing and a carrier phase of its own, common to all
antennas. The mean delay of each packet is taken away, and its phase turned to meet the packet before; ratios between antennas
and between subcarriers stay as measured, a motion of all of them together is lost.
"""

import importlib
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bridge.captures.errors import CaptureError
from bridge.captures.sounding import Sounding, unit_gain

Complexes = npt.NDArray[np.complex128]
Floats = npt.NDArray[np.float64]

SUBCARRIERS = {
    20e6: np.array([*range(-28, -1, 2), -1, *range(1, 28, 2), 28]),
    40e6: np.arange(-58, 59, 4),
}
_SPACING_HZ = 312.5e3
_PACKET, _HIGH_THROUGHPUT, _WIDE = 0xBB, 0x100, 0x800
_MAX_PACKETS = 1 << 18
_MAX_TAPS = 16  # beyond it 30 subcarriers of 20 MHz, whose edges are empty, do not tell taps apart


class _Head(NamedTuple):
    """Of a packet: the clock in microseconds, the power in mW, antennas, streams, flags of the rate."""

    clock_us: int
    power_mw: float
    receivers: int
    streams: int
    rate: int


def import_intel5300(
    path: str | Path,
    antennas: Sequence[int],
    sample_rate_hz: float,
    *,
    positions: int | None = None,
    records: int | None = None,
    every: int = 1,
    first: int = 0,
    taps: int = 8,
) -> Sounding:
    """Taps 1 / ``sample_rate_hz``, the packets' bandwidth, apart; an instant per packet, at its time; gains scaled to mean 1.

    By default every one of ``antennas`` is a device and the transmitter the server, since channels are the same both ways. With
    ``positions`` K, ``antennas`` are the server's, and device k has the k-th of K equal parts of the packets: measured one
    after the other. ``taps`` least-squares taps, a quarter of them before the mean delay, stand for 30 subcarriers; the share
    of the energy that they hold stands in ``source``. ``records``: packets, each ``every``-th from ``first`` on; none: all.
    ``gain_reference_db`` is the mean received power in dBm. Raises :class:`bridge.captures.errors.CaptureError` where the file
    is none, is damaged, or does not hold what is asked for, and where csiread is missing.
    """
    path = Path(path)
    if not antennas or len(set(antennas)) != len(antennas) or not all(0 <= antenna < 3 for antenna in antennas):
        raise CaptureError(f"choose different receive antennas of {path.name}, 0 to 2: --node 0 --node 1")
    if (records is not None and records < 1) or every < 1 or first < 0:
        raise CaptureError("records and every must be positive, and first not negative")
    if not 1 <= taps <= _MAX_TAPS:
        raise CaptureError(f"30 subcarriers tell 1 to {_MAX_TAPS} taps apart, not {taps}; choose --taps among those")
    heads = _heads(path)
    stop = len(heads) if records is None else min(first + records * every, len(heads))
    picked = np.arange(first, stop, every)
    if not len(picked):
        raise CaptureError(f"{path} has {len(heads)} packets and none from number {first} on; choose another --first")
    bandwidth = _bandwidth([heads[i] for i in picked], path)
    if sample_rate_hz != bandwidth:
        raise CaptureError(
            f"{path} has packets of {bandwidth / 1e6:g} MHz, and their taps are that far apart; state --sample-rate "
            f"{bandwidth:g}"
        )
    for number in picked:
        if max(antennas) >= heads[number].receivers:
            raise CaptureError(
                f"{path} has {heads[number].receivers} receive antennas in packet {number}; choose among them, got "
                f"{max(antennas)}"
            )
        if heads[number].streams > 1:
            raise CaptureError(
                f"{path} has {heads[number].streams} streams in packet {number}, whose mapping to antennas is not "
                "known; record packets of one stream"
            )
    times = _times(heads, picked, path)
    responses = _responses(path, heads, picked)[:, :, list(antennas)]
    still, delays = _without_common(responses, SUBCARRIERS[bandwidth])
    impulse, share = _taps(still, SUBCARRIERS[bandwidth], bandwidth, taps)  # [instants, antennas, taps]
    if positions is None:
        arranged = impulse[:, None]
        timing = np.tile(delays[:, None], (1, len(antennas)))
    else:
        if not 1 <= positions <= len(impulse):
            raise CaptureError(f"{len(impulse)} packets cannot be cut into {positions} positions; take more --records")
        length = len(impulse) // positions
        arranged = impulse[: length * positions].reshape(positions, length, len(antennas), taps).transpose(1, 2, 0, 3)
        timing, times = delays[: length * positions].reshape(positions, length).T, times[:length]
    coefficients, gain_db = unit_gain(arranged, path)
    return Sounding(
        coefficients=coefficients,
        delays_s=np.tile(np.arange(taps) / bandwidth, (arranged.shape[2], 1)),
        times_s=times - times[0],
        sample_rate_hz=bandwidth,
        timing_s=timing - (taps // 4) / bandwidth,
        gain_reference_db=gain_db,
        source=f"Intel 5300 {path.name}, {100.0 * share:.1f} % of the energy; phase and timing common to antennas removed",
        path=str(path),
    )


def _heads(path: Path) -> list[_Head]:
    """Heads of all packets; every length is checked here, since csiread trusts them."""
    if not path.is_file():
        raise CaptureError(f"there is no file {path}")
    data = path.read_bytes()
    if not data:
        raise CaptureError(f"{path} is empty; record it again")
    heads: list[_Head] = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        code, body = data[at + 2 : at + 3], data[at + 3 : at + 2 + size]
        if len(data) - at < 2 + size or size < 1:
            place = f"after {len(heads)} packets" if heads else "at its start"
            raise CaptureError(
                f"{path} is no recording of an Intel 5300, or cut off: {place} a record is longer than what is left"
            )
        at += 2 + size
        if code[0] != _PACKET:
            continue
        if len(heads) == _MAX_PACKETS:
            raise CaptureError(f"{path} has more than {_MAX_PACKETS} packets; cut it into parts")
        if len(body) < 20:
            raise CaptureError(f"{path} has a packet {len(heads)} of {len(body)} bytes, which is no head; it is damaged")
        clock, receivers, streams, *strengths, gain = struct.unpack_from("<I4xBBBBBxB", body)
        length, rate = struct.unpack_from("<HH", body, 16)
        bits = 30 * (receivers * streams * 16 + 3)
        if not (1 <= receivers <= 3 and 1 <= streams <= 3) or length != (bits + 7) // 8 or len(body) != 20 + length:
            raise CaptureError(
                f"{path} has a packet {len(heads)} of {receivers} antennas, {streams} streams and {length} bytes, which "
                "do not fit together; it is damaged"
            )
        # Strengths are dB over a reference, zero where there is no antenna; -44 and the gain make it dBm.
        power = sum(10.0 ** (strength / 10.0) for strength in strengths if strength) * 10.0 ** (-(44.0 + gain) / 10.0)
        heads.append(_Head(clock, power, receivers, streams, rate))
    if not heads:
        raise CaptureError(f"{path} has no packet with channel state information")
    return heads


def _bandwidth(heads: list[_Head], path: Path) -> float:
    if not all(head.rate & _HIGH_THROUGHPUT for head in heads):
        raise CaptureError(
            f"{path} has packets that are not of 802.11n, which have no channel state information; it is damaged"
        )
    widths = {40e6 if head.rate & _WIDE else 20e6 for head in heads}
    if len(widths) > 1:
        raise CaptureError(f"{path} mixes packets of 20 and 40 MHz; choose a part of one by --first and --records")
    return widths.pop()


def _times(heads: list[_Head], picked: npt.NDArray[np.int64], path: Path) -> Floats:
    """Seconds since the first packet; the card's clock counts microseconds in 32 bits and starts over every 71.6 minutes."""
    clock = np.array([heads[i].clock_us for i in picked], np.int64)
    steps = np.mod(np.diff(clock), 1 << 32)
    wrong = np.flatnonzero((steps == 0) | (steps >= 1 << 31))
    if len(wrong):
        raise CaptureError(
            f"{path}: the clock does not advance from packet {picked[wrong[0]]} to {picked[wrong[0] + 1]}; choose a "
            "part by --first and --records"
        )
    return np.concatenate(([0.0], np.cumsum(steps) / 1e6))


def _responses(path: Path, heads: list[_Head], picked: npt.NDArray[np.int64]) -> Complexes:
    """Responses [packets, 30, antennas] of the first stream; the mean over subcarriers of their energy is power in mW."""
    try:
        csiread = importlib.import_module("csiread")
    except ImportError as error:
        raise CaptureError(
            f"{path} is a recording of an Intel 5300 and csiread is missing; install it with: pip install 'pairzero[csi]'"
        ) from error
    receivers, streams = (max(getattr(head, name) for head in heads) for name in ("receivers", "streams"))
    reader: Any = csiread.Intel(str(path), nrxnum=receivers, ntxnum=streams, pl_size=0, if_report=False)
    reader.read()
    if reader.count != len(heads):
        raise CaptureError(f"{path} has {len(heads)} packets, of which csiread reads {reader.count}; it is damaged")
    csi = np.asarray(reader.csi[picked, :, :, 0], np.complex128)
    energy = np.square(np.abs(csi)).sum(axis=(1, 2)) / csi.shape[1]
    power = np.array([heads[i].power_mw for i in picked])
    silent = np.flatnonzero((energy == 0) | (power == 0))
    if len(silent):
        raise CaptureError(
            f"{path} has no signal in packet {picked[silent[0]]}: its strength or all of its subcarriers are zero; "
            "choose a part by --first and --records"
        )
    return np.asarray(csi * np.sqrt(power / energy)[:, None, None], np.complex128)


def _without_common(responses: Complexes, carriers: npt.NDArray[np.int64]) -> tuple[Complexes, Floats]:
    """Responses without the timing and phase that all antennas of a packet share; the delays [packets] that were "
    "removed, in s."""
    step = int(np.diff(carriers).max())
    pairs = np.flatnonzero(np.diff(carriers) == step)
    slope = np.angle((responses[:, pairs + 1] * responses[:, pairs].conj()).sum(axis=(1, 2))) / step
    level = responses * np.exp(-1j * slope[:, None] * carriers)[:, :, None]
    turns = np.angle((level[1:] * level[:-1].conj()).sum(axis=(1, 2)))
    phase = np.concatenate(([0.0], np.cumsum(turns)))
    return level * np.exp(-1j * phase)[:, None, None], -slope / (2.0 * math.pi * _SPACING_HZ)


def _taps(responses: Complexes, carriers: npt.NDArray[np.int64], bandwidth: float, taps: int) -> tuple[Complexes, float]:
    """Least-squares taps [packets, antennas, taps], the first a quarter of them before delay zero, and their share of "
    "the energy."""
    delays = np.arange(taps) - taps // 4
    model = np.exp(-2j * np.pi * np.outer(carriers, delays) * _SPACING_HZ / bandwidth)
    packets, _, antennas = responses.shape
    columns = responses.transpose(1, 0, 2).reshape(len(carriers), -1)
    solved = np.linalg.lstsq(model, columns, rcond=None)[0]
    left = float(np.square(np.abs(columns - model @ solved)).sum())
    share = 1.0 - left / float(np.square(np.abs(columns)).sum())
    return np.asarray(solved.T.reshape(packets, antennas, taps), np.complex128), share
