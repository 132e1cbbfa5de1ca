"""Secret randomness of runs: the attack from what a device has, what lies where, and what is refused."""

import base64
import json
import re
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zmq
from scipy import stats
from typer.testing import CliRunner

import pairzero.air
import pairzero.device
import testbench.uplinks as uplinks
from bridge.secrets import derive, link_secret, read_secret
from bridge.sessions import session_id
from learning.batches import batch, poisson
from learning.journal import Journal
from phy.backends import in_process
from phy.link import Link
from testbench.cli import app
from testbench.fleet import device as device_module
from testbench.fleet.device import FleetDevice, own_file
from testbench.fleet.sharing import Local
from testbench.privacy.design import Design
from testbench.privacy.run_plan import plan_run
from testbench.privacy.secrecy import SEED_WORTH
from testbench.report import write_report
from testbench.run_folder import RunFolder
from testbench.runner import RunResult, Watcher, run_scenario
from testbench.scenario import Scenario, build
from tests.forked import run as command
from tests.testbench.test_fleet import Joined, Served, _one_loads_at_a_time  # noqa: F401
from tests.testbench.test_privacy_run import RECORDS, Stop

ROUNDS = 30
BASE: dict[str, Any] = {
    "name": "hidden",
    "seed": 3,
    "task": {"name": "embedded", "train_examples": 90, "validation_examples": 10},
    "federation": {"devices": 2, "batch_size": 4, "rounds": ROUNDS, "rows_per_forward": 4},
    "zeroth_order": {"learning_rate": 1e-3, "clip": 8.0},
    "link": {"snr_max_db": 20.0},
    "privacy": {"epsilon": 4.0, "delta": 1e-3},
    "uplink": {"transport": "inproc"},
    "evaluation": {"every": 100, "tensorboard": False},
    "fleet": {"slot_s": 120.0, "patience_s": 120.0},
}
SECRET = {"privacy": {"randomness": "secret"}}


def private(*changes: dict[str, Any]) -> Scenario:
    data = {key: dict(value) if isinstance(value, dict) else value for key, value in BASE.items()}
    for change in changes:
        for key, value in change.items():
            data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
    return build(data, "test")


def run(scenario: Scenario, folder: Path, **options: Any) -> RunResult:
    return run_scenario(scenario, RunFolder(folder), figures=False, **options)


