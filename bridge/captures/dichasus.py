"""DICHASUS (University of Stuttgart): channels measured between one moving transmitter and many antennas, as soundings.

A record has ``csi`` [antennas, subcarriers, 2] in the order of a discrete Fourier transform, ``time`` [s], and, in most of the
data sets, ``cfo`` [antennas] in Hz. Phases and delays of the receivers are aligned by the offsets that the data set publishes
beside it (``reftx-offsets-*.json``: ``sto`` in taps and ``cpo`` in radians of every antenna, the subcarriers counted from the
lowest). Source: the readers on the pages of the data sets, and NVlabs/diff-rt-calibration for the offsets.
"""

import json
import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.captures.errors import CaptureError
from bridge.captures.sounding import Sounding, unit_gain
from bridge.captures.tfrecord import features, read_records, tensor

Complexes = npt.NDArray[np.complex128]


def import_dichasus(
    path: str | Path,
    antennas: Sequence[int],
    bandwidth_hz: float,
    *,
    records: int = 100,
    every: int = 1,
    first: int = 0,
    positions: int | None = None,
    taps: int = 32,
    offsets: str | Path | None = None,
    transposed: bool = False,
) -> Sounding:
    """Taps 1 / ``bandwidth_hz`` apart of ``records`` records, gains scaled to mean 1.

    By default every one of ``antennas`` is a device and the moving transmitter the server: channels are the same both ways, and
    all of them were measured at once. With ``positions`` K, ``antennas`` are the server's, and device k stands where the
    transmitter stood in the k-th of K equal parts of the records: measured one after the other.
    Of every device the ``taps`` circularly adjacent taps with most of the energy over all records are kept; what share that is
    stands in ``source``. ``every``: take each n-th record from ``first`` on. ``offsets``: the data set's calibration.
    ``transposed``: csi is [subcarriers, antennas, 2], which is refused unless it is said.
    Raises :class:`bridge.captures.errors.CaptureError` where the file is damaged, lacks what is asked for, or is none.
    """
    path = Path(path)
    if not antennas or len(set(antennas)) != len(antennas) or min(antennas) < 0:
        raise CaptureError(f"choose different antennas of {path.name}, counted from 0: --node 3 --node 7")
    if records < 1 or every < 1 or first < 0 or taps < 1 or not (bandwidth_hz > 0 and math.isfinite(bandwidth_hz)):
        raise CaptureError("records, every, taps and the bandwidth must be positive, and first not negative")
    chosen = list(antennas)
    turn, calibrated = (None, None) if offsets is None else _calibration(Path(offsets), chosen)
    responses, times, cfos = [], [], []
    for record in islice(read_records(path), first, first + records * every, every):
        found = features(record)
        response = _response(found, chosen, path, calibrated, transposed)
        responses.append(response if turn is None else response * turn(response.shape[1]))
        times.append(_time(found, path))
        cfos.append(_cfo(found, chosen, path))
    if not responses:
        raise CaptureError(f"{path} has no record number {first}")
    if len({response.shape for response in responses}) > 1:
        raise CaptureError(f"{path} changes its number of subcarriers from record to record")
    impulse = np.fft.ifft(np.stack(responses), axis=2)  # [records, antennas, taps]
    cfo = np.stack(cfos)
    at = np.asarray(times, np.float64)
    # [instants, server antennas, devices, taps]
    if positions is None:
        arranged, cfo = impulse[:, None], cfo
    else:
        if positions < 1 or len(impulse) < positions:
            raise CaptureError(f"{len(impulse)} records cannot be cut into {positions} positions; take more --records")
        length = len(impulse) // positions
        arranged = impulse[: length * positions].reshape(positions, length, *impulse.shape[1:]).transpose(1, 2, 0, 3)
        cfo = cfo[: length * positions].mean(axis=1).reshape(positions, length).T
        at = at[:length]
    if (np.diff(at) <= 0).any():
        raise CaptureError(f"{path} has records whose times do not increase; take a part of it with --first and --records")
    window, starts, share = _window(arranged, min(taps, arranged.shape[3]))
    coefficients, gain_db = unit_gain(window, path)
    devices = window.shape[2]
    return Sounding(
        coefficients=coefficients,
        delays_s=np.tile(np.arange(window.shape[3]) / bandwidth_hz, (devices, 1)),
        times_s=at - at[0],
        sample_rate_hz=bandwidth_hz,
        timing_s=np.tile(starts / bandwidth_hz, (len(window), 1)),
        frequency_offset_hz=cfo,
        gain_reference_db=gain_db,
        source=f"DICHASUS {path.name}, {100.0 * share:.1f} % of the energy",
        path=str(path),
    )


