"""The broker between peers of srsRAN's kind: sums, both directions, and peers that come, go and stall."""

from __future__ import annotations

import time

import numpy as np
import pytest
import zmq

from testbench.broker.command import broker_of
from testbench.broker.settings import BrokerFile
from tests.bridge.srsran_radio import LockStep, Receiver, Transmitter, turn


def noise(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(count) + 1j * rng.standard_normal(count)).astype(np.complex64)


class Bench:
    """A broker of K devices that this thread turns, with addresses of its own."""

    def __init__(self, folder, devices: int, *, down: bool = False, antennas: int = 1, link: dict | None = None, **broker):
        self.tx = [f"ipc://{folder}/tx{k}" for k in range(devices)]
        self.rx = [f"ipc://{folder}/rx{k}" for k in range(devices)]
        self.heard = [f"ipc://{folder}/heard{m}" for m in range(antennas)]
        self.sent = [f"ipc://{folder}/sent{m}" for m in range(antennas)] if down else []
        self.settings = BrokerFile.model_validate({
            "seed": 3,
            "link": link or {},
            "broker": {
                "rate_hz": 1e6,
                "device": [{"transmit": t, "receive": r if down else None} for t, r in zip(self.tx, self.rx, strict=True)],
                "station": {"receive": self.heard, "transmit": self.sent},
                **broker,
            },
        })  # fmt: skip
        self.said: list[str] = []
        self.context = zmq.Context()
        self.broker = broker_of(self.settings, self.said.append)

    def restart(self) -> None:
        self.broker.close()
        self.broker = broker_of(self.settings, self.said.append)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.broker.close()
        self.context.destroy(linger=0)


def test_the_station_hears_the_sum_of_all_sample_for_sample(tmp_path):
    with Bench(tmp_path, 3) as bench:
        devices = [Transmitter(bench.context, a) for a in bench.tx]
        heard = Receiver(bench.context, bench.heard[0])
        sent = [noise(50_000, k) for k in range(3)]
        turn(*devices, heard, broker=bench.broker, until=lambda: all(c.joined for c in bench.broker.counts.values()))
        for device, samples in zip(devices, sent, strict=True):
            device.send(samples)
        turn(*devices, heard, broker=bench.broker, until=lambda: heard.count == 50_000)
        assert np.abs(heard.samples - sum(sent)).max() < 1e-6


def test_each_device_hears_the_station_through_its_own_gain_and_the_station_their_sum(tmp_path):
    """Reciprocal: the gain that a device has on the way up is that on the way down."""
    with Bench(tmp_path, 2, down=True, link={"channel": {"model": "rayleigh"}}) as bench:
        devices = [Transmitter(bench.context, a) for a in bench.tx]
        ears = [Receiver(bench.context, a) for a in bench.rx]
        station, heard = Transmitter(bench.context, bench.sent[0]), Receiver(bench.context, bench.heard[0])
        sent, ups = noise(20_000, 9), [noise(20_000, k) for k in range(2)]
        everybody = (*devices, *ears, station, heard)
        turn(*everybody, broker=bench.broker, until=lambda: all(c.joined for c in bench.broker.counts.values()))
        station.send(sent)
        for device, up in zip(devices, ups, strict=True):
            device.send(up)
        turn(*everybody, broker=bench.broker, until=lambda: min(heard.count, *(e.count for e in ears)) == 20_000)
        gains = [np.vdot(sent, ear.samples) / np.vdot(sent, sent) for ear in ears]
        assert abs(gains[0] - gains[1]) > 0.05
        for ear, gain in zip(ears, gains, strict=True):
            assert np.abs(ear.samples - gain * sent).max() < 1e-5
        assert np.abs(heard.samples - sum(g * up for g, up in zip(gains, ups, strict=True))).max() < 1e-5


def test_a_transmitter_that_stalls_counts_as_silence_after_the_stated_time_and_is_heard_again(tmp_path):
    with Bench(tmp_path, 2, stall_s=0.2) as bench:
        devices = [Transmitter(bench.context, a) for a in bench.tx]
        heard = Receiver(bench.context, bench.heard[0])
        ones = np.ones(1000, np.complex64)
        counts = bench.broker.counts
        turn(*devices, heard, broker=bench.broker, until=lambda: all(end.joined for end in counts.values()))
        for device in devices:
            device.send(ones)
        turn(*devices, heard, broker=bench.broker, until=lambda: heard.count == 1000)
        devices[0].send(ones)
        began = time.monotonic()
        turn(*devices, heard, broker=bench.broker, until=lambda: heard.count == 2000)
        assert 0.15 < time.monotonic() - began < 2.0
        devices[1].send(ones)
        stalled = counts["device 1's transmitter"]
        turn(*devices, heard, broker=bench.broker, until=lambda: stalled.passed == 2000)
        devices[0].send(ones)
        turn(*devices, heard, broker=bench.broker, until=lambda: heard.count == 3000)
        assert np.array_equal(heard.samples, np.repeat([2, 1, 2], 1000))
        assert (stalled.silence, stalled.stalls, stalled.passed) == (1000, 1, 2000)
        assert any("device 1's transmitter" in line and "silence" in line for line in bench.said)