def broadcasts(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What every device is told, [T], and the mean of what all kept to themselves, [T]."""
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        kept = list(journal.rows())
    return np.array([row.estimates[0] for row in kept]), np.array([row.diagnostics["payload_mean"] for row in kept])


def rebuilt_noise(scenario: Scenario, seed: int, rounds: int) -> np.ndarray:
    """The attack: the link from the settings, asked with the seed for the noise alone, in units of the estimate. [T]."""
    link = Link(in_process(plan(scenario).link), seed)
    return link.aggregate(np.arange(rounds), np.zeros((rounds, scenario.federation.devices, 1))).estimates[:, 0]


def plan(scenario: Scenario) -> Design:
    made = plan_run(scenario, scenario.task.train_examples // scenario.federation.devices)
    assert isinstance(made, Design)
    return made


def cut_off(scenario: Scenario, folder: Path, after: int, **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(scenario, folder, watcher=Stop(after), **options)


def test_a_device_can_subtract_the_noise_of_the_seed_and_not_that_of_a_secret(tmp_path, monkeypatch):
    """A device has the seed (SLOT), the estimates (ROWS) and the settings; all three are taken where it is told them."""
    told: dict[str, Any] = {"seeds": [], "estimates": [], "secrets": {}}
    apply = FleetDevice._apply

    def applied(self, rows):
        if self._number == 0:
            told["run"] = self._run
            told["seeds"] += rows.seeds.tolist()
            told["estimates"] += rows.estimates[:, 0].tolist()
        apply(self, rows)

    class Watched(device_module.Device):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            told["secrets"][self.number] = named["secret"]

    monkeypatch.setattr(FleetDevice, "_apply", applied)
    monkeypatch.setattr(device_module, "Device", Watched)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sent = all_that_is_sent(monkeypatch)
    server = f"ipc://{tmp_path}/f"
    fleet = private({"fleet": {"bind": server}})
    coordinator = Served(fleet, tmp_path / "fleet")
    devices = [Joined(server, 0), Joined(server, 1, Local(secret=tmp_path / "own.key"))]
    summary = coordinator.end()
    assert {device.hash() for device in devices} == {summary["weights_sha256"]}

    estimates, means = broadcasts(tmp_path / "fleet")
    assert told["estimates"] == estimates.tolist()
    assert set(told["seeds"]) == {3}
    scale = plan(fleet).estimate_std
    truth = (estimates - means) / scale
    residual = (estimates - rebuilt_noise(fleet, told["seeds"][0], ROUNDS) - means) / scale
    assert 0.6 < truth.std() < 1.5
    assert residual.std() > truth.std()  # subtracting it adds as much again
    assert stats.kstest(residual / np.sqrt(2), "norm").pvalue > 1e-3

    # The same attack on a run of one process under its seed leaves nothing of the noise, so it is no weak attack.
    alone = private()
    run(alone, tmp_path / "alone")
    estimates, means = broadcasts(tmp_path / "alone")
    assert np.abs((estimates - means) / scale).std() > 0.3
    assert np.abs(estimates - rebuilt_noise(alone, 3, ROUNDS) - means).max() < 1e-5 * scale.max()

    # Each device has a secret of its own in a file of its own, and said so.
    files = [device_file(tmp_path / "state"), tmp_path / "own.key"]
    assert [told["secrets"][n] for n in (0, 1)] == [derive(f.read_bytes(), f"pairzero batches {told['run']}") for f in files]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    hidden = [form for s in [*(f.read_bytes() for f in files), *told["secrets"].values()] for form in (s, s.hex().encode())]
    assert any(told["run"].encode() in part for part in sent)
    assert [form for form in hidden if any(form in part for part in sent)] == []
    assert devices[1].heard.found(rf"batches are drawn by the secret in {tmp_path}/own.key, which stays on this machine")
    # The run: told, and its own secret destroyed.
    assert summary["randomness"] == "secret"
    assert "the claim is against everybody but the coordinator" in summary["privacy_statement"]
    assert "(ANSWER)" in summary["privacy_statement"]
    assert sorted(path.name for path in (tmp_path / "fleet" / "private").iterdir()) == ["destroyed"]


def device_file(state: Path) -> Path:
    (file,) = (state / "pairzero").iterdir()
    assert re.fullmatch(r"device-[0-9a-f]{16}-0\.key", file.name)
    return file


def test_a_fleet_that_claims_no_privacy_draws_by_the_seed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    server = f"ipc://{tmp_path}/f"
    open_ = private({"fleet": {"bind": server}, "federation": {"rounds": 3}}).plain()
    del open_["privacy"]
    wanted = build(open_, "test")
    coordinator = Served(wanted, tmp_path / "fleet")
    hashes = {device.hash() for device in [Joined(server, number) for number in range(2)]}
    alone = wanted.model_copy(update={"fleet": wanted.fleet.model_copy(update={"bind": None})})
    summary = run(alone, tmp_path / "alone").summary
    assert hashes == {coordinator.end()["weights_sha256"], summary["weights_sha256"]}
    assert summary["randomness"] is None
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "fleet" / "private").exists()


def test_two_runs_of_one_seed_share_their_noise_and_of_secrets_do_not(tmp_path):
    found = {}
    for mode in ("seed", "secret"):
        for rate in (1e-3, 1e-4):
            scenario = private({"privacy": {"randomness": mode}, "zeroth_order": {"learning_rate": rate}})
            run(scenario, tmp_path / f"{mode}-{rate}")
            found[mode, rate] = broadcasts(tmp_path / f"{mode}-{rate}")
    scale = plan(private()).estimate_std
    left = {}
    for mode in ("seed", "secret"):
        (one, one_mean), (other, other_mean) = found[mode, 1e-3], found[mode, 1e-4]
        assert np.abs(one_mean - other_mean).max() > 1e-3  # two trainings
        left[mode] = ((one - other) - (one_mean - other_mean)) / scale
    assert np.abs(left["seed"]).max() < 1e-5
    assert stats.kstest(left["secret"] / np.sqrt(2), "norm").pvalue > 1e-3
    assert np.abs(left["secret"]).min() > 1e-4


@pytest.mark.parametrize("transport", ["inproc", "ipc"])
def test_a_run_of_a_secret_resumes_to_the_same_bits_and_destroys_it(tmp_path, monkeypatch, transport):
    # Sessions of 6 and of 4 rounds, and a run that is resumed within both.
    monkeypatch.setattr(uplinks, "_HEADER_BYTES", 30)
    monkeypatch.setattr(uplinks, "_LEAST_TOLD", 1)
    monkeypatch.setattr(uplinks, "_AMPLITUDE_BYTES", 5)
    short = {"federation": {"rounds": 10}, "evaluation": {"noise_free": True}, "uplink": {"transport": transport}}
    wanted = private(SECRET, short)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    cut_off(wanted, whole, 2)
    key = whole / "private" / "noise.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    shutil.copytree(whole, cut)
    secret = read_secret(key)
    for after in (1, 5):
        cut_off(wanted, cut, after, resume=True)
        assert read_secret(cut / "private" / "noise.key") == secret
    watcher = Stop(10**9)
    done = run(wanted, cut, resume=True, watcher=watcher)
    through = run(wanted, whole, resume=True)
    assert broadcasts(cut)[0].tolist() == broadcasts(whole)[0].tolist()
    assert done.summary["weights_sha256"] == through.summary["weights_sha256"]
    for folder in (cut, whole):
        assert [path.name for path in (folder / "private").iterdir()] == ["destroyed"]
    said = "private/noise.key, which keyed what protects this run, is destroyed"
    assert [line for line in watcher.lines if line.startswith(said)]
    assert [note for note in done.summary["notes"] if note.startswith(said)]
    # The reference has the batches of the run.
    assert done.summary["accuracy_noise_free"] == through.summary["accuracy_noise_free"]
    # A finished run may be resumed, and its summary written again.
    again = run(wanted, cut, resume=True).summary
    assert again["weights_sha256"] == done.summary["weights_sha256"]
    assert not (cut / "private" / "noise.key").exists()


def test_batches_of_one_process_are_the_devices_secrets(tmp_path, monkeypatch):
    import learning.federation as federation

    asked: list[Any] = []
    monkeypatch.setattr(federation, "batch", lambda *a: asked.append(a) or batch(*a))
    monkeypatch.setattr(federation, "poisson", lambda *a: asked.append(a) or poisson(*a))
    wanted = private(SECRET, {"federation": {"rounds": 2}})
    cut_off(wanted, tmp_path / "run", 1)
    secret = read_secret(tmp_path / "run" / "private" / "noise.key")
    assert [entry[:3] for entry in asked] == [(derive(secret, f"pairzero device {k}"), 0, k) for k in range(2)]
    asked.clear()
    run(private({"federation": {"rounds": 2}}), tmp_path / "seed")
    assert {entry[0] for entry in asked} == {3}
    asked.clear()
    sampled = {name: value for name, value in RECORDS.items() if name != "privacy"}
    cut_off(private(sampled, {"privacy": {**RECORDS["privacy"], **SECRET["privacy"]}}), tmp_path / "sampled", 1)
    assert {(len(entry[0]), entry[1]) for entry in asked} == {(32, 0)}


def all_that_is_sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every part of every message that a socket of this process sends from now on."""
    sent: list[bytes] = []
    send = zmq.Socket.send_multipart

    def listening(self, parts, *arguments, **named):
        sent.extend(bytes(part) for part in parts)
        return send(self, parts, *arguments, **named)

    monkeypatch.setattr(zmq.Socket, "send_multipart", listening)
    return sent


def test_the_secret_is_in_no_file_and_on_no_wire(tmp_path, monkeypatch):
    sent = all_that_is_sent(monkeypatch)
    wanted = private(SECRET, {"federation": {"rounds": 3}})
    folder = tmp_path / "run"
    cut_off(wanted, folder, 2)
    secret = read_secret(folder / "private" / "noise.key")
    run_scenario(wanted, RunFolder(folder), resume=True)
    assert len(sent) > 10
    nonce = derive(secret, "pairzero sessions").hex()
    assert any(nonce.encode() in part for part in sent)  # it does tell the server which sessions are its own
    session = session_id(plan(wanted).link.model_dump(mode="json"), 3, nonce)
    assert any(session.encode() in part for part in sent)
    number = link_secret(secret, session)
    forms = [secret, secret.hex().encode(), base64.b64encode(secret)]
    for derived in (number.to_bytes(8, "little"), number.to_bytes(8, "big"), str(number).encode()):
        forms.append(derived)
    for device in range(2):
        own = derive(secret, f"pairzero device {device}")
        forms += [own, own.hex().encode()]
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"summary.json", "journal.sqlite", "scenario.toml", "report.html", "destroyed"} <= names
    for path in files:
        held = path.read_bytes()
        assert [form for form in [*forms, nonce.encode()] if form in held] == [], path
    for form in forms:
        assert not any(form in part for part in sent)


