"""Streams against the real GNU Radio: every kind of socket, its faults, and the flowgraphs that ship."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import zmq

from bridge.streams.config import StreamConfig
from bridge.streams.flowgraph import Flowgraph, clean_environment
from bridge.streams.session import StreamSession
from testbench.sdr.endure import endure
from testbench.sdr.gnuradio import FLOWGRAPHS, flowgraph_command, gnuradio_python
from tests.bridge.gnuradio_needed import needs_gnuradio

pytestmark = needs_gnuradio


def bursts(devices: int, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((devices, count)) + 1j * rng.standard_normal((devices, count))).astype(np.complex64)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.parametrize("settings", [
    {"kind": "push_pull"},
    {"kind": "push_pull", "pass_tags": True},
    {"kind": "pub_sub", "key": "air"},
    {"kind": "pub_sub", "pass_tags": True},
    {"kind": "req_rep"},
    {"kind": "req_rep", "pass_tags": True},
    {"kind": "srsran"},
], ids=lambda s: "-".join(str(v) for v in s.values()))  # fmt: skip
def test_every_kind_of_socket_carries_slots_through_the_uplink_flowgraph(settings):
    """Whole delays only, so the sum is exact; 200 000 samples are many messages on either side."""
    stream = StreamSession(StreamConfig(command=flowgraph_command("uplink", "--delay=0,7"), **settings), rate_hz=1e6)
    try:
        for number, count in enumerate((5000, 333, 200_000, 4096)):
            sent = bursts(2, count, number)
            sent[:, -7:] = 0
            expected = sent[0] + np.roll(sent[1], 7)
            received = stream.slot(sent, number)
            assert received is not None
            assert np.abs(received[0] - expected).max() < 1e-6
        assert 0 <= stream.ledger.sent - stream.ledger.received[0] < 8
        if settings.get("pass_tags"):
            slots = [tag for tag in stream._opened.exchange.tags if tag.key == "slot"]
            assert {tag.value for tag in slots} >= {0, 1, 2, 3}
    finally:
        stream.close()


def test_a_flowgraph_whose_source_died_of_a_bad_message_is_restarted():
    """GNU Radio's process lives on after its source's thread has died: only the deadline shows it."""
    port, far = free_ports(2)
    config = StreamConfig(
        send=(f"tcp://127.0.0.1:{port}",),
        receive=(f"tcp://127.0.0.1:{far}",),
        command=flowgraph_command("passthrough"),
        deadline_s=0.7,
    )
    stream = StreamSession(config)
    try:
        sent = bursts(1, 1000)
        assert np.array_equal(stream.slot(sent, 0), sent)
        stream._opened.exchange._senders[0].socket.send(b"7 bytes")
        began = time.monotonic()
        assert stream.slot(sent, 1) is None
        assert time.monotonic() - began < 2.0
        assert np.array_equal(stream.slot(sent, 2), sent)
    finally:
        stream.close()


def test_a_killed_flowgraph_is_restarted_and_its_samples_are_not_mixed_up(caplog):
    stream = StreamSession(StreamConfig(command=flowgraph_command("uplink")))
    try:
        for number in range(4):
            if number == 2:
                os.kill(stream.flowgraph.pid, signal.SIGKILL)
            sent = bursts(3, 2000, number)
            received = stream.slot(sent, number)
            assert (received is None) == (number == 2)
            if received is not None:
                assert np.abs(received[0] - sent.sum(axis=0)).max() < 1e-6
        assert "signal 9" in caplog.text
    finally:
        stream.close()


def test_the_monitor_sees_what_the_uplink_publishes():
    """A complex tone of one eighth of the rate stands in one place of the spectrum."""
    (tap,) = free_ports(1)
    stream = StreamSession(StreamConfig(command=flowgraph_command("uplink", f"--monitor=tcp://127.0.0.1:{tap}")))
    command = flowgraph_command("monitor", f"--tap=tcp://127.0.0.1:{tap}", "--every=0.2", "--rate=1e6")
    monitor = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=clean_environment()
    )
    try:
        tone = np.exp(2j * np.pi * np.arange(8192) / 8).astype(np.complex64)[None] * 0.5
        os.set_blocking(monitor.stdout.fileno(), False)
        said, until = b"", time.monotonic() + 20
        while b"power -6.0 dB" not in said and time.monotonic() < until:
            stream.slot(tone)
            said += monitor.stdout.read() or b""
            time.sleep(0.02)
        assert b"power -6.0 dB" in said
    finally:
        monitor.stdin.close()
        monitor.wait(10)
        stream.close()


@pytest.mark.skipif(shutil.which("grcc") is None, reason="grcc, of the package gnuradio, compiles the .grc files")
def test_the_companion_files_compile_and_a_flowgraph_started_by_hand_carries_slots(tmp_path):
    """What runs on its own addresses is joined, and joined again after we were away."""
    port, far = free_ports(2)
    names = ("uplink", "passthrough", "monitor", "usrp")
    for name in names:
        text = (FLOWGRAPHS / f"{name}.grc").read_text().replace("127.0.0.1:5501", f"127.0.0.1:{port}")
        (tmp_path / f"{name}.grc").write_text(text.replace("127.0.0.1:5600", f"127.0.0.1:{far}"))
    environment = {**clean_environment(), "HOME": str(tmp_path)}
    files = [str(path) for path in tmp_path.glob("*.grc")]
    subprocess.run(["grcc", "-o", str(tmp_path), *files], env=environment, check=True, capture_output=True, timeout=120)
    compiled = {name: (tmp_path / f"pairzero_{name}.py").read_text() for name in names}
    assert "device_3.set_blkd_input_timer_value(1)" in compiled["uplink"]
    assert "const_sink_c" in compiled["monitor"]
    assert '"packet_len",' in compiled["usrp"]
    for module in ("stamp_0", "gate", "slots"):  # its embedded blocks are those of usrp.py, word for word
        name = {"stamp_0": "stamp", "slots": "timetable"}.get(module, module)
        embedded = (tmp_path / f"pairzero_usrp_{module}.py").read_text()
        assert embedded.strip() == (FLOWGRAPHS / f"{name}.py").read_text().strip()
    running = subprocess.Popen(
        [flowgraph_command("uplink")[0], str(tmp_path / "pairzero_passthrough.py")],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    try:
        config = StreamConfig(send=(f"tcp://127.0.0.1:{port}",), receive=(f"tcp://127.0.0.1:{far}",))
        for _ in range(2):
            stream = StreamSession(config)
            sent = bursts(1, 3000)
            assert np.array_equal(stream.slot(sent, 0), sent)
            stream.close()
    finally:
        running.stdin.close()
        running.kill()
        running.wait()


@pytest.mark.parametrize(("name", "arguments", "message"), [
    ("uplink", ["--received", "ipc:///tmp/x"], "--uplink once per device"),
    ("uplink", ["--uplink", "ipc:///tmp/x", "--received", "ipc:///tmp/y", "--delay", "1,2"], "--delay must be one"),
    ("uplink", ["--uplink", "ipc:///tmp/x", "--received", "ipc:///tmp/y", "--delay=-65"], "-64"),
    ("uplink", ["--uplink", "ipc:///tmp/x", "--received", "ipc:///tmp/y", "--paths", "/nowhere"], "/nowhere must be JSON"),
    ("passthrough", ["--uplink", "ipc:///tmp/x"], "as many"),
    ("usrp", ["--uplink", "ipc:///tmp/x", "--received", "ipc:///tmp/y", "--transmitter", "type=b200"], "pass_tags"),
    ("usrp", ["--uplink=ipc:///tmp/x", "--received=ipc:///tmp/y", "--transmitter=type=b200", "--pass-tags"], "no radio"),
    ("soapy", ["--uplink=ipc:///tmp/x", "--received=ipc:///tmp/y", "--transmitter=driver=lime"], "pass_tags"),
    ("soapy", ["--uplink=ipc:///tmp/x", "--received=ipc:///tmp/y", "--transmitter=driver=lime", "--pass-tags"], "SoapySDR"),
    ("uplink", ["--uplink", "tcp://127.0.0.1:1", "--received", "tcp://*:45932"], "--insecure"),
    ("uplink", ["--uplink=ipc:///tmp/x", "--received=ipc:///tmp/y", "--monitor=tcp://0.0.0.0:45933"], "--insecure"),
    ("monitor", ["--tap", "tcp://10.0.0.1:45932"], "--insecure"),
])  # fmt: skip
def test_a_flowgraph_says_what_is_missing(name, arguments, message):
    command = [*flowgraph_command(name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean_environment(), check=False)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_flowgraph_of_another_rate_is_refused():
    with pytest.raises(Exception, match="2e\\+06 samples/s"):
        Flowgraph(
            flowgraph_command("passthrough", "--rate=2e6", "--uplink=tcp://127.0.0.1:1", "--received=tcp://127.0.0.1:45931"),
            rate_hz=1e6,
        )


def test_a_radio_s_slots_are_cut_out_of_a_running_receiver():
    """The blocks of the radio variant, with a receiver whose samples are their own numbers."""
    program = Path(__file__).with_name("radio_loop.py")
    done = subprocess.run(
        [gnuradio_python(), str(program)],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cut as announced" in done.stdout


@pytest.mark.parametrize(("devices", "clock"), [(1, "internal"), (3, "external")])
def test_timed_bursts_of_soapy_radios_meet_in_the_air_to_the_sample(devices, clock):
    """Radios in one process whose clocks start anywhere, joined by PPS; one hears what all send at the instant of the slot."""
    words = [f"--transmitter=driver=fake,serial={k}" for k in range(devices)]
    words += [f"--receiver=driver=fake,serial={9 if devices > 1 else 0}", f"--clock={clock}", "--rate=100000"]
    program = str(Path(__file__).with_name("soapy_program.py"))
    config = StreamConfig(
        command=(gnuradio_python(), "-P", program, *words), pass_tags=True, gains="flowgraph", start_timeout_s=40, deadline_s=10
    )
    stream = StreamSession(config, rate_hz=1e5)
    try:
        for number, count in enumerate((700, 2500, 1)):
            sent = bursts(devices, count, number)
            received = stream.slot(sent, number)
            assert received is not None
            assert np.abs(received[0] - sent.sum(axis=0)).max() < 1e-5
    finally:
        stream.close()


def test_a_soapy_radio_without_a_clock_is_refused():
    words = ["--transmitter=driver=fake,deaf=1", "--receiver=driver=fake", "--pass-tags", "--uplink=ipc:///tmp/x"]
    program = str(Path(__file__).with_name("soapy_program.py"))
    done = subprocess.run(
        [gnuradio_python(), "-P", program, *words, "--received=ipc:///tmp/y"],
        capture_output=True, text=True, timeout=60, env=clean_environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "keeps no time" in done.stderr


def test_zeromq_is_new_enough():
    assert zmq.zmq_version_info() >= (4, 3, 3)


@pytest.mark.parametrize("seed", [0, 3])
def test_a_flowgraph_that_is_frozen_slowed_and_killed_at_random_returns_no_wrong_sum(seed):
    """The short form of ``pairzero sdr endure``."""
    found = endure(1500, 6, devices=3, seed=seed)
    assert found.wrong == []
    assert found.right + found.lost == 1500
    assert sum(found.faults.values()) >= 3
    assert found.lost <= 3 * sum(found.faults.values())
