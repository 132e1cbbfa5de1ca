"""Deposits: only their owner's, only once, only within the clip, and nothing of them but the estimate ever comes out."""

from __future__ import annotations

import logging
import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import zmq

from bridge.client import AirClient
from bridge.deposits import store
from bridge.deposits.client import Collecting, Depositor, NoBox
from bridge.deposits.messages import Close, Collect, Deposit, Open, Opened, Receipt, box_of, token_of
from bridge.deposits.store import PUBLIC_DIAGNOSTICS, Boxes, UnknownBox
from bridge.errors import FrameError, RequestRefused, ServerRefused
from bridge.frames import FrameCodec
from bridge.messages import AggregateRequest, ErrorReply, Hello, Limits, Message, Result
from bridge.server import AirServer
from tests.bridge.fakes import FakeLink, FakeResult, running
from tests.bridge.test_server import ask

SEAL = "5e" * 32
K, N = 3, 2
VALUES = np.random.default_rng(5).uniform(-4, 4, (K, N))


@dataclass(frozen=True)
class ClippedLink(FakeLink):
    """Says its clip, and is as talkative as the real one."""

    @property
    def description(self) -> dict[str, int | float | str]:
        return {**super().description, "clip": 4.0}

    def aggregate(self, rounds: Any, payloads: Any, present: Any = None) -> FakeResult:
        if self.config.get("tells"):
            raise RequestRefused(f"a payload of magnitude {np.abs(payloads).max()!r} exceeds the clip")
        found = super().aggregate(rounds, payloads, present)
        count = np.full(len(rounds), float(payloads.shape[1]))
        more = {"true_mean": payloads[:, :, 0].mean(axis=1), "received_power": np.square(payloads).sum(axis=(1, 2))}
        channel = {"active": count, "truncated": 0 * count, "aligned_gain": 0.5 + 0 * count, "loudest_gain": 0.5 + 0 * count}
        return FakeResult(found.estimates, found.lost, {**found.diagnostics, **more, **channel})


@pytest.fixture
def server() -> Iterator[AirServer]:
    with running("tcp://127.0.0.1:0", link_factory=ClippedLink) as found:
        yield found


class Fleet:
    """A coordinator's box and its devices' sockets, against a server."""

    def __init__(self, server: AirServer, config: dict[str, Any] | None = None) -> None:
        self.endpoint = server.endpoint
        self.client = AirClient(server.endpoint, config or {}, 7)
        self.box = Collecting(lambda round_index: self.client, K, N)
        self._depositor = Depositor(server.endpoint)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self._depositor.close()
        self.client.close()

    def made(self, device: int, round_index: int, values: Any, generation: int = 0) -> Deposit:
        token = self.box.token(device, generation)
        return Deposit(self.box.box, device, generation, token, round_index, np.array(values, dtype=np.float64))

    def send(self, deposit: Deposit) -> bool:
        return self._depositor.deposit(deposit)

    def deposit(self, device: int, round_index: int, values: Any, generation: int = 0) -> bool:
        return self.send(self.made(device, round_index, values, generation))


def test_the_estimates_are_those_of_aggregate_and_nothing_else_comes_back(server: AirServer) -> None:
    with Fleet(server) as fleet:
        for index, who in ((4, [0, 1, 2]), (5, [0, 2]), (9, [1])):
            fleet.box.open(index)
            assert all(fleet.deposit(k, index, VALUES[k]) for k in who)
            present = fleet.box.close(index)
            assert np.flatnonzero(present).tolist() == who
            got = fleet.box.collect(index, present)
            payloads = np.where(present[:, None], VALUES, 0.0)
            expected = fleet.client.aggregate(index, payloads, None if present.all() else present)
            assert got.estimate.tobytes() == expected.estimate.tobytes()
            assert set(got.diagnostics) == {"active", "truncated", "aligned_gain", "loudest_gain"}
            assert set(PUBLIC_DIAGNOSTICS) - set(got.diagnostics) == {"transmissions"}  # told where an air counts
            assert set(expected.diagnostics) > set(got.diagnostics)


