"""The client: lost, repeated and late messages, servers that restart, forget, die or lie."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import zmq

from bridge.client import AirClient
from bridge.errors import BadReply, BridgeError, ServerGone, ServerRefused
from bridge.frames import FrameCodec
from bridge.messages import AggregateRequest, ErrorReply, Hello, Limits, Message, Pong, Result, Welcome
from tests.bridge.fakes import FakeLink, example, fake_factory, running


class Proxy(threading.Thread):
    """A bad network between one client and a server: messages vanish, come twice, come late."""

    def __init__(self, server: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._server, self._random = server, random.Random(seed)
        self._stopping, self._bound = threading.Event(), threading.Event()
        self.endpoint = ""
        self.fates = {"drop": 0, "twice": 0, "late": 0, "pass": 0}

    def run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as front, context.socket(zmq.DEALER) as back:
            front.linger = back.linger = 0
            self.endpoint = f"tcp://127.0.0.1:{front.bind_to_random_port('tcp://127.0.0.1')}"
            back.connect(self._server)
            self._bound.set()
            route = b""
            late: list[tuple[float, Callable[[], object]]] = []
            while not self._stopping.is_set():
                if front.poll(2):
                    route, *parts = front.recv_multipart()
                    self._meet_fate(late, partial(back.send_multipart, parts))
                if back.poll(2):
                    parts = back.recv_multipart()
                    self._meet_fate(late, partial(front.send_multipart, [route, *parts]))
                now = time.monotonic()
                for due, send in [item for item in late if item[0] <= now]:
                    send()
                    late.remove((due, send))

    def _meet_fate(self, late: list[tuple[float, Callable[[], object]]], send: Callable[[], object]) -> None:
        fate = self._random.choices(list(self.fates), weights=[25, 15, 20, 40])[0]
        self.fates[fate] += 1
        if fate == "late":
            late.append((time.monotonic() + self._random.uniform(0.0, 0.15), send))
        for _ in range({"pass": 1, "twice": 2}.get(fate, 0)):
            send()

    def __enter__(self) -> Proxy:
        self.start()
        assert self._bound.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join(5)


@contextmanager
def scripted(answer: Callable[[Message], Message | list[bytes] | None]) -> Iterator[str]:
    """A server that answers as `answer` says: with a message, with raw parts, or not at all."""
    stopping = threading.Event()
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    endpoint = f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}"

    def work() -> None:
        codec = FrameCodec(Limits())
        while not stopping.is_set():
            if router.poll(20):
                route, *parts = router.recv_multipart()
                frame = codec.decode(parts)
                reply = answer(frame.message)
                if reply is not None:
                    raw = reply if isinstance(reply, list) else codec.encode(frame.seq, reply)
                    router.send_multipart([route, *raw])

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        stopping.set()
        thread.join(5)
        router.close()
        context.term()


def welcome(**description: Any) -> Welcome:
    return Welcome(session="0" * 64, description=description, limits=Limits(), server="script")


@pytest.mark.parametrize("seed", range(3))
def test_a_network_that_drops_repeats_and_delays_changes_no_bit(seed: int) -> None:
    rounds, payloads, present = example(batch=12, n=2)
    direct = FakeLink({}, 9).aggregate(rounds, payloads, present)
    with running("tcp://127.0.0.1:0") as server, Proxy(server.endpoint, seed) as proxy:
        with AirClient(proxy.endpoint, {}, 9, timeout_s=0.05, attempts=200) as client:
            for i, index in enumerate(rounds):
                whole = client.aggregate_rounds(rounds[i : i + 1], payloads[i : i + 1], present[i : i + 1])
                assert whole.estimates.tobytes() == direct.estimates[i : i + 1].tobytes()
                assert whole.lost[0] == direct.lost[i]
                one = client.aggregate(int(index), payloads[i])
                alone = FakeLink({}, 9).aggregate(rounds[i : i + 1], payloads[i : i + 1])
                assert one.estimate.tobytes() == alone.estimates[0].tobytes()
                some = client.aggregate(int(index), payloads[i], present[i])
                assert some.estimate.tobytes() == direct.estimates[i].tobytes()
                assert some.lost == direct.lost[i]
        assert min(proxy.fates.values()) > 0


@pytest.mark.parametrize("limits", [Limits(rounds=3), Limits(scalars=25), Limits(scalars=10), Limits()], ids=str)
def test_a_batch_goes_in_as_many_messages_as_needed_and_the_numbers_are_the_same(limits: Limits) -> None:
    rounds, payloads, present = example(batch=200)
    direct = FakeLink({}, 2).aggregate(rounds, payloads, present)
    with running("tcp://127.0.0.1:0", limits=limits) as server, AirClient(server.endpoint, {}, 2) as client:
        air = client.aggregate_rounds(rounds, payloads, present)
        assert server.counters["replies"] > 2
    assert air.estimates.tobytes() == direct.estimates.tobytes()
    assert np.array_equal(air.lost, direct.lost)
    assert air.diagnostics.keys() == direct.diagnostics.keys()
    for name, values in direct.diagnostics.items():
        assert air.diagnostics[name].tobytes() == values.tobytes()


def test_a_server_started_anew_is_told_the_configuration_again() -> None:
    payloads = np.ones((3, 1))
    with running("tcp://127.0.0.1:0") as server:
        endpoint = server.endpoint
        client = AirClient(endpoint, {}, 3, timeout_s=0.5, attempts=10)
        before = client.aggregate(1, payloads)
    with running(endpoint) as server:
        after = client.aggregate(1, payloads)
        assert server.counters["errors"] == 1  # unknown_session
    client.close()
    assert before.estimate.tobytes() == after.estimate.tobytes()


def test_a_server_that_comes_back_with_another_link_is_refused() -> None:
    with running("tcp://127.0.0.1:0") as server:
        endpoint = server.endpoint
        client = AirClient(endpoint, {}, 3, timeout_s=0.5, attempts=10)
    with (
        running(endpoint, link_factory=lambda config, seed: FakeLink({"snr_db": 3.0}, seed)),
        pytest.raises(BadReply, match=r"snr_db: 20\.0 became 3\.0"),
    ):
        client.aggregate(1, np.ones((3, 1)))
    client.close()


def test_a_server_that_forgets_at_once_is_given_up() -> None:
    def answer(message: Message) -> Message:
        return welcome() if isinstance(message, Hello) else ErrorReply(code="unknown_session", message="who?")

    with (
        scripted(answer) as endpoint,
        AirClient(endpoint, {}, 1) as client,
        pytest.raises(ServerRefused, match="forgets this session"),
    ):
        client.aggregate(0, np.ones((1, 1)))


def test_nobody_there() -> None:
    with pytest.raises(ServerGone) as caught:
        AirClient("tcp://127.0.0.1:1", {}, 1, timeout_s=0.1, attempts=2)
    assert str(caught.value) == (
        "no air server answered at tcp://127.0.0.1:1 after 2 attempts of 0.1 s; "
        "start one with `pairzero air serve --bind tcp://127.0.0.1:1`"
    )


def test_a_dead_server_process_is_noticed_before_the_timeout() -> None:
    with pytest.raises(ServerGone, match="has ended"):
        AirClient("tcp://127.0.0.1:1", {}, 1, timeout_s=600.0, alive=lambda: False)


def test_the_late_answer_of_a_busy_server_still_counts() -> None:
    class Busy(FakeLink):
        def aggregate(self, *request: Any) -> Any:
            time.sleep(0.4)
            return super().aggregate(*request)

    with (
        running("tcp://127.0.0.1:0", link_factory=Busy) as server,
        AirClient(server.endpoint, {}, 1, timeout_s=0.15, attempts=6) as client,
    ):
        air = client.aggregate(4, np.ones((2, 1)))
    assert air.estimate.tobytes() == FakeLink({}, 1).aggregate(np.array([4]), np.ones((1, 2, 1))).estimates.tobytes()


def test_a_client_survives_a_failed_call() -> None:
    deaf = threading.Event()

    def answer(message: Message) -> Message | None:
        if isinstance(message, Hello):
            return welcome()
        return None if deaf.is_set() else Result(np.ones((1, 1)), np.array([False]), {})

    with scripted(answer) as endpoint, AirClient(endpoint, {}, 1, timeout_s=0.1, attempts=2) as client:
        deaf.set()
        with pytest.raises(ServerGone):
            client.aggregate(0, np.ones((1, 1)))
        deaf.clear()
        assert client.aggregate(0, np.ones((1, 1))).estimate == 1.0


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        ([b"nonsense"], "sent what is no reply"),
        (Pong(), "answered with a Pong"),
        (Result(np.ones((2, 1)), np.zeros(2, dtype=bool), {}), r"shape \(2, 1\)"),
    ],
)
def test_replies_that_do_not_fit(reply: Message | list[bytes], sentence: str) -> None:
    with (
        scripted(lambda message: welcome() if isinstance(message, Hello) else reply) as endpoint,
        AirClient(endpoint, {}, 1) as client,
        pytest.raises(BadReply, match=sentence),
    ):
        client.aggregate(0, np.ones((1, 1)))


@pytest.mark.parametrize(
    ("rounds", "payloads", "sentence"),
    [
        ([0], np.ones((1, 2)), "do not fit together"),
        ([0, 1], np.ones((1, 2, 1)), "do not fit together"),
        ([0.5], np.ones((1, 2, 1)), "whole numbers"),
        ([0], np.full((1, 2, 1), np.nan), "NaN or infinite"),
        ([-1], np.ones((1, 2, 1)), "2\\^62"),
        ([0], np.ones((1, 0, 1)), "cannot be read|at least one"),
    ],
)
def test_requests_that_make_no_sense(rounds: Any, payloads: Any, sentence: str) -> None:
    with running("tcp://127.0.0.1:0") as server, AirClient(server.endpoint, {}, 1) as client:
        with pytest.raises(BridgeError, match=sentence):
            client.aggregate_rounds(rounds, payloads)
        assert client.aggregate_rounds([], np.ones((0, 2, 1))).estimates.shape == (0, 1)
        with pytest.raises(BridgeError, match="devices, entries"):
            client.aggregate(0, np.ones(3))
        with pytest.raises(BridgeError, match="one entry per device"):
            client.aggregate(0, np.ones((3, 1)), [True])
        client.ping()


def test_a_closed_client_says_so() -> None:
    with running("tcp://127.0.0.1:0") as server:
        with AirClient(server.endpoint, {"snr_db": 7}, 1) as client:
            assert client.description == {"kind": "fake", "snr_db": 7.0, "antennas": 1}
        with pytest.raises(BridgeError, match="closed"):
            client.ping()


def test_a_request_is_sent_once_when_nothing_goes_wrong() -> None:
    seen: list[Message] = []

    def answer(message: Message) -> Message:
        seen.append(message)
        return welcome() if isinstance(message, Hello) else Result(np.ones((1, 1)), np.array([False]), {"snr": np.ones(1)})

    with scripted(answer) as endpoint, AirClient(endpoint, {"a": [1, 2.5, "x", None, True]}, 2**64 - 1) as client:
        assert client.aggregate(7, [[1.0], [2.0]]).diagnostics == {"snr": 1.0}
    hello, request = seen
    assert hello == Hello(config={"a": [1, 2.5, "x", None, True]}, seed=2**64 - 1)
    assert isinstance(request, AggregateRequest)
    assert request.rounds.tolist() == [7]
    assert request.payloads.tolist() == [[[1.0], [2.0]]]
    assert request.present is None


def test_an_inproc_server_that_comes_back_is_found() -> None:
    with zmq.Context() as context:
        with running("inproc://air", context=context):
            client = AirClient("inproc://air", {}, 3, timeout_s=0.2, attempts=5, context=context)
            before = client.aggregate(1, np.ones((3, 1)))
        with running("inproc://air", context=context, link_factory=fake_factory):
            assert client.aggregate(1, np.ones((3, 1))).estimate.tobytes() == before.estimate.tobytes()
            client.close()
