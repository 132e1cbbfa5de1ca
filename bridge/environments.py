"""Which Python serves a backend: this one, or that of an environment of its own.

Sionna 2 on PyTorch and Sionna 1.x on TensorFlow cannot share an environment. The second lives in ``.venv-tensorflow`` beside
this checkout or this environment, or wherever the variable PAIRZERO_TENSORFLOW_PYTHON says. Nothing is looked for in the
current folder, whose programs are not to be run unasked.
"""

from __future__ import annotations

import os
import sys
from importlib import metadata, util
from pathlib import Path

from bridge.errors import BridgeError

__all__ = ["PYTHON_VARIABLE", "backend_python", "python_environment"]

PYTHON_VARIABLE = "PAIRZERO_TENSORFLOW_PYTHON"
FOLDER = ".venv-tensorflow"
_ROOT = Path(__file__).resolve().parent.parent


def backend_python(backend: str) -> str:
    """Return the interpreter that serves `backend`.

    Raises:
        BridgeError: the backend needs an environment of its own and there is none; the sentence has the command that makes it.
    """
    if backend != "tensorflow" or _is_here():
        return sys.executable
    named = os.environ.get(PYTHON_VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise BridgeError(f"{PYTHON_VARIABLE} names {named}, which cannot be run; name a Python interpreter")
        return named
    for folder in (_ROOT, Path(sys.prefix).parent):
        python = folder / FOLDER / "bin" / "python"
        if os.access(python, os.X_OK):
            return str(python)
    raise BridgeError(
        f"backend tensorflow runs in an environment of its own, and there is none at {_ROOT / FOLDER}; make it with: "
        f"make air-tensorflow (or name its Python in {PYTHON_VARIABLE})"
    )


def python_environment(python: str) -> dict[str, str]:
    """Return this process's environment and import path for a child that runs `python`: nothing need be installed there.

    Of the import path, another interpreter gets only the folders that are no library of this one's.
    """
    here = os.getcwd()
    paths = list(dict.fromkeys([str(_ROOT), *(path or here for path in sys.path)]))
    if python != sys.executable:
        ours = {str(Path(prefix).resolve()) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
        paths = [path for path in paths if not _is_library(Path(path), ours)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _is_library(path: Path, prefixes: set[str]) -> bool:
    """Whether a folder of the import path holds the libraries of this interpreter rather than somebody's own modules."""
    resolved = path.resolve()
    inside = any(resolved.is_relative_to(Path(prefix) / "lib") for prefix in prefixes)
    return inside or {"site-packages", "dist-packages"} & set(resolved.parts) != set()


def _is_here() -> bool:
    """Whether this very environment has TensorFlow and Sionna 1.x."""
    if util.find_spec("tensorflow") is None:
        return False
    for name in ("sionna-no-rt", "sionna"):
        try:
            return metadata.version(name).startswith("1.")
        except metadata.PackageNotFoundError:
            continue
    return False