@pytest.mark.parametrize("who", ["transmitter", "receiver", "broker"])
def test_either_side_may_be_restarted_with_a_question_open(tmp_path, who):
    """Each end is taken away while a REQ waits for an answer, which wedges plain REQ/REP for good."""
    with Bench(tmp_path, 1) as bench:
        device, heard = Transmitter(bench.context, bench.tx[0]), Receiver(bench.context, bench.heard[0])
        device.send(np.ones(500, np.complex64))
        turn(device, heard, broker=bench.broker, until=lambda: heard.count == 500)
        for _ in range(50):  # until both questions are open: the broker's to the device, and the receiver's to the broker
            device.work(), heard.work(), bench.broker.step()
            time.sleep(0.002)
        assert device._owed
        assert heard._asked
        if who == "transmitter":
            device.socket.close(0)
            time.sleep(0.05)
            device = Transmitter(bench.context, bench.tx[0])
        elif who == "receiver":
            heard.socket.close(0)
            heard = Receiver(bench.context, bench.heard[0])
        else:
            bench.restart()
        # The answer to a question of a broker that is gone, or to a receiver that is, is lost with it; no later one is.
        device.send(2 * np.ones(700, np.complex64))
        turn(device, heard, broker=bench.broker, until=lambda: len(device.waiting) == 0)
        before = heard.count
        device.send(3 * np.ones(900, np.complex64))
        turn(device, heard, broker=bench.broker, until=lambda: heard.count and heard.pieces[-1][-1] == 3)
        assert heard.count - before >= 900


def test_a_receiver_that_is_away_holds_up_nobody_and_what_it_missed_is_counted(tmp_path):
    with Bench(tmp_path, 2, down=True, stall_s=0.2) as bench:
        station = Transmitter(bench.context, bench.sent[0])
        ears = [Receiver(bench.context, a) for a in bench.rx]
        station.most, total = 5000, 200_000
        station.send(np.arange(total))
        turn(station, ears[0], broker=bench.broker, until=lambda: ears[0].count == total)
        assert np.array_equal(ears[0].samples.real, np.arange(total))
        counts = bench.broker.counts["device 1's receiver"]
        assert counts.stalls == 1
        assert counts.dropped > 100_000
        turn(station, *ears, broker=bench.broker, until=lambda: counts.joined == 1)
        station.send(np.full(1000, -1))
        turn(station, *ears, broker=bench.broker, until=lambda: ears[1].count > 0 and ears[1].pieces[-1][-1] == -1)


def test_what_a_device_sends_keeps_step_with_what_it_receives_when_it_joins_late(tmp_path):
    """Device 1 joins when the station is at sample 30 000 of its own: its first sample belongs to the first that it hears."""
    with Bench(tmp_path, 2, down=True, stall_s=0.1) as bench:
        station, heard = Transmitter(bench.context, bench.sent[0]), Receiver(bench.context, bench.heard[0])
        early = (Transmitter(bench.context, bench.tx[0]), Receiver(bench.context, bench.rx[0]))
        present = [end for name, end in bench.broker.counts.items() if "device 1" not in name]
        turn(station, heard, *early, broker=bench.broker, until=lambda: all(end.joined for end in present))
        station.send(np.arange(30_000))
        early[0].send(np.zeros(20_000))
        turn(station, heard, *early, broker=bench.broker, until=lambda: heard.count == 20_000 and early[1].count == 30_000)
        late = (Transmitter(bench.context, bench.tx[1]), Receiver(bench.context, bench.rx[1]))
        turn(
            station,
            heard,
            *early,
            *late,
            broker=bench.broker,
            until=lambda: sum("device 1" in s and "here" in s for s in bench.said) == 2,
        )
        station.send(np.arange(30_000, 50_000))
        turn(station, heard, *early, *late, broker=bench.broker, until=lambda: late[1].count > 0)
        first = int(late[1].samples[0].real)
        late[0].send(np.ones(5000))
        sent = bench.broker.counts["device 1's transmitter"]
        turn(station, heard, *early, *late, broker=bench.broker, until=lambda: sent.passed == 5000)
        early[0].send(np.zeros(30_000))
        turn(station, heard, *early, *late, broker=bench.broker, until=lambda: heard.count == 50_000)
        assert np.flatnonzero(heard.samples)[0] == first
        assert np.count_nonzero(heard.samples) == 5000