def test_no_wire_between_coordinator_and_server_carries_a_deposit(server: AirServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that the coordinator's socket sends and receives, searched for the scalars and for their means."""
    heard: list[bytes] = []
    with Fleet(server) as fleet:
        receive = fleet.client._requester._codec.decode
        monkeypatch.setattr(fleet.client._codec, "decode", lambda parts: (heard.extend(map(bytes, parts)), receive(parts))[1])
        fleet.box.open(0)
        for k in range(K):
            fleet.deposit(k, 0, VALUES[k])
        fleet.box.collect(0, fleet.box.close(0))
    everything = b"".join(heard)
    assert len(heard) > 6
    secret = [*VALUES.ravel(), *VALUES.mean(axis=0), *VALUES.sum(axis=0), np.square(VALUES).sum(), np.abs(VALUES).max()]
    doubles = np.array([struct.unpack_from("<d", everything, at)[0] for at in range(len(everything) - 7)])
    for value in secret:
        assert not (np.abs(doubles - value) < 1e-9).any()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"token": "0" * 64}, "the token is not that of device 1; a device deposits for itself only"),
        ({"device": 2}, "the token is not that of device 2"),  # with the token of device 1
        ({"device": 3, "token": token_of(SEAL, 3, 0)}, "there is no device 3 in a box of 3"),
        ({"generation": 1}, "the token is not that of device 1"),
        ({"round": 8}, "round 8 is not open for deposits; round 7 is"),
        ({"round": 2**62}, "is not open for deposits"),
        ({"payload": np.array([1.0, 4.0000001])}, "a scalar of device 1 is over the clip of 4; clip before sending"),
        ({"payload": np.array([-5.0, 0.0])}, "over the clip"),
        ({"payload": np.array([1.0])}, "device 1 deposited 1 scalars instead of 2"),
        ({"payload": np.zeros(3)}, "device 1 deposited 3 scalars instead of 2"),
    ],
)
def test_what_is_refused_is_refused_in_one_sentence_and_spoils_nothing(
    server: AirServer, change: dict[str, Any], sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Fleet(server) as fleet, caplog.at_level(logging.DEBUG):
        fleet.box.open(7)
        assert fleet.deposit(0, 7, VALUES[0])
        with pytest.raises(ServerRefused, match=sentence) as caught:
            fleet.send(replace(fleet.made(1, 7, VALUES[1]), **change))
        assert caught.value.code == "bad_request"
        assert "\n" not in str(caught.value)
        assert fleet.box.close(7).tolist() == [True, False, False]  # what was refused is not there
        assert not fleet.box.collect(7, np.array([True, False, False])).lost
        assert "5.0" not in caplog.text


def test_the_first_deposit_counts_and_the_same_may_come_again(server: AirServer) -> None:
    with Fleet(server) as fleet:
        fleet.box.open(0)
        assert fleet.deposit(0, 0, VALUES[0])
        assert fleet.deposit(0, 0, VALUES[0])
        with pytest.raises(ServerRefused, match="has deposited other scalars in round 0; the first ones count"):
            fleet.deposit(0, 0, np.nextafter(VALUES[0], 5.0))
        with pytest.raises(ServerRefused, match="other scalars"):
            fleet.deposit(0, 0, [0.0, 0.0])
        present = fleet.box.close(0)
        assert fleet.deposit(0, 0, VALUES[0])  # its receipt was lost: it is there
        assert not fleet.deposit(1, 0, VALUES[1])  # too late
        got = fleet.box.collect(0, present)
        expected = fleet.client.aggregate(0, np.where(present[:, None], VALUES, 0.0), present)
        assert got.estimate.tobytes() == expected.estimate.tobytes()
        fleet.box.open(1)
        assert not fleet.deposit(0, 0, VALUES[0])  # superseded
        assert fleet.deposit(0, 1, [0.5, 0.5])


def test_signed_zeros_are_other_bytes(server: AirServer) -> None:
    with Fleet(server) as fleet:
        fleet.box.open(0)
        fleet.deposit(0, 0, [0.0, 0.0])
        with pytest.raises(ServerRefused, match="other scalars"):
            fleet.deposit(0, 0, [-0.0, 0.0])


def test_a_process_that_takes_the_place_replaces_what_the_one_before_left(server: AirServer) -> None:
    with Fleet(server) as fleet:
        fleet.box.open(0)
        fleet.deposit(1, 0, [1.0, 1.0])
        assert fleet.deposit(1, 0, [2.0, 2.0], generation=1)
        with pytest.raises(ServerRefused, match="another process took the place of device 1"):
            fleet.deposit(1, 0, [1.0, 1.0])
        present = fleet.box.close(0)
        got = fleet.box.collect(0, present)
        expected = fleet.client.aggregate(0, [[0, 0], [2, 2], [0, 0]], present)
        assert got.estimate.tobytes() == expected.estimate.tobytes()


def test_a_round_is_collected_once_since_two_answers_would_tell_a_deposit(server: AirServer) -> None:
    with Fleet(server) as fleet:
        fleet.box.open(0)
        with pytest.raises(ServerRefused, match="round 0 still takes deposits; close it first"):
            fleet.box.collect(0, np.ones(K, bool))
        for k in range(K):
            fleet.deposit(k, 0, VALUES[k])
        fleet.box.close(0)
        first = fleet.box.collect(0, np.ones(K, bool))
        again = fleet.box.collect(0, np.ones(K, bool))
        assert first.estimate.tobytes() == again.estimate.tobytes()
        with pytest.raises(ServerRefused, match="round 0 was collected with other devices; a round is collected once"):
            fleet.box.collect(0, np.array([True, True, False]))
        with pytest.raises(ServerRefused, match="its rounds only go forwards"):
            fleet.box.open(1), fleet.box.open(0)
        with pytest.raises(ServerRefused, match="round 0 is not the open one; round 1 is"):
            fleet.box.collect(0, np.array([True, True, False]))
        fleet.deposit(1, 1, VALUES[1])
        fleet.box.close(1)
        for who, sentence in (([True, True, False], "device 0 has no deposit in round 1"), ([False] * 3, "no deposit")):
            with pytest.raises(ServerRefused, match=sentence):
                fleet.box.collect(1, np.array(who))


def test_only_the_seal_opens_the_box_and_seals_do_not_meet(server: AirServer) -> None:
    """A device knows configuration, seed, session and box, and its own token; that gives it nobody's deposit."""
    with Fleet(server) as fleet, Fleet(server) as other:
        fleet.box.open(0)
        for k in range(K):
            fleet.deposit(k, 0, VALUES[k])
        for seal in (fleet.box.box, fleet.box.token(1, 0), secrets.token_hex(32)):
            stranger = Collecting(lambda round_index: other.client, K, N)
            stranger._seal, stranger.box = seal, box_of(seal)
            assert not stranger.close(0).any()  # a box of its own, and empty
        other.box.open(0)
        assert other.deposit(0, 0, [1.0, 1.0])
        with pytest.raises(ServerRefused, match="the token is not"):
            other.send(replace(other.made(0, 0, [1.0, 1.0]), token=fleet.box.token(0, 0)))
        assert fleet.box.close(0).all()


def test_a_link_that_fails_does_not_show_what_it_was_sent(server: AirServer, caplog: pytest.LogCaptureFixture) -> None:
    for config in ({"tells": True}, {"fail": True}):
        with Fleet(server, config) as fleet, caplog.at_level(logging.DEBUG):
            fleet.box.open(0)
            for k in range(K):
                fleet.deposit(k, 0, VALUES[k])
            fleet.box.close(0)
            with pytest.raises(ServerRefused, match=r"the link failed on the deposits of round 0 \(R[A-Za-z]+\)$") as caught:
                fleet.box.collect(0, np.ones(K, bool))
            assert "magnitude" not in str(caught.value) + caplog.text
            with pytest.raises(ServerRefused, match="a round is collected once"):
                fleet.box.collect(0, np.array([True, False, False]))
            assert fleet.client.ping() < 5


def test_a_server_that_was_started_anew_has_nobodys_deposit_and_goes_on() -> None:
    with running("tcp://127.0.0.1:0", link_factory=ClippedLink) as server, Fleet(server) as fleet:
        fleet.box.open(0)
        fleet.deposit(0, 0, VALUES[0])
        server._boxes, server._store._links = Boxes(), type(server._store._links)()  # all is forgotten
        with pytest.raises(NoBox, match="has no place for the deposit"):
            fleet.deposit(1, 0, VALUES[1])
        assert not fleet.box.close(0).any()
        fleet.box.open(1)
        fleet.deposit(0, 1, VALUES[0])
        assert fleet.box.close(1).tolist() == [True, False, False]


def test_malformed_frames_of_deposits_are_answered_and_the_server_lives(server: AirServer) -> None:
    codec = FrameCodec(Limits())
    sound = [bytes(p) for p in codec.encode(7, Deposit(box_of(SEAL), 0, 0, token_of(SEAL, 0, 0), 0, np.ones(2)))]
    nan = [*sound[:2], struct.pack("<2d", 1.0, float("nan"))]
    infinite = [*sound[:2], struct.pack("<2d", 1.0, float("inf"))]
    short, twice, none = [*sound[:2], sound[2][:-1]], [*sound, sound[2]], sound[:2]
    old = [sound[0][:4] + b"\x01" + sound[0][5:], *sound[1:]]
    flags = [bytes(p) for p in codec.encode(8, Collect("ab" * 32, SEAL, 0, np.array([True])))]
    flags[2] = b"\x02"
    answers = [bytes(p) for p in codec.encode(9, Receipt(taken=True))]
    replies = ask(server.endpoint, nan, infinite, short, twice, none, old, flags, answers, sound)
    assert [reply.code for reply in replies if isinstance(reply, ErrorReply)] == ["bad_frame"] * 7 + ["unknown_session"]
    assert all("\n" not in reply.message and "1.0" not in reply.message for reply in replies if isinstance(reply, ErrorReply))
    with Depositor(server.endpoint) as depositor, pytest.raises(FrameError, match="NaN or infinite"):
        depositor.deposit(Deposit(box_of(SEAL), 0, 0, token_of(SEAL, 0, 0), 0, np.array([np.nan])))


def test_a_client_of_version_1_is_answered_in_version_1(server: AirServer) -> None:
    """Bytes of an old client, and every byte of what it gets; a version 1 reader knows none of the new types."""
    codec = FrameCodec(Limits())
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger, dealer.rcvtimeo = 0, 5000
        dealer.connect(server.endpoint)
        dealer.send_multipart(codec.encode(1, Hello(config={}, seed=7)))
        welcome = dealer.recv_multipart()
        session = codec.decode(welcome).message.session  # type: ignore[union-attr]
        request = codec.encode(2, AggregateRequest(session, np.array([0]), VALUES[None]))
        assert request[0][4] == 1
        dealer.send_multipart(request)
        result = dealer.recv_multipart()
        dealer.send_multipart([request[0][:4] + b"\x03" + bytes(request[0][5:]), *request[1:]])
        newer = dealer.recv_multipart()
    assert [reply[0][4:6] for reply in (welcome, result, newer)] == [b"\x01\x02", b"\x01\x04", b"\x01\x07"]
    direct = ClippedLink({}, 7).aggregate(np.array([0]), VALUES[None])
    assert codec.decode(result).message.estimates.tobytes() == direct.estimates.tobytes()  # type: ignore[union-attr]
    assert b"speaks version 1 and 2, the message has version 3" in newer[1]


# The boxes themselves, without a socket.


def opened(boxes: Boxes, seal: str, round_index: int = 0, devices: int = 2, n: int = 1) -> Opened:
    message = Open(session="ab" * 32, seal=seal, round=round_index, devices=devices, n=n)
    return boxes.open(message, {"clip": 4.0})


def test_boxes_are_bounded_in_number_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BOXES", 3)
    monkeypatch.setattr(store, "RESERVED_SCALARS", 100)
    boxes = Boxes()
    seals = [f"{i:064x}" for i in range(5)]
    for seal in seals[:3]:
        opened(boxes, seal)
    boxes.close(Close(seal=seals[0], round=0))  # used: not the first to go
    opened(boxes, seals[3])
    with pytest.raises(UnknownBox):
        boxes.close(Close(seal=seals[1], round=0))
    boxes.close(Close(seal=seals[0], round=0))
    opened(boxes, seals[4], devices=90)  # of 100 scalars 90
    assert list(boxes._boxes) == [box_of(seal) for seal in (seals[3], seals[0], seals[4])]
    with pytest.raises(RequestRefused, match="a box holds 100 scalars at most, not 101 times 1"):
        opened(boxes, seals[1], devices=101)
    with pytest.raises(RequestRefused, match="the box is for 90 devices of 1 scalars; open another under another seal"):
        opened(boxes, seals[4], devices=2)


def test_deposits_are_gone_once_their_round_is_over() -> None:
    boxes, rng = Boxes(), np.random.default_rng(1)
    box = opened(boxes, SEAL).box
    inner = boxes._boxes[box]

    def deposit(round_index: int) -> None:
        for k in range(2):
            boxes.deposit(Deposit(box, k, 0, token_of(SEAL, k, 0), round_index, rng.uniform(-1, 1, 1)))

    deposit(0)
    boxes.close(Close(seal=SEAL, round=0))
    boxes.collect(Collect("ab" * 32, SEAL, 0, np.ones(2, bool)), ClippedLink({}, 1).aggregate)
    assert not inner.deposits
    opened(boxes, SEAL, 1)
    deposit(1)
    opened(boxes, SEAL, 1)  # asked again: nothing changes
    assert len(inner.deposits) == 2
    opened(boxes, SEAL, 5)
    assert not inner.deposits
    assert inner.answer is None


def test_nothing_that_is_shown_of_a_message_shows_a_scalar_or_a_secret() -> None:
    deposit = Deposit(box_of(SEAL), 0, 0, token_of(SEAL, 0, 0), 0, np.array([1.25]))
    assert "1.25" not in repr(deposit)
    assert deposit.token not in repr(deposit)
    assert SEAL not in repr(Collect("ab" * 32, SEAL, 0, np.ones(1, bool)))


def messages() -> list[Message]:
    seal, session = SEAL, "ab" * 32
    return [Open(session=session, seal=seal, round=0, devices=2**31 - 1, n=1), Close(seal=seal, round=2**62 + 1)]


@pytest.mark.parametrize("message", messages())
def test_messages_over_the_limits_are_not_written(message: Message) -> None:
    with pytest.raises(FrameError, match=r"may have 4096|rounds end at 2\^62"):
        FrameCodec(Limits()).encode(1, message)


# The real link.

CHANNELS: list[dict[str, Any]] = [
    {"csi": {"estimator": "ls"}, "power": {"control": "truncated", "threshold": 0.5}, "receive_antennas": 2},
    {"csi": {"estimator": "mmse"}, "power": {"control": "mse_optimal"}, "scheme": "sign"},
    {"offsets": {"timing_s": {"law": "normal", "value": 1e-7}}, "csi": {"estimator": "ls"}},
    {"fidelity": "waveform", "csi": {"estimator": "ls"}},
    {"scheme": "fsk_mv"},
    {"scheme": "ncairfl"},
    {"scheme": "reed"},
    {"scheme": "digital"},
]


@pytest.mark.parametrize("config", CHANNELS)
def test_what_comes_back_of_a_real_link_does_not_move_with_what_was_sent(config: dict[str, Any]) -> None:
    """Everything but the estimate has the same bits for quite different deposits, and what would not have is kept back."""
    links = pytest.importorskip("bridge.links")
    link = links.phy_link_factory()({"clip": 4.0, "snr_max_db": 10.0, **config}, 3)
    rng = np.random.default_rng(2)
    seen: list[Result] = []
    full: list[dict[str, Any]] = []
    for scale in (1e-3, 1.0, 4.0):
        payloads = rng.uniform(-1, 1, (K, N)) * scale
        boxes = Boxes()
        message = Open(session="ab" * 32, seal=SEAL, round=3, devices=K, n=N)
        box = boxes.open(message, link.description).box
        for k in range(K):
            boxes.deposit(Deposit(box, k, 0, token_of(SEAL, k, 0), 3, payloads[k]))
        boxes.close(Close(seal=SEAL, round=3))
        seen.append(boxes.collect(Collect("ab" * 32, SEAL, 3, np.ones(K, bool)), link.aggregate))
        full.append(dict(link.aggregate(np.array([3]), payloads[None]).diagnostics))
        assert seen[-1].estimates.tobytes() == link.aggregate(np.array([3]), payloads[None]).estimates.tobytes()
        boxes.open(Open(session="ab" * 32, seal=SEAL, round=4, devices=K, n=N), link.description)
        with pytest.raises(RequestRefused, match="over the clip of 4"):
            boxes.deposit(Deposit(box, 0, 0, token_of(SEAL, 0, 0), 4, np.array([0.0, 4.1])))
    shown = [{name: values.tobytes() for name, values in result.diagnostics.items()} for result in seen]
    assert shown[0] == shown[1] == shown[2]
    assert {"active", "truncated", "aligned_gain"} <= shown[0].keys() <= set(PUBLIC_DIAGNOSTICS)
    moving = {name for name in full[0] if not np.array_equal(full[0][name], full[1][name], equal_nan=True)}
    assert "true_mean" in moving
    assert not moving & set(PUBLIC_DIAGNOSTICS)
