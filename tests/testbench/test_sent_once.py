"""Whole private runs over an air whose noise is fresh: what somebody who listens counts, against what is charged."""

import json
import math
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import testbench.uplinks as uplinks
from bridge.errors import BridgeError
from bridge.streams.config import StreamConfig
from bridge.streams.exchange import StreamExchange
from bridge.streams.session import StreamSession
from learning.journal import Journal
from learning.privacy import gdp
from testbench.errors import ScenarioError
from testbench.run_folder import RunFolder
from testbench.runner import run_scenario
from testbench.scenario import Scenario, build
from tests.bridge.fakes import FakeLink, running
from tests.bridge.test_streams import FAKE
from tests.forked import Processes
from tests.testbench.listened_air import sent

AIR = "tests.testbench.listened_air:Air"
ROUNDS = 6


@pytest.fixture(autouse=True)
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def private(**sections: dict[str, Any]) -> Scenario:
    plain: dict[str, Any] = {
        "name": "listened",
        "seed": 3,
        "task": {"name": "embedded", "train_examples": 60, "validation_examples": 20},
        "federation": {"devices": 3, "batch_size": 4, "rounds": ROUNDS},
        "zeroth_order": {"learning_rate": 2e-4, "clip": 8.0},
        "air": {"backend": "numpy"},
        "link": {"fidelity": "waveform", "snr_max_db": 20.0, "burst": {"air": AIR}},
        "privacy": {"epsilon": 4.0, "delta": 1e-3},
        "uplink": {"transport": "inproc"},
        "evaluation": {"every": 100, "noise_free": False},
    }
    merged = {key: {**value, **sections.get(key, {})} if isinstance(value, dict) else value for key, value in plain.items()}
    return build(merged, "test")


def go(scenario: Scenario, path: Path, *, resume: bool = False) -> dict[str, Any]:
    return run_scenario(scenario, RunFolder(path), resume=resume, figures=False).summary


def costs(path: Path) -> list[float]:
    """mu of every round as it was charged."""
    with Journal(path / "journal.sqlite", read_only=True) as journal:
        return [float(row.diagnostics["privacy_mu"] or 0.0) for row in journal.rows()]


@pytest.mark.parametrize("pieces", [False, True], ids=["one session", "several"])
def test_an_air_slower_than_the_clients_patience_sends_as_often_as_is_charged(
    pieces: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pieces:  # a schedule that is told in several sessions
        monkeypatch.setattr(uplinks, "_HEADER_BYTES", 35)
        monkeypatch.setattr(uplinks, "_LEAST_TOLD", 1)
        monkeypatch.setattr(uplinks, "_AMPLITUDE_BYTES", 10)
    (tmp_path / "pause").write_text("0.3")
    (tmp_path / "lost").write_text("2")
    summary = go(private(uplink={"transport": "inproc", "timeout_s": 0.05, "attempts": 50}), tmp_path / "run")
    assert sent() == Counter(range(ROUNDS))
    assert summary["transmissions"] == summary["rounds_charged"] == ROUNDS
    assert summary["rounds_unanswered"] == 0
    assert summary["lost_rounds"] == 1
    assert min(costs(tmp_path / "run")) > 0  # what the receiver lost, others may have heard
    assert summary["epsilon_spent"] == pytest.approx(gdp.epsilon(math.hypot(*costs(tmp_path / "run")), 1e-3))


def test_a_learner_that_is_killed_while_a_round_is_on_the_air_never_repeats_it(tmp_path: Path, processes: Processes) -> None:
    scenario, run = private(), tmp_path / "run"
    (tmp_path / "scenario.toml").write_text(scenario.to_toml())
    (tmp_path / "pause").write_text("2.0")
    for kill in range(2):
        before = sent().total()
        words = ["run", str(run), "--out", str(run), "--resume"] if kill else ["run", "scenario.toml", "--out", str(run)]
        learner = processes.start(f"learner{kill}", *words)
        deadline = time.monotonic() + 120
        while sent().total() == before:
            assert time.monotonic() < deadline, processes.log(f"learner{kill}")
            time.sleep(0.01)
        learner.kill()
        learner.join()
        assert learner.exitcode == -signal.SIGKILL
    assert sent() == Counter([0, 1])
    (tmp_path / "pause").write_text("0")
    summary = go(scenario, run, resume=True)
    assert sent() == Counter(range(ROUNDS))
    assert summary["rounds_charged"] == ROUNDS
    assert summary["rounds_unanswered"] == summary["lost_rounds"] == 2
    assert summary["transmissions"] == ROUNDS - 2  # those that the air told of
    charged = costs(run)
    with sqlite3.connect(run / "journal.sqlite") as db:
        intents = [cost for (cost,) in db.execute("SELECT cost FROM intents ORDER BY round")]
    assert charged[:2] == intents[:2]
    assert all(0 < cost <= bound for cost, bound in zip(charged, intents, strict=True))
    # Whatever was heard of each round, it is covered: a round costs no more than its amplitude over the noise.
    with Journal(run / "journal.sqlite", read_only=True) as journal:
        heard = [row.diagnostics["loudest_gain"] for row in journal.rows() if not row.lost]
    true = [*intents[:2], *(2.0 * float(gain or 0.0) / math.sqrt(0.005) for gain in heard)]
    assert summary["epsilon_spent"] >= gdp.epsilon(math.hypot(*true), 1e-3) * (1 - 1e-9)
    assert summary["epsilon_gdp"] == pytest.approx(summary["epsilon_spent"], rel=1e-5)
    assert summary["epsilon_spent"] <= 4.0


def test_the_devices_of_a_fleet_live_through_the_round_that_nobody_repeats(tmp_path: Path, processes: Processes) -> None:
    run, server = tmp_path / "run", f"ipc://{tmp_path}/f"
    fleet = private(fleet={"slot_s": 120.0, "hash_every": 2, "patience_s": 120.0})
    (tmp_path / "scenario.toml").write_text(fleet.to_toml())
    (tmp_path / "pause").write_text("0.3")
    coordinator = processes.start("coordinator", "fleet", "serve", "scenario.toml", "--bind", server, "--out", str(run))
    devices = [processes.start(f"device{k}", "device", "join", "--server", server, "--number", str(k)) for k in range(3)]
    deadline = time.monotonic() + 120
    while sent().total() < 3:
        assert time.monotonic() < deadline, processes.log("coordinator")
        time.sleep(0.01)
    coordinator.kill()
    coordinator.join()
    again = processes.start("again", "fleet", "serve", str(run), "--bind", server, "--out", str(run), "--resume")
    for process in [*devices, again]:
        process.join(120)
        assert process.exitcode == 0, [processes.log(name) for name in ("again", "device0", "device2")]
    assert sent() == Counter(range(ROUNDS))
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["rounds_charged"], summary["rounds_unanswered"], summary["lost_rounds"]) == (ROUNDS, 1, 1)