def test_without_devices_the_station_hears_noise_in_step_with_what_it_sends(tmp_path):
    with Bench(tmp_path, 1, down=True, stall_s=0.1, n0=0.25) as bench:
        station, heard = Transmitter(bench.context, bench.sent[0]), Receiver(bench.context, bench.heard[0])
        station.send(np.ones(40_000))
        turn(station, heard, broker=bench.broker, until=lambda: heard.count == 40_000)
        for _ in range(100):
            station.work(), heard.work(), bench.broker.step()
        assert heard.count == 40_000
        assert np.mean(np.abs(heard.samples) ** 2) == pytest.approx(0.25, rel=0.03)


def test_a_message_that_is_no_samples_is_said_and_the_stream_goes_on(tmp_path):
    with Bench(tmp_path, 1) as bench:
        heard = Receiver(bench.context, bench.heard[0])
        raw = bench.context.socket(zmq.REP)
        raw.bind(bench.tx[0])
        answers = [b"7 bytes", b"", np.array([1, np.nan, 3], np.complex64).tobytes(), np.full(4, 5, np.complex64).tobytes()]

        class Raw:
            def work(self):
                if answers and raw.poll(0):
                    raw.recv()
                    raw.send(answers.pop(0))

        turn(Raw(), heard, broker=bench.broker, until=lambda: heard.count == 7)
        raw.close(0)
        assert np.array_equal(heard.samples, np.array([1, 0, 3, 5, 5, 5, 5], np.complex64))
        assert any("7 bytes" in line for line in bench.said)
        assert any("finite" in line for line in bench.said)


SLOT = 480


def counting(first: int, heard: np.ndarray | None) -> np.ndarray:
    """A station that numbers its samples, from 1."""
    return np.arange(first, first + SLOT) + 4 * SLOT + 1


def echoing(_: int, heard: np.ndarray | None) -> np.ndarray:
    """A device that sends what it has heard, 3 slots late by its own count."""
    return np.zeros(SLOT) if heard is None else heard


def offsets(station: LockStep) -> set[int]:
    """By how many samples the station's own numbers come back late, over the last 10 slots; 0 where nothing came back."""
    heard = station.heard[-10 * SLOT :].real.astype(np.int64)
    numbers = np.arange(len(station.heard) - len(heard), len(station.heard)) + 1
    return set(np.where(heard == 0, 0, numbers - heard).tolist())


def test_radios_in_lock_step_keep_their_timing_when_either_is_restarted(tmp_path):
    """An echo comes back exactly 3 slots late by the station's own count, for whoever has been away for however long."""
    with Bench(tmp_path, 1, down=True, stall_s=0.05) as bench:
        where = (bench.sent[0], bench.heard[0]), (bench.tx[0], bench.rx[0])
        radios = {
            "station": LockStep(bench.context, *where[0], SLOT, 4, counting),
            "device": LockStep(bench.context, *where[1], SLOT, 3, echoing),
        }
        rng = np.random.default_rng(2)

        def heard() -> int:
            return len(radios["station"].heard)

        def joined(name: str) -> int:
            return sum(counts.joined for end, counts in bench.broker.counts.items() if end.startswith(name))

        def go_on(*names: str, until) -> None:
            turn(*(radios[name] for name in names), broker=bench.broker, until=until)

        go_on(*radios, until=lambda: joined("station") == joined("device") == 2)
        for name, times in (("nobody", 0), ("device", 4), ("station", 4), ("device", 6), ("device", 8), ("station", 6)):
            if name != "nobody":
                radios.pop(name).close()
            if name == "device":
                enough = heard() + int(rng.integers(1, 30)) * 97
                go_on("station", until=lambda least=enough: heard() >= least)
                radios[name] = LockStep(bench.context, *where[1], SLOT, 3, echoing)
            elif name == "station":
                for _ in range(int(rng.integers(1, 200))):
                    radios["device"].work(), bench.broker.step()
                    time.sleep(0.001)
                radios[name] = LockStep(bench.context, *where[0], SLOT, 4, counting)
            go_on(*radios, until=lambda who=name, least=times: joined(who) >= least)
            enough = heard() + 60 * SLOT
            go_on(*radios, until=lambda least=enough: heard() >= least)
            assert offsets(radios["station"]) == {3 * SLOT}, (name, bench.said[-6:], bench.broker.counts)
