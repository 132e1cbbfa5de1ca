"""Air servers as processes that start fast: real ones, forked from the process that has read Sionna once.

Those of ``tests/bridge/test_process.py``, of TensorFlow, and inside :func:`from_nothing` start as they do everywhere else.
"""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import IO, Any

import bridge.process
from tests import forked

# How AirServerProcess starts a server of this Python; the arguments follow.
OURS = (sys.executable, "-P", "-m", "bridge.serve")
_start_from_nothing = bridge.process._start


class ForkedServer:
    """What :class:`bridge.process.AirServerProcess` uses of a ``subprocess.Popen``."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        pipes = [os.pipe() for _ in range(3)]
        theirs = [Connection(pipes[0][0], writable=False), *(Connection(pipe[1], readable=False) for pipe in pipes[1:])]
        ours = [pipes[0][1], pipes[1][0], pipes[2][0]]
        self.stdin: IO[str] = os.fdopen(ours[0], "w")
        self.stdout, self.stderr = (os.fdopen(end, errors="replace") for end in ours[1:])
        inherited = ours if forked.inside() else []
        self._process = forked.start(_serve, theirs, inherited, os.getcwd(), list(arguments), dict(environment))
        for end in theirs:
            end.close()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired("bridge.serve", timeout or 0.0)
        return status

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _serve(
    ends: Sequence[Connection],
    inherited: Sequence[int],
    folder: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
) -> None:
    os.setsid()
    _let_go(inherited)
    for stream, end in enumerate(ends):
        os.dup2(end.fileno(), stream)
        end.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = dict.fromkeys([*environment["PYTHONPATH"].split(os.pathsep), *sys.path])
    from bridge.serve import main

    os._exit(main(arguments))


def _let_go(pipes: Sequence[int]) -> None:
    """Close what only a fork inherits: the other ends of its pipes (it ends with its input), a run's lock and journal."""
    for name in os.listdir("/dev/fd"):
        try:
            if int(name) in pipes or (int(name) > 2 and stat.S_ISREG(os.fstat(int(name)).st_mode)):
                os.close(int(name))
        except OSError:  # the folder's own listing
            continue


def start(command: Sequence[str], environment: Mapping[str, str]) -> Any:
    """In place of ``bridge.process._start``."""
    if tuple(command[: len(OURS)]) != OURS:
        return _start_from_nothing(command, environment)
    return ForkedServer(command[len(OURS) :], environment)


def install() -> None:
    """From now on the servers that this process starts are forked ones."""
    bridge.process._start = start


@contextmanager
def from_nothing() -> Iterator[None]:
    """Servers as users start them."""
    before, bridge.process._start = bridge.process._start, _start_from_nothing
    try:
        yield
    finally:
        bridge.process._start = before