def test_a_server_that_does_not_answer_ends_the_run_and_the_next_one_goes_on_without_that_round(tmp_path: Path) -> None:
    with running("tcp://127.0.0.1:0", link_factory=None, backend="numpy", parts=[AIR]) as server:
        uplink = {"transport": "tcp", "endpoint": server.endpoint, "timeout_s": 0.3, "attempts": 2}
        scenario, run = private(uplink=uplink), tmp_path / "run"
        (tmp_path / "pause").write_text("1.5")
        with pytest.raises(BridgeError) as caught:
            go(scenario, run)
        sentence = str(caught.value)
        assert "no air server answered" in sentence
        assert "round 0 may have been on the air: a resumed run does not send it again, but counts it as lost" in sentence
        assert "\n" not in sentence
        (tmp_path / "pause").write_text("0")
        patient = private(uplink={**uplink, "timeout_s": 5.0})
        summary = go(patient, run, resume=True)
        assert sent() == Counter(range(ROUNDS))
        assert (summary["rounds_unanswered"], summary["transmissions"]) == (1, ROUNDS - 1)
        # Another run of the same scenario over the same server is heard and charged for itself.
        assert go(patient, tmp_path / "other")["rounds_charged"] == ROUNDS
        assert sent() == Counter(dict.fromkeys(range(ROUNDS), 2))


def test_a_server_that_does_not_say_whether_it_repeats_itself_is_refused_before_the_first_round(tmp_path: Path) -> None:
    asked: list[int] = []

    class Foreign(FakeLink):
        def aggregate(self, rounds: Any, *rest: Any) -> Any:
            asked.extend(rounds)
            return super().aggregate(rounds, *rest)

    with running("tcp://127.0.0.1:0", link_factory=Foreign) as server:
        uplink = {"transport": "tcp", "endpoint": server.endpoint}
        with pytest.raises(ScenarioError) as caught:
            go(private(uplink=uplink), tmp_path / "run")
    sentence = str(caught.value)
    assert "does not say whether a repeated round meets the same noise" in sentence
    assert "leave out uplink.endpoint" in sentence
    assert "\n" not in sentence
    assert asked == []


def test_an_emulated_air_is_resumed_to_the_same_bits_and_counts_nothing(tmp_path: Path) -> None:
    emulated = private(link={"burst": {"air": "emulated"}})
    summary = go(emulated, tmp_path / "run")
    assert summary["transmissions"] is None
    assert (summary["rounds_charged"], summary["rounds_unanswered"]) == (ROUNDS, 0)
    with sqlite3.connect(tmp_path / "run" / "journal.sqlite") as db:
        assert db.execute("SELECT count(*) FROM intents").fetchone() == (0,)


@pytest.mark.parametrize("fault", ["die", "hang"])
def test_a_flowgraph_that_is_started_anew_is_not_given_the_slot_again(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[int] = []
    plain = StreamExchange._queue

    def queue(self: StreamExchange, block: Any, label: int = -1) -> None:
        queued.append(label)
        plain(self, block, label)

    monkeypatch.setattr(StreamExchange, "_queue", queue)
    session = StreamSession(StreamConfig(command=(*FAKE, fault), deadline_s=1.0))
    try:
        block = np.ones((2, 100), np.complex64)
        heard = [session.slot(block, label) is not None for label in range(5)]
    finally:
        session.close()
    assert session.restarts >= 1
    assert heard.count(False) == session.lost_slots >= 1
    slots = [label for label in queued if label >= 0]
    assert slots == list(range(5))
