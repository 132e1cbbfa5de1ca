"""Devices that are processes: killed, restarted, late, diverged, refused, and in the end with the weights of one process."""

import copy
import json
import re
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from bridge.errors import ServerGone, ServerRefused
from learning import models, tasks
from learning.batches import shards
from learning.config import ModelConfig
from learning.data import TaskData
from learning.errors import LearningError
from learning.journal import Journal
from learning.objective import Objective
from learning.parameters import trainable, weights_sha256
from learning.replay import replay
from testbench.errors import FleetError
from testbench.fleet import device as device_module
from testbench.fleet.device import FleetDevice, join_run
from testbench.fleet.sharing import Local, as_told, told
from testbench.run_folder import RunFolder
from testbench.runner import Watcher, run_scenario
from testbench.scenario import Scenario, build
from tests.forked import Processes
from tests.forked import run as command

ROUNDS = 12
SETTINGS = {
    "name": "fleet",
    "seed": 3,
    "task": {"name": "embedded", "train_examples": 100, "validation_examples": 20},
    "federation": {"devices": 5, "batch_size": 4, "rounds": ROUNDS, "rows_per_forward": 4},
    "zeroth_order": {"learning_rate": 1e-3, "clip": 8.0, "directions": 2},
    "uplink": {"transport": "none"},
    "evaluation": {"every": 6},
    "fleet": {"slot_s": 120.0, "hash_every": 4, "patience_s": 120.0},
}


def scenario(**sections: dict[str, object]) -> Scenario:
    return build({k: {**v, **sections.get(k, {})} if isinstance(v, dict) else v for k, v in SETTINGS.items()}, "test")


