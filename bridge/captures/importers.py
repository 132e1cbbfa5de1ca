"""Channels from elsewhere as soundings: DeepMIMO's ray-traced paths, Colosseum's scenario taps."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.captures.errors import CaptureError
from bridge.captures.matlab import read_variable
from bridge.captures.matrices import read_numpy
from bridge.captures.sounding import Sounding, unit_gain

_MAX_TAPS = 256
# Light travels 300 km in this time: a longer delay is in another unit.
_LONGEST_S = 1e-3
# Delays closer than this are one tap: Colosseum's grid is 10 ns.
_SAME_DELAY_S = 1e-10


def import_deepmimo(path: str | Path, sample_rate_hz: float, users: Sequence[int] | None = None) -> Sounding:
    """Devices at the users of a DeepMIMO (version 4) scenario, one antenna, one instant, gains scaled to mean 1.

    ``path``: an ``.npz`` or ``.mat`` with arrays ``power`` [users, paths] in dBW for 0 dBW transmitted, ``phase`` in degrees
    and ``delay`` (or ``toa``) in seconds, NaN where a user has fewer paths; a scenario folder with one such set, ``power_SET``,
    ``phase_SET`` and ``delay_SET`` (SET is ``t001_tx000_r000``, say), as ``.npz`` or ``.mat``; or, where the folder has
    several, the file ``power_SET`` of the one that is meant. The first path of every device arrives at delay zero; its absolute
    delay goes into ``timing_s``. ``users`` picks rows; none: every user with a path. Raises
    :class:`bridge.captures.errors.CaptureError` where arrays are missing, are of different sets, have other axes or units, or
    do not fit.
    """
    path = Path(path)
    power, phase, delay = _deepmimo(path)
    if not power.shape == phase.shape == delay.shape or power.ndim != 2:
        raise CaptureError(
            f"{path} has power {power.shape}, phase {phase.shape} and delay {delay.shape}; all are [users, paths]"
        )
    there = np.isfinite(power)
    _refuse_misfits(path, power, phase, delay, there)
    rows = np.flatnonzero(there.any(axis=1)) if users is None else np.asarray(users, np.int64)
    if not len(rows) or rows.min() < 0 or rows.max() >= len(power) or not there[rows].any(axis=1).all():
        raise CaptureError(f"{path} has {len(power)} users, of whom {there.any(axis=1).sum()} have a path; choose among those")
    if len(set(rows.tolist())) != len(rows):
        raise CaptureError(f"{path}: a user is chosen twice, and two devices cannot share a place; choose different ones")
    there = there[rows]
    amplitude = 10.0 ** (np.where(there, power[rows], 0.0) / 20.0) * np.exp(1j * np.deg2rad(np.where(there, phase[rows], 0.0)))
    first = np.where(there, delay[rows], np.inf).min(axis=1)
    delays = np.where(there, delay[rows] - first[:, None], 0.0)
    coefficients, gain_db = unit_gain(np.where(there, amplitude, 0.0)[None, None], path)
    return Sounding(
        coefficients=coefficients,
        delays_s=delays.astype(np.float64),
        times_s=np.zeros(1, np.float64),
        sample_rate_hz=sample_rate_hz,
        timing_s=np.asarray(first[None], np.float64),
        gain_reference_db=gain_db,
        source=f"DeepMIMO {path.name}",
        path=str(path),
    )


def import_colosseum(
    path: str | Path,
    receiver: int,
    devices: Sequence[int],
    sample_rate_hz: float,
    step_s: float = 1e-3,
    delay_unit_s: float = 1.0,
) -> Sounding:
    """Links from the nodes ``devices`` to the node ``receiver`` of a Colosseum scenario, gains scaled to mean 1.

    ``chMatrix`` of the ``.mat`` file: a cell [node, node, instant] of 2 x 4 matrices, delays [s] and complex gains of four taps
    (4 x 2, and structures with fields ``delay`` and ``iq``, are read as well), entry [i, j] the channel from node i to node j.
    ``step_s``: distance of two instants, Colosseum's 1 ms or a multiple. ``delay_unit_s``: what a delay of 1 is in seconds;
    indices on Colosseum's grid have 1e-8. Nodes count from 0. Raises
    :class:`bridge.captures.errors.CaptureError` where the matrix is missing or malformed, or delays are no seconds.
    """
    path = Path(path)
    cells = _cells(path)
    nodes, instants = len(cells), cells.shape[2]
    chosen = [receiver, *devices]
    if not devices or len(set(chosen)) != len(chosen) or not all(0 <= node < nodes for node in chosen):
        raise CaptureError(f"{path} has the nodes 0 .. {nodes - 1}; choose a receiver and other nodes as devices, got {chosen}")
    if not (0 < step_s < math.inf and 0 < delay_unit_s < math.inf):
        raise CaptureError(
            f"the distance of two instants and the unit of delays must be positive, got {step_s}, {delay_unit_s}"
        )
    links = [[_taps(cells[node, receiver, t], path, delay_unit_s) for t in range(instants)] for node in devices]
    longest = max((float(at.max()) for link in links for at, _ in link if len(at)), default=0.0)
    if longest > _LONGEST_S:
        raise CaptureError(
            f"{path} has delays of up to {longest:g} s; if they are indices on a grid of 10 ns, add --delay-unit-s 1e-8"
        )
    grids = [_grid([delay for delay, _ in link]) for link in links]
    width = max(len(grid) for grid in grids)
    if width > _MAX_TAPS:
        raise CaptureError(
            f"{path} has {width} different delays on one link, more than {_MAX_TAPS}; cut the scenario into parts"
        )
    coefficients = np.zeros((instants, 1, len(devices), width), np.complex128)
    delays = np.zeros((len(devices), width))
    for k, (link, grid) in enumerate(zip(links, grids, strict=True)):
        delays[k, : len(grid)] = grid
        for t, (at, gain) in enumerate(link):
            np.add.at(coefficients[t, 0, k], np.abs(grid[:, None] - at).argmin(axis=0), gain)
    scaled, gain_db = unit_gain(coefficients, path)
    return Sounding(
        coefficients=scaled,
        delays_s=delays,
        times_s=np.arange(instants, dtype=np.float64) * step_s,
        sample_rate_hz=sample_rate_hz,
        gain_reference_db=gain_db,
        source=f"Colosseum {path.name}",
        path=str(path),
    )


_KINDS: tuple[tuple[str, ...], ...] = (("power",), ("phase",), ("delay", "toa"))
_ENDINGS = (".npz", ".mat")


def _deepmimo(path: Path) -> list[npt.NDArray[np.float64]]:
    """Power, phase and delay of a file that has all of them, or of the three files of one set."""
    files = [path] * len(_KINDS)
    alone = path.name.partition("_")[0] in [name for names in _KINDS for name in names]
    of_set = path.is_dir() or (alone and path.suffix in _ENDINGS)
    if of_set:
        files = _of_one_set(path)
    return [_numbers(file, names, of_set) for file, names in zip(files, _KINDS, strict=True)]


def _of_one_set(path: Path) -> list[Path]:
    folder = path if path.is_dir() else path.parent
    sets: list[dict[tuple[str, str], Path]] = []
    for names in _KINDS:
        every = [f for name in names for ending in _ENDINGS for f in sorted(folder.glob(f"{name}_*{ending}"))]
        sets.append({(f.stem.partition("_")[2], f.suffix): f for f in every})
    if path.is_dir():
        for names, found in zip(_KINDS, sets, strict=True):
            if not found:
                raise CaptureError(f"{path} has no file {names[0]}_*.npz or {names[0]}_*.mat; it is no folder of DeepMIMO")
        common = sorted(set.intersection(*(set(found) for found in sets)))
        if not common:
            named = ", ".join(sorted(next(iter(found.values())).name for found in sets))
            raise CaptureError(f"{path} has power, phase and delay of different sets ({named}); bring those of one together")
        if any(len(found) > 1 for found in sets):
            raise CaptureError(
                f"{path} has several sets, {len(common)} of them whole; name one by its file, for example {sets[0][common[0]]}"
            )
        wanted = common[0]
    else:
        wanted = (path.stem.partition("_")[2], path.suffix)
    for names, found in zip(_KINDS, sets, strict=True):
        if wanted not in found:
            raise CaptureError(f"{folder} has no {names[0]}_{wanted[0]}{wanted[1]}, which belongs to {path.name}")
    return [found[wanted] for found in sets]


def _numbers(file: Path, names: tuple[str, ...], alone: bool) -> npt.NDArray[np.float64]:
    # A file of a single array may call it otherwise (NumPy's arr_0).
    read = read_variable if file.suffix == ".mat" else read_numpy
    values = read(file, names, or_only=alone)
    if values.dtype.kind == "c":
        raise CaptureError(
            f"{file} has complex numbers in {names[0]}, which must be real; matrices of gains are imported by: matrix"
        )
    return values.astype(np.float64)


def _refuse_misfits(
    path: Path,
    power: npt.NDArray[np.float64],
    phase: npt.NDArray[np.float64],
    delay: npt.NDArray[np.float64],
    there: npt.NDArray[np.bool_],
) -> None:
    """Refuse arrays that do not belong together, and what units and axes are seen to be wrong."""
    if np.isinf(power).any() or np.isinf(phase).any() or np.isinf(delay).any():
        raise CaptureError(f"{path} has an infinite power, phase or delay; a path that does not exist is NaN in all three")
    for name, values in (("phase", phase), ("delay", delay)):
        other = int((np.isfinite(values) != there).sum())
        if other:
            raise CaptureError(
                f"{path}: power and {name} disagree on {other} paths, whether they exist; they are of different sets"
            )
    # A user's paths come first in its row, and NaN after them.
    users_first, paths_first = (
        np.array_equal(each, -np.sort(-each, axis=1)) for each in (there.astype(int), there.T.astype(int))
    )
    if paths_first and not users_first:
        raise CaptureError(
            f"{path} has {power.shape[0]} rows that are no users but paths; transpose the arrays to [users, paths]"
        )
    if power.shape[1] > _MAX_TAPS:
        raise CaptureError(f"{path} has {power.shape[1]} paths per user, more than {_MAX_TAPS}; are its axes [users, paths]?")
    if not there.any():
        return
    if power[there].max() > 0:
        raise CaptureError(
            f"{path} has a path of {power[there].max():g} dBW for 0 dBW transmitted, more than was sent; power is in "
            "dBW, neither in dBm nor linear"
        )
    turned = phase[there][phase[there] != 0]
    if len(turned) >= 4 and np.abs(turned).max() <= math.pi:
        raise CaptureError(
            f"{path} has phases within {np.abs(turned).max():.3g} of zero, which seem to be radians; give degrees"
        )
    if delay[there].min() < 0 or delay[there].max() > _LONGEST_S:
        raise CaptureError(
            f"{path} has delays from {delay[there].min():g} to {delay[there].max():g}; they are in seconds, not "
            f"negative, and no path is longer than {_LONGEST_S:g} s"
        )


def _cells(path: Path) -> npt.NDArray[np.object_]:
    cells = read_variable(path, ("chMatrix",), cells=True)
    if cells.ndim == 2:  # MATLAB drops a last dimension of 1
        cells = cells[:, :, None]
    if cells.ndim != 3 or cells.shape[0] != cells.shape[1] or 0 in cells.shape:
        raise CaptureError(f"{path} has chMatrix of shape {cells.shape}; it must be [nodes, nodes, instants]")
    out: npt.NDArray[np.object_] = cells
    return out


def _taps(cell: Any, path: Path, unit_s: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.complex128]]:
    """Delays and gains of the taps of one cell that are not zero."""
    try:
        cell = np.asarray(cell)
        while cell.dtype == object and cell.size == 1:
            cell = np.asarray(cell.reshape(-1)[0])
        if cell.dtype.names:
            parts = [
                np.asarray(cell[name].reshape(-1)[0] if cell[name].dtype == object else cell[name]) for name in ("delay", "iq")
            ]
            delay, gain = (np.asarray(part, np.complex128).reshape(-1) for part in parts)
        elif cell.dtype == object and cell.size == 2:
            delay, gain = (np.asarray(part, np.complex128).reshape(-1) for part in cell.reshape(-1))
        else:
            matrix = np.asarray(cell, np.complex128)
            delay, gain = matrix if matrix.shape[0] == 2 else matrix.T
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise CaptureError(f"{path} has a cell in chMatrix that is no 2 x 4 matrix of delays and gains") from error
    good = delay.shape == gain.shape and np.isfinite(delay).all() and np.isfinite(gain).all()
    if not good or (delay.real < 0).any() or np.abs(delay.imag).max(initial=0.0) > 0:
        raise CaptureError(f"{path} has a cell in chMatrix whose delays and gains are no finite numbers, or a negative delay")
    kept = gain != 0
    return delay.real[kept] * unit_s, gain[kept]


def _grid(delays: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """The different delays of one link over all instants, at least one."""
    every = np.sort(np.concatenate([np.zeros(0), *delays]))
    if not len(every):
        return np.zeros(1)
    return every[np.concatenate(([True], np.diff(every) > _SAME_DELAY_S))]
