"""Sample streams through GNU Radio: the round trip of a slot, samples lost, and our two sides against GNU Radio's own.

Rows are missing where there is no GNU Radio (``/usr/bin/python3``, or what the environment variable GNURADIO_PYTHON names).
"""

import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from bridge.endpoints import private_ipc_endpoint
from bridge.streams.config import StreamConfig
from bridge.streams.flowgraph import clean_environment
from bridge.streams.ports import ReceivePort, SendPort
from bridge.streams.session import StreamSession
from testbench.sdr.gnuradio import NoGnuRadio, flowgraph_command, gnuradio_python

DEVICES, SAMPLES = 4, 4096


def bursts(devices: int, samples: int) -> NDArray[np.complex64]:
    """Random samples for every device."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((devices, samples)) + 1j * rng.standard_normal((devices, samples))).astype(np.complex64)


@pytest.fixture
def uplink() -> Any:
    """A session with the shipped uplink flowgraph: whole delays, a sum, no noise."""
    try:
        command = flowgraph_command("uplink", "--delay=0,1,2,3")
    except NoGnuRadio as error:
        pytest.skip(str(error))
    session = StreamSession(StreamConfig(command=command))
    yield session
    session.close()


def bench_slot_round_trip(benchmark: Any, record: Any, uplink: Any) -> None:
    """4096 samples x 4 devices there and back, one slot after the other."""
    sent = bursts(DEVICES, SAMPLES)
    for _ in range(50):
        uplink.slot(sent)
    times = []
    for _ in range(1000):
        began = time.perf_counter()
        assert uplink.slot(sent) is not None
        times.append(time.perf_counter() - began)
    record("stream, slot of 4 x 4096 through GNU Radio: median [ms]", 1e3 * float(np.median(times)), 1.0)
    record("stream, slot of 4 x 4096 through GNU Radio: 95th percentile [ms]", 1e3 * float(np.quantile(times, 0.95)), 2.0)
    benchmark.pedantic(lambda: uplink.slot(sent), rounds=20)


def bench_no_sample_is_lost(benchmark: Any, record: Any, uplink: Any) -> None:
    """Over 100 million device samples, every sum compared with what it must be."""
    sent = bursts(DEVICES, 65536)
    sent[:, -3:] = 0
    expected = sum(np.roll(sent[k], k) for k in range(DEVICES))
    slots, wrong = 400, 0
    began = time.perf_counter()
    for number in range(slots):
        received = uplink.slot(sent, number)
        wrong += expected.size if received is None else int((np.abs(received[0] - expected) > 1e-5).sum())
    seconds = time.perf_counter() - began
    assert slots * sent.size > 100_000_000
    record("stream, 105 million device samples: lost or wrong", wrong, 0.0)
    record("stream, slots of 4 x 65536: million device-samples/s", slots * sent.size / seconds / 1e6, None, "high")
    benchmark.pedantic(lambda: uplink.slot(sent), rounds=5)


def ours(samples: int, length: int) -> float:
    """Samples per second from our sending port to our receiving port, in messages of ``length``, kept in an array."""
    block = bursts(1, length)[0]
    out = np.empty(length, np.complex64)
    with private_ipc_endpoint() as address, zmq.Context(io_threads=2) as context:
        config = StreamConfig(send=(address,), receive=(f"{address}-back",))
        inlet, outlet = ReceivePort(context, config, address), SendPort(context, config, address)
        began = time.perf_counter()
        while inlet.received < samples:
            # As in a flowgraph, the sender runs ahead by what buffers hold and no further.
            while outlet.sent < samples and outlet.sent - inlet.received < 1 << 18:
                outlet.queue(block)
                outlet.service()
                if not outlet.idle:
                    break
            before = inlet.received
            for piece in inlet.service(length):
                out[: len(piece)] = piece
            if (
                inlet.received == before
            ):  # as the exchange does, and not in a loop that takes the processor from ZeroMQ's threads
                inlet.socket.poll(10)
        seconds = time.perf_counter() - began
        inlet.socket.close(0)
        outlet.socket.close(0)
    return samples / seconds


def theirs(samples: int) -> float:
    """Samples per second from GNU Radio's PUSH sink to its PULL source."""
    script = Path(__file__).with_name("gnuradio_stream_subject.py")
    with private_ipc_endpoint() as address:
        done = subprocess.run(
            [gnuradio_python(), str(script), address, str(samples)],
            capture_output=True, text=True, timeout=300, check=True, env=clean_environment(),
        )  # fmt: skip
    return float(done.stdout.split()[-1])


def bench_ports(benchmark: Any, record: Any) -> None:
    """Our sending and receiving sides together, against GNU Radio's sink and source; both over ipc."""
    samples = 20_000_000
    try:
        turns = [(ours(samples, SAMPLES), ours(samples, 65536), theirs(samples)) for _ in range(5)]
    except NoGnuRadio as error:
        pytest.skip(str(error))
    small, large = (float(np.median([turn[i] / turn[2] for turn in turns])) for i in (0, 1))
    record(
        "stream ports: million samples/s, messages of 65536", float(np.median([turn[1] for turn in turns])) / 1e6, None, "high"
    )
    record("stream ports, messages of 4096: speed over GNU Radio's own pair", small, None, "high")
    record("stream ports, messages of 65536: speed over GNU Radio's own pair", large, 1.0, "high")
    benchmark.pedantic(lambda: ours(1 << 20, 65536), rounds=3)
