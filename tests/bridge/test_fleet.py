"""The coordinator's desk and its socket: who takes part, what they are told, and that no message does harm."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from bridge.errors import BadReply, EndpointError, ServerGone, ServerRefused
from bridge.fleet import Air, Collected, Desk, FleetClient, FleetServer, RunCard
from bridge.fleet.client import SessionLost
from bridge.fleet.history import History
from bridge.fleet.messages import Done, Joined, Prove, Receipt, Rows, Seated, Slot, Wait
from bridge.keys import ClientKeys, ServerKeys, generate_keys
from tests.bridge.fakes import running

BASE, TASK, OTHER = "a" * 64, "b" * 64, "c" * 64
CARD = RunCard(
    run="d" * 64,
    devices=3,
    n=2,
    clip=4.0,
    rounds=10,
    base_weights_sha256=BASE,
    identity={"model_kind": "toy"},
    task_sha256=TASK,
    settings={"mu": 1e-3},
    software="test",
)


class Fleet:
    """A served desk, and clients that know where they stand."""

    def __init__(self, bind: str, air: Air | None = None, **own: Any) -> None:
        self.said: list[str] = []
        self.desk = Desk(CARD, self.said.append, air=air)
        self.server = FleetServer(bind, self.desk, **own)
        self._clients: list[FleetClient] = []

    def client(self, **own: Any) -> FleetClient:
        self._clients.append(FleetClient(self.server.endpoint, **({"patience_s": 20.0, "timeout_s": 2.0} | own)))
        return self._clients[-1]

    def close(self) -> None:
        self.server.close()
        for client in self._clients:
            client.close()

    def member(self, number: int | None = None, **own: Any) -> Member:
        return Member(self, number, **own)

    def slot(self, slot_s: float = 20.0) -> SlotThread:
        return SlotThread(self.desk, slot_s)


class Member:
    """A device without a model: its weights' hash is what the test says."""

    def __init__(self, fleet: Fleet, number: int | None = None, **own: Any) -> None:
        self.client = fleet.client()
        self.number = self.client.hello(number).number
        self.history = History(CARD.run)
        self.join(**own)

    def join(self, **own: Any) -> None:
        facts = {
            "base_weights_sha256": BASE,
            "identity": CARD.identity,
            "task_sha256": TASK,
            "examples": 5,
            "standing": len(self.history),
            "history": self.history.at(len(self.history)),
        }
        joined = self.client.join(self.number, **(facts | own))
        self.session, self.joined = joined.session, joined
        if joined.restart:
            self.history = self.history.fresh()

    def next(self, measured: bool = False) -> Any:
        reply = self.client.next(self.session, len(self.history), measured)
        if isinstance(reply, Rows):
            for place, seed in enumerate(reply.seeds):
                self.history.append(int(seed), float(reply.learning_rates[place]), reply.estimates[place])
        return reply

    def until(self, kind: type[Any]) -> Any:
        for _ in range(20):
            reply = self.next()
            if isinstance(reply, kind):
                return reply
        raise AssertionError(f"no {kind.__name__} came")

    def deposited(self, round_index: int, finite: bool = True) -> bool:
        return self.client.deposited(self.session, round_index, finite)

    def answer(self, round_index: int, *payloads: float) -> bool:
        return self.client.answer(self.session, round_index, np.array(payloads), 0.5, 4, 0.25)


class SlotThread:
    """A slot that the test's thread may talk to while it is open."""

    def __init__(self, desk: Desk, slot_s: float) -> None:
        self._found: list[Collected] = []
        self._thread = threading.Thread(target=lambda: self._found.append(desk.collect(desk.head, 7, slot_s)))
        self._thread.start()

    def closed(self) -> Collected:
        self._thread.join(30)
        assert self._found
        return self._found[0]


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.fleet.server.HOLD_S", 0.1)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with served(f"ipc://{tmp_path}/f") as made:
        yield made


