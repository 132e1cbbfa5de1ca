"""Patterns prove where each branch of a stream is: against closed forms, and flowgraphs here that slip on purpose."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import zmq

from bridge.streams.config import StreamConfig
from bridge.streams.errors import OutOfStep, StreamConfigError
from bridge.streams.exchange import StreamExchange
from bridge.streams.opening import Proof, opening_samples
from bridge.streams.proof import AMPLITUDE, Branch, Pattern, search
from bridge.streams.session import StreamSession
from bridge.streams.watch import SHARE, Watch

Samples = np.ndarray


def bursts(devices: int, count: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((devices, count)) + 1j * rng.standard_normal((devices, count))).astype(np.complex64)


class Adder:
    """A flowgraph in this process: branches are added by count, as GNU Radio does, each after ``play(k, all it heard)``."""

    def __init__(
        self, devices: int, play: Callable[[int, Samples], Samples] = lambda k, heard: heard, withheld: int = 0
    ) -> None:
        self.context = zmq.Context()
        self.inlets = [self.context.socket(zmq.PULL) for _ in range(devices)]
        self.outlet = self.context.socket(zmq.PUSH)
        ports = [socket.bind_to_random_port("tcp://127.0.0.1") for socket in (*self.inlets, self.outlet)]
        self.send = tuple(f"tcp://127.0.0.1:{port}" for port in ports[:-1])
        self.receive = (f"tcp://127.0.0.1:{ports[-1]}",)
        self.play, self.withheld, self.lazy = play, withheld, False
        self.stop, self.frozen = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def config(self, **settings: object) -> StreamConfig:
        given = {"send": self.send, "receive": self.receive, "send_bind": False, "deadline_s": 0.5, "start_timeout_s": 8.0}
        return StreamConfig(**{**given, **settings})

    def _run(self) -> None:
        heard = [np.zeros(0, np.complex64) for _ in self.inlets]
        told = 0
        poller = zmq.Poller()
        for inlet in self.inlets:
            poller.register(inlet, zmq.POLLIN)
        while not self.stop.is_set():
            if self.frozen.wait(0):
                self.stop.wait(0.005)
                continue
            for socket, _ in poller.poll(10):
                k = self.inlets.index(socket)
                heard[k] = np.concatenate([heard[k], np.frombuffer(socket.recv(), np.complex64)])
            branches = [self.play(k, samples) for k, samples in enumerate(heard)]
            ready = min(map(len, branches)) - self.withheld
            if ready > told:
                total = np.sum([branch[told:ready] for branch in branches], axis=0)
                self.outlet.send(total.astype(np.complex64).tobytes())
                told = ready

    def __enter__(self) -> Adder:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
        for socket in (*self.inlets, self.outlet):
            socket.close(0)
        self.context.term()


# --- patterns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lag", "gain", "cycles", "n0"), [
    (0, 1.0, 0.0, 0.0), (37, -0.3 + 0.4j, 0.0, 0.0), (-5, 0.7j, 5e-4, 1e-3), (2100, 1.0, -1e-3, AMPLITUDE**2 * 4),
])  # fmt: skip
def test_a_pattern_is_found_where_it_is_with_its_gain_and_carrier_offset(lag, gain, cycles, n0):
    pattern = Pattern(2, 1024, 256, 512, 99)
    sent = pattern.block(0.5)
    heard = np.zeros(pattern.samples + 4096, np.complex64)
    at = 300  # so that a negative lag has room
    heard[at + lag : at + lag + pattern.samples] = gain * sent[0] + 0.5 * sent[1]
    heard *= np.exp(2j * np.pi * cycles * np.arange(len(heard)))
    noise = np.sqrt(n0 / 2) * 0.5
    rng = np.random.default_rng(1)
    heard += (noise * (rng.standard_normal(len(heard)) + 1j * rng.standard_normal(len(heard)))).astype(np.complex64)
    found = search(pattern, 0, 0, heard, 0.5)
    assert found.lag_samples == at + lag
    # A carrier offset takes sinc(cycles * piece) of the gain; noise leaves 1 / sqrt(1024 SNR) of error.
    assert abs(found.gain) == pytest.approx(
        abs(gain) * abs(np.sinc(cycles * 128)), abs=0.002 + 4 * np.sqrt(n0 / 1024) / AMPLITUDE
    )
    assert found.cycles_per_sample == pytest.approx(cycles, abs=1e-6 + 2e-4 * (n0 > 0))
    assert search(Pattern(2, 1024, 256, 512, 98), 0, 0, heard, 0.5) is None  # another opening's


def test_noise_holds_no_pattern():
    rng = np.random.default_rng(5)
    pattern = Pattern(1, 1024, 256, 512, 3)
    for _ in range(50):
        noise = (rng.standard_normal(8192) + 1j * rng.standard_normal(8192)).astype(np.complex64)
        assert search(pattern, 0, 0, noise, 1.0) is None
    assert search(pattern, 0, 0, np.zeros(8192, np.complex64), 1.0) is None


# --- openings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("delay", "withheld"), [(0, 0), (5, 0), (-3, 8), (70, 13)])
def test_latency_and_withheld_samples_are_measured(delay, withheld):
    def play(k: int, heard: Samples) -> Samples:
        if delay < 0:
            return heard[-delay:]
        return np.concatenate([np.zeros(delay, np.complex64), heard])[: len(heard)]

    with Adder(2, play, withheld) as adder:
        stream = StreamSession(adder.config())
        try:
            for number in range(4):
                sent = bursts(2, 400, number)
                assert np.abs(stream.slot(sent, number)[0] - sent.sum(axis=0)).max() < 1e-5
            assert stream.proof.latency_samples == delay
            # What is early is missing at the end as well.
            assert stream.proof.withheld_samples == withheld + max(0, -delay)
        finally:
            stream.close()


@pytest.mark.parametrize("slots", [1, 3])
def test_samples_of_an_earlier_run_in_one_branch_are_noticed_and_the_branches_brought_into_step(slots, caplog):
    """Branch 1 lost 100 samples of somebody who is gone: branch 0 waits with as many, for ever."""
    stale = bursts(1, 100)[0]
    with Adder(2, lambda k, heard: np.concatenate([stale, heard]) if k == 0 else heard) as adder:
        stream = StreamSession(adder.config())
        try:
            for number in range(slots):
                sent = bursts(2, 512, number)
                assert np.abs(stream.slot(sent, number)[0] - sent.sum(axis=0)).max() < 1e-5
            assert stream.proof.realigned == (0, 100)
            assert "0, 100 zeros more" in caplog.text
        finally:
            stream.close()


@pytest.mark.parametrize("lazy_s", [0.0, 0.1])
def test_a_flowgraph_that_freezes_costs_slots_and_neither_the_run_nor_a_wrong_sum(lazy_s):
    """What it held returns in front of what is sent after the stream was opened anew, in pieces, the last ones late."""
    with Adder(2) as adder:
        send = adder.outlet.send

        def slowly(data: bytes) -> None:
            half = len(data) // 16 * 8
            for piece in (data[:half], data[half:]):
                send(piece)
                adder.stop.wait(lazy_s if adder.lazy else 0.0)

        adder.outlet = _Outlet(adder.outlet, slowly)
        stream = StreamSession(adder.config(give_up_after=5))
        lost = 0
        try:
            for number in range(22):
                thaw = None
                if number % 10 == 5:
                    adder.frozen.set()
                    time.sleep(0.05)  # until it has noticed
                    thaw = threading.Timer(0.7, adder.frozen.clear)
                    thaw.start()
                adder.lazy = number % 10 in (5, 6)  # when it is lost, and when the stream is opened anew
                sent = bursts(2, 512, number)
                received = stream.slot(sent, number)
                lost += received is None
                assert received is None or np.abs(received[0] - sent.sum(axis=0)).max() < 1e-5
                if thaw is not None:
                    assert received is None
            assert lost >= 2
        finally:
            stream.close()


def test_samples_that_nobody_sent_cost_the_slot_and_the_stream_starts_anew(caplog):
    with Adder(2) as adder:
        stream = StreamSession(adder.config())
        send, lost = adder.outlet.send, []
        try:
            for number in range(6):
                if number == 3:
                    send(bursts(1, 104)[0].tobytes())
                sent = bursts(2, 512, number)
                received = stream.slot(sent, number)
                if received is None:
                    lost.append(number)
                else:
                    assert np.abs(received[0] - sent.sum(axis=0)).max() < 1e-5
            assert lost == [3]
            assert "slot 3 is lost" in caplog.text
        finally:
            stream.close()


def test_a_delay_of_one_branch_is_its_own_and_no_rest_of_an_earlier_run(caplog):
    def play(k: int, heard: Samples) -> Samples:
        return np.concatenate([np.zeros(9 * k, np.complex64), heard])[: len(heard)]

    with Adder(2, play) as adder:
        stream = StreamSession(adder.config())
        try:
            for number in range(3):
                sent = bursts(2, 512, number)
                sent[:, -9:] = 0
                assert np.abs(stream.slot(sent, number)[0] - sent[0] - np.roll(sent[1], 9)).max() < 1e-5
            assert stream.proof.realigned == (0, 0)
            assert [branch.lag_samples for branch in stream.proof.branches] == [0, 9]
            assert not caplog.text
        finally:
            stream.close()


@pytest.mark.parametrize(("settings", "withheld", "message"), [
    ({"withheld_samples": 4}, 16, r"set stream.withheld_samples = 16"),
    ({"latency_samples": 500}, 0, r"delays by 0 samples and stream.latency_samples says 500; set stream.latency_samples = 0"),
])  # fmt: skip
def test_a_setting_that_says_another_number_is_refused_with_the_one_that_fits(settings, withheld, message):
    with Adder(1, withheld=withheld) as adder:
        stream = StreamSession(adder.config(**settings))
        with pytest.raises(StreamConfigError, match=message):
            stream.slot(bursts(1, 100), 0)


def test_a_branch_that_leads_nowhere_is_named():
    with Adder(3, lambda k, heard: heard * (k != 1)) as adder:
        stream = StreamSession(adder.config())
        with pytest.raises(StreamConfigError, match="device 1 does not come back: its branch is not connected"):
            stream.slot(bursts(3, 100), 0)


# --- between openings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [3, -3, 200, -200])
@pytest.mark.parametrize("late", [0, 2000])
def test_a_branch_that_slips_without_a_change_of_count_costs_the_slot_and_gives_no_wrong_sum(step, late):
    """The count stays what it was: only what is in the samples shows it. The slip lies in the middle of a slot, or between."""
    at = opening_samples(2) + 40 * 512 + late

    def play(k: int, heard: Samples) -> Samples:
        if k == 0 or len(heard) < at + 200:
            return heard if k == 0 else heard[: max(0, at - 200)] if len(heard) >= at - 200 else heard
        if step > 0:
            return np.concatenate([heard[:at], np.zeros(step, np.complex64), heard[at:]])[: len(heard)]
        return np.concatenate([heard[:at], heard[at - step :], np.zeros(-step, np.complex64)])

    with Adder(2, play) as adder:
        stream = StreamSession(adder.config(give_up_after=50))
        lost = 0
        try:
            for number in range(60):
                sent = bursts(2, 512, number)
                sent[:, :64] = sent[:, -64:] = 0
                try:
                    received = stream.slot(sent, number)
                except OutOfStep:
                    received = None
                if received is None:
                    lost += 1
                    break
                assert np.abs(received[0] - sent.sum(axis=0)).max() < 1e-5
            assert lost == 1
        finally:
            stream.close()


def test_patterns_take_two_percent_of_the_samples_at_most():
    branches = tuple(Branch(k, 0, 0, 1.0, 0.0, 100.0, 0) for k in range(5))
    for n0 in (0.0, 0.3, 3.0):
        watch = Watch(Proof(branches, 0, 0, n0, (1.0,) * 5, 1024, (0,) * 5), 1.0)
        taken = sum(0 if (pattern := watch.due(640)) is None else pattern.samples for _ in range(2000))
        assert 0 < taken <= SHARE * 2000 * 640


def test_noise_alone_never_costs_a_slot():
    """Noise as strong as what is sent: 300 slots, none lost, and N0 measured to what 300 x 32 samples allow."""
    rng = np.random.default_rng(0)
    scale = np.sqrt(0.05)
    with Adder(2) as adder:
        original = adder.outlet.send

        def noisy(data: bytes) -> None:
            samples = np.frombuffer(data, np.complex64)
            noise = scale * (rng.standard_normal(len(samples)) + 1j * rng.standard_normal(len(samples)))
            original((samples + noise).astype(np.complex64).tobytes())

        adder.outlet = _Outlet(adder.outlet, noisy)
        exchange = StreamExchange(adder.config(), adder.send, adder.receive)
        try:
            exchange.probe(8.0)
            for number in range(300):
                sent = 0.2 * bursts(2, 640, number)
                sent[:, :64] = sent[:, -64:] = 0
                exchange.exchange(sent, number)
            assert exchange.ledger.lost_slots == 0
            assert exchange.measured["stream_n0"] == pytest.approx(0.1, rel=5 / np.sqrt(300 * 32))
            assert exchange.measured["stream_gain"] == pytest.approx(1.0, abs=0.3)
        finally:
            exchange.close()


class _Outlet:
    """A socket that sends through a function."""

    def __init__(self, socket: zmq.Socket, send: Callable[[bytes], None]) -> None:
        self._socket, self.send = socket, send

    def close(self, linger: int) -> None:
        self._socket.close(linger)
