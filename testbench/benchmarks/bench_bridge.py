"""ZeroMQ round trips through the air server, against a bare echo of the same bytes and against the link itself."""

import threading
from typing import Any

import numpy as np
import zmq

from bridge.frames import FrameCodec
from bridge.messages import AggregateRequest, Limits
from bridge.process import AirServerProcess
from phy.config import LinkConfig
from phy.link import Link

DEVICES, BLOCK = 10, 100


def echo_server(context: Any, stop: threading.Event) -> tuple[threading.Thread, str]:
    """A bare ROUTER that sends back what it gets."""
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")

    def serve() -> None:
        while not stop.is_set():
            if router.poll(50):
                router.send_multipart(router.recv_multipart())
        router.close(0)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread, f"tcp://127.0.0.1:{port}"


def bench_round_trip(benchmark: Any, record: Any, interleaved: Any) -> None:
    """One round of K = 10, and blocks of 100 rounds, over tcp on the loopback interface."""
    config = LinkConfig.model_validate({"clip": 1.0})
    payloads = np.random.default_rng(0).uniform(-1, 1, (BLOCK, DEVICES, 1))
    link = Link(config, 1)
    stop, context = threading.Event(), zmq.Context()
    thread, address = echo_server(context, stop)
    dealer = context.socket(zmq.DEALER)
    dealer.connect(address)
    request = AggregateRequest("0" * 64, np.arange(1), payloads[:1], None)
    frames = [bytes(part) for part in FrameCodec(Limits()).encode(0, request)]

    def echo() -> None:
        for _ in range(20):
            dealer.send_multipart(frames)
            dealer.recv_multipart()

    at = iter(range(10**9))
    with AirServerProcess("tcp://127.0.0.1:0") as server, server.client(config.model_dump(mode="json"), 1) as client:

        def one() -> None:
            for _ in range(20):
                client.aggregate(next(at), payloads[0])

        def block() -> None:
            first = next(at)
            client.aggregate_rounds(np.arange(first, first + BLOCK), payloads)

        def local() -> None:
            first = next(at)
            link.aggregate(np.arange(first, first + BLOCK), payloads)

        echo_s, one_s, block_s, local_s = interleaved(echo, one, block, local, repeats=60, warmup=10)
        record("round trip, K = 10, tcp: over a bare echo", one_s / echo_s, 5.0)
        record("round trip, K = 10, tcp [us]", one_s / 20 * 1e6)
        record("bare echo, same bytes [us]", echo_s / 20 * 1e6)
        record("blocks of 100: a round beyond the link [us]", (block_s - local_s) / BLOCK * 1e6, 10.0)
        benchmark.pedantic(one, rounds=10)
    stop.set()
    thread.join()
    dealer.close(0)
    context.term()
