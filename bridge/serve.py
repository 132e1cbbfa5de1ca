"""Run an air server as a process of its own: `python -m bridge.serve --bind ENDPOINT`.

Once it listens it prints one line to standard output, `READY {"endpoint": ..., "pid": ..., "protocol": 2}`,
and nothing else, ever.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import TextIO

from bridge.endpoints import leave_private_folder, parse_endpoint
from bridge.errors import BridgeError
from bridge.keys import ServerKeys
from bridge.links import LinkFactory
from bridge.messages import PROTOCOL_VERSION
from bridge.process import SAID
from bridge.secrets import read_secret
from bridge.server import AirServer

__all__ = ["main", "serve"]

# A link that computes on after its last user is gone gets this long [s].
ORPHAN_GRACE_S = 2.0


def serve(
    bind: str,
    *,
    key_dir: str | None = None,
    parts: Sequence[str] = (),
    files: Sequence[str] = (),
    stream: str | None = None,
    backend: str = "sionna",
    secret: str | None = None,
    sessions: int = 32,
    exit_with_parent: bool = False,
    link_factory: LinkFactory | None = None,
    ready: TextIO | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; call it from the main thread.

    Args:
        bind: the address; port 0 takes a free one.
        key_dir: a key folder; needed for addresses that other machines can reach.
        parts: the classes (`module:Class`) that clients may have loaded by naming them in a configuration.
        files: the files (soundings, recordings) that clients may have opened by naming them.
        stream: settings of the stream air: a TOML file, or JSON.
        backend: what computes the channel: `sionna`, `tensorflow` or `numpy`; it must be installed in this environment.
        secret: a file that keys the noise of the links in place of the clients' seeds; made where it is missing.
        sessions: how many links stay open.
        exit_with_parent: end as well when standard input ends or the parent process is gone.
        link_factory: makes the links; None: the physical layer's.
        ready: where the READY line goes; None: standard output.

    Raises:
        BridgeError: the address, keys or physical layer cannot be had.
    """
    keys = None if key_dir is None else ServerKeys.load(key_dir)
    settings = None
    if stream is not None:
        from bridge.streams.config import StreamConfig

        settings = StreamConfig.load(stream)
    server = AirServer(
        bind,
        link_factory,
        sessions=sessions,
        parts=parts,
        files=files,
        stream=settings,
        backend=backend,
        keys=keys,
        secret=None if secret is None else read_secret(secret, make=True),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    if exit_with_parent:
        threading.Thread(target=_outlive_nobody, args=(server, os.getppid()), name="parent", daemon=True).start()
    endpoint = server.bind()
    _use_one_thread()
    line = json.dumps({"endpoint": endpoint, "pid": os.getpid(), "protocol": PROTOCOL_VERSION})
    print(f"READY {line}", file=ready or sys.stdout, flush=True)
    server.serve()
    if exit_with_parent:
        leave_private_folder(parse_endpoint(bind))


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and serve; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bridge.serve", description="Serve the emulated air over ZeroMQ.")
    parser.add_argument("--bind", required=True, metavar="ENDPOINT", help="ipc:///PATH or tcp://127.0.0.1:PORT (0: any)")
    parser.add_argument("--key-dir", metavar="DIR", help="demand CURVE keys, from this key folder")
    parser.add_argument(
        "--allow-part",
        action="append",
        default=[],
        metavar="MODULE:CLASS",
        help="a class that clients may name (repeatable)",
    )
    parser.add_argument(
        "--allow-file", action="append", default=[], metavar="PATH", help="a file that clients may name (repeatable)"
    )
    parser.add_argument("--stream", metavar="FILE", help="settings of the stream air: a TOML file, or JSON")
    parser.add_argument(
        "--backend",
        choices=("sionna", "tensorflow", "numpy"),
        default="sionna",
        help="what computes the channel: Sionna 2 on PyTorch (default), Sionna 1.x on TensorFlow, or numpy alone",
    )
    parser.add_argument(
        "--secret", metavar="FILE", help="key the noise by this file's secret, made if missing, not by the clients' seeds"
    )
    parser.add_argument("--sessions", type=int, default=32, metavar="N", help="links kept open (default 32)")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input or the parent ends")
    given = parser.parse_args(arguments)
    # Standard output belongs to the READY line; whatever a library prints goes to standard error.
    ready = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # What a person should see while a run goes on: whoever started us passes lines on that begin like this.
    logging.basicConfig(format=f"{SAID}%(message)s")
    try:
        serve(
            given.bind,
            key_dir=given.key_dir,
            parts=given.allow_part,
            files=given.allow_file,
            stream=given.stream,
            backend=given.backend,
            secret=given.secret,
            sessions=given.sessions,
            exit_with_parent=given.exit_with_parent,
            ready=ready,
        )
    except BridgeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _use_one_thread() -> None:
    """Keep torch, if it was imported, to one thread: a pool would fight the learner's for the cores."""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)


def _outlive_nobody(server: AirServer, parent: int) -> None:
    """Stop the server once standard input ends or the parent is gone.

    Both are watched: a process forked from the parent keeps the pipe open after the parent's death.
    """
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], 1.0)
        if readable and not os.read(0, 4096):
            break
    server.stop()
    time.sleep(ORPHAN_GRACE_S)
    os._exit(0)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Everything is closed and said. Taking a framework down in good order takes seconds, for which a run would wait.
    os._exit(status)
