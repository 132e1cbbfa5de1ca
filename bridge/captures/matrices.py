"""Channel matrices of one's own as soundings: NumPy's ``.npy`` and ``.npz``, MATLAB's ``.mat`` of every version."""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.captures.errors import CaptureError, first_line
from bridge.captures.matlab import read_variable
from bridge.captures.sounding import Sounding, unit_gain

# In the order of a sounding's coefficients.
AXES = ("time", "antenna", "device", "tap")
_MAX_ELEMENTS = 1 << 28
# Headers are read as Python literals and archives are decompressed: a damaged file raises from either.
_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    SyntaxError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)


def import_matrix(
    path: str | Path, axes: Sequence[str], sample_rate_hz: float, *, step_s: float | None = None, name: str | None = None
) -> Sounding:
    """Complex gains with the axes ``axes``, of :data:`AXES` each at most once, scaled to mean 1.

    Instants are ``step_s`` apart, taps 1 / ``sample_rate_hz``, the first at delay zero; an axis that is not named has one
    entry. Axes of length 1 that nobody named are dropped: MATLAB has none of less than two axes. ``name``: of the variable,
    where the file has several. Raises :class:`bridge.captures.errors.CaptureError` where the file is none, or does not fit.
    """
    path = Path(path)
    if not (sample_rate_hz > 0 and math.isfinite(sample_rate_hz)):
        raise CaptureError(f"the sample rate must be positive and finite, got {sample_rate_hz}")
    values = _read(path, name)
    known = f"name its axes in order, of {', '.join(AXES)}: for example --axes time,device"
    if not axes:
        raise CaptureError(f"{path} is {_by(values.shape)} and does not say what that counts; {known}")
    if len(set(axes)) != len(axes) or set(axes) - set(AXES):
        raise CaptureError(f"{path}: the axes {', '.join(axes)} are not different ones of {', '.join(AXES)}; {known}")
    kept = values if values.ndim == len(axes) else values.squeeze()
    if kept.ndim != len(axes):
        raise CaptureError(f"{path} is {_by(values.shape)}, and {len(axes)} axes are named ({', '.join(axes)}); {known}")
    if 0 in kept.shape:
        raise CaptureError(f"{path} is {_by(values.shape)}: it is empty")
    order = [AXES.index(axis) for axis in axes]
    ordered = kept.transpose(np.argsort(order).tolist())
    shape = tuple(kept.shape[list(axes).index(axis)] if axis in axes else 1 for axis in AXES)
    instants, _, devices, taps = shape
    if instants > 1 and step_s is None:
        raise CaptureError(f"{path} has {instants} instants and does not say how far they are apart; add --step-s, in seconds")
    if step_s is not None and not (step_s > 0 and math.isfinite(step_s)):
        raise CaptureError(f"the distance of two instants must be positive and finite, got {step_s}")
    coefficients, gain_db = unit_gain(ordered.reshape(shape), path)
    return Sounding(
        coefficients=coefficients,
        delays_s=np.tile(np.arange(taps) / sample_rate_hz, (devices, 1)),
        times_s=np.arange(instants, dtype=np.float64) * (1.0 if step_s is None else step_s),
        sample_rate_hz=sample_rate_hz,
        gain_reference_db=gain_db,
        source=f"matrix {path.name}, axes {' x '.join(axes)}",
        path=str(path),
    )


def read_numpy(path: Path, names: Sequence[str] = (), *, or_only: bool = False) -> npt.NDArray[Any]:
    """An array of numbers of a ``.npy``, or of a ``.npz`` the one called one of ``names``.

    Without names, or with ``or_only`` where none of them is there, the only one.

    Pickled objects are never loaded. Raises :class:`bridge.captures.errors.CaptureError` where the file is none, is damaged,
    or holds something else.
    """
    if not path.is_file():
        raise CaptureError(f"there is no file {path}")
    if path.stat().st_size == 0:
        raise CaptureError(f"{path} is empty; save it again")
    with path.open("rb") as file:
        head = file.read(6)
    try:
        if head.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                held = [each.removesuffix(".npy") for each in archive.namelist() if each.endswith(".npy")]
                only = held[0] if len(held) == 1 and (or_only or not names) else None
                chosen = next((name for name in names if name in held), only)
                if chosen is None:
                    listed = ", ".join(held[:20]) or "none"
                    if names:
                        raise CaptureError(f"{path} lacks the array {names[0]!r}; it has {listed}")
                    raise CaptureError(f"{path} has the arrays {listed}; name the one that is meant")
                with archive.open(f"{chosen}.npy") as member:
                    _refuse_header(member, path)
                with archive.open(f"{chosen}.npy") as member:
                    values = np.lib.format.read_array(member, allow_pickle=False)
        elif head == b"\x93NUMPY":
            with path.open("rb") as file:
                _refuse_header(file, path)
                file.seek(0)
                values = np.lib.format.read_array(file, allow_pickle=False)
        else:
            raise CaptureError(f"{path} is no NumPy file: it starts with {head!r}")
    except _DAMAGE as error:
        raise CaptureError(f"{path} cannot be read as a NumPy file, it is damaged or cut off ({first_line(error)})") from error
    return values


def _refuse_header(file: Any, path: Path) -> None:
    """Refuse what would be loaded by pickle, has no numbers, or is too large, before any of it is read."""
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(file)
    if dtype.hasobject:
        raise CaptureError(f"{path} holds Python objects, which are never loaded; save an array of complex numbers")
    if dtype.kind not in "fciu":
        raise CaptureError(f"{path} holds {dtype}; it must be an array of numbers")
    if int(np.prod(shape, dtype=object)) > _MAX_ELEMENTS:
        raise CaptureError(f"{path} is {_by(shape)}, too large to be read at once; cut it into parts")


def _read(path: Path, name: str | None) -> npt.NDArray[Any]:
    names = [] if name is None else [name]
    if path.suffix == ".mat":
        return read_variable(path, names)
    if path.suffix in (".npy", ".npz"):
        if path.suffix == ".npy" and name is not None:
            raise CaptureError(f"{path} holds a single array without a name; leave out --variable")
        return read_numpy(path, names)
    raise CaptureError(f"{path} is no matrix that is read here; save it as .npy, .npz or .mat")


def _by(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape) or "a single number"
