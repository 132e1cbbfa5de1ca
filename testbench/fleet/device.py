"""A device: joins a run, measures its rounds, and keeps its weights those of the run."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from bridge.errors import BridgeError, KeysError
from bridge.fleet import FleetClient
from bridge.fleet.client import SessionLost
from bridge.fleet.history import History
from bridge.fleet.messages import Done, Prove, Rows, Seated, Slot, Welcome
from bridge.keys import ClientKeys
from bridge.secrets import derive, read_secret
from learning import models, tasks
from learning.batches import shards
from learning.data import TaskData
from learning.device import Device
from learning.errors import LearningError
from learning.journal import JournalRow
from learning.objective import Objective
from testbench.errors import FleetError, TestbenchError
from testbench.fleet.depositing import Depositing
from testbench.fleet.sharing import Local, Told, as_told, software
from testbench.runner import Watcher

__all__ = ["FleetDevice", "join_run", "own_file"]


def join_run(
    server: str,
    *,
    number: int | None = None,
    local: Local | None = None,
    keys: ClientKeys | None = None,
    patience_s: float = 60.0,
    watcher: Watcher | None = None,
) -> Device:
    """Take part in the run at ``server`` until it is over; returns the device as it then is.

    :param number: which device to be; None takes any free place
    :param local: what this machine decides for itself
    :param patience_s: how long to ask a coordinator that does not answer [s]

    Raises the rooms' own errors, each one sentence; the coordinator is told as well where it can be.
    """
    watcher = watcher or Watcher()
    silent = _Silence(watcher, server, patience_s)
    with FleetClient(server, patience_s=patience_s, keys=keys, on_silence=silent.still, software=software()) as client:
        welcome = client.hello(number)
        try:
            with Depositing(server, keys, patience_s, watcher) as place:
                return FleetDevice(client, welcome, local or Local(), watcher, silent, place).run()
        except (LearningError, TestbenchError, KeysError, MemoryError) as error:
            _leave(client, welcome.number, str(error) or type(error).__name__)
            raise
        except KeyboardInterrupt:
            _leave(client, welcome.number, "interrupted")
            raise


def _leave(client: FleetClient, number: int, reason: str) -> None:
    try:
        client.leave(number, reason)
    except BridgeError:
        return  # a goodbye that nobody hears


class FleetDevice:
    """The loop of a device: ask what is next, do it, ask again.

    Everything is decided by the coordinator's answers and by where the device stands, so that it makes no difference whether
    a device was there all the time, was started late, or found its coordinator started anew.
    """

    def __init__(
        self, client: FleetClient, welcome: Welcome, local: Local, watcher: Watcher, silent: "_Silence", place: Depositing
    ) -> None:
        import torch

        self._client, self._watcher, self._silent, self._place = client, watcher, silent, place
        self._run = welcome.run
        self._number = welcome.number
        self._settings = as_told(welcome.settings, local)
        watcher.say(f"device {welcome.number} of {self._settings.federation.devices} in run {welcome.run[:16]}")
        torch.set_num_threads(self._settings.threads)
        data, shard, self._task_sha256 = _data(self._settings, local.data, welcome.number)
        secret = _secret(local.secret, welcome, watcher) if self._settings.bounded else None
        self._device = Device(
            lambda: _objective(self._settings, data, watcher),
            data.train,
            shard,
            welcome.number,
            self._settings.federation,
            self._settings.zeroth_order,
            self._settings.journal,
            bounded=self._settings.bounded,
            secret=secret,
        )
        self._history = History(welcome.run)
        self._session = ""
        self._loss = float("nan")

    def run(self) -> Device:
        """Take part until the run is over."""
        device, watcher = self._device, self._watcher
        self._join()
        watcher.started(f"device {self._number}", device.next_round, self._settings.rounds)
        try:
            while not self._step():
                pass
        finally:
            watcher.finished()
        return device

    def _join(self) -> None:
        device = self._device
        joined = self._client.join(
            self._number,
            base_weights_sha256=device.objective.base_weights_sha256,
            identity=device.objective.identity,
            task_sha256=self._task_sha256,
            examples=device.examples,
            standing=device.next_round,
            history=self._history.at(device.next_round),
        )
        if isinstance(joined, Seated) != (self._settings.payloads == "air"):
            raise FleetError("the coordinator changed its mind about where scalars go; ask whoever runs it, and join anew")
        if isinstance(joined, Seated):
            self._place.take(joined, self._number)
        self._session = joined.session
        if joined.restart:
            self._restart("the run took another course than this device knows")

    def _restart(self, why: str) -> None:
        self._watcher.say(f"{why}: starting again from the base weights and the journal")
        self._device.restart()
        self._history = self._history.fresh()
        self._watcher.started(f"device {self._number}", 0, self._settings.rounds)

    def _step(self) -> bool:
        """One question and what follows from its answer; whether the run is over."""
        device = self._device
        try:
            order = self._client.next(self._session, device.next_round, device.measured)
            self._silent.heard()
            if isinstance(order, Slot):
                self._measure(order)
            elif isinstance(order, Rows):
                self._apply(order)
            elif isinstance(order, Prove):
                self._prove(order.round)
            elif isinstance(order, Done):
                weights = "displaced for a round that was not sent" if device.measured else f"sha256 {device.weights_sha256()}"
                self._watcher.say(f"{order.reason}: {order.rounds} rounds, weights {weights}")
                return True
        except SessionLost:
            welcome = self._client.hello(self._number)
            if welcome.run != self._run:
                raise FleetError(
                    f"the coordinator at {self._client.endpoint} came back with another run; start this device anew to join it"
                ) from None
            self._watcher.say("joining again: the coordinator was started anew or had given up on this device")
            self._join()
        return False

    def _measure(self, slot: Slot) -> None:
        found = self._device.ask(slot.round, slot.seed)
        finite = bool(np.isfinite(found.payloads).all())
        if not finite:
            self._watcher.say(f"round {slot.round}: a loss is not a number; the round is skipped by everyone alike")
        self._loss = found.mean_loss
        if self._settings.payloads == "air":
            there = self._place.deposit(slot.round, found.payloads) if finite else True
            if there is None:
                return  # nobody took it; the coordinator says what is next
            taken = there and self._client.deposited(self._session, slot.round, finite)
        else:
            taken = self._client.answer(
                self._session, slot.round, found.payloads, found.mean_loss, found.samples, found.clipped_fraction
            )
        if not taken:
            self._watcher.say(f"round {slot.round}: the answer came too late and does not count")

    def _apply(self, rows: Rows) -> None:
        device = self._device
        found, wanted = rows.estimates.shape[1], self._settings.zeroth_order.directions
        if found != wanted:
            raise FleetError(f"the coordinator sent {found} estimates a round, and the run has {wanted} directions")
        told = [_row(rows, place) for place in range(len(rows.seeds))]
        if device.measured and len(told) == 1:
            loss = self._loss
            device.tell(told[0])
        else:
            loss = float("nan")
            began = time.perf_counter()
            device.catch_up(told, lambda done, total: self._watcher.preparing("catching up", done, total))
            took_s = time.perf_counter() - began
            size = rows.seeds.nbytes + rows.estimates.nbytes + rows.learning_rates.nbytes
            self._watcher.say(
                f"caught up by {len(told)} rounds to round {device.next_round}: {size} bytes, applied in {took_s:.2f} s"
            )
        for place, row in enumerate(told):
            self._history.append(row.seed, float(rows.learning_rates[place]), rows.estimates[place])
            self._watcher.round(loss, None)

    def _prove(self, standing: int) -> None:
        if self._client.prove(self._session, standing, self._device.weights_sha256()):
            return
        self._restart(f"the weights before round {standing} are not the run's, as their hash shows")


def _row(rows: Rows, place: int) -> JournalRow:
    values = tuple(rows.estimates[place].tolist())
    lost = bool(np.isnan(rows.estimates[place]).all())
    rate = float(rows.learning_rates[place])
    return JournalRow(rows.first + place, int(rows.seeds[place]), None if lost else values, lost, {}, rate)


def _secret(file: Path | None, welcome: Welcome, watcher: Watcher) -> bytes:
    """What keys this device's batches in this run, which claims privacy; the file, made on first use, may serve more."""
    file = file or own_file(welcome.run, welcome.number)
    secret = derive(read_secret(file, make=True), f"pairzero batches {welcome.run}")
    watcher.say(f"batches are drawn by the secret in {file}, which stays on this machine; delete it when the run is over")
    return secret