@contextmanager
def served(bind: str, **own: Any) -> Iterator[Fleet]:
    made = Fleet(bind, **own)
    try:
        yield made
    finally:
        made.close()


def test_a_round_from_joining_to_the_end(fleet: Fleet) -> None:
    members = [fleet.member(), fleet.member(), fleet.member()]
    assert [member.number for member in members] == [0, 1, 2]
    assert all(isinstance(member.next(), Wait) for member in members)
    slot = fleet.slot()
    for number, member in enumerate(members):
        order = member.until(Slot)
        assert (order.round, order.seed) == (0, 7)
        assert 0 < order.closes_in_s <= 20
        assert member.answer(0, number, -number)
        assert member.answer(0, 3.5, 3.5)  # the first answer counts
    found = slot.closed()
    assert found.payloads.tolist() == [[0, 0], [1, -1], [2, -2]]
    assert found.present.all()
    assert (found.mean_loss, found.clipped_fraction) == (0.5, 0.25)
    fleet.desk.publish(7, 0.1, np.array([1.0, -1.0]))
    fleet.desk.finish("that was it")
    for member in members:
        rows = member.next(measured=True)
        assert (rows.first, rows.seeds.tolist(), rows.learning_rates.tolist()) == (0, [7], [0.1])
        assert rows.estimates.tolist() == [[1.0, -1.0]]
        assert member.next() == Done(rounds=1, reason="that was it")
    fleet.desk.await_farewells(0.0)


def test_who_does_not_answer_is_left_out_and_not_waited_for_again(fleet: Fleet) -> None:
    here, gone = fleet.member(), fleet.member()
    here.next(), gone.next()
    slot = fleet.slot(0.5)
    here.until(Slot)
    here.answer(0, 1.0, 2.0)
    found = slot.closed()
    assert found.present.tolist() == [True, False, False]
    assert found.payloads.tolist() == [[1, 2], [0, 0], [0, 0]]
    assert any("device 1 did not answer round 0 within 0.5 s" in line for line in fleet.said)
    fleet.desk.publish(7, 0.1, None)
    assert gone.answer(0, 1.0, 1.0) is False
    here.next()
    began = time.monotonic()
    slot = fleet.slot(20.0)
    here.until(Slot)
    here.answer(1, 1.0, 2.0)
    assert slot.closed().present.tolist() == [True, False, False]
    assert time.monotonic() - began < 15
    fleet.desk.publish(7, 0.1, None)
    # It comes back by the rows that it lacks, and is in the next slot.
    rows = gone.next(measured=True)
    assert (rows.first, len(rows.seeds)) == (0, 2)
    assert np.isnan(rows.estimates).all()
    assert isinstance(gone.next(), Wait)
    slot = fleet.slot()
    here.until(Slot), here.answer(2, 0.0, 0.0)
    gone.until(Slot), gone.answer(2, 0.0, 0.0)
    assert slot.closed().present.tolist() == [True, True, False]


def test_one_that_is_killed_and_started_again_within_the_slot_is_waited_for(fleet: Fleet) -> None:
    here, killed = fleet.member(), fleet.member()
    here.next(), killed.next()
    slot = fleet.slot()
    here.until(Slot), killed.until(Slot)
    here.answer(0, 1.0, 1.0)
    again = fleet.member(1)
    again.until(Slot)
    assert again.answer(0, 2.0, 2.0)
    assert slot.closed().present.tolist() == [True, True, False]
    with pytest.raises(ServerRefused, match="another process took this device's number") as caught:
        killed.next()
    assert caught.value.code == "replaced"
    with pytest.raises(ServerRefused, match="another process took the number 1"):
        killed.join()


