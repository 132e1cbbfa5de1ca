"""The server: many clients, bad frames, links that fail, addresses that are taken."""

from __future__ import annotations

import socket
import stat
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import zmq

from bridge.client import AirClient
from bridge.errors import BridgeError, EndpointError, ServerRefused
from bridge.frames import FrameCodec
from bridge.messages import AggregateRequest, ErrorReply, Limits, Message, Ping, Pong
from bridge.server import AirServer, InprocAirServer
from tests.bridge.fakes import FakeLink, example, fake_factory, running


def ask(endpoint: str, *messages: list[bytes], wait_ms: int = 2000) -> list[Message]:
    """Send raw messages from one DEALER, then a PING; return all replies but the last PONG."""
    codec = FrameCodec(Limits())
    replies: list[Message] = []
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(endpoint)
        for message in messages:
            dealer.send_multipart(message)
        dealer.send_multipart(codec.encode(999_999, Ping()))
        while dealer.poll(wait_ms):
            frame = codec.decode(dealer.recv_multipart())
            if frame.seq == 999_999:
                return replies
            replies.append(frame.message)
    raise AssertionError("the server did not answer a PING")


def test_many_clients_share_a_server_and_get_the_direct_bits() -> None:
    rounds, payloads, present = example(batch=20)
    with running("tcp://127.0.0.1:0") as server:
        wrong: list[int] = []

        def work(seed: int) -> None:
            direct = FakeLink({}, seed).aggregate(rounds, payloads, present)
            with AirClient(server.endpoint, {}, seed) as client:
                for _ in range(5):
                    air = client.aggregate_rounds(rounds, payloads, present)
                    if air.estimates.tobytes() != direct.estimates.tobytes() or (air.lost != direct.lost).any():
                        wrong.append(seed)

        threads = [threading.Thread(target=work, args=(seed % 3,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert server.counters["replies"] == 36


def test_bad_frames_are_answered_or_dropped_and_the_server_lives() -> None:
    prefix = struct.pack("<4sBBHQ", b"PZRO", 1, 3, 0, 7)
    with running("tcp://127.0.0.1:0") as server:
        codec = FrameCodec(Limits())
        replies = ask(
            server.endpoint,
            [b"hello"],
            [b""],
            [b"", b"", b""],
            [prefix, b"junk"],
            [prefix],
            [struct.pack("<4sBBHQ", b"PZRO", 9, 3, 0, 7), b""],
            [bytes(p) for p in codec.encode(7, ErrorReply(code="internal", message="an answer to a server"))],
            [bytes(p) for p in codec.encode(7, Pong())],
        )
        assert [reply.code for reply in replies if isinstance(reply, ErrorReply)] == ["bad_frame"] * 3
        assert server.counters["dropped"] == 5
        assert server.counters["bad_frames"] == 6


def test_raw_bytes_on_the_port_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    with running("tcp://127.0.0.1:0") as server:
        port = int(server.endpoint.rsplit(":", 1)[1])
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as raw:
                raw.sendall(rng.bytes(2048))
        with AirClient(server.endpoint, {}, 1) as client:
            assert client.ping() > 0


def test_a_message_over_the_socket_limit_is_cut_off_and_others_are_served() -> None:
    with running("tcp://127.0.0.1:0", limits=Limits(scalars=1, rounds=1)) as server:
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            dealer.connect(server.endpoint)
            dealer.send_multipart([bytes(16), bytes(100_000)])
            assert ask(server.endpoint) == []
        assert server.counters["received"] == 1


@pytest.mark.parametrize(
    ("config", "code", "sentence"),
    [
        ({"bad": 1}, "bad_config", "did you mean good"),
        ({"crash": 1}, "internal", "crash"),
    ],
)
def test_a_factory_that_refuses(config: dict[str, object], code: str, sentence: str) -> None:
    with running("tcp://127.0.0.1:0") as server:
        with pytest.raises(ServerRefused, match=sentence) as caught:
            AirClient(server.endpoint, config, 1)
        assert caught.value.code == code
        with AirClient(server.endpoint, {}, 1) as client:
            client.ping()


@pytest.mark.parametrize(("config", "sentence"), [({"fail": 1}, "antenna fell off$"), ({"lie": 1}, "cannot be sent")])
def test_a_link_that_fails_costs_its_client_a_sentence_and_nobody_else(config: dict[str, object], sentence: str) -> None:
    with running("tcp://127.0.0.1:0") as server:
        with AirClient(server.endpoint, config, 1) as client:
            for _ in range(2):
                with pytest.raises(ServerRefused, match=sentence) as caught:
                    client.aggregate(0, np.ones((2, 1)))
                assert caught.value.code == "internal"
                assert "Traceback" not in str(caught.value)
        with AirClient(server.endpoint, {}, 1) as client:
            client.aggregate(0, np.ones((2, 1)))


def test_a_description_that_the_wire_cannot_carry_is_an_internal_error() -> None:
    class Odd(FakeLink):
        @property
        def description(self) -> dict[str, int | float | str]:
            return {"list": [1]}  # type: ignore[dict-item]

    with (
        running("tcp://127.0.0.1:0", link_factory=Odd) as server,
        pytest.raises(ServerRefused, match="describes its list by a list"),
    ):
        AirClient(server.endpoint, {}, 1)


def test_opening_is_idempotent_and_sessions_are_bounded() -> None:
    made = []

    def factory(config: dict[str, object], seed: int) -> FakeLink:
        made.append(seed)
        return fake_factory(config, seed)

    with running("tcp://127.0.0.1:0", link_factory=factory, sessions=2) as server:
        clients = [AirClient(server.endpoint, {"a": 1, "b": 2}, 1), AirClient(server.endpoint, {"b": 2, "a": 1}, 1)]
        assert made == [1]
        clients += [AirClient(server.endpoint, {}, seed) for seed in (2, 3)]
        assert made == [1, 2, 3]
        # Seed 1 is closed by now; its client opens it again by itself.
        answer = clients[0].aggregate(5, np.ones((2, 1)))
        assert made == [1, 2, 3, 1]
        assert answer.estimate.tobytes() == clients[1].aggregate(5, np.ones((2, 1))).estimate.tobytes()
        for client in clients:
            client.close()


def test_a_client_that_left_is_counted_not_mourned() -> None:
    release = threading.Event()

    class Slow(FakeLink):
        def aggregate(self, *request: np.ndarray) -> object:  # type: ignore[override]
            release.wait(10)
            return super().aggregate(*request)

    with running("tcp://127.0.0.1:0", link_factory=Slow) as server:
        client = AirClient(server.endpoint, {}, 1, timeout_s=0.1, attempts=1)
        with pytest.raises(BridgeError, match="no air server answered"):
            client.aggregate(0, np.ones((1, 1)))
        client.close()
        time.sleep(0.3)  # let the disconnection arrive
        release.set()
        with AirClient(server.endpoint, {}, 2) as other:
            other.ping()
        assert server.counters["unsent"] == 1


def test_a_port_in_use_is_refused_with_one_sentence() -> None:
    with (
        running("tcp://127.0.0.1:0") as server,
        pytest.raises(EndpointError, match=r"tcp://127.0.0.1:\d+ is in use; stop the server"),
    ):
        AirServer(server.endpoint, fake_factory).bind()


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="nobody would be asked for a key"):
        AirServer("tcp://0.0.0.0:5757", fake_factory)
    with pytest.raises(EndpointError, match="does not exist; create it first"):
        AirServer(f"ipc://{tmp_path}/none/air", fake_factory).bind()


def test_an_ipc_path_is_private_guarded_and_replaced_when_stale(tmp_path: Path) -> None:
    path = tmp_path / "air"
    with running(f"ipc://{path}") as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(EndpointError, match="in use by a live server"):
            AirServer(f"ipc://{path}", fake_factory).bind()
        with AirClient(server.endpoint, {}, 1) as client:
            client.ping()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    with running(f"ipc://{path}") as server, AirClient(server.endpoint, {}, 1) as client:
        client.ping()
    assert not path.exists()
    path.write_text("a diary")
    with pytest.raises(EndpointError, match="file of another kind"):
        AirServer(f"ipc://{path}", fake_factory).bind()
    assert path.read_text() == "a diary"


def test_the_address_is_free_again_after_stop() -> None:
    with running("tcp://127.0.0.1:0") as server:
        endpoint = server.endpoint
    with running(endpoint) as server:
        assert server.endpoint == endpoint


def test_inproc_gives_the_direct_bits() -> None:
    rounds, payloads, present = example()
    direct = FakeLink({}, 4).aggregate(rounds, payloads, present)
    with InprocAirServer(fake_factory) as server:
        assert server.alive()
        with AirClient(server.endpoint, {}, 4, context=server.context) as client:
            assert client.aggregate_rounds(rounds, payloads, present).estimates.tobytes() == direct.estimates.tobytes()
        with pytest.raises(BridgeError, match=r"context=server\.context"):
            AirClient(server.endpoint, {}, 4)
    assert not server.alive()


def test_an_old_libzmq_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zmq, "zmq_version_info", lambda: (4, 3, 2))
    with pytest.raises(BridgeError, match="install pyzmq"):
        AirServer("tcp://127.0.0.1:0", fake_factory)


def test_limits_are_announced_and_held() -> None:
    with running("tcp://127.0.0.1:0", limits=Limits(rounds=5, devices=3, entries=2, scalars=12)) as server:
        with AirClient(server.endpoint, {}, 1) as client:
            assert client.limits == Limits(rounds=5, devices=3, entries=2, scalars=12)
            with pytest.raises(BridgeError, match="4 devices and may have 3"):
                client.aggregate(0, np.ones((4, 1)))
        # A peer that does not care about the limits hears of them, even without a session.
        request = AggregateRequest("0" * 64, np.arange(6), np.ones((6, 1, 1)))
        (reply,) = ask(server.endpoint, [bytes(part) for part in FrameCodec(Limits()).encode(1, request)])
        assert isinstance(reply, ErrorReply)
        assert reply.code == "too_large"
        assert "6 rounds and may have 5" in reply.message
