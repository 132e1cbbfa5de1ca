"""Channels from elsewhere as soundings: DeepMIMO's ray-traced paths, Colosseum's scenario taps."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.captures.errors import CaptureError
from bridge.captures.sounding import Sounding

_MAX_TAPS = 256
# Delays closer than this are one tap: Colosseum's grid is 10 ns.
_SAME_DELAY_S = 1e-10


def import_deepmimo(path: str | Path, sample_rate_hz: float, users: Sequence[int] | None = None) -> Sounding:
    """Devices at the users of a DeepMIMO (version 4) scenario, one antenna, one instant, gains scaled to mean 1.

    ``path``: an ``.npz`` with arrays ``power`` [users, paths] in dBW for 0 dBW transmitted, ``phase`` in degrees and
    ``delay`` (or ``toa``) in seconds, NaN where a user has fewer paths; or a scenario folder with one such transmitter's
    ``power_*.npz``, ``phase_*.npz`` and ``delay_*.npz``. The first path of every device arrives at delay zero; its absolute
    delay goes into ``timing_s``. ``users`` picks rows; none: every user with a path. Raises
    :class:`bridge.captures.errors.CaptureError` where arrays are missing or do not fit.
    """
    path = Path(path)
    power, phase, delay = (_deepmimo(path, names) for names in (("power",), ("phase",), ("delay", "toa")))
    if not power.shape == phase.shape == delay.shape or power.ndim != 2:
        raise CaptureError(
            f"{path} has power {power.shape}, phase {phase.shape} and delay {delay.shape}; all are [users, paths]"
        )
    there = np.isfinite(power) & np.isfinite(phase) & np.isfinite(delay)
    rows = np.flatnonzero(there.any(axis=1)) if users is None else np.asarray(users, np.int64)
    if not len(rows) or rows.min() < 0 or rows.max() >= len(power) or not there[rows].any(axis=1).all():
        raise CaptureError(f"{path} has {len(power)} users, of whom {there.any(axis=1).sum()} have a path; choose among those")
    there = there[rows]
    amplitude = 10.0 ** (np.where(there, power[rows], 0.0) / 20.0) * np.exp(1j * np.deg2rad(np.where(there, phase[rows], 0.0)))
    first = np.where(there, delay[rows], np.inf).min(axis=1)
    delays = np.where(there, delay[rows] - first[:, None], 0.0)
    # Scaled before they become single precision: path losses of 150 dB and more are usual.
    coefficients = np.where(there, amplitude, 0.0)
    energy = float(np.square(np.abs(coefficients)).sum(axis=1).mean())
    return Sounding(
        coefficients=(coefficients / math.sqrt(energy)).astype(np.complex64)[None, None],
        delays_s=delays.astype(np.float64),
        times_s=np.zeros(1, np.float64),
        sample_rate_hz=sample_rate_hz,
        timing_s=np.asarray(first[None], np.float64),
        gain_reference_db=10.0 * math.log10(energy),
        source=f"DeepMIMO {path.name}",
        path=str(path),
    )


def import_colosseum(
    path: str | Path, receiver: int, devices: Sequence[int], sample_rate_hz: float, step_s: float = 1e-3
) -> Sounding:
    """Links from the nodes ``devices`` to the node ``receiver`` of a Colosseum scenario, gains scaled to mean 1.

    ``chMatrix`` of the ``.mat`` file: a cell [node, node, instant] of 2 x 4 matrices, delays [s] and complex gains of four taps
    (4 x 2, and structures with fields ``delay`` and ``iq``, are read as well), entry [i, j] the channel from node i to node j.
    ``step_s``: distance of two instants, Colosseum's 1 ms or a multiple. Nodes count from 0. Raises
    :class:`bridge.captures.errors.CaptureError` where the matrix is missing or malformed.
    """
    path = Path(path)
    cells = _cells(path)
    nodes, instants = len(cells), cells.shape[2]
    chosen = [receiver, *devices]
    if not devices or len(set(chosen)) != len(chosen) or not all(0 <= node < nodes for node in chosen):
        raise CaptureError(f"{path} has the nodes 0 .. {nodes - 1}; choose a receiver and other nodes as devices, got {chosen}")
    if not step_s > 0:
        raise CaptureError(f"the distance of two instants must be positive, got {step_s}")
    links = [[_taps(cells[node, receiver, t], path) for t in range(instants)] for node in devices]
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
    energy = float(np.square(np.abs(coefficients)).sum(axis=3).mean())
    if not energy > 0:
        raise CaptureError(f"{path} has no gain on any of the chosen links")
    return Sounding(
        coefficients=(coefficients / math.sqrt(energy)).astype(np.complex64),
        delays_s=delays,
        times_s=np.arange(instants, dtype=np.float64) * step_s,
        sample_rate_hz=sample_rate_hz,
        gain_reference_db=10.0 * math.log10(energy),
        source=f"Colosseum {path.name}",
        path=str(path),
    )


def _deepmimo(path: Path, names: tuple[str, ...]) -> npt.NDArray[np.float64]:
    file = path
    if path.is_dir():
        found = sorted(f for name in names for f in path.glob(f"{name}_*.npz"))
        if len(found) != 1:
            raise CaptureError(f"{path} has {len(found)} files {names[0]}_*.npz; copy those of one transmitter into a folder")
        file = found[0]
    try:
        with np.load(file, allow_pickle=False) as data:
            key = next((name for name in names if name in data.files), data.files[0] if path.is_dir() and data.files else None)
            if key is None:
                raise CaptureError(f"{file} lacks the array {names[0]!r}; it has {', '.join(data.files) or 'none'}")
            return np.asarray(data[key], np.float64)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CaptureError(f"{file} cannot be read as a DeepMIMO file: {error}") from error


def _cells(path: Path) -> npt.NDArray[np.object_]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise CaptureError(
            f"{path} is a MATLAB file and scipy is missing; install it with: pip install 'pairzero[phy]'"
        ) from error
    try:
        cells = loadmat(str(path)).get("chMatrix")
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        raise CaptureError(f"{path} cannot be read as a MATLAB file ({error}); save it in version 7 or older") from error
    if not isinstance(cells, np.ndarray) or cells.dtype != object:
        raise CaptureError(f"{path} has no cell array chMatrix; it is no Colosseum scenario")
    if cells.ndim == 2:  # MATLAB drops a last dimension of 1
        cells = cells[:, :, None]
    if cells.ndim != 3 or cells.shape[0] != cells.shape[1] or 0 in cells.shape:
        raise CaptureError(f"{path} has chMatrix of shape {cells.shape}; it must be [nodes, nodes, instants]")
    out: npt.NDArray[np.object_] = cells
    return out


def _taps(cell: Any, path: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.complex128]]:
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
    return delay.real[kept], gain[kept]


def _grid(delays: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """The different delays of one link over all instants, at least one."""
    every = np.sort(np.concatenate([np.zeros(0), *delays]))
    if not len(every):
        return np.zeros(1)
    return every[np.concatenate(([True], np.diff(every) > _SAME_DELAY_S))]