class Heard(Watcher):
    """Keeps every line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def found(self, pattern: str) -> str | None:
        return next((line for line in self.lines if re.search(pattern, line)), None)

    def wait(self, pattern: str, timeout_s: float = 60.0) -> str:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if (line := self.found(pattern)) is not None:
                return line
            time.sleep(0.01)
        raise AssertionError(f"nobody said {pattern}; heard {self.lines}")


def summary(folder: Path) -> dict[str, object]:
    return json.loads((folder / "summary.json").read_text())


def rows(folder: Path) -> list[tuple[object, ...]]:
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        return [(row.round, row.seed, row.estimates) for row in journal.rows()]


_LOADING = threading.Lock()
_LOADED: dict[tuple[str, str], Objective] = {}
_build_model = models.build


@pytest.fixture(autouse=True)
def _one_loads_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers changes what belongs to the process while it loads a model: the threads here share one loading."""

    def load(config: ModelConfig, data: TaskData, progress: object = None) -> Objective:
        key = (config.model_dump_json(), data.sha256())
        with _LOADING:
            if key not in _LOADED:
                _LOADED[key] = _build_model(config, data)
            return copy.deepcopy(_LOADED[key])

    monkeypatch.setattr(models, "build", load)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, which all others must equal."""
    path = tmp_path_factory.mktemp("whole") / "run"
    run_scenario(scenario(), RunFolder(path), figures=False)
    return path


def _committed(folder: Path) -> int:
    try:
        with Journal(folder / "journal.sqlite", read_only=True) as journal:
            return len(journal)
    except LearningError:
        return 0


def test_five_processes_have_the_weights_of_one_whoever_is_killed(whole: Path, processes: Processes, tmp_path: Path) -> None:
    file, run, server = tmp_path / "s.toml", tmp_path / "run", f"ipc://{tmp_path}/f"
    file.write_text(scenario().to_toml())

    def join(number: int) -> BaseProcess:
        return processes.start(f"device{number}", "device", "join", "--server", server, "--number", str(number))

    coordinator = processes.start("coordinator", "fleet", "serve", str(file), "--bind", server, "--out", str(run))
    devices = [join(number) for number in range(4)]
    processes.wait("coordinator", "4 of 5 devices are there")
    # The last one is killed as soon as it takes part, and started again: it is given the rounds that it lacks.
    last = join(4)
    deadline = time.monotonic() + 120
    while _committed(run) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    last.kill()
    last.join()
    assert last.exitcode == -9
    devices.append(join(4))
    # The coordinator is killed in the middle, and resumed.
    while _committed(run) < 7 and time.monotonic() < deadline:
        time.sleep(0.002)
    coordinator.kill()
    coordinator.join()
    assert 7 <= _committed(run) < ROUNDS
    again = processes.start("coordinator", "fleet", "serve", str(run), "--out", str(run), "--resume")
    for process in [*devices, again]:
        process.join(120)
        assert process.exitcode == 0, [processes.log(name) for name in ("coordinator", "device0", "device4")]

    expected = summary(whole)["weights_sha256"]
    assert summary(run)["weights_sha256"] == expected
    assert rows(run) == rows(whole)
    for number in range(5):
        assert f"{ROUNDS} rounds, weights sha256 {expected}" in processes.log(f"device{number}")
    assert "joins again" in processes.log("coordinator")
    assert re.search(r"caught up by \d+ rounds to round \d+: \d+ bytes", processes.log("device4"))
    assert "joining again" in processes.log("device0")
    assert summary(run)["accuracy_final"] == summary(whole)["accuracy_final"]
    assert (run / "report.html").is_file()


# Threads: the same code over the same sockets, one after the other's heels.

THREE = {
    "federation": {"devices": 3, "rounds": 6},
    "fleet": {"slot_s": 60.0, "hash_every": 2, "patience_s": 60.0},
    "evaluation": {"every": 3},
}


class Joined(threading.Thread):
    """A device in a thread; ``outcome`` is its device, or what it raised."""

    def __init__(self, server: str, number: int | None = None, local: Local | None = None, **own: object) -> None:
        super().__init__(daemon=True)
        self.heard = Heard()
        self.outcome: object = None
        self._own = {"server": server, "number": number, "local": local, "watcher": self.heard, "patience_s": 60.0} | own
        self.start()

    def run(self) -> None:
        try:
            self.outcome = join_run(**self._own)
        except Exception as error:
            self.outcome = error

    def hash(self) -> str:
        self.join(120)
        assert isinstance(self.outcome, device_module.Device), self.outcome
        return self.outcome.weights_sha256()


class Served(threading.Thread):
    """A coordinator in a thread."""

    def __init__(self, wanted: Scenario, folder: Path, resume: bool = False) -> None:
        super().__init__(daemon=True)
        self.heard = Heard()
        self.error: Exception | None = None
        self._wanted, self._folder, self._resume = wanted, folder, resume
        self.start()

    def run(self) -> None:
        try:
            run_scenario(self._wanted, RunFolder(self._folder), resume=self._resume, watcher=self.heard, figures=False)
        except Exception as error:
            self.error = error

    def end(self) -> dict[str, object]:
        self.join(120)
        if self.error is not None:
            raise self.error
        return summary(self._folder)


def three(tmp_path: Path, **sections: dict[str, object]) -> tuple[Scenario, str]:
    server = f"ipc://{tmp_path}/f"
    names = THREE.keys() | sections.keys()
    merged = {name: {**THREE.get(name, {}), **sections.get(name, {})} for name in names}
    merged["fleet"] = {"bind": server, **merged["fleet"]}
    return scenario(**merged), server


def alone(wanted: Scenario, folder: Path) -> dict[str, object]:
    run_scenario(
        wanted.model_copy(update={"fleet": wanted.fleet.model_copy(update={"bind": None})}), RunFolder(folder), figures=False
    )
    return summary(folder)


def write(path: Path, examples: list[tuple[str, int]], labels: tuple[str, ...]) -> Path:
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{labels[label]}\n" for text, label in examples))
    return path


def test_own_files_over_tcp_with_keys_have_the_weights_of_a_run_by_file(tmp_path: Path) -> None:
    from bridge.keys import ClientKeys, generate_keys

    generate_keys(tmp_path / "keys", ["alice", "bob", "carol"])
    data = tasks.load(scenario().task)
    files = [write(tmp_path / f"{n}.tsv", data.train[n::3], data.labels) for n in range(3)]
    task = {
        "name": "text", "train": [str(file) for file in files], "labels": list(data.labels), "prompt": data.prompt,
        "validation": str(write(tmp_path / "v.tsv", data.validation, data.labels)), "verbalizers": list(data.verbalizers),
        "train_examples": None, "validation_examples": None,
    }  # fmt: skip
    task = {key: value for key, value in task.items() if value is not None}
    base = {key: value for key, value in SETTINGS.items() if key != "task"}
    made = {k: {**v, **THREE.get(k, {})} if isinstance(v, dict) else v for k, v in base.items()} | {"task": task}
    made["federation"] = {**made["federation"], "split": "by_file"}
    made["fleet"] = {**made["fleet"], "bind": "tcp://0.0.0.0:0", "keys": str(tmp_path / "keys")}
    wanted = build(made, "test")
    coordinator = Served(wanted, tmp_path / "run")
    port = re.search(r":(\d+)`", coordinator.heard.wait("devices join"))
    assert port
    devices = [
        Joined(f"tcp://127.0.0.1:{port[1]}", n, Local(data=files[n]), keys=ClientKeys.load(tmp_path / "keys", name))
        for n, name in enumerate(["alice", "bob", "carol"])
    ]
    hashes = {device.hash() for device in devices}
    assert hashes == {coordinator.end()["weights_sha256"]} == {alone(wanted, tmp_path / "alone")["weights_sha256"]}
    assert coordinator.heard.found("device 1 joins before round 0, with 33 examples of its own data")


def test_a_diverged_device_is_told_and_resynchronised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Drifting(device_module.Device):
        def tell(self, row):
            super().tell(row)
            if self.number == 1 and row.round == 2 and not getattr(self, "fell", False):
                self.fell = True
                trainable(self.objective.model)[0].flat[0] += 1e-3

    monkeypatch.setattr(device_module, "Device", Drifting)
    wanted, server = three(tmp_path, evaluation={"every": 50})
    coordinator = Served(wanted, tmp_path / "run")
    devices = [Joined(server, number) for number in range(3)]
    hashes = {device.hash() for device in devices}
    assert hashes == {coordinator.end()["weights_sha256"]}
    assert coordinator.heard.found("device 1 has diverged: its weights before round 4")
    assert coordinator.heard.found("device 1 is resynchronised: its weights before round 4 are the run's")
    assert devices[1].heard.found("the weights before round 4 are not the run's, as their hash shows: starting again")
    assert devices[0].heard.found("are not the run's") is None


def test_who_cannot_take_part_is_told_on_both_sides(tmp_path: Path) -> None:
    wanted, server = three(tmp_path)
    coordinator = Served(wanted, tmp_path / "run")
    (tmp_path / "none.tsv").write_text("text\tlabel\n")
    cases = [
        (Local(data=tmp_path / "none.tsv"), "none.tsv holds no examples"),
        (Local(data=tmp_path / "missing.tsv"), "there is no file .*missing.tsv"),
        (Local(data=write(tmp_path / "odd.tsv", [("so so", 0)], ("undecided",))), 'has the unknown label "undecided"'),
    ]
    for local, sentence in cases:
        device = Joined(server, 2, local)
        device.join(60)
        assert isinstance(device.outcome, LearningError)
        assert re.search(sentence, str(device.outcome))
        assert coordinator.heard.wait("device 2 leaves: .*" + sentence)
    from learning import embedded

    changed = tmp_path / "model"
    changed.mkdir()
    for file in embedded.model_folder().iterdir():
        (changed / file.name).write_bytes(file.read_bytes())
    from safetensors.numpy import load_file, save_file

    weights = load_file(changed / "model.safetensors")
    name = sorted(weights)[0]
    weights[name] = weights[name] + np.float32(0.5)
    save_file(weights, changed / "model.safetensors", metadata={"format": "pt"})
    plain = {**wanted.plain(), "model": {"kind": "causal_lm", "path": str(changed)}}
    device = Joined(server, 2, Local(scenario=build(plain, "test")))
    device.join(60)
    assert isinstance(device.outcome, ServerRefused)
    assert "device 2 holds another base model" in str(device.outcome)
    assert coordinator.heard.wait("refused: device 2 holds another base model: its weights hash to")
    good = [Joined(server, number) for number in range(3)]
    assert {device.hash() for device in good} == {coordinator.end()["weights_sha256"]}


def test_a_loss_that_is_no_number_skips_the_round_for_everyone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Sick(device_module.Device):
        def _losses(self, rows):
            found = super()._losses(rows)
            return [values * np.float32("nan") for values in found] if (self.number, self.next_round) == (2, 1) else found

    monkeypatch.setattr(device_module, "Device", Sick)
    wanted, server = three(tmp_path)
    coordinator = Served(wanted, tmp_path / "run")
    devices = [Joined(server, number) for number in range(3)]
    hashes = {device.hash() for device in devices}
    found = coordinator.end()
    assert hashes == {found["weights_sha256"]}
    assert [estimates is None for _, _, estimates in rows(tmp_path / "run")] == [False, True, False, False, False, False]
    sentence = "round 1.* not a number.*the round is skipped by everyone alike"
    assert coordinator.heard.found("device 2: a loss of " + sentence)
    assert devices[2].heard.found("round 1: a loss is not a number; the round is skipped")


def test_a_run_goes_on_without_those_who_left_and_takes_them_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, server = three(tmp_path, fleet={"least_devices": 2})

    def interrupted(self: FleetDevice, slot: object) -> None:
        raise FleetError("the battery is empty")

    coordinator = Served(wanted, tmp_path / "run")
    staying = [Joined(server, number) for number in range(2)]
    with monkeypatch.context() as patched:
        for device in staying:
            device.heard.wait("device . of 3")
        coordinator.heard.wait("2 of 3 devices are there")
        patched.setattr(FleetDevice, "_measure", interrupted)
        leaving = Joined(server, 2)
        leaving.join(60)
    # Whoever was asked while the patch stood has left as well: they come back, and the run ends as one.
    assert isinstance(leaving.outcome, FleetError) or any(isinstance(d.outcome, FleetError) for d in staying)
    for device in staying:
        device.join(0.5)
    back = [Joined(server, n) for n, d in enumerate([*staying, leaving]) if isinstance(d.outcome, FleetError)]
    members = [d for d in [*staying, leaving] if not isinstance(d.outcome, FleetError)] + back
    assert {device.hash() for device in members} == {coordinator.end()["weights_sha256"]}
    assert coordinator.heard.found("leaves: the battery is empty")


def test_a_coordinator_without_devices_gives_up_in_one_sentence(tmp_path: Path) -> None:
    wanted, _ = three(tmp_path, fleet={"patience_s": 0.3})
    coordinator = Served(wanted, tmp_path / "run")
    with pytest.raises(FleetError, match=r"0 of the 3 devices needed were there within 0\.3 s before round 0; start more with"):
        coordinator.end()


def test_a_device_obeys_its_coordinator_in_numbers_only() -> None:
    wanted = scenario()
    data = tasks.load(wanted.task)
    sound = told(wanted, data, {"mu": 1e-3}, False)
    assert as_told(sound, Local()).federation == wanted.federation
    assert as_told(sound, Local(model="/here", torch_device="cpu", threads=3)).model.path == "/here"
    for change, sentence in (
        ({"model": {**sound["model"], "path": "/etc"}}, r"names a model\.path"),
        ({"task": {**sound["task"], "train": "/etc/passwd"}}, r"names a task\.train"),
        ({"model": {**sound["model"], "kind": "os:system"}}, r"model\.kind is code, os:system; give this device the scenario"),
        ({"task": {**sound["task"], "name": "os:system"}}, r"task\.name is code, os:system"),
        ({"reads_files": True}, "reads files, whose places on this machine the coordinator cannot know"),
        ({"threads": 0}, r"not understood \(threads: input should be greater"),
        ({"surprise": 1}, r"not understood \(surprise: extra inputs"),
    ):
        with pytest.raises(FleetError, match=sentence):
            as_told({**sound, **change}, Local())
    own = {**sound, "model": {**sound["model"], "kind": "os:system"}}
    assert as_told(own, Local(scenario=wanted)).model.kind == "embedded"


def test_shares_by_number_are_those_of_one_process() -> None:
    wanted = scenario()
    settings = as_told(told(wanted, tasks.load(wanted.task), {}, False), Local())
    data, share, digest = device_module._data(settings, None, 3)
    expected = shards(data.strata, wanted.federation)[3]
    assert share.tolist() == expected.tolist()
    assert digest == data.sha256()


def test_errors_of_the_commands_are_one_sentence(tmp_path: Path) -> None:
    for arguments, sentence in (
        (("fleet", "serve", "demo", "--out", str(tmp_path / "r")), "nobody could join: give an address with --bind"),
        (("fleet", "serve", "demo", "--set", "fleet.slots=3"), "there is no setting fleet.slots; did you mean fleet.slot_s?"),
        (("device", "join", "--server", f"ipc://{tmp_path}/x", "--patience", "0.3"), "no coordinator answered at"),
    ):
        done = command(tmp_path, *arguments)
        assert done.returncode == 1
        assert sentence in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_device_that_loses_its_coordinator_says_so_and_ends(tmp_path: Path) -> None:
    wanted, server = three(tmp_path, fleet={"patience_s": 2.0})
    coordinator = Served(wanted, tmp_path / "run")
    device = Joined(server, 0, patience_s=2.0)
    with pytest.raises(FleetError, match="1 of the 3 devices needed"):
        coordinator.end()
    device.join(60)
    assert isinstance(device.outcome, ServerGone)
    assert "start or resume one with `pairzero fleet serve" in str(device.outcome)


def test_the_coordinators_weights_are_what_the_journal_gives(whole: Path) -> None:
    wanted = scenario()
    objective = models.build(wanted.model, tasks.load(wanted.task))
    with Journal(whole / "journal.sqlite", read_only=True) as journal:
        replay(objective.model, journal)
    assert weights_sha256(objective.model) == summary(whole)["weights_sha256"]
