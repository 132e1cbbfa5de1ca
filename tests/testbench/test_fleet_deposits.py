"""Fleets whose scalars go to the air alone: the bits of every other fleet, and nothing of them with the coordinator."""

import json
import re
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bridge.errors import EndpointError
from bridge.fleet import Air
from bridge.fleet.messages import Joined as JoinedMessage
from bridge.fleet.server import FleetServer
from bridge.keys import ClientKeys, generate_keys
from bridge.links import phy_link_factory
from bridge.process import AirServerProcess
from learning import tasks
from testbench.errors import FleetError, ScenarioError, TestbenchError
from testbench.fleet import depositing
from testbench.fleet import device as device_module
from testbench.fleet.disclosure import disclosures
from testbench.fleet.sharing import Local, as_told, told
from testbench.reports.runs import read_run
from testbench.reports.slot import compute_slot
from testbench.scenario import Scenario, build
from tests.forked import Processes
from tests.testbench.test_fleet import (
    ROUNDS,
    SETTINGS,
    Joined,
    Served,
    _committed,
    _one_loads_at_a_time,  # noqa: F401
    alone,
    rows,
    scenario,
    summary,
)

OVER_THE_AIR: dict[str, Any] = {
    "uplink": {"transport": "ipc"},
    "air": {"backend": "numpy"},
    "link": {"snr_max_db": 5.0, "csi": {"estimator": "ls"}},
}
SMALL: dict[str, Any] = {
    **OVER_THE_AIR,
    "federation": {"devices": 3, "rounds": 4},
    "evaluation": {"every": 4},
}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder whose sockets have paths short enough, whatever the test is called."""
    with tempfile.TemporaryDirectory(prefix="pz-") as folder:
        yield Path(folder)


def wanted(tmp_path: Path, payloads: str = "air", **sections: dict[str, Any]) -> tuple[Scenario, str]:
    """Three devices over an emulated link, in the mode that is named."""
    server = f"ipc://{tmp_path}/{payloads}.sock"
    own = {"bind": server, "payloads": payloads, "slot_s": 60.0, "hash_every": 2, "patience_s": 60.0}
    names = SETTINGS.keys() | SMALL.keys() | sections.keys()
    first = {name: SETTINGS[name] for name in names if name in SETTINGS and not isinstance(SETTINGS[name], dict)}
    merged = {
        name: {**SETTINGS.get(name, {}), **SMALL.get(name, {}), **sections.get(name, {})} for name in names if name not in first
    }
    merged["fleet"] = {**own, **sections.get("fleet", {})}
    return build(first | merged, "test"), server


def diagnostics(folder: Path) -> list[dict[str, float | None]]:
    with sqlite3.connect(folder / "journal.sqlite") as db:
        return [json.loads(text) for (text,) in db.execute("SELECT diagnostics FROM rounds ORDER BY round")]


class Spy:
    """What devices measured, and every byte that the coordinator received from its devices and from the air."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.heard: list[bytes] = []
        self.measured: dict[tuple[int, int], Any] = {}
        spy = self

        class Watched(device_module.Device):
            def ask(self, round_index: int, seed: int) -> Any:
                found = super().ask(round_index, seed)
                spy.measured[self.number, round_index] = found
                return found

        read, client = FleetServer._read, AirServerProcess.client

        def hear(server: FleetServer, router: Any, route: bytes, parts: Any) -> Any:
            spy.heard.extend(bytes(part) for part in parts)
            return read(server, router, route, parts)

        def connect(process: AirServerProcess, *arguments: Any, **own: Any) -> Any:
            made = client(process, *arguments, **own)
            decode = made._codec.decode

            def heard(parts: Any) -> Any:
                spy.heard.extend(bytes(part) for part in parts)
                return decode(parts)

            made._codec.decode = heard  # type: ignore[method-assign]
            return made

        monkeypatch.setattr(device_module, "Device", Watched)
        monkeypatch.setattr(FleetServer, "_read", hear)
        monkeypatch.setattr(AirServerProcess, "client", connect)

    def payloads(self, round_index: int, devices: int = 3) -> np.ndarray:
        return np.array([self.measured[k, round_index].payloads for k in range(devices)])

    def secrets(self) -> dict[str, np.ndarray]:
        """Scalars, losses and functions of them that a coordinator could be told."""
        rounds = sorted({index for _, index in self.measured})
        sent = np.array([self.payloads(index) for index in rounds])
        return {
            "scalars": sent.ravel(),
            "losses": np.array([found.mean_loss for found in self.measured.values()]),
            "means": sent.mean(axis=1).ravel(),
            "sums": sent.sum(axis=1).ravel(),
            "mean losses": np.array([np.mean([self.measured[k, t].mean_loss for k in range(3)]) for t in rounds]),
            "powers": np.concatenate([np.square(sent).mean(axis=1).ravel(), np.square(sent / 8.0).mean(axis=(1, 2))]),
            "peaks": np.square(np.abs(sent).max(axis=(1, 2)) / 8.0),
        }

    def found_in(self, data: bytes) -> set[str]:
        """Which of the secrets are doubles of either byte order at any place in ``data``, to 1e-9."""
        seen = [np.frombuffer(data[at : at + 8 * ((len(data) - at) // 8)], kind) for kind in ("<f8", ">f8") for at in range(8)]
        doubles = np.sort(np.concatenate(seen))  # what is no number goes to the end
        names = set()
        for name, values in self.secrets().items():
            near = np.searchsorted(doubles, values + 1e-9) - np.searchsorted(doubles, values - 1e-9)
            if near.any():
                names.add(name)
        return names


def run_three(spec: Scenario, server: str, folder: Path) -> tuple[Served, list[Joined]]:
    coordinator = Served(spec, folder)
    devices = [Joined(server, number, patience_s=20.0) for number in range(3)]
    hashes = {device.hash() for device in devices}
    assert hashes == {coordinator.end()["weights_sha256"]}
    return coordinator, devices


def test_the_same_bits_and_nothing_that_devices_measured_reaches_the_coordinator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, set[str]] = {}
    for payloads in ("coordinator", "air"):
        with monkeypatch.context() as patched:
            spy = Spy(patched)
            spec, server = wanted(tmp_path, payloads)
            coordinator, devices = run_three(spec, server, tmp_path / payloads)
        found[payloads] = spy.found_in(b"".join(spy.heard))
        if payloads == "air":
            kept, heard = spy, devices[0].heard
    # The same eyes see them where they pass: the losses and scalars of ANSWER, and what the air tells of means and powers.
    assert {"scalars", "losses", "means"} <= found["coordinator"]
    assert found["air"] == set()
    assert rows(tmp_path / "air") == rows(tmp_path / "coordinator")
    assert summary(tmp_path / "air")["weights_sha256"] == alone(spec, tmp_path / "alone")["weights_sha256"]
    assert heard.found("scalars go to the air server at ipc:///.* alone, and no losses to anybody")

    # The run's folder: neither by name nor by number.
    other = diagnostics(tmp_path / "coordinator")
    hidden = np.concatenate([*kept.secrets().values(), [v for row in other for k, v in row.items() if _private(k)]])
    for row in diagnostics(tmp_path / "air"):
        assert row.keys() == {"active", "truncated", "aligned_gain", "loudest_gain", "present_devices", "missed_devices"}
        assert all(np.abs(hidden - value).min() > 1e-9 for name, value in row.items() if value not in (0.0, 3.0))
    for file in (tmp_path / "air").iterdir():
        if file.is_file():
            assert not kept.found_in(file.read_bytes()), file
    numbers = [float(text) for text in re.findall(r"-?\d+\.\d{6,}(?:e-?\d+)?", (tmp_path / "air" / "summary.json").read_text())]
    assert all(np.abs(hidden - number).min() > 1e-9 for number in numbers)
    told_of = summary(tmp_path / "air")
    for key in ("received_snr_db", "nmse_db", "median_error_db", "clipped_fraction", "power_mean", "power_peak"):
        assert told_of[key] is None, key
        assert summary(tmp_path / "coordinator")[key] is not None, key
    assert told_of["accuracy_final"] == summary(tmp_path / "coordinator")["accuracy_final"]
    assert coordinator.heard.found("fleet: devices send their scalars to the air server alone")


def _private(name: str) -> bool:
    return name.startswith(("loss", "payload_mean", "true_mean", "received_power", "power_"))


def test_processes_killed_and_resumed_have_the_bits_of_one_process(processes: Processes, tmp_path: Path) -> None:
    file, run, server = tmp_path / "s.toml", tmp_path / "run", f"ipc://{tmp_path}/f"
    spec = scenario(**OVER_THE_AIR, fleet={"payloads": "air"})
    file.write_text(spec.to_toml())
    whole = alone(spec, tmp_path / "whole")

    def join(number: int) -> BaseProcess:
        return processes.start(f"device{number}", "device", "join", "--server", server, "--number", str(number))

    coordinator = processes.start("coordinator", "fleet", "serve", str(file), "--bind", server, "--out", str(run))
    devices = [join(number) for number in range(4)]
    processes.wait("coordinator", "4 of 5 devices are there")
    last = join(4)
    deadline = time.monotonic() + 120
    while _committed(run) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    last.kill()
    last.join()
    devices.append(join(4))
    while _committed(run) < 7 and time.monotonic() < deadline:
        time.sleep(0.002)
    coordinator.kill()  # and its air server ends with it
    coordinator.join()
    assert 7 <= _committed(run) < ROUNDS
    again = processes.start("coordinator", "fleet", "serve", str(run), "--out", str(run), "--resume")
    for process in [*devices, again]:
        process.join(120)
        assert process.exitcode == 0, [processes.log(name) for name in ("coordinator", "device0", "device4")]

    assert summary(run)["weights_sha256"] == whole["weights_sha256"]
    assert rows(run) == rows(tmp_path / "whole")
    assert len(set(re.findall(r"scalars go to the air server at (\S+) alone", processes.log("device0")))) == 2
    log = processes.log("coordinator")
    assert re.search(r"round 12/12  loss -  accuracy", log)
    assert "received SNR |y|^2/N0 -, NMSE -, 0 of 12 rounds lost" in log
    assert (run / "figures" / "learning.png").is_file()
    assert not (run / "figures" / "link.png").exists()
    assert "What the server hears" not in (run / "report.html").read_text()
    with pytest.raises(TestbenchError, match="a slot shows what each device sent, which this fleet kept to the air"):
        compute_slot(read_run(run), 0)


def expected(spec: Scenario, payloads: np.ndarray, present: list[bool], index: int) -> tuple[float, ...]:
    """The estimates of the link in this process: an oracle apart from all sockets."""
    link = phy_link_factory(backend="numpy")(spec.link.model_dump(mode="json"), spec.seed)
    who = np.array(present)
    found = link.aggregate(np.array([index]), np.where(who[:, None], payloads, 0.0)[None], None if who.all() else who[None])
    return tuple(found.estimates[0])


def test_a_device_whose_deposit_is_missing_is_absent_whatever_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deposit = depositing.Depositing.deposit

    def lying(self: depositing.Depositing, round_index: int, payload: np.ndarray) -> bool | None:
        return True if (self._number, round_index) == (1, 2) else deposit(self, round_index, payload)

    monkeypatch.setattr(depositing.Depositing, "deposit", lying)
    spy = Spy(monkeypatch)
    spec, server = wanted(tmp_path)
    run_three(spec, server, tmp_path / "run")
    assert [row["present_devices"] for row in diagnostics(tmp_path / "run")] == [3, 3, 2, 3]
    for index, (_, _, estimates) in enumerate(rows(tmp_path / "run")):
        assert estimates == expected(spec, spy.payloads(index), [True, index != 2, True], index)


def test_a_loss_that_is_no_number_skips_the_round_and_the_air_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sick(device_module.Device):
        def _losses(self, rows: Any) -> Any:
            found = super()._losses(rows)
            return [values * np.float32("nan") for values in found] if (self.number, self.next_round) == (2, 1) else found

    monkeypatch.setattr(device_module, "Device", Sick)
    spec, server = wanted(tmp_path)
    coordinator, devices = run_three(spec, server, tmp_path / "run")
    assert [estimates is None for _, _, estimates in rows(tmp_path / "run")] == [False, True, False, False]
    assert diagnostics(tmp_path / "run")[1] == {"nonfinite_payloads": 2.0, "present_devices": 3.0, "missed_devices": 0.0}
    assert summary(tmp_path / "run")["nonfinite_rounds"] == 1
    assert coordinator.heard.found("device 2: a loss of round 1 is not a number; the round is skipped by everyone alike")
    assert devices[2].heard.found("round 1: a loss is not a number; the round is skipped")


def test_an_air_server_that_is_started_anew_loses_a_round_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running server, between a deposit and the closing of the slot: killed, and another at its address."""
    bind = f"ipc://{tmp_path}/air"
    first = AirServerProcess(bind, backend="numpy").start()
    second: list[AirServerProcess] = []
    deposit, lock, calls = depositing.Depositing.deposit, threading.Lock(), iter(range(10**6))

    def killing(self: depositing.Depositing, round_index: int, payload: np.ndarray) -> bool | None:
        with lock:
            if round_index == 1 and next(calls) == 1:
                first.close()
                second.append(AirServerProcess(bind, backend="numpy").start())
            return deposit(self, round_index, payload)

    monkeypatch.setattr(depositing.Depositing, "deposit", killing)
    spec, server = wanted(
        tmp_path, uplink={"endpoint": bind, "timeout_s": 1.0, "attempts": 20}, fleet={"slot_s": 4.0, "least_devices": 3}
    )
    try:
        _, devices = run_three(spec, server, tmp_path / "run")
    finally:
        for air in [first, *second]:
            air.close()
    assert [row["present_devices"] for row in diagnostics(tmp_path / "run")] == [3, 0, 3, 3]
    assert [estimates is None for _, _, estimates in rows(tmp_path / "run")] == [False, True, False, False]
    assert sum(device.heard.found("the air server takes deposits again") is not None for device in devices) == 2


@contextmanager
def air_with_keys(folder: Path) -> Iterator[AirServerProcess]:
    with AirServerProcess("tcp://127.0.0.1:0", key_dir=str(folder), backend="numpy") as server:
        yield server


def test_over_tcp_with_keys_each_device_shows_its_own(tmp_path: Path) -> None:
    generate_keys(tmp_path / "keys", ["client", "alice", "bob", "carol"])
    generate_keys(tmp_path / "air", ["client"])
    for name in ("alice", "bob", "carol"):  # the air's own pair, and the list of the fleet
        (tmp_path / "air" / "clients" / f"{name}.key").write_bytes((tmp_path / "keys" / f"{name}.key").read_bytes())
    with air_with_keys(tmp_path / "air") as air:
        spec, _ = wanted(
            tmp_path,
            uplink={"endpoint": air.endpoint, "keys": str(tmp_path / "air")},
            fleet={"bind": "tcp://127.0.0.1:0", "keys": str(tmp_path / "keys")},
        )
        coordinator = Served(spec, tmp_path / "run")
        server = re.search(r"--server (\S+)`", coordinator.heard.wait("devices join"))
        assert server is not None
        keys = [ClientKeys.load(tmp_path / "keys", name) for name in ("alice", "bob", "carol")]
        devices = [Joined(server[1], number, keys=pair) for number, pair in enumerate(keys)]
        hashes = {device.hash() for device in devices}
        assert hashes == {coordinator.end()["weights_sha256"]}
    inside, _ = wanted(tmp_path, "coordinator")
    assert hashes == {alone(inside, tmp_path / "alone")["weights_sha256"]}


def test_the_statement_says_who_sees_what_and_the_budget_is_the_same(tmp_path: Path) -> None:
    claimed = {"privacy": {"epsilon": 8.0, "delta": 0.01}, "link": {"csi": {"estimator": "perfect"}}}
    spent = {}
    for payloads in ("coordinator", "air"):
        spec, server = wanted(tmp_path, payloads, **claimed)
        run_three(spec, server, tmp_path / payloads)
        found = summary(tmp_path / payloads)
        spent[payloads] = found["epsilon_spent"]  # the noise, and with it the weights, is of a secret that each run has drawn
        for sentence in disclosures(spec):
            assert sentence.rstrip(".") in found["privacy_statement"]
    assert spent["air"] == spent["coordinator"]
    statements = {payloads: summary(tmp_path / payloads)["privacy_statement"] for payloads in spent}
    assert "against everybody but the coordinator" in statements["coordinator"]
    assert "holds what devices keep to themselves" not in statements["air"]
    assert "the coordinator learns who sent, what the air returns" in statements["air"]
    assert "the emulated air server stands for the medium and holds every scalar" in statements["air"]
    assert "journal of an emulated run" in disclosures(scenario())[0]


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"uplink": {"transport": "none"}}, 'needs an air server process: uplink.transport "ipc" or "tcp", not "none"'),
        ({"uplink": {"transport": "inproc"}}, 'not "inproc"'),
        ({"evaluation": {"noise_free": True}}, "evaluation.noise_free measures all devices' data in the coordinator"),
        (
            {"fleet": {"bind": "tcp://192.0.2.1:5757", "keys": "k"}},
            "devices on other machines, which join at tcp://192.0.2.1:5757",
        ),
        (
            {"fleet": {"bind": "tcp://192.0.2.1:5757"}, "uplink": {"endpoint": "tcp://127.0.0.1:9"}},
            "cannot reach the air server: start one with `pairzero air serve --bind",
        ),
        ({"uplink": {"endpoint": "tcp://192.0.2.9:9"}}, "lies on another machine and has to prove its key: set uplink.keys"),
        ({"fleet": {"air": "tcp://192.0.2.9:9"}}, "fleet.air names a running air server, and so must uplink.endpoint"),
        ({"fleet": {"payloads": "coordinator", "air": "ipc:///x"}}, 'fleet.air is of payloads "air"; leave it out'),
        ({"fleet": {"air": "nowhere"}, "uplink": {"endpoint": "ipc:///x"}}, "'nowhere' is no endpoint"),
        ({"fleet": {"payloads": "both"}}, "fleet.payloads"),
    ],
)
def test_what_cannot_keep_scalars_from_the_coordinator_is_refused(
    tmp_path: Path, sections: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ScenarioError, match=re.escape(sentence)) as caught:
        wanted(tmp_path, **sections)
    assert "\n" not in str(caught.value)


def test_devices_are_told_of_the_air_in_such_a_run_only(tmp_path: Path) -> None:
    data = tasks.load(scenario().task)
    for payloads in ("coordinator", "air"):
        spec, _ = wanted(tmp_path, payloads)
        settings = told(spec, data, {}, False)
        # A device of version 1 refuses a word that it does not know, and takes what has none.
        assert ("payloads" in settings) == (payloads == "air")
        assert as_told(settings, Local()).payloads == payloads


def test_a_device_connects_to_an_address_and_not_to_a_trick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seated, lure = Air.seated, iter(())

    def lured(self: Air, *own: Any) -> Any:
        found = seated(self, *own)
        trick = next(lure, None)
        return found if trick is None else msgspec.structs.replace(found, air=trick[0], server_key=trick[1])

    monkeypatch.setattr(Air, "seated", lured)
    spec, server = wanted(tmp_path)
    coordinator = Served(spec, tmp_path / "run")
    for air, key, error, sentence in (
        ("ipc:///etc/passwd", None, EndpointError, "is no socket of this user's"),
        ("ipc:///run/../etc/x", None, EndpointError, "takes detours"),
        ("tcp://192.0.2.9:9", None, EndpointError, "nobody would prove its key; join with keys"),
        ("inproc://x", None, EndpointError, "no address that another process can connect to"),
        ("tcp://127.0.0.1:9", "k" * 40, FleetError, "the run's air server has keys, and this device was given none"),
    ):
        lure = iter([(air, key)])
        device = Joined(server, 0)
        device.join(60)
        assert isinstance(device.outcome, error), device.outcome
        assert sentence in str(device.outcome)
    assert {device.hash() for device in [Joined(server, n) for n in range(3)]} == {coordinator.end()["weights_sha256"]}


def test_a_coordinator_cannot_change_its_mind_about_where_scalars_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def joined(self: Air, number: int, instance: str, session: str, restart: bool) -> JoinedMessage:
        return JoinedMessage(session=session, restart=restart)

    monkeypatch.setattr(Air, "seated", joined)
    spec, server = wanted(tmp_path, fleet={"patience_s": 2.0})
    coordinator = Served(spec, tmp_path / "run")
    device = Joined(server, 0)
    device.join(60)
    assert isinstance(device.outcome, FleetError)
    assert "changed its mind about where scalars go" in str(device.outcome)
    with pytest.raises(FleetError):
        coordinator.end()
