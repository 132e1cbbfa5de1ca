"""A flowgraph as a process of its own that ends with this one.

The contract with the program, in whatever language: it takes ``--uplink ADDRESS`` once per device, ``--received ADDRESS`` once
per antenna, ``--kind`` and, where they apply, ``--key`` and ``--pass-tags``; it writes a line ``READY {"rate_hz": ...}`` to
standard output once it runs (GNU Radio writes there as well), in which it may also state ``latency_samples`` and
``withheld_samples``; and it ends when its standard input closes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import IO, Any

from bridge.streams.errors import FlowgraphGone, StreamConfigError

__all__ = ["Flowgraph", "clean_environment"]

# Lines of the flowgraph's error output kept to explain its end.
LAST_LINES = 20
_POLITE_S = 1.0


def clean_environment() -> dict[str, str]:
    """This process's environment without its Python: GNU Radio's Python must not find our packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


class Flowgraph:
    """Start `command` and wait until it says READY.

    Args:
        command: the program and its arguments.
        start_timeout_s: how long that may take [s].
        rate_hz: the link's sample rate, which must be the flowgraph's if it states one.

    Raises:
        FlowgraphGone: it ended, or said nothing in time.
        StreamConfigError: it cannot be started, or runs at another rate.
    """

    def __init__(self, command: Sequence[str], *, start_timeout_s: float = 15.0, rate_hz: float | None = None) -> None:
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._ready_line: str | None = None
        self._heard = threading.Event()
        try:
            self._child: subprocess.Popen[str] = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=clean_environment(),
                # Ctrl-C is for us, who then end the flowgraph.
                start_new_session=True,
            )
        except OSError as error:
            raise StreamConfigError(f"the flowgraph cannot be started: {command[0]}: {error.strerror}") from None
        self._readers = [
            threading.Thread(target=self._read_until_ready, args=(self._child.stdout,), daemon=True),
            threading.Thread(target=self._read_last, args=(self._child.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        try:
            self.ready = self._wait_until_ready(start_timeout_s)
            self._compare(rate_hz)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def ended(self) -> str | None:
        """Why it has ended, in a sentence; None while it lives."""
        status = self._child.poll()
        if status is None:
            return None
        for reader in self._readers:
            reader.join(timeout=0.5)
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"the flowgraph {how}{self._said()}"

    def last_words(self) -> str:
        """The last lines of its error output, in one."""
        return " / ".join(self._lines)

    def close(self) -> None:
        """End it: ask, then insist."""
        child = self._child
        assert child.stdin is not None
        with contextlib.suppress(OSError):
            child.stdin.close()
        for insist in (child.terminate, child.kill):
            try:
                child.wait(timeout=_POLITE_S)
                break
            except subprocess.TimeoutExpired:
                insist()
        child.wait()
        for reader in self._readers:
            reader.join(timeout=1.0)

    def kill(self) -> None:
        """End it at once, as one that no longer answers deserves."""
        self._child.kill()
        self.close()

    def _wait_until_ready(self, timeout_s: float) -> dict[str, Any]:
        until = time.monotonic() + timeout_s
        while not self._heard.wait(0.05):
            if time.monotonic() > until:
                raise FlowgraphGone(f"the flowgraph did not say READY within {timeout_s:g} s{self._said()}")
        if self._ready_line is None:  # it closed its output without a word
            self._child.terminate()
            self._child.wait()
            raise FlowgraphGone(self.ended() or "the flowgraph has ended")
        try:
            ready = json.loads(self._ready_line)
        except ValueError:
            ready = None
        if not isinstance(ready, dict):
            raise FlowgraphGone(f"after READY the flowgraph must write a JSON object, and it wrote {self._ready_line[:80]!r}")
        return ready

    def _compare(self, rate_hz: float | None) -> None:
        stated = self.ready.get("rate_hz")
        if rate_hz is None or not isinstance(stated, int | float):
            return
        if not math.isclose(stated, rate_hz, rel_tol=1e-9):
            raise StreamConfigError(
                f"the flowgraph runs at {stated:g} samples/s and the link at {rate_hz:g}; set its --rate to "
                "burst.sample_rate_hz"
            )

    def _said(self) -> str:
        words = self.last_words()
        return f"; it said: {words}" if words else ""

    def _read_until_ready(self, stream: IO[str]) -> None:
        """Keep what follows READY; read on, so that the program can never block on a full pipe."""
        with stream:
            for line in stream:
                if self._ready_line is None and line.startswith("READY "):
                    self._ready_line = line.removeprefix("READY ").strip()
                    self._heard.set()
            self._heard.set()

    def _read_last(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                if line.strip():
                    self._lines.append(line.strip())
