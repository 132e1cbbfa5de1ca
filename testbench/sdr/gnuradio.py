"""Where GNU Radio is, and how to start the flowgraphs that ship with it."""

import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bridge.streams.flowgraph import clean_environment
from testbench.errors import TestbenchError

FLOWGRAPHS = Path(__file__).resolve().parents[1] / "flowgraphs"
PYTHON_VARIABLE = "GNURADIO_PYTHON"
_NAMES = ("uplink", "passthrough", "monitor", "usrp", "soapy")
_DEFAULT = "/usr/bin/python3"


class NoGnuRadio(TestbenchError):
    """There is no GNU Radio to start."""


@cache
def _version(python: str) -> str | None:
    try:
        done = subprocess.run(
            [python, "-c", "from gnuradio import gr, zeromq; print(gr.version())"],
            capture_output=True, text=True, timeout=60, check=True, env=clean_environment(),
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split()[-1] if done.stdout.split() else None


def gnuradio_python() -> str:
    """The Python that has GNU Radio: what GNURADIO_PYTHON names, or /usr/bin/python3.

    Raises :class:`NoGnuRadio` where that one has none.
    """
    python = os.environ.get(PYTHON_VARIABLE, _DEFAULT)
    if _version(python) is None:
        raise NoGnuRadio(
            f"{python} has no GNU Radio with ZeroMQ; install it (Debian: apt install gnuradio), or name the Python that has it "
            f"in the environment as {PYTHON_VARIABLE}"
        )
    return python


def gnuradio_version() -> str:
    """Its version. Raises :class:`NoGnuRadio`."""
    return _version(gnuradio_python()) or ""


def flowgraphs() -> dict[str, Path]:
    """The flowgraphs that ship: name -> program, beside which some have a file for GNU Radio Companion."""
    return {name: FLOWGRAPHS / f"{name}.py" for name in _NAMES}


def flowgraph_command(name: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a shipped flowgraph; a stream session appends the addresses. Raises :class:`NoGnuRadio`."""
    return (gnuradio_python(), str(FLOWGRAPHS / f"{name}.py"), *arguments)


def start_flowgraph(name: str, arguments: Sequence[str]) -> int:
    """Run a shipped flowgraph in the foreground and return its exit status.

    Raises :class:`testbench.errors.TestbenchError` for a name that does not ship, and :class:`NoGnuRadio`.
    """
    if name not in flowgraphs():
        raise TestbenchError(f"there is no flowgraph {name!r}; those that ship are {', '.join(flowgraphs())}")
    child = subprocess.Popen(flowgraph_command(name, *arguments), stdin=subprocess.PIPE, env=clean_environment())
    try:
        return child.wait()
    except KeyboardInterrupt:  # which the flowgraph has had as well: it stops its blocks first
        return child.wait()
    finally:
        assert child.stdin is not None
        child.stdin.close()