def test_reports_and_summaries_say_what_a_seed_is_worth(tmp_path):
    short = {"federation": {"rounds": 2}}
    summary = run(private(short), tmp_path / "seed").summary
    assert summary["randomness"] == "seed"
    assert f"drawn from the scenario's seed (3): {SEED_WORTH}" in summary["privacy_statement"]
    write_report(RunFolder(tmp_path / "seed"))
    words = "void for anyone who has the scenario&#39;s seed"
    assert words in (tmp_path / "seed" / "report.html").read_text()
    # A run of before says nothing, and was of the seed.
    old = json.loads((tmp_path / "seed" / "summary.json").read_text())
    del old["randomness"]
    (tmp_path / "seed" / "summary.json").write_text(json.dumps(old))
    write_report(RunFolder(tmp_path / "seed"))
    assert words in (tmp_path / "seed" / "report.html").read_text()

    summary = run(private(short, SECRET), tmp_path / "secret").summary
    assert "runs that share a seed share neither" in summary["privacy_statement"]
    write_report(RunFolder(tmp_path / "secret"))
    page = (tmp_path / "secret" / "report.html").read_text()
    assert words not in page
    assert "destroyed after the last round" in page
    energy = private(
        {"link": {"scheme": "reed", "snr_max_db": -20.0}, "privacy": {"accounting": "renyi"}, "federation": {"rounds": 1}}
    )
    assert (
        "fades, phases, noise and batches are drawn from the scenario's seed"
        in run(energy, tmp_path / "e").summary["privacy_statement"]
    )


