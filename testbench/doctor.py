"""What is installed here, what each extra would bring, and the command that mends each lack."""

import importlib.util
import os
import platform
import re
import shutil
import socket
import sqlite3
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

__all__ = ["Finding", "examine", "extras"]

State = Literal["ok", "lacks", "note"]
README_PORT = 5600  # of the air server in the README's example

# What an extra is for; one that is not here is told by its packages.
_PURPOSE = {
    "": "the wire protocol and its client",
    "phy": "the physical layer and the air server",
    "learning": "models, tasks and zeroth-order steps",
    "privacy": "accounting, schedules and audits",
    "sdr": "measured channels (HDF5) in captures",
    "csi": "channel state information of an Intel 5300 as a channel",
    "lora": "low-rank adapters (model.lora)",
    "datasets": "datasets of the hub or on disk (task.dataset)",
    "tensorboard": "curves in the run folder",
    "sweep": "sweeps on a cluster, tables as Parquet",
    "tensorflow": "the air of a lab on Sionna 1, in its own environment",
    "minilm": "the pretrained encoder of sst2-minilm",
    "testbench": "scenarios, runs, figures, reports",
    "dev": "tests and linters",
    "docs": "the reference of the Python API, make docs",
}
_NEEDED = ("", "phy", "learning", "testbench")  # without these nothing can be run
_APART = "tensorflow"  # must not come into this environment, whose Sionna it would replace


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ``state`` is ok, lacks (``mend`` is a command, or what to do), or note; ``vital`` for a run."""

    name: str
    state: State
    text: str
    mend: str | None = None
    vital: bool = False


def examine() -> list[Finding]:
    """Look at everything; never raises, and touches nothing but a temporary folder."""
    return [_python(), *_extras(), _tensorflow(), *_machine(), _gpu(), _gnuradio(), *_ports(), _disk()]


def extras() -> dict[str, list[str]]:
    """Extra -> its own requirements as written, extras of ours in it left out; "" holds what every part needs."""
    try:
        declared = requires("pairzero") or []
    except PackageNotFoundError:
        declared = []
    found: dict[str, list[str]] = {"": []}
    for line in declared:
        requirement, _, marker = line.partition(";")
        match = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
        wanted = found.setdefault(match.group(1) if match else "", [])
        if not re.match(r"pairzero\b", requirement):
            wanted.append(requirement.strip())
    return found


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} at {sys.executable}, {platform.system()} {platform.machine()}")


def _extras() -> list[Finding]:
    found = []
    for extra, requirements in extras().items():
        if extra == _APART:
            continue
        name = f"extra {extra}" if extra else "base"
        purpose = _PURPOSE.get(extra, "")
        have, lack = [], []
        for requirement in requirements:
            package = re.split(r"[<>=!~\s\[(]", requirement, maxsplit=1)[0]
            try:
                have.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                lack.append(requirement)
        if lack:
            mend = f"{sys.executable} -m pip install {' '.join(repr(r) for r in lack)}"
            text = f"{purpose + ': ' if purpose else ''}lacks {', '.join(lack)}"
            found.append(Finding(name, "lacks", text, mend, extra in _NEEDED))
        else:
            shown = ", ".join(have) if have else "nothing of its own"
            found.append(Finding(name, "ok", f"{purpose}: {shown}" if purpose else shown))
    if not any(extras().values()):
        found.append(Finding("base", "lacks", "pairzero runs from its source and is not installed", "make install", False))
    return found


def _tensorflow() -> Finding:
    """The second backend's environment, which is never this one where this one has PyTorch."""
    from bridge.environments import backend_python
    from bridge.errors import BridgeError

    name, purpose = f"extra {_APART}", _PURPOSE[_APART]
    try:
        return Finding(name, "ok", f"{purpose}: {backend_python('tensorflow')}")
    except BridgeError as error:
        return Finding(name, "lacks", f"{purpose}: {error}", "make air-tensorflow")


