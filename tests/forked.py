"""Commands as processes that start fast: real ones, forked from a server that has read the heavy libraries once.

A command started from nothing spends ten seconds on imports; ``test_startup.py`` and ``test_cli.py`` have such ones.
"""

import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.forked_preload", __name__])


def _onto(path: str, stream: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, stream)
    os.close(handle)


def _apart(stdout: str, stderr: str, folder: str, target: Callable[..., None], arguments: tuple[object, ...]) -> None:
    _onto(stdout, 1)
    _onto(stderr, 2)
    os.environ["COLUMNS"] = "300"
    os.chdir(folder)
    sys.path[:] = [place for place in sys.path if place]  # as a console script: the working folder is not in the path
    target(*arguments)


def _command(*arguments: str) -> None:
    from testbench.cli import main

    sys.argv = ["pairzero", *arguments]
    main()


def inside() -> bool:
    """Whether this is one of the forked processes, which has all libraries itself."""
    return multiprocessing.parent_process() is not None


def start(target: Callable[..., None], *arguments: object) -> BaseProcess:
    """Call ``target`` in a process that is forked from the one that has read the libraries."""
    process: BaseProcess
    if inside():
        process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    else:
        process = _CONTEXT.Process(target=target, args=arguments)
    process.start()
    return process


class Processes:
    """Commands running at once, each with a log of its own in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[BaseProcess] = []

    def start(self, name: str, *arguments: str) -> BaseProcess:
        """Start ``pairzero ARGUMENTS``; both its streams go to the log of ``name``."""
        return self.call(name, _command, *arguments)

    def call(self, name: str, target: Callable[..., None], *arguments: object) -> BaseProcess:
        """Start a function of a module; both its streams go to the log of ``name``."""
        log = str(self._folder / f"{name}.log")
        process = start(_apart, log, log, os.getcwd(), target, arguments)
        self._running.append(process)
        return process

    def log(self, name: str) -> str:
        path = self._folder / f"{name}.log"
        return path.read_text() if path.is_file() else ""

    def wait(self, name: str, pattern: str, timeout_s: float = 120.0, pause_s: float = 0.02) -> None:
        """Return when the log of ``name`` shows the pattern."""
        deadline = time.monotonic() + timeout_s
        while not re.search(pattern, self.log(name)):
            assert time.monotonic() < deadline, f"{name} did not say {pattern}: {self.log(name)}"
            time.sleep(pause_s)

    def end(self) -> None:
        for process in self._running:
            process.kill()
            process.join()


def run(
    scratch: Path, *arguments: str, folder: Path | None = None, timeout_s: float = 240.0
) -> subprocess.CompletedProcess[str]:
    """Run ``pairzero ARGUMENTS`` in ``folder`` to its end; what it printed is kept under ``scratch`` until it is read."""
    return call(scratch, _command, *arguments, folder=folder, timeout_s=timeout_s)


def call(
    scratch: Path, target: Callable[..., None], *arguments: str, folder: Path | None = None, timeout_s: float = 240.0
) -> subprocess.CompletedProcess[str]:
    """Call a function of a module in a forked process; an exception ends that with status 1 and a traceback."""
    files = [scratch / f"command-{time.monotonic_ns()}.{stream}" for stream in ("out", "err")]
    process = start(_apart, str(files[0]), str(files[1]), str(folder or os.getcwd()), target, arguments)
    process.join(timeout_s)
    if process.exitcode is None:
        process.kill()
        raise subprocess.TimeoutExpired(list(arguments), timeout_s)
    stdout, stderr = (file.read_text() for file in files)
    for file in files:
        file.unlink()
    return subprocess.CompletedProcess(list(arguments), process.exitcode, stdout, stderr)