def test_late_devices_prove_themselves_before_they_take_part(fleet: Fleet) -> None:
    for number in range(7):
        fleet.desk.publish(number, 0.1, np.array([1.0, number]))
    fleet.desk.checkpoint(5, OTHER)
    late = fleet.member()
    rows = late.next()
    assert (rows.first, len(rows.seeds)) == (0, 5)
    assert late.next() == Prove(round=5)
    assert late.next() == Prove(round=5)
    assert fleet.desk.present() == 0
    assert late.client.prove(late.session, 5, OTHER)
    assert len(late.next().seeds) == 2
    assert isinstance(late.next(), Wait)
    assert fleet.desk.present() == 1
    # One that has measured the round after a checkpoint is asked at the next one: its weights are displaced.
    fleet.desk.publish(7, 0.1, None)
    fleet.desk.checkpoint(8, OTHER)
    late.next()
    assert isinstance(late.next(measured=True), Wait)
    assert late.next() == Prove(round=8)


def test_a_diverged_device_is_told_and_starts_again(fleet: Fleet) -> None:
    device = fleet.member()
    for _ in range(3):
        fleet.desk.publish(7, 0.1, np.zeros(2))
    fleet.desk.checkpoint(3, OTHER)
    device.next()
    assert device.until(Prove).round == 3
    assert not device.client.prove(device.session, 3, BASE)
    assert not device.client.prove(device.session, 3, BASE)  # sent again because the verdict was lost: the same verdict
    assert any("device 0 has diverged: its weights before round 3" in line for line in fleet.said)
    with pytest.raises(SessionLost, match="did not start again"):
        device.next()
    device.history = device.history.fresh()
    assert len(device.next().seeds) == 3
    assert device.next() == Prove(round=3)
    assert device.client.prove(device.session, 3, OTHER)
    assert any("device 0 is resynchronised" in line for line in fleet.said)
    assert isinstance(device.next(), Wait)


def test_a_device_that_diverges_again_is_refused(fleet: Fleet) -> None:
    device = fleet.member()
    fleet.desk.publish(7, 0.1, np.zeros(2))
    fleet.desk.checkpoint(1, OTHER)
    device.next()
    assert not device.client.prove(device.session, 1, BASE)
    device.history = device.history.fresh()
    device.until(Prove)
    with pytest.raises(ServerRefused, match="its machine computes other bits"):
        device.client.prove(device.session, 1, BASE)


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({"base_weights_sha256": OTHER}, "device 0 holds another base model: its weights hash to cccc"),
        ({"identity": {"model_kind": "opt"}}, "computes other losses: its model_kind is opt, the run's is toy"),
        ({"identity": {}}, "computes other losses: its model_kind is unset"),
        ({"task_sha256": OTHER}, "holds another task"),
        ({"examples": 0}, "has an empty split"),
    ],
)
def test_who_cannot_take_part_is_told_why_on_both_sides(fleet: Fleet, own: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ServerRefused, match=sentence):
        fleet.member(**own)
    assert any(line.startswith("refused: ") and sentence in line for line in fleet.said)
    assert fleet.member().number == 0  # the place is free again


def test_numbers_end_with_the_devices(fleet: Fleet) -> None:
    for _ in range(3):
        fleet.member()
    with pytest.raises(ServerRefused, match="all 3 places of the run are taken"):
        fleet.member()
    with pytest.raises(ServerRefused, match="there is no device 3 in a run of 3; numbers go from 0 to 2"):
        fleet.member(3)


def test_answers_that_the_air_would_refuse_are_refused(fleet: Fleet) -> None:
    device = fleet.member()
    device.next()
    slot = fleet.slot()
    device.until(Slot)
    with pytest.raises(ServerRefused, match="a scalar of 5 in round 0, over the clip of 4"):
        device.answer(0, 5.0, 0.0)
    with pytest.raises(ServerRefused, match="sent 1 scalars in round 0 instead of 2"):
        device.answer(0, 1.0)
    assert device.answer(0, np.nan, 1.0)
    assert np.isnan(slot.closed().payloads[0, 0])
    assert any("device 0: a loss of round 0 is not a number; the round is skipped" in line for line in fleet.said)


