"""Slots by count through a flowgraph that behaves, or does not: every fault is noticed, named, and got over."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from bridge.endpoints import private_ipc_endpoint
from bridge.errors import BridgeError
from bridge.streams.config import StreamConfig
from bridge.streams.errors import StreamBroken, StreamConfigError, StreamError, StreamSilent
from bridge.streams.exchange import StreamExchange
from bridge.streams.flowgraph import clean_environment
from bridge.streams.opening import opening_samples
from bridge.streams.ports import SendPort
from bridge.streams.session import StreamSession
from bridge.streams.tags import HEADER_BYTES, Tag, carries_header, decode_header, encode_header

FAKE = (sys.executable, "-P", str(Path(__file__).with_name("fake_flowgraph.py")))


def session(fault: str, **settings: object) -> StreamSession:
    settings = {"deadline_s": 0.5, "start_timeout_s": 10.0, **settings}
    return StreamSession(StreamConfig(command=(*FAKE, fault), **settings), rate_hz=1e6)


def bursts(devices: int = 3, count: int = 500, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((devices, count)) + 1j * rng.standard_normal((devices, count))).astype(np.complex64)


# --- slots -----------------------------------------------------------------------------------------------------------


def test_slots_of_changing_length_return_their_sum_and_the_ledger_balances():
    stream = session("none", level=0.5)
    try:
        for number, count in enumerate((500, 1, 70_000, 33)):
            sent = bursts(count=count, seed=number)
            received = stream.slot(sent, number)
            assert np.abs(received[0] - sent.sum(axis=0)).max() < 1e-5
        # Every block is a whole number of registers; what fills the last one is read with the next block.
        assert 0 <= stream.ledger.sent - stream.ledger.received[0] < 8
        assert stream.ledger.sent - opening_samples(3) - (500 + 1 + 70_000 + 33) <= 4 * 7 + 0.02 * 70_534
        # Another number of devices is another flowgraph.
        before = stream.flowgraph.pid
        sent = bursts(devices=2)
        assert np.abs(stream.slot(sent)[0] - sent.sum(axis=0)).max() < 1e-5
        assert stream.flowgraph.pid != before
    finally:
        stream.close()


class Delayed:
    """A loop back in this process that delays by some samples, possibly a negative number, and keeps some back."""

    def __init__(self, delay: int, withheld: int) -> None:
        self.context = zmq.Context()
        self.inlet, self.outlet = self.context.socket(zmq.PULL), self.context.socket(zmq.PUSH)
        ports = [socket.bind_to_random_port("tcp://127.0.0.1") for socket in (self.inlet, self.outlet)]
        self.addresses = [f"tcp://127.0.0.1:{port}" for port in ports]
        self.delay, self.withheld = delay, withheld
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        heard = np.zeros(0, np.complex64)
        told = 0
        while not self.stop.is_set():
            if not self.inlet.poll(10):
                continue
            heard = np.concatenate([heard, np.frombuffer(self.inlet.recv(), np.complex64)])
            padded = np.concatenate([np.zeros(max(self.delay, 0), np.complex64), heard[max(0, -self.delay) :]])
            ready = min(len(heard) - self.withheld, len(padded))
            for first in range(told, ready, 97):  # borders of messages mean nothing
                self.outlet.send(padded[first : min(first + 97, ready)].tobytes())
            told = max(told, ready)

    def close(self) -> None:
        self.stop.set()
        self.thread.join()
        self.inlet.close(0)
        self.outlet.close(0)
        self.context.term()


@pytest.mark.parametrize(("delay", "withheld"), [(0, 0), (64, 0), (-3, 8), (5, 8)])
def test_a_flowgraph_that_delays_advances_or_keeps_samples_is_counted_with(delay, withheld):
    loop = Delayed(delay, withheld)
    config = StreamConfig(
        send=(loop.addresses[0],),
        receive=(loop.addresses[1],),
        send_bind=False,
        latency_samples=delay,
        withheld_samples=withheld,
    )
    exchange = StreamExchange(config, config.send, config.receive)
    try:
        exchange.probe(5.0)
        for seed in range(5):
            sent = bursts(devices=1, count=300, seed=seed)
            assert np.array_equal(exchange.exchange(sent, seed), sent)
    finally:
        exchange.close()
        loop.close()


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["die", "hang"])
def test_a_flowgraph_that_ends_or_hangs_costs_one_round_and_is_restarted_within_two_seconds(fault, caplog):
    stream = session(fault)
    try:
        assert stream.slot(bursts(), 0) is not None
        before = stream.flowgraph.pid
        began = time.monotonic()
        assert stream.slot(bursts(), 1) is None
        assert time.monotonic() - began < 2.0
        assert "slot 1 is lost" in caplog.text
        if fault == "die":
            assert "status 4" in caplog.text
            assert "no more sums" in caplog.text
        assert stream.slot(bursts(), 2) is not None
        assert stream.flowgraph.pid != before
        assert stream.lost_slots == 1
        with pytest.raises(ProcessLookupError):
            os.kill(before, 0)
    finally:
        stream.close()


def test_slots_lost_in_a_row_end_in_one_error():
    stream = session("lossy", give_up_after=2)
    try:
        assert stream.slot(bursts(count=504), 0) is None
        with pytest.raises(StreamError, match=r"2 slots in a row.*returned 5111 of the 5112 samples"):
            stream.slot(bursts(count=504), 1)
    finally:
        stream.close()


@pytest.mark.parametrize(("fault", "message"), [
    ("mute", "never answered"),
    ("half", "16384 samples returned of 32768 sent; sample rates"),
    ("twice", "65536 samples returned of 32768 sent; sample rates"),
    ("rate", r"2e\+06 samples/s and the link at 1e\+06"),
])  # fmt: skip
def test_a_flowgraph_that_does_not_fit_is_refused_at_its_start(fault, message):
    stream = session(fault, start_timeout_s=1.5 if fault == "mute" else 10.0)
    with pytest.raises(StreamError, match=message):
        stream.slot(bursts(), 0)
    assert stream.flowgraph is None


@pytest.mark.parametrize(("fault", "message"), [
    ("cut", "4025 bytes is no whole number"),
    ("nan", "not finite"),
    ("tags", "4011 bytes|tag header"),
])  # fmt: skip
def test_what_returns_is_checked_and_the_next_slot_starts_anew(fault, message):
    stream = session(fault)
    try:
        for number in range(2):
            with pytest.raises(StreamBroken, match=message):
                stream.slot(bursts(), number)
    finally:
        stream.close()


def test_a_process_that_is_stopped_from_outside_is_noticed():
    stream = session("none")
    try:
        assert stream.slot(bursts(), 0) is not None
        os.kill(stream.flowgraph.pid, signal.SIGSTOP)
        assert stream.slot(bursts(), 1) is None
        assert stream.slot(bursts(), 2) is not None
    finally:
        stream.close()


def test_a_flowgraph_ends_with_its_session():
    stream = session("none")
    stream.slot(bursts(), 0)
    pid = stream.flowgraph.pid
    del stream
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_program_that_does_not_exist_is_named():
    stream = StreamSession(StreamConfig(command=("/nowhere/flowgraph",)))
    with pytest.raises(StreamConfigError, match="/nowhere/flowgraph"):
        stream.slot(bursts(), 0)


def test_an_address_that_is_taken_is_named():
    with zmq.Context() as context, context.socket(zmq.PULL) as taken:
        address = f"tcp://127.0.0.1:{taken.bind_to_random_port('tcp://127.0.0.1')}"
        stream = StreamSession(StreamConfig(send=(address,), receive=("tcp://127.0.0.1:1",)))
        with pytest.raises(StreamConfigError, match=f"{address} cannot be bound"):
            stream.slot(bursts(devices=1), 0)


# --- settings --------------------------------------------------------------------------------------------------------

LOCAL = {"send": ("tcp://127.0.0.1:5501",), "receive": ("tcp://127.0.0.1:5600",)}


@pytest.mark.parametrize(("settings", "message"), [
    ({"send": ("tcp://0.0.0.0:5501",), "receive": LOCAL["receive"]}, "--insecure"),
    ({"send": LOCAL["send"], "receive": ("tcp://lab.example:5600",)}, "--insecure"),
    ({"send": LOCAL["send"], "receive": ("inproc://x",)}, "inproc"),
    ({"send": ("tcp://127.0.0.1:0",), "receive": LOCAL["receive"]}, "port"),
    ({"send": LOCAL["send"]}, "go together"),
    ({**LOCAL, "kind": "srsran", "pass_tags": True}, "srsran"),
    ({**LOCAL, "key": "a"}, "pub_sub"),
    ({"send": ("tcp://*:15501",), "receive": LOCAL["receive"]}, "srsRAN's spelling.*tcp://127.0.0.1:15501, which a peer"),
    ({"send": LOCAL["send"], "receive": ("tcp://*:5600",)}, "a socket that connects needs one: write tcp://127.0.0.1:5600"),
    ({"send": LOCAL["send"], "receive": LOCAL["send"]}, r"send\[0\] and receive\[0\] are both .*hear itself"),
    ({"send": ("tcp://127.0.0.1:5501", "tcp://localhost:5501"), "receive": LOCAL["receive"]}, r"send\[0\] and send\[1\]"),
    ({**LOCAL, "deadline": 1.0}, "deadline: there is no such setting.*deadline_s"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused_in_one_sentence(settings, message):
    with pytest.raises(StreamConfigError, match=message) as caught:
        StreamConfig.of(settings, "stream.toml")
    assert "\n" not in str(caught.value)


def test_who_asks_an_air_server_waits_for_as_long_as_a_start_may_take():
    config = StreamConfig(**LOCAL, start_timeout_s=30.0, deadline_s=4.0)
    assert config.slowest_s > 30.0 + 2 * 4.0
    assert (config.latency_samples, config.withheld_samples) == ("auto", "auto")


def test_insecure_addresses_need_the_word():
    assert StreamConfig(send=("tcp://0.0.0.0:5501",), receive=("tcp://10.0.0.1:5600",), insecure=True).send


def test_settings_are_read_from_a_file(tmp_path):
    path = tmp_path / "stream.toml"
    path.write_text('command = ["true"]\nkind = "req_rep"\n')
    found = StreamConfig.load(str(path))
    assert found.kind == "req_rep"
    assert StreamConfig.load(found.model_dump_json()) == found
    path.write_text("command = [")
    for unreadable in (str(path), str(tmp_path / "none.toml"), "{not json"):
        with pytest.raises(BridgeError, match="cannot be read"):
            StreamConfig.load(unreadable)


def test_a_stream_that_leads_nowhere_says_what_to_give():
    with pytest.raises(StreamConfigError, match="give a command"):
        StreamSession(StreamConfig())
    with pytest.raises(StreamConfigError, match="give a command"):
        StreamConfig.load("{}")


def test_a_flowgraph_does_not_inherit_our_python(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/ours")
    assert not [name for name in clean_environment() if name.startswith("PYTHON")]


# --- the other sockets, against peers written here ---------------------------------------------------------------------


def serve(target, *sockets) -> threading.Thread:
    thread = threading.Thread(target=target, args=sockets)
    thread.start()
    return thread


def test_srsran_peers_ask_with_one_byte_and_may_answer_with_nothing():
    """A user equipment that pulls our samples with 0xFF, and a base station that pushes them back in pieces."""
    context = zmq.Context()
    ask, answer = context.socket(zmq.REQ), context.socket(zmq.REP)
    ports = [socket.bind_to_random_port("tcp://127.0.0.1") for socket in (ask, answer)]
    total, requests = opening_samples(1) + 504, []

    def peer() -> None:
        heard = np.zeros(0, np.complex64)
        told = 0
        ask.send(b"\xff")
        owed = empty = False
        while told < total:
            if ask.poll(1) and len(heard) < total:
                heard = np.concatenate([heard, np.frombuffer(ask.recv(), np.complex64)])
                ask.send(b"\xff")
            if not owed and answer.poll(1):
                requests.append(answer.recv())
                owed = True
            if owed and told < len(heard):
                piece = heard[told : told + 1000] if empty else heard[:0]
                empty = not empty
                answer.send(piece.tobytes())
                told += len(piece)
                owed = False

    thread = serve(peer)
    config = StreamConfig(
        kind="srsran", send=(f"tcp://127.0.0.1:{ports[0]}",), receive=(f"tcp://127.0.0.1:{ports[1]}",), send_bind=False
    )
    exchange = StreamExchange(config, config.send, config.receive)
    try:
        exchange.probe(5.0)
        sent = bursts(devices=1)
        assert np.array_equal(exchange.exchange(sent), sent)
        assert set(requests) == {b"\xff"}
    finally:
        exchange.close()
        thread.join()
        ask.close(0)
        answer.close(0)
        context.term()


def test_a_lost_message_shows_in_the_count_of_a_tag_header():
    with zmq.Context() as context, context.socket(zmq.PUSH) as far, context.socket(zmq.PULL) as near:
        addresses = [f"tcp://127.0.0.1:{s.bind_to_random_port('tcp://127.0.0.1')}" for s in (near, far)]
        config = StreamConfig(send=(addresses[0],), receive=(addresses[1],), send_bind=False, pass_tags=True, deadline_s=2.0)
        exchange = StreamExchange(config, config.send, config.receive)
        try:

            def echo() -> None:
                total = 0
                while total < opening_samples(1) and near.poll(2000):
                    sent = near.recv()
                    header = decode_header(sent)
                    far.send(encode_header(100 + total) + sent[header.size :])
                    total += (len(sent) - header.size) // 8
                far.send(encode_header(100 + total + 1, [Tag(5000, "rx_time", (1, 0.5))]) + bytes(8 * 500))

            thread = serve(echo)
            with pytest.raises(StreamBroken, match="\\+1 samples"):
                exchange.probe(5.0)
            thread.join()
        finally:
            exchange.close()


def test_tags_wait_for_a_peer_that_comes_late():
    """A message that cannot leave yet is made again when it can; its tags must still be there."""
    with zmq.Context() as context, private_ipc_endpoint() as address:
        port = SendPort(context, StreamConfig(send=(address,), receive=(f"{address}-back",), pass_tags=True), address)
        port.queue(bursts(1, 100)[0], (Tag(0, "packet_len", 100),))
        assert not port.service()
        with context.socket(zmq.PULL) as late:
            late.connect(address)
            while not port.service():
                time.sleep(0.005)
            assert late.poll(2000)
            header = decode_header(late.recv())
        port.socket.close(0)
    assert [(tag.offset, tag.key, tag.value) for tag in header.tags] == [(0, "packet_len", 100)]


def test_nobody_listening_is_silence_and_not_a_hang():
    config = StreamConfig(send=("tcp://127.0.0.1:45911",), receive=("tcp://127.0.0.1:45912",))
    exchange = StreamExchange(config, config.send, config.receive)
    try:
        with pytest.raises(StreamSilent, match="returned 0 samples of the"):
            exchange.probe(0.3)
    finally:
        exchange.close()


# --- tag headers -----------------------------------------------------------------------------------------------------


def test_the_header_is_gnu_radios_byte_for_byte():
    """As received from a PUSH sink of GNU Radio 3.10.5, for the tag ("burst", 3) on the third sample of a stream of ones."""
    raw = bytes.fromhex(
        "f05f01 0000000000000000 0100000000000000 0200000000000000 020005 6275727374 0300000003 01 0000803f00000000"
    )
    header = decode_header(raw)
    assert (header.offset, header.tags, header.size) == (0, (Tag(2, "burst", 3),), len(raw) - 8)
    assert encode_header(0, header.tags) == raw[: header.size]
    assert struct.calcsize("=HBQQ") == HEADER_BYTES == 19


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20)
    | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
)  # fmt: skip


@given(st.integers(0, 2**48 - 1), st.lists(st.builds(Tag, st.integers(0, 2**64 - 1), st.text(max_size=9), values), max_size=5))
def test_headers_survive_the_round_trip(offset, tags):
    raw = encode_header(offset, tags)
    header = decode_header(raw + b"samples")
    assert (header.offset, header.tags, header.size) == (offset, tuple(tags), len(raw))
    assert carries_header(raw)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_header_or_one_error(data, begins_well):
    data = b"\xf0\x5f\x01" + data if begins_well else data
    size = 0
    with contextlib.suppress(StreamBroken):
        size = decode_header(data).size
    assert size <= len(data)
