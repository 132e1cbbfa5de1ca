"""Start an air server as a process of its own, and be sure that it ends."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self

from bridge.client import AirClient
from bridge.endpoints import PrivateEndpoint
from bridge.environments import backend_python, python_environment
from bridge.errors import BridgeError, ServerGone
from bridge.keys import ClientKeys

__all__ = ["AirServerProcess"]

# Lines of the server's error output kept to explain its end.
LAST_LINES = 20
# How a line begins on the server's standard error that is meant for the person who started the run.
SAID = "pairzero: "


class AirServerProcess:
    """An air server in a child process, from entering the `with` block to leaving it.

    The child has Sionna and its threads to itself and the parent's memory stays small. It ends with this
    process, even if that is killed.

    Args:
        bind: its address; None: a private ipc address that only this user can reach.
        key_dir: a key folder for the server; for addresses that other machines can reach.
        parts: classes (`module:Class`) that a configuration may name.
        files: files (soundings, recordings) that a configuration may name.
        stream: settings of the stream air, as JSON or the name of a TOML file.
        backend: what computes the channel; `tensorflow` is served by the Python of its own environment.
        secret: the file of the server's secret; see `bridge.secrets`.
        start_timeout_s: how long it may take to start [s]; importing Sionna takes 5 to 15.
        command: what to run instead of `python -m bridge.serve`; the arguments are appended.
    """

    def __init__(
        self,
        bind: str | None = None,
        *,
        key_dir: str | None = None,
        parts: Sequence[str] = (),
        files: Sequence[str] = (),
        stream: str | None = None,
        backend: str | None = None,
        secret: str | os.PathLike[str] | None = None,
        start_timeout_s: float = 120.0,
        command: Sequence[str] | None = None,
    ) -> None:
        python = sys.executable if backend is None else backend_python(backend)
        self._environment = python_environment(python)
        self._private: PrivateEndpoint | None = None
        if bind is None:
            self._private = PrivateEndpoint()
            bind = self._private.endpoint
        self._command = [
            # -P: a folder called bridge in the current directory must not be taken for this one
            *(command or (python, "-P", "-m", "bridge.serve")),
            "--bind",
            bind,
            "--exit-with-parent",
            *(() if key_dir is None else ("--key-dir", key_dir)),
            *(word for part in parts for word in ("--allow-part", part)),
            *(word for file in files for word in ("--allow-file", file)),
            *(() if stream is None else ("--stream", stream)),
            *(() if backend is None else ("--backend", backend)),
            *(() if secret is None else ("--secret", os.fspath(secret))),
        ]
        self._start_timeout_s = start_timeout_s
        self._child: subprocess.Popen[str] | None = None
        self._endpoint = ""
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """The address as bound."""
        if not self._endpoint:
            raise BridgeError("the air server is not started yet; call start() or enter the `with` block")
        return self._endpoint

    @property
    def pid(self) -> int:
        """The child's process id."""
        if self._child is None:
            raise BridgeError("the air server is not started yet; call start() or enter the `with` block")
        return self._child.pid

    def alive(self) -> bool:
        """Whether the child runs."""
        return self._child is not None and self._child.poll() is None

    def last_words(self) -> str:
        """The last lines of the child's error output."""
        if not self.alive():
            for reader in self._readers:
                reader.join(timeout=1.0)
        return "\n".join(self._lines)

    def start(self) -> Self:
        """Start the child and wait until it listens.

        Raises:
            ServerGone: it ended, or did not listen in time; the sentence has its last words.
        """
        if self._child is not None:
            raise BridgeError("the air server is started already")
        self._child = _start(self._command, self._environment)
        try:
            self._endpoint = self._wait_until_ready(self._child)
        except BaseException:
            self.close()
            raise
        return self

    def client(
        self,
        config: Mapping[str, Any],
        seed: int,
        *,
        timeout_s: float = 5.0,
        attempts: int = 3,
        keys: ClientKeys | None = None,
        nonce: str = "",
    ) -> AirClient:
        """Return a client of this server that notices at once when the child ends; see `AirClient`."""
        return AirClient(
            self.endpoint, config, seed, nonce=nonce, timeout_s=timeout_s, attempts=attempts, alive=self.alive, keys=keys
        )

    def close(self) -> None:
        """End the child: ask, then insist; and remove the private address."""
        child = self._child
        if child is not None:
            if child.stdin is not None:
                child.stdin.close()
            for insist in (child.terminate, child.kill):
                try:
                    child.wait(timeout=5.0)
                    break
                except subprocess.TimeoutExpired:
                    insist()
            child.wait()
            for reader in self._readers:
                reader.join(timeout=1.0)
        if self._private is not None:
            self._private.close()

    def _wait_until_ready(self, child: subprocess.Popen[str]) -> str:
        assert child.stdout is not None
        assert child.stderr is not None
        heard = threading.Event()
        first: list[str] = []
        self._readers = [
            threading.Thread(target=_read_first, args=(child.stdout, first, heard), daemon=True),
            threading.Thread(target=_read_last, args=(child.stderr, self._lines), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        if not heard.wait(self._start_timeout_s):
            child.kill()
            raise ServerGone(
                f"the air server did not listen within {self._start_timeout_s:g} s; give it a longer "
                "start_timeout_s" + self._said()
            )
        line = first[0] if first else ""
        word, _, rest = line.partition(" ")
        try:
            ready = json.loads(rest) if word == "READY" else None
        except ValueError:
            ready = None
        if not isinstance(ready, dict) or not isinstance(ready.get("endpoint"), str):
            child.terminate()
            status = child.wait()
            raise ServerGone(f"the air server ended with status {status} before it listened" + self._said())
        return str(ready["endpoint"])

    def _said(self) -> str:
        words = self.last_words()
        return f"; it said: {words}" if words else ""


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        # Ctrl-C is for the parent, which then ends the child in its own time.
        start_new_session=True,
    )


def _read_first(stream: IO[str], first: list[str], heard: threading.Event) -> None:
    """Keep the first line; read on, so that the child can never block on a full pipe."""
    with stream:
        first.append(stream.readline())
        heard.set()
        for _ in stream:
            pass


def _read_last(stream: IO[str], last: deque[str]) -> None:
    """Keep the last lines; pass on what is meant for a person, such as a flowgraph that was restarted."""
    log = logging.getLogger("pairzero.air")
    with stream:
        for line in stream:
            if line.startswith(SAID):
                log.warning(line.removeprefix(SAID).rstrip())
            if line.strip():
                last.append(line.rstrip())
