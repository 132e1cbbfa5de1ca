"""Rounds of fresh noise: on the air once, whatever the network, the client and the server do."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bridge.once
import bridge.sessions
from bridge.client import AirClient
from bridge.errors import BridgeError, RequestRefused, ServerGone, ServerRefused
from bridge.messages import AggregateRequest, Hello, Message
from bridge.once import Once, Stretches
from bridge.sessions import SessionStore, session_id
from tests.bridge.fakes import FakeLink, FakeResult, fake_factory, running
from tests.bridge.test_client import Proxy, scripted, welcome

Array = npt.NDArray[Any]


class Radio:
    """Mean of the payloads and noise that is new in every call; notes what it sends, as somebody who listens would."""

    def __init__(self, config: Mapping[str, Any] | None = None, seed: int = 0, **named: Any) -> None:
        self.config, self.noise = dict(config or {}), named.get("noise", "fresh")
        self.sent: Counter[int] = Counter()
        self.fail, self.fail_after = False, False
        self._draw = np.random.default_rng(seed)

    @property
    def description(self) -> dict[str, int | float | str]:
        return {"kind": "radio", "noise": self.noise}

    @property
    def transmissions(self) -> int:
        return self.sent.total()

    def aggregate(self, rounds: Array, payloads: Array, present: Array | None = None) -> FakeResult:
        if self.fail:
            raise RequestRefused("a payload is over the clip")
        time.sleep(self.config.get("takes_s", 0.0))
        self.sent.update(rounds.tolist())
        if self.fail_after:
            raise RuntimeError("the receiver lost power")
        who = np.ones(payloads.shape[:2], dtype=bool) if present is None else present
        mean = np.where(who[:, :, None], payloads, 0.0).sum(axis=1) / np.maximum(who.sum(axis=1), 1)[:, None]
        noise = self._draw.standard_normal(mean.shape)
        return FakeResult(mean + noise, ~who.any(axis=1), {"noise": noise[:, 0]})


def payloads_of(*rounds: int, devices: int = 3, n: int = 2) -> Array:
    return np.stack([np.random.default_rng(r).standard_normal((devices, n)) for r in rounds])


# ---- the network


def test_a_slow_answer_makes_the_client_ask_again_and_the_air_is_used_once() -> None:
    radio = Radio({"takes_s": 0.25})
    with running("tcp://127.0.0.1:0", link_factory=lambda *_: radio) as server:
        with AirClient(server.endpoint, {}, 1, timeout_s=0.05, attempts=40) as client:
            answers = [client.aggregate(t, payloads_of(t)[0]) for t in range(4)]
        assert server.counters["received"] > 8  # asked again, and again
    assert radio.sent == Counter(range(4))
    for t, answer in enumerate(answers):
        assert answer.estimate[0] - payloads_of(t)[0, :, 0].mean() == pytest.approx(answer.diagnostics["noise"])


@pytest.mark.parametrize("seed", range(3))
def test_a_network_that_drops_repeats_and_delays_adds_no_transmission(seed: int) -> None:
    radio = Radio()
    rounds = np.arange(40)
    with running("tcp://127.0.0.1:0", link_factory=lambda *_: radio) as server, Proxy(server.endpoint, seed) as proxy:
        with AirClient(proxy.endpoint, {}, 9, timeout_s=0.05, attempts=200) as client:
            for t in range(20):
                client.aggregate(t, payloads_of(t)[0])
            client.aggregate_rounds(rounds, payloads_of(*rounds))
        assert min(proxy.fates.values()) > 0
        assert server.counters["received"] > 22
    assert radio.sent == Counter(range(40))


def test_a_server_started_anew_is_not_asked_to_send_what_may_have_been_sent() -> None:
    """The first server sends the round and dies with its answer; the second must not be made to send it again."""
    sent: list[int] = []

    def answer(message: Message) -> Message | None:
        if isinstance(message, Hello):
            return welcome(kind="radio", noise="fresh")
        assert isinstance(message, AggregateRequest)
        sent.extend(message.rounds.tolist())
        return None

    radio = Radio()
    with scripted(answer) as endpoint:
        client = AirClient(endpoint, {}, 1, timeout_s=0.3, attempts=20)
        with pytest.raises(ServerGone):
            AirClient(endpoint, {}, 1, timeout_s=0.05, attempts=2).aggregate(7, payloads_of(7)[0])
        sent.clear()
        # Nobody answers the first sending; the server is replaced while the client waits.
        failures: list[Exception] = []

        def ask() -> None:
            try:
                client.aggregate(5, payloads_of(5)[0])
            except Exception as error:
                failures.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        while not sent:
            time.sleep(0.01)
    with running(endpoint, link_factory=lambda *_: radio) as server:
        # Somebody else may have opened the very same question on the new server: no help.
        with AirClient(endpoint, {}, 1):
            asking.join(20)
        assert [type(error) for error in failures] == [ServerGone]
        assert "its round may have been on the air" in str(failures[0])
        assert radio.sent == Counter()
        # A session that is lost between rounds is opened anew, and the round sent: nothing was under way.
        client.aggregate(6, payloads_of(6)[0])
        assert server.counters["errors"] == 2
    assert radio.sent == Counter([6])
    client.close()


def test_a_link_that_repeats_itself_is_asked_again_after_a_restart_as_ever() -> None:
    asked: list[int] = []

    class Keyed(FakeLink):
        @property
        def description(self) -> dict[str, int | float | str]:
            return {"noise": "seed"}

        def aggregate(self, rounds: Array, payloads: Array, present: Array | None = None) -> FakeResult:
            asked.extend(rounds.tolist())
            return super().aggregate(rounds, payloads, present)

    with running("tcp://127.0.0.1:0", link_factory=Keyed) as server, AirClient(server.endpoint, {}, 3) as client:
        assert client.repeatable
        first, second = (client.aggregate(1, payloads_of(1)[0]) for _ in range(2))
        client.aggregate(1, payloads_of(2)[0])  # other values, the same noise: an emulation may be asked that
    assert first.estimate.tobytes() == second.estimate.tobytes()
    assert asked == [1, 1, 1]


# ---- one session


def test_other_values_for_a_round_that_was_sent_are_refused_and_nothing_is_sent() -> None:
    radio = Radio()
    with running("tcp://127.0.0.1:0", link_factory=lambda *_: radio) as server, AirClient(server.endpoint, {}, 1) as client:
        assert not client.repeatable
        before = client.aggregate(3, payloads_of(3)[0])
        with pytest.raises(ServerRefused, match="round 3 was on the air already, with other values") as caught:
            client.aggregate(3, payloads_of(4)[0])
        assert caught.value.code == "bad_request"
        with pytest.raises(ServerRefused, match="round 3 was on the air already"):
            client.aggregate_rounds([2, 3, 4], payloads_of(2, 2, 4))
        with pytest.raises(ServerRefused, match="round 3 was on the air already"):  # the values of other devices
            client.aggregate(3, payloads_of(3)[0], [True, False, True])
        assert radio.sent == Counter([3])
        again = client.aggregate(3, payloads_of(3)[0], [True, True, True])  # everybody, said in another way
        assert again.estimate.tobytes() == before.estimate.tobytes()
        assert again.diagnostics == before.diagnostics
    assert radio.sent == Counter([3])


def test_blocks_that_overlap_send_only_what_is_new() -> None:
    radio = Radio()
    once = Once(radio)
    first = once.aggregate(np.arange(5), payloads_of(*range(5)))
    rounds = np.array([7, 3, 4, 7, 6, 0])
    mixed = once.aggregate(rounds, payloads_of(*rounds))
    assert radio.sent == Counter([0, 1, 2, 3, 4, 6, 7])
    assert np.array_equal(mixed.estimates[[1, 2, 5]], first.estimates[[3, 4, 0]])
    assert np.array_equal(mixed.estimates[0], mixed.estimates[3])
    for i, t in enumerate(rounds):
        assert mixed.estimates[i, 0] == pytest.approx(payloads_of(t)[0, :, 0].mean() + mixed.diagnostics["noise"][i])
    with pytest.raises(RequestRefused, match="round 9 was on the air already"):
        once.aggregate(np.array([9, 9]), payloads_of(9, 8))  # one request that contradicts itself
    assert 9 not in radio.sent


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=5), max_size=12))
def test_no_sequence_of_requests_sends_a_round_twice_or_changes_its_answer(requests: list[list[tuple[int, bool]]]) -> None:
    radio, known = Radio(), dict[int, tuple[bool, bytes]]()
    once = Once(radio)
    for request in requests:
        rounds = np.array([t for t, _ in request])
        payloads = payloads_of(*(t + 100 * other for t, other in request))
        at_odds = any(known.get(t, (other,))[0] != other for t, other in request) or any(
            a == b and this != that for a, this in request for b, that in request
        )
        if at_odds:
            sent = radio.sent.copy()
            with pytest.raises(RequestRefused):
                once.aggregate(rounds, payloads)
            assert radio.sent == sent
            continue
        result = once.aggregate(rounds, payloads)
        for (t, other), estimate in zip(request, result.estimates, strict=True):
            assert known.setdefault(t, (other, estimate.tobytes())) == (other, estimate.tobytes())
    assert max(radio.sent.values(), default=1) == 1
    assert set(radio.sent) == set(known)


def test_what_failed_on_the_air_is_not_sent_again_and_what_failed_before_may_be() -> None:
    radio = Radio()
    once = Once(radio)
    radio.fail = True
    with pytest.raises(RequestRefused, match="over the clip"):
        once.aggregate(np.array([0]), payloads_of(1))
    radio.fail = False
    once.aggregate(np.array([0]), payloads_of(0))  # nothing had been sent, so other values are no second look
    radio.fail_after = True
    with pytest.raises(RuntimeError, match="lost power"):
        once.aggregate(np.array([1, 2]), payloads_of(1, 2))
    radio.fail_after = False
    with pytest.raises(BridgeError, match="lost power"):  # the copy that waited in the queue gets the same answer
        once.aggregate(np.array([1, 2]), payloads_of(1, 2))
    with pytest.raises(RequestRefused, match="round 2 was on the air already"):
        once.aggregate(np.array([2]), payloads_of(3))
    assert radio.sent == Counter([0, 1, 2])


def test_an_air_that_cannot_count_is_taken_to_have_sent_what_failed() -> None:
    class Mute(Radio):
        transmissions = None  # type: ignore[assignment]

    radio = Mute()
    once = Once(radio)
    radio.fail = True
    with pytest.raises(RequestRefused, match="over the clip"):
        once.aggregate(np.array([0]), payloads_of(0))
    radio.fail = False
    with pytest.raises(RequestRefused, match="over the clip"):
        once.aggregate(np.array([0]), payloads_of(0))
    assert radio.sent == Counter()


# ---- memory


def test_memory_is_bounded_and_what_is_forgotten_stays_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.once, "ANSWERS", 8)
    radio = Radio()
    once = Once(radio)
    for t in range(50):
        once.aggregate(np.array([t]), payloads_of(t))
    small = once.nbytes
    for t in range(42, 50):
        once.aggregate(np.array([t]), payloads_of(t))
    with pytest.raises(RequestRefused, match="round 41 was on the air already and its answer is no longer kept"):
        once.aggregate(np.array([41]), payloads_of(41))
    once.aggregate(np.arange(50, 70), payloads_of(*range(50, 70)))  # larger than the memory: its own answers stay
    again = once.aggregate(np.arange(50, 70), payloads_of(*range(50, 70)))
    assert again.estimates.shape == (20, 2)
    once.aggregate(np.array([70]), payloads_of(70))
    assert once.nbytes == small
    assert radio.sent == Counter(range(71))
    monkeypatch.setattr(bridge.once, "ANSWER_BYTES", 3 * small // 8)
    once.aggregate(np.array([71]), payloads_of(71))
    assert once.nbytes == 3 * small // 8


def test_sessions_share_the_memory_and_the_least_used_forgets_first(monkeypatch: pytest.MonkeyPatch) -> None:
    radio = Radio()
    store = SessionStore(lambda *_: radio, 4)
    names = [store.open({}, 1)[0] for _ in range(3)]
    for t, name in enumerate(names):
        link = store.get(name)
        assert link is not None
        link.aggregate(np.array([t]), payloads_of(t))
    one = store.get(names[0])
    assert isinstance(one, Once)
    monkeypatch.setattr(bridge.sessions, "ALL_ANSWERS_BYTES", one.nbytes)
    store.get(names[0])
    kept = [link.nbytes for link in map(store._links.get, names) if isinstance(link, Once)]
    assert [size > 0 for size in kept] == [True, False, True]  # the second was used before the third


def test_clients_with_the_same_question_have_transmissions_of_their_own() -> None:
    """Two runs of one scenario over one radio: either is heard, and either is charged."""
    made: list[Radio] = []

    def factory(config: dict[str, Any], seed: int) -> Radio:
        made.append(Radio(config, seed))
        return made[-1]

    with (
        running("tcp://127.0.0.1:0", link_factory=factory) as server,
        AirClient(server.endpoint, {}, 1) as one,
        AirClient(server.endpoint, {}, 1) as other,
    ):
        first, second = (client.aggregate(0, payloads_of(0)[0]) for client in (one, other))
        assert one._opened.session != other._opened.session != session_id({}, 1)
        one.aggregate(0, payloads_of(0)[0])
    assert first.estimate.tobytes() != second.estimate.tobytes()
    assert len(made) == 1  # one radio: it is not opened twice
    assert made[0].sent == Counter({0: 2})


def test_a_hello_that_is_repeated_opens_one_session() -> None:
    store = SessionStore(lambda config, seed: Radio(config, seed), 8)
    first, link = store.open({}, 1, asker=b"route 1, seq 1")
    assert store.open({}, 1, asker=b"route 1, seq 1") == (first, link)
    assert store.open({}, 1, asker=b"route 1, seq 2")[0] != first
    assert store.open({}, 1, asker=b"route 2, seq 1")[0] != first
    assert store.open({"other": 1}, 1, asker=b"route 1, seq 1")[0] != first
    assert len(store) == 4


def test_a_hello_that_goes_unanswered_for_long_fills_no_server() -> None:
    made: list[Radio] = []

    def factory(config: dict[str, Any], seed: int) -> Radio:
        time.sleep(0.5)
        made.append(Radio(config, seed))
        return made[-1]

    with running("tcp://127.0.0.1:0", link_factory=factory) as server:
        with AirClient(server.endpoint, {}, 1, timeout_s=0.05, attempts=40) as client:
            client.aggregate(0, payloads_of(0)[0])
        assert server.counters["received"] > 5
        assert server._store is not None
        assert len(server._store) == len(made) == 1


def test_where_a_secret_keys_the_noise_a_question_has_one_session_that_remembers() -> None:
    """Whoever asks: the same round with other values would meet the same noise, and the difference reveal both."""
    store = SessionStore(lambda config, seed: Radio(config, seed, noise="secret"), 2)
    name, link = store.open({}, 5, asker=b"one")
    assert name == session_id({}, 5)
    assert isinstance(link, Once)
    assert store.open({}, 5, asker=b"another") == (name, link)
    link.aggregate(np.array([0]), payloads_of(0), None)
    with pytest.raises(RequestRefused, match="other"):
        link.aggregate(np.array([0]), payloads_of(0) + 0.25, None)


@pytest.mark.parametrize("noise", ["fresh", "tomorrow's word"])
def test_only_links_that_do_not_repeat_themselves_are_remembered(noise: str) -> None:
    store = SessionStore(lambda config, seed: Radio(config, seed, noise=noise), 2)
    name, link = store.open({}, 5)
    assert isinstance(link, Once)
    assert store.open({}, 5)[0] != name
    assert len(store) == 2
    store.open({}, 6)
    assert store.get(name) is None
    for factory in (fake_factory, lambda config, seed: Radio(config, seed, noise="seed")):
        plain = SessionStore(factory, 2)
        name, link = plain.open({}, 5)
        assert not isinstance(link, Once)
        assert plain.open({}, 5) == (name, link)
        assert name == session_id({}, 5)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=80), st.integers(1, 6))
def test_stretches_are_a_set_that_only_ever_holds_too_much(numbers: list[int], most: int) -> None:
    exact, coarse = Stretches(200), Stretches(most)
    for number in numbers:
        exact.add(number)
        coarse.add(number)
        assert len(coarse) <= most
    assert {t for t in range(-1, 62) if t in exact} == set(numbers)
    assert {t for t in range(62) if t in coarse} >= set(numbers)
    edges = np.diff(sorted({*numbers, 10**6}))
    assert len(exact) == int((edges > 1).sum())
    if len(exact) <= most:
        assert {t for t in range(62) if t in coarse} == set(numbers)
