"""Read one variable of a MATLAB file: versions 4 to 7 by scipy, version 7.3, which is HDF5, by h5py.

Version 7.3 stores arrays with their axes the other way round (MATLAB counts the first axis fastest), complex numbers as pairs
``real`` and ``imag`` and cells as references; all three are turned back, so that every version gives the same array.
Octave's files of type ``-v7`` are MATLAB's; its text and HDF5 files are not.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.captures.errors import CaptureError, first_line
from bridge.captures.matlab_tags import refuse_damaged

_MAX_ELEMENTS = 1 << 28
_MAX_CELLS = 1 << 22
_CLASSES = ("double", "single", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def read_variable(
    path: str | Path, names: Sequence[str] = (), *, cells: bool = False, or_only: bool = False
) -> npt.NDArray[Any]:
    """The variable called one of ``names``, as an array; ``cells``: as a cell array.

    Without names, or with ``or_only`` where none of them is there, the only variable of the kind.

    Raises :class:`bridge.captures.errors.CaptureError` where the file is none, is damaged, lacks the variable, holds something
    else under its name, or is larger than can be sensible.
    """
    path = Path(path)
    if not path.is_file():
        raise CaptureError(f"there is no file {path}")
    with path.open("rb") as file:
        head = file.read(128)
    if not head:
        raise CaptureError(f"{path} is empty; save the MATLAB file again")
    if head.startswith(b"\x89HDF") or head.startswith(b"MATLAB 7.3"):
        return _of_hdf5(path, names, cells, or_only)
    # Version 4 has no name at its start: its first number is one of type, not of text.
    if not head.startswith(b"MATLAB 5.0") and not (len(head) >= 20 and 0 in head[:4] and any(head[:20])):
        raise CaptureError(f"{path} is no MATLAB file: it starts with {head[:8]!r}")
    if head.startswith(b"MATLAB 5.0"):
        refuse_damaged(path)
    return _of_scipy(path, names, cells, or_only)


def _of_scipy(path: Path, names: Sequence[str], cells: bool, or_only: bool) -> npt.NDArray[Any]:
    try:
        from scipy.io import loadmat, whosmat
    except ImportError as error:
        raise CaptureError(
            f"{path} is a MATLAB file and scipy is missing; install it with: pip install 'pairzero[phy]'"
        ) from error
    # On damaged files scipy raises whatever its parsing happens to meet, MatReadError and zlib.error among them.
    try:
        held = {name: (shape, kind) for name, shape, kind in whosmat(str(path))}
    except Exception as error:
        raise _damaged(path, error) from error
    numeric = [name for name, (_, kind) in held.items() if (kind == "cell") == cells and (cells or kind in _CLASSES)]
    name = _chosen(path, names, list(held), numeric, cells, or_only)
    shape, kind = held[name]
    _refuse_large(path, name, shape, cells)
    if name not in numeric:
        raise _other(path, name, f"of class {kind}", cells)
    try:
        found = loadmat(str(path), variable_names=[name])[name]
    except Exception as error:
        raise _damaged(path, error) from error
    return _checked(path, name, found, cells)


def _of_hdf5(path: Path, names: Sequence[str], cells: bool, or_only: bool) -> npt.NDArray[Any]:
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise CaptureError(
            f"{path} is a MATLAB 7.3 file and h5py is missing; install it with: pip install 'pairzero[sdr]', or save it "
            "with -v7"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            held = {name: file[name] for name in file if not name.startswith("#")}
            arrays = {name: each for name, each in held.items() if isinstance(each, h5py.Dataset)}
            refers = {name: h5py.check_ref_dtype(each.dtype) is not None for name, each in arrays.items()}
            numeric = [name for name, each in arrays.items() if (refers[name] if cells else _numbers(each))]
            name = _chosen(path, names, list(held), numeric, cells, or_only)
            if name not in numeric:
                raise _other(path, name, f"of type {arrays[name].dtype}" if name in arrays else "a structure", cells)
            _refuse_large(path, name, arrays[name].shape, cells)
            if not cells:
                return _checked(path, name, _turned(arrays[name][()]), cells)
            references = arrays[name][()].T
            out = np.empty(references.shape, object)
            for place in np.ndindex(references.shape):
                cell = file[references[place]]
                if not isinstance(cell, h5py.Dataset):
                    raise CaptureError(f"{path} has cells of {name} that are structures; save it with -v7")
                out[place] = _turned(cell[()])
            return out
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error


def _numbers(dataset: Any) -> bool:
    if dataset.shape is None or "MATLAB_empty" in dataset.attrs:
        return False
    kind = dataset.attrs.get("MATLAB_class", b"double")
    kind = kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)
    return kind in _CLASSES and (dataset.dtype.kind in "fciu" or dataset.dtype.names == ("real", "imag"))


def _turned(stored: Any) -> npt.NDArray[Any]:
    values = np.asarray(stored).T
    return values["real"] + 1j * values["imag"] if values.dtype.names == ("real", "imag") else values


def _chosen(path: Path, names: Sequence[str], held: list[str], numeric: list[str], cells: bool, or_only: bool) -> str:
    for name in names:
        if name in held:
            return name
    listed = ", ".join(held[:20]) or "none"
    if names and not or_only:
        raise CaptureError(f"{path} lacks the variable {names[0]!r}; it has {listed}")
    if len(numeric) != 1:
        kind = "cell arrays" if cells else "variables with numbers"
        raise CaptureError(f"{path} has {len(numeric)} {kind} among {listed}; name the one that is meant")
    return numeric[0]


def _refuse_large(path: Path, name: str, shape: Sequence[int], cells: bool) -> None:
    count = int(np.prod([int(size) for size in shape], dtype=object))
    if count > (_MAX_CELLS if cells else _MAX_ELEMENTS):
        raise CaptureError(f"{path} has {name} of shape {tuple(shape)}, too large to be read at once; cut it into parts")


def _checked(path: Path, name: str, found: Any, cells: bool) -> npt.NDArray[Any]:
    if not isinstance(found, np.ndarray) or (found.dtype == object) != cells or (not cells and found.dtype.kind not in "fciu"):
        raise _other(path, name, f"of type {getattr(found, 'dtype', type(found).__name__)}", cells)
    return found


def _other(path: Path, name: str, what: str, cells: bool) -> CaptureError:
    wanted = "a cell array" if cells else "an array of numbers, full and not sparse"
    return CaptureError(f"{path} has {name} {what}; it must be {wanted}")


def _damaged(path: Path, error: Exception) -> CaptureError:
    return CaptureError(f"{path} cannot be read as a MATLAB file, it is damaged or cut off ({first_line(error)})")