def test_a_history_of_another_course_starts_again(fleet: Fleet) -> None:
    fleet.desk.publish(7, 0.1, np.zeros(2))
    device = fleet.member()
    device.next()
    device.join()
    assert len(device.history) == 1  # the same course: nothing to do
    other = History(CARD.run)
    other.append(7, 0.1, np.ones(2))
    device.join(standing=1, history=other.at(1))
    assert len(device.history) == 0
    ahead = History(CARD.run)
    for _ in range(4):
        ahead.append(7, 0.1, np.zeros(2))
    device.history = ahead
    device.join()
    assert len(device.history) == 0


def test_leaving_is_said_and_ends_the_wait(fleet: Fleet) -> None:
    device = fleet.member()
    device.next()
    slot = fleet.slot()
    device.client.leave(0, "out of\x1b[31m memory")
    assert slot.closed().present.tolist() == [False] * 3
    assert "device 0 leaves: out of [31m memory" in fleet.said


def test_a_coordinator_started_anew_is_joined_again(tmp_path: Path) -> None:
    bind = f"ipc://{tmp_path}/f"
    silences: list[float] = []
    first = Fleet(bind)
    device = first.member()
    first.desk.publish(7, 0.1, np.zeros(2))
    device.next()
    device.client._requester._on_silence = lambda attempts: silences.append(attempts)
    first.server.close()

    def later() -> None:
        time.sleep(2.5)
        again.append(Fleet(bind))

    again: list[Fleet] = []
    thread = threading.Thread(target=later)
    thread.start()
    with pytest.raises(SessionLost):
        device.next()
    thread.join()
    assert silences
    again[0].desk.publish(7, 0.1, np.zeros(2))
    device.join()
    assert len(device.history) == 1
    assert isinstance(device.next(), Wait)
    again[0].close()
    first.close()


def test_nobody_there_is_one_sentence(tmp_path: Path) -> None:
    waited: list[float] = []
    sentence = r"no coordinator answered at .* start or resume one with `pairzero fleet serve"
    nobody = FleetClient(f"ipc://{tmp_path}/x", patience_s=0.4, timeout_s=0.2, on_silence=waited.append)
    with nobody as client, pytest.raises(ServerGone, match=sentence):
        client.hello(None)
    assert waited == [0.2]


def test_an_air_server_is_no_coordinator() -> None:
    with (
        running("tcp://127.0.0.1:0") as air,
        FleetClient(air.endpoint, patience_s=0.4, timeout_s=0.2) as client,
        pytest.raises(ServerGone),
    ):
        client.hello(None)


def test_garbage_does_no_harm(fleet: Fleet) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealer: Any = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.rcvtimeo = 5000
    dealer.connect(fleet.server.endpoint)
    rng = np.random.default_rng(1)
    for size in (0, 1, 16, 200):
        dealer.send_multipart([rng.bytes(size)] * 3)
    answered = b"PZFL\x01\x05\0\0" + (9).to_bytes(8, "little")
    dealer.send_multipart([answered, b"\xff"])
    prefix, header = dealer.recv_multipart()
    assert (prefix[:4], prefix[5], prefix[8]) == (b"PZFL", 17, 9)
    assert b"bad_frame" in header
    dealer.close()
    context.term()
    assert fleet.member().number == 0
    assert fleet.server.counters["bad_frames"] == 5


