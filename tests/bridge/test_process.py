"""The server as a process: it says when it is ready, ends when asked, and never outlives its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bridge.client import AirClient
from bridge.endpoints import parse_endpoint
from bridge.errors import BridgeError, ServerGone, ServerRefused
from bridge.keys import ClientKeys, generate_keys
from bridge.process import AirServerProcess
from tests.bridge.fakes import FakeLink, example

ROOT = Path(__file__).resolve().parents[2]


def command(mode: str = "serve") -> list[str]:
    return [sys.executable, "-m", "tests.bridge.fake_serve", mode]


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def gone(pid: int) -> bool:
    """Whether a process that is no child of ours has ended (a zombie that nobody collects has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("bind", [None, "tcp://127.0.0.1:0"])
def test_a_server_process_gives_the_direct_bits_and_ends(bind: str | None) -> None:
    rounds, payloads, present = example()
    with AirServerProcess(bind, command=command()) as server:
        assert server.alive()
        assert server.pid != os.getpid()
        with server.client({}, 6) as client:
            air = client.aggregate_rounds(rounds, payloads, present)
        pid, endpoint = server.pid, parse_endpoint(server.endpoint)
    assert air.estimates.tobytes() == FakeLink({}, 6).aggregate(rounds, payloads, present).estimates.tobytes()
    assert not server.alive()
    assert gone(pid)
    if endpoint.transport == "ipc":
        assert not Path(endpoint.name).parent.exists()


def test_a_server_process_with_keys(tmp_path: Path) -> None:
    generate_keys(tmp_path / "keys")
    with AirServerProcess("tcp://127.0.0.1:0", key_dir=str(tmp_path / "keys"), command=command()) as server:
        with server.client({}, 6, keys=ClientKeys.load(tmp_path / "keys")) as client:
            client.ping()
        with pytest.raises(ServerRefused, match="demands keys"):
            server.client({}, 6)


def test_a_server_that_dies_at_once_leaves_its_last_words() -> None:
    with pytest.raises(ServerGone, match=r"status 3 before it listened; it said: first line\nthe mast is down"):
        AirServerProcess(command=command("die")).start()


def test_a_server_that_does_not_get_ready() -> None:
    with pytest.raises(ServerGone, match="before it listened"):
        AirServerProcess(command=command("babble")).start()
    server = AirServerProcess(command=command("hang"), start_timeout_s=0.2)
    with pytest.raises(ServerGone, match=r"did not listen within 0\.2 s"):
        server.start()
    assert not server.alive()


def test_a_client_notices_at_once_that_the_process_was_killed() -> None:
    with AirServerProcess(command=command()) as server, server.client({}, 6, timeout_s=600.0) as client:
        client.ping()
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ServerGone, match="has ended"):
            client.aggregate(0, np.ones((1, 1)))


def test_a_server_process_is_started_once() -> None:
    server = AirServerProcess(command=command())
    for use in (lambda: server.endpoint, lambda: server.pid):
        with pytest.raises(BridgeError, match="not started yet"):
            use()
    with server, pytest.raises(BridgeError, match="started already"):
        server.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "air"
    child = subprocess.Popen(
        [*command(), "--bind", f"ipc://{path}"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    word, _, rest = child.stdout.readline().partition(" ")
    assert word == "READY"
    assert json.loads(rest) == {"endpoint": f"ipc://{path}", "pid": child.pid, "protocol": 2}
    with AirClient(f"ipc://{path}", {}, 1) as client:
        client.ping()
    child.send_signal(number)
    output, errors = child.communicate(timeout=10)
    assert (child.returncode, output, errors) == (0, "", "")
    assert not path.exists()


def test_the_server_ends_with_a_parent_that_is_killed() -> None:
    """Also where a process forked from the parent lives on and holds the server's standard input open."""
    script = (
        "import os, sys, time\n"
        "from bridge.process import AirServerProcess\n"
        f"server = AirServerProcess(command={command()!r}).start()\n"
        "fork = os.fork()\n"
        "if fork == 0:\n"
        "    time.sleep(60)\n"
        "    os._exit(0)\n"
        "print(server.pid, fork, server.endpoint, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    *pids, endpoint = parent.stdout.readline().split()
    server, fork = map(int, pids)
    try:
        assert not gone(server)
        parent.kill()
        parent.wait(10)
        assert within(10, lambda: gone(server))
        assert not gone(fork)
        assert not Path(parse_endpoint(endpoint).name).parent.exists()
    finally:
        os.kill(fork, signal.SIGKILL)
        parent.stdout.close()


def test_the_command_line_refuses_in_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("phy.link")
    done = subprocess.run(
        [sys.executable, "-m", "bridge.serve", "--bind", "tcp://0.0.0.0:5757"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "can be reached from other machines" in done.stderr
    assert "Traceback" not in done.stderr