def test_the_budgets_end_is_an_end_for_the_secret_too(tmp_path):
    faults = {"federation": {"rounds": 12}, "privacy": {"epsilon": 0.5, "accounting": "renyi", **SECRET["privacy"]}}
    wanted = private(faults, {"link": {"scheme": "reed", "snr_max_db": -10.0}})
    done = run(wanted, tmp_path / "run")
    assert done.summary["privacy_stopped_at_round"] is not None
    assert not (tmp_path / "run" / "private" / "noise.key").exists()
    assert run(wanted, tmp_path / "run", resume=True).summary["rounds"] == done.summary["rounds"]


def test_where_a_device_keeps_its_secret(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert own_file("ab" * 32, 3) == Path("/state/pairzero/device-abababababababab-3.key")
    for value in ("", "relative/folder"):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        assert own_file("ab" * 32, 3) == Path.home() / ".local" / "state" / "pairzero" / "device-abababababababab-3.key"


def test_a_device_started_again_draws_the_same_batches_and_in_another_run_others(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    found = [
        device_module._secret(file, SimpleNamespace(run=run, number=number), Watcher())
        for file, run, number in (
            (None, "a" * 64, 0),
            (None, "a" * 64, 0),
            (None, "a" * 64, 1),
            (None, "b" * 64, 0),
            (tmp_path / "own", "a" * 64, 0),
            (tmp_path / "own", "b" * 64, 0),
        )
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 5
    shard = np.arange(60)
    assert batch(found[0], 4, 0, shard, 8).tolist() == batch(found[1], 4, 0, shard, 8).tolist()


def test_the_command_line_takes_strictness_and_secrets(tmp_path, monkeypatch):
    file = tmp_path / "s.toml"
    file.write_text(private().to_toml())
    for words in (
        ("run", str(file)),
        ("fleet", "serve", str(file), "--bind", f"ipc://{tmp_path}/f", "--set", "privacy.randomness=seed"),
    ):
        done = command(tmp_path, *words, "--strict", "--out", str(tmp_path / "run"))
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1
        assert "privacy.randomness" in done.stderr
    import bridge.serve
    import testbench.fleet.device

    asked: list[Any] = []
    monkeypatch.setattr(bridge.serve, "serve", lambda *a, **named: asked.append(named["secret"]))
    monkeypatch.setattr(testbench.fleet.device, "join_run", lambda *a, **named: asked.append(named["local"].secret))
    runner = CliRunner()
    for words in (("air", "serve", "--bind", "ipc:///x"), ("device", "join", "--server", "ipc:///x")):
        assert runner.invoke(app, [*words, "--secret", "/k"]).exit_code == 0
    assert asked == ["/k", Path("/k")]
    asked.clear()
    pairzero.air.serve("ipc:///x", secret=Path("/k"))
    pairzero.device.join("ipc:///x", secret="/k")
    assert asked == ["/k", Path("/k")]