def _machine() -> list[Finding]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS")
    text = f"{usable} of {os.cpu_count()} cores; a run uses compute.threads of them (default 1), sweeps a process per core"
    threads = Finding("threads", "ok", text + (f"; OMP_NUM_THREADS={limit}" if limit else ""))
    if limit and limit.isdigit() and int(limit) > usable:
        threads = Finding("threads", "note", f"OMP_NUM_THREADS={limit}, and {usable} cores", f"export OMP_NUM_THREADS={usable}")
    if importlib.util.find_spec("psutil") is None:
        return [threads]
    import psutil  # type: ignore[import-untyped, unused-ignore]

    memory = psutil.virtual_memory()
    return [threads, Finding("memory", "ok", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free")]


def _gpu() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("GPU", "note", "torch is not installed, which would use one")
    import torch

    if torch.cuda.is_available():
        return Finding("GPU", "ok", f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}")
    if shutil.which("nvidia-smi"):
        return Finding(
            "GPU", "lacks", f"there is one, and torch {torch.__version__} cannot use it",
            f"{sys.executable} -m pip install --force-reinstall torch --index-url (the CUDA one of pytorch.org)",
        )  # fmt: skip
    return Finding("GPU", "note", f"none, and none is needed; torch {torch.__version__}")


def _gnuradio() -> Finding:
    try:
        from testbench.sdr.gnuradio import NoGnuRadio, gnuradio_python, gnuradio_version
    except ImportError as error:
        return Finding("GNU Radio", "note", f"cannot be looked for: {error}")
    try:
        return Finding("GNU Radio", "ok", f"{gnuradio_version()} in {gnuradio_python()}; try: pairzero sdr demo")
    except NoGnuRadio as error:
        return Finding("GNU Radio", "lacks", f"{error}".partition(";")[0], "sudo apt install gnuradio")


def _ports() -> list[Finding]:
    """Sockets of both kinds that a run listens on, opened and closed again."""
    found = []
    try:
        with socket.socket() as any_port:
            any_port.bind(("127.0.0.1", 0))
        with socket.socket() as known:
            known.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken = known.connect_ex(("127.0.0.1", README_PORT)) == 0
        state = "in use, by an air server perhaps" if taken else "free"
        found.append(Finding("ports", "ok", f"tcp on 127.0.0.1; port {README_PORT} is {state}"))
    except OSError as error:
        mend = "run with --set uplink.transport=inproc, which needs no socket"
        found.append(Finding("ports", "lacks", f"no tcp on 127.0.0.1: {error}", mend))
    with tempfile.TemporaryDirectory(prefix="pairzero-") as folder:
        path = str(Path(folder) / "air")
        try:
            with socket.socket(socket.AF_UNIX) as local:
                local.bind(path)
            found.append(Finding("ipc", "ok", f"sockets in {tempfile.gettempdir()}"))
        except OSError as error:
            mend = "export TMPDIR=/tmp, or run with --set uplink.transport=tcp"
            found.append(Finding("ipc", "lacks", f"no socket at {path}: {error}", mend, True))
    return found


def _disk() -> Finding:
    """Whether a journal can be kept in the present folder: SQLite's write-ahead log fails on some network file systems."""
    here = Path.cwd()
    try:
        with tempfile.TemporaryDirectory(dir=here, prefix=".pairzero-") as folder:
            database = sqlite3.connect(Path(folder) / "journal.sqlite")
            mode = database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            database.execute("CREATE TABLE t (x)")
            database.close()
    except (OSError, sqlite3.Error) as error:
        return Finding("disk", "lacks", f"{here} takes no journal: {error}", "run in a folder of your own, or give --out", True)
    free = shutil.disk_usage(here).free / 2**30
    if mode != "wal":
        return Finding("disk", "lacks", f"{here} takes no write-ahead log", "give --out on a local file system", True)
    return Finding("disk", "ok", f"{here}: journals can be written, {free:.0f} GiB free")