def test_answers_that_fit_no_question_are_refused(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    device = fleet.member()
    monkeypatch.setattr(fleet.desk, "reply", lambda message: Receipt(taken=True))
    with pytest.raises(BadReply, match="answered with a Receipt, which is no answer here"):
        device.next()
    row = Rows(3, np.array([1]), np.zeros((1, 2)), np.zeros(1))
    monkeypatch.setattr(fleet.desk, "reply", lambda message: row)
    with pytest.raises(BadReply, match="sent rounds from 3 on, not from 0"):
        device.next()
    monkeypatch.setattr(fleet.desk, "reply", lambda message: Slot(round=4, seed=1, closes_in_s=1.0))
    with pytest.raises(BadReply, match="asks for round 4, this device stands at 0"):
        device.next()


def test_open_addresses_need_keys_and_only_known_ones_are_let_in(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="can be reached from other machines"):
        Fleet("tcp://0.0.0.0:0")
    generate_keys(tmp_path / "keys", clients=["alice"])
    generate_keys(tmp_path / "others", clients=["mallory"])
    with served("tcp://0.0.0.0:0", keys=ServerKeys.load(tmp_path / "keys")) as fleet:
        endpoint = fleet.server.endpoint.replace("0.0.0.0", "127.0.0.1")
        with FleetClient(endpoint, keys=ClientKeys.load(tmp_path / "keys", "alice")) as client:
            assert client.hello(None).number == 0
        stranger = ClientKeys.load(tmp_path / "others", "mallory")
        wrong = ClientKeys(stranger.public, stranger.secret, ClientKeys.load(tmp_path / "keys", "alice").server)
        with FleetClient(endpoint, keys=wrong) as client, pytest.raises(ServerRefused, match="does not know this client's key"):
            client.hello(None)
        with FleetClient(endpoint) as client, pytest.raises(ServerRefused, match="demands keys"):
            client.hello(None)


def test_waiting_for_devices_ends(fleet: Fleet) -> None:
    there: list[int] = []
    assert not fleet.desk.await_devices(2, 0.2, there.append)
    fleet.member().next()
    assert not fleet.desk.await_devices(2, 0.2, there.append)
    assert fleet.desk.await_devices(1, 0.0, there.append)
    assert set(there) == {0, 1}


def test_many_rounds_come_in_pieces(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.fleet.desk.MAX_SCALARS", 20)
    for _ in range(23):
        fleet.desk.publish(7, 0.1, np.zeros(2))
    device = fleet.member()
    assert [len(device.next().seeds) for _ in range(3)] == [10, 10, 3]
    assert isinstance(device.next(), Wait)


def test_where_scalars_go_to_the_air_the_desk_takes_word_of_them_only(tmp_path: Path) -> None:
    air = Air("ipc:///run/air", None, "e" * 64, lambda device, generation: f"{device}{generation}" * 32)
    with served(f"ipc://{tmp_path}/f", air=air) as fleet:
        members = [fleet.member(number) for number in range(3)]
        assert [(m.joined.box, m.joined.generation, m.joined.token) for m in members] == [
            ("e" * 64, 0, f"{number}0" * 32) for number in range(3)
        ]
        for member in members:
            member.next()
        slot = fleet.slot(3.0)
        for member in members:
            member.until(Slot)
        with pytest.raises(ServerRefused, match="is in a run whose scalars go to the air server alone; join it anew"):
            members[0].answer(0, 1.0, 2.0)
        assert members[0].deposited(0)
        assert members[0].deposited(0)  # sent again
        assert members[1].deposited(0, finite=False)
        found = slot.closed()
        assert found.present.tolist() == [True, True, False]
        assert np.array_equal(found.payloads, [[0, 0], [np.nan, np.nan], [0, 0]], equal_nan=True)
        assert np.isnan([found.mean_loss, found.clipped_fraction]).all()
        assert any("device 1: a loss of round 0 is not a number" in line for line in fleet.said)
        assert members[0].deposited(0)  # its receipt was lost
        assert not members[2].deposited(0)
        # The same process joins again under its token; another one gets the next.
        members[2].join()
        assert members[2].joined.generation == 0
        again = fleet.member(2)
        assert isinstance(again.joined, Seated)
        assert (again.joined.generation, again.joined.token) == (1, "21" * 32)


def test_where_scalars_go_to_the_coordinator_word_of_them_is_not_enough(fleet: Fleet) -> None:
    member = fleet.member()
    assert isinstance(member.joined, Joined)
    member.next()
    slot = fleet.slot()
    member.until(Slot)
    with pytest.raises(ServerRefused, match="is in a run whose scalars go to the coordinator; join it anew"):
        member.deposited(0)
    member.answer(0, 1.0, 2.0)
    assert slot.closed().payloads.tolist()[0] == [1, 2]