def _response(found: dict[str, Any], antennas: list[int], path: Path, calibrated: int | None, transposed: bool) -> Complexes:
    """Frequency responses [antennas, subcarriers] of one record; ``calibrated``: antennas of the data set's offsets."""
    if not isinstance(found.get("csi"), bytes):
        raise CaptureError(f"{path} has a record without csi; it has {', '.join(sorted(found)) or 'nothing'}")
    csi = tensor(found["csi"], "csi")
    if csi.ndim != 3 or csi.shape[2] != 2 or min(csi.shape) < 1:
        raise CaptureError(f"{path} has csi of shape {csi.shape}; it must be [antennas, subcarriers, 2]")
    csi = csi.transpose(1, 0, 2) if transposed else csi
    number, subcarriers = csi.shape[:2]
    if subcarriers < 2:
        raise CaptureError(f"{path} has csi of {subcarriers} subcarrier; taps need two and more")
    # What else counts antennas tells the axes; without it, there are fewer antennas than subcarriers in every data set.
    cfo = tensor(found["cfo"], "cfo") if isinstance(found.get("cfo"), bytes) else None
    stated = {} if cfo is None or cfo.ndim != 1 else {"cfo": len(cfo)}
    stated |= {} if calibrated is None else {"the file of offsets": calibrated}
    said = ", add --transposed" if not transposed else ", leave out --transposed"
    for name, count in stated.items():
        if count != number:
            turned = f"its axes are transposed{said}" if count == subcarriers else "they are not of one data set"
            raise CaptureError(
                f"{path} has csi of {number} antennas and {subcarriers} subcarriers, and {name} of {count}: {turned}"
            )
    if not stated and number > subcarriers:
        raise CaptureError(
            f"{path} has csi of {number} antennas and only {subcarriers} subcarriers; if its axes are transposed{said}"
        )
    if max(antennas) >= number:
        raise CaptureError(f"{path} has the antennas 0 .. {number - 1}; choose among them, got {max(antennas)}")
    picked = csi[antennas].astype(np.float64)
    if not np.isfinite(picked).all():
        raise CaptureError(f"{path} has csi that is not finite")
    return np.asarray(picked[..., 0] + 1j * picked[..., 1])


def _time(found: dict[str, Any], path: Path) -> float:
    value = found.get("time")
    if not isinstance(value, np.ndarray) or value.size != 1 or not math.isfinite(value[0]):
        raise CaptureError(f"{path} has a record without a time")
    return float(value[0])


def _cfo(found: dict[str, Any], antennas: list[int], path: Path) -> npt.NDArray[np.float64]:
    if not isinstance(found.get("cfo"), bytes):
        return np.full(len(antennas), np.nan)
    values = tensor(found["cfo"], "cfo")
    if values.ndim != 1 or max(antennas) >= len(values):
        raise CaptureError(f"{path} has cfo of shape {values.shape} instead of one number per antenna")
    return values[antennas].astype(np.float64)


def _calibration(path: Path, antennas: list[int]) -> tuple[Any, int]:
    """A function of the number of subcarriers: factors [antennas, subcarriers], in the order of the transform; how "
    "many antennas."""
    try:
        offsets = json.loads(path.read_text(encoding="utf-8"))
        sto, cpo = (np.asarray(offsets[name], np.float64) for name in ("sto", "cpo"))
        if sto.shape != cpo.shape or sto.ndim != 1 or max(antennas) >= len(sto) or not np.isfinite(sto + cpo).all():
            raise ValueError(f"sto {sto.shape} and cpo {cpo.shape} must have a finite number per antenna")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CaptureError(f"{path} holds no offsets sto and cpo of every antenna: {error}") from error

    def factors(subcarriers: int) -> Complexes:
        phase = 2.0 * np.pi * np.outer(sto[antennas], np.arange(subcarriers)) / subcarriers + cpo[antennas][:, None]
        return np.fft.ifftshift(np.exp(1j * phase), axes=1)

    return factors, len(sto)


def _window(impulse: Complexes, taps: int) -> tuple[Complexes, npt.NDArray[np.float64], float]:
    """Of impulses [T, M, K, N] the ``taps`` adjacent ones with most energy of each device, their starts [K], the share kept."""
    energy = np.square(np.abs(impulse)).sum(axis=(0, 1))  # [K, N]
    count = energy.shape[1]
    doubled = np.concatenate((energy, energy[:, : taps - 1]), axis=1)
    sums = np.cumsum(np.concatenate((np.zeros((len(energy), 1)), doubled), axis=1), axis=1)
    inside = sums[:, taps:] - sums[:, :-taps]
    starts = inside.argmax(axis=1)
    kept = np.stack(
        [impulse[:, :, k][..., (start + np.arange(taps)) % count] for k, start in enumerate(starts)], axis=2
    )  # [T, M, K, taps]
    signed = np.where(starts > count // 2, starts - count, starts).astype(np.float64)
    total = float(energy.sum())
    share = float(inside[np.arange(len(energy)), starts].sum()) / total if total > 0 else 0.0
    return kept, signed, share
