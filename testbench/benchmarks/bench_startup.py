"""How long a person waits for ``pairzero --help``, against Python importing the library that the command line is made of."""

import subprocess
import sys
from typing import Any


def _bare() -> None:
    subprocess.run([sys.executable, "-c", "import typer, rich.console"], check=True, capture_output=True)


def _help() -> None:
    subprocess.run([sys.executable, "-m", "testbench.entry", "--help"], check=True, capture_output=True)


def bench_help(benchmark: Any, record: Any, interleaved: Any) -> None:
    """Whole processes, in turn."""
    whole, bare = interleaved(_help, _bare, repeats=9)
    benchmark.pedantic(_help, rounds=3)
    record("pairzero --help over `import typer, rich.console` (whole processes)", whole / bare, target=1.5)
    record("pairzero --help [s]", whole, target=0.5)