def own_file(run: str, number: int) -> Path:
    """Where a device keeps its secret, unless it is told: the user's folder for state, by run and number."""
    given = os.environ.get("XDG_STATE_HOME", "")
    state = Path(given) if os.path.isabs(given) else Path.home() / ".local" / "state"  # a relative one is to be ignored
    return state / "pairzero" / f"device-{run[:16]}-{number}.key"


def _objective(settings: Told, data: TaskData, watcher: Watcher) -> Objective:
    return models.build(settings.model, data, watcher.preparing)


def _data(settings: Told, file: Path | None, number: int) -> tuple[TaskData, np.ndarray, str | None]:
    """(the task as this device sees it, its own examples in it, the task's hash unless the data are its own)."""
    if file is not None:
        own = _own(settings, file)
        return own, np.arange(len(own.train), dtype=np.int64), None
    data = tasks.load(settings.task)
    shares = shards(data.strata, settings.federation, data.files)
    return data, shares[number], data.sha256()


def _own(settings: Told, file: Path) -> TaskData:
    """A file of this device's own in the form of the run's task, all of it to train on; the coordinator judges."""
    task, wording = settings.task, settings.wording
    changes: dict[str, Any] = {
        "train": file,
        "validation": file,  # a task must hold something out; nobody looks at it
        "validation_examples": 1,
        "train_examples": None,
        "train_examples_per_label": None,
        "folder": None,
        "dataset": None,
    }
    if task.name == "embedded" or ":" in task.name:  # made, not read: a labelled file takes its place
        changes |= {"name": "text", "prompt": wording.prompt, "verbalizers": wording.verbalizers}
    if changes.get("name", task.name) == "text":
        changes["labels"] = wording.labels
    return tasks.load(task.model_copy(update=changes))


class _Silence:
    """Says at once, and then ever more rarely, that the coordinator does not answer."""

    def __init__(self, watcher: Watcher, server: str, patience_s: float) -> None:
        self._watcher, self._server, self._patience_s = watcher, server, patience_s
        self._quiet, self._next_line_s = False, 0.0

    def still(self, waited_s: float) -> None:
        """Another attempt got no answer."""
        self._quiet = True
        if waited_s < self._next_line_s:
            return
        self._next_line_s = 2 * waited_s
        self._watcher.say(
            f"no answer from the coordinator at {self._server} for {waited_s:g} s; trying on, for {self._patience_s:g} s in all"
        )

    def heard(self) -> None:
        """An answer came."""
        if self._quiet:
            self._quiet, self._next_line_s = False, 0.0
            self._watcher.say("the coordinator answers again")
