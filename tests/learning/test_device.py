"""Devices of their own: the same weights as in one process, whatever they missed; without a socket."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from learning.batches import shards
from learning.config import FederationConfig, ZerothOrderConfig
from learning.device import Device
from learning.errors import JournalError, RoundError
from learning.federation import Federation
from learning.fleet import FleetFederation
from learning.journal import Journal, JournalRow
from learning.parameters import weights_sha256
from learning.uplink import NoiseFreeUplink
from tests.learning.test_federation_privacy import Noisy, guard_of
from tests.learning.tiny import QuadraticObjective, tiny_opt, toy_data

DATA = toy_data()
ZO = ZerothOrderConfig(learning_rate=1e-2, mu=1e-3, clip=50.0)


@dataclass
class Gathered:
    payloads: np.ndarray
    present: np.ndarray
    mean_loss: float
    clipped_fraction: float


@dataclass
class Nearby:
    """Devices in this process that are told one by one, and of whom some sleep."""

    devices: list[Device]
    n: int = 1
    asleep: dict[int, set[int]] = field(default_factory=dict)
    rows: list[JournalRow] = field(default_factory=list)
    checkpoints: dict[int, str] = field(default_factory=dict)
    proofs: list[tuple[int, int, bool]] = field(default_factory=list)
    done: str = ""

    def open(self) -> None:
        for device in self.devices:
            device.catch_up(self.rows)

    def measure(self, round_index: int, seed: int) -> Gathered:
        payloads, present, losses = np.zeros((len(self.devices), self.n)), np.zeros(len(self.devices), bool), []
        for number, device in enumerate(self.devices):
            if round_index in self.asleep.get(number, ()):
                continue
            device.catch_up(self.rows[device.next_round :])
            found = device.ask(round_index, seed)
            assert device.ask(round_index, seed) is found  # asked twice, measured once
            payloads[number], present[number] = found.payloads, True
            losses += [found.mean_loss] * found.samples
        return Gathered(payloads, present, float(np.mean(losses)) if losses else float("nan"), 0.0)

    def broadcast(self, seed: int, learning_rate: float, estimates: np.ndarray | None) -> None:
        values = None if estimates is None else tuple(estimates.tolist())
        row = JournalRow(len(self.rows), seed, values, values is None, {}, learning_rate)
        self.rows.append(row)
        for device in self.devices:
            if device.measured and device.next_round == row.round:
                device.tell(row)

    def checkpoint(self, next_round: int, sha256: str) -> None:
        self.checkpoints[next_round] = sha256
        for device in self.devices:
            if device.next_round == next_round:
                self.proofs.append((device.number, next_round, device.weights_sha256() == sha256))

    def finish(self, reason: str) -> None:
        self.done = reason


def config(**changes: Any) -> FederationConfig:
    base = {"devices": 3, "batch_size": 4, "rounds": 12, "seed": 5, "rows_per_forward": 4}
    return FederationConfig(**(base | changes))


def devices(
    meta: dict[str, Any], settings: FederationConfig, build: Any = lambda: tiny_opt(DATA), zo: ZerothOrderConfig = ZO
) -> list[Device]:
    shares = shards([label for _, label in DATA.train], settings)
    return [Device(build, DATA.train, share, number, settings, zo, meta) for number, share in enumerate(shares)]


def fleet(
    settings: FederationConfig,
    path: Any = ":memory:",
    asleep: dict[int, set[int]] | None = None,
    build: Any = None,
    zo: ZerothOrderConfig = ZO,
) -> tuple[FleetFederation, Nearby]:
    build = build or (lambda: tiny_opt(DATA))
    made: list[Nearby] = []

    def make(meta: dict[str, Any]) -> Nearby:
        made.append(Nearby(devices(meta, settings, build, zo), zo.directions, asleep or {}))
        return made[0]

    federation = FleetFederation(build(), DATA, settings, zo, NoiseFreeUplink(), Journal(path), devices=make, hash_every=5)
    return federation, made[0]


def one_process(settings: FederationConfig, zo: ZerothOrderConfig = ZO) -> Federation:
    return Federation(tiny_opt(DATA), DATA, settings, zo, NoiseFreeUplink(), Journal(":memory:"))


def rows_of(journal: Journal) -> list[tuple[object, ...]]:
    return [(row.round, row.seed, row.estimates, row.learning_rate) for row in journal.rows()]


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({}, {}),
        ({"rows_per_forward": 3}, {"perturbation": "gaussian"}),
        ({"sampling": "poisson"}, {}),
        ({"split": "dirichlet"}, {"directions": 3, "schedule": "linear", "warmup_rounds": 2, "weight_decay": 0.5}),
    ],
)
def test_apart_they_have_the_weights_of_one_process(changes: dict[str, Any], step: dict[str, Any]) -> None:
    zo = ZerothOrderConfig(**(ZO.model_dump() | step))
    whole = one_process(config(**changes), zo)
    records = list(whole.run())
    federation, near = fleet(config(**changes), zo=zo)
    theirs = list(federation.run())
    expected = weights_sha256(whole.objective.model)
    assert [device.weights_sha256() for device in near.devices] == [expected] * 3
    assert weights_sha256(federation.objective.model) == expected
    assert rows_of(federation.journal) == rows_of(whole.journal)
    assert [r.mean_loss for r in theirs] == pytest.approx([r.mean_loss for r in records])
    assert near.proofs == [(number, at, True) for at in (5, 10, 12) for number in range(3)]
    assert near.done == "the run is complete"


def test_sleepers_are_left_out_and_catch_up() -> None:
    federation, near = fleet(config(), asleep={1: {0, 1, 2, 6}, 2: {6, 7, 11}, 0: {6}})
    records = list(federation.run())
    assert [int(r.present.sum()) for r in records] == [2, 2, 2, 3, 3, 3, 0, 2, 3, 3, 3, 2]
    assert [r.lost for r in records] == [r.round == 6 for r in records]
    for device in near.devices:
        device.catch_up(near.rows[device.next_round :])
        assert device.weights_sha256() == weights_sha256(federation.objective.model)
    # The means are of those who were there.
    for record in records:
        if not record.lost:
            assert record.estimate == record.payloads[record.present].mean()


def test_a_late_device_needs_the_rows_alone() -> None:
    federation, near = fleet(config())
    list(federation.run())
    late = devices(dict(near.devices[0]._meta), config())[2]
    for first, stop in ((0, 1), (1, 7), (7, 12)):
        late.catch_up(near.rows[first:stop])
    assert late.weights_sha256() == weights_sha256(federation.objective.model)
    late.restart()
    assert late.weights_sha256() == late.objective.base_weights_sha256
    late.catch_up(near.rows)
    assert late.weights_sha256() == weights_sha256(federation.objective.model)


def test_a_device_that_measured_and_then_missed_rounds_is_restored() -> None:
    federation, near = fleet(config(rounds=4))
    list(federation.run())
    device = devices(dict(near.devices[0]._meta), config())[0]
    device.ask(0, 5)
    with pytest.raises(RoundError, match="displaced"):
        device.weights_sha256()
    device.catch_up(near.rows)
    assert device.weights_sha256() == weights_sha256(federation.objective.model)


def test_a_killed_coordinator_goes_on_with_devices_that_know_more_or_less(tmp_path: Any) -> None:
    whole = one_process(config())
    list(whole.run())
    first, near = fleet(config(), tmp_path / "j.sqlite")
    rounds = iter(first.run())
    for _ in range(7):
        next(rounds)
    near.measure(7, 5)  # killed with the slot open: the devices have measured
    first.journal.close()

    survivors = near.devices

    def make(meta: dict[str, Any]) -> Nearby:
        again = Nearby(survivors)
        survivors[1] = devices(meta, config())[1]  # one was killed as well
        again.open = lambda: [d.catch_up(again.rows[d.next_round :]) for d in survivors]  # type: ignore[assignment, return-value]
        return again

    second = FleetFederation(
        tiny_opt(DATA), DATA, config(), ZO, NoiseFreeUplink(), Journal(tmp_path / "j.sqlite"), devices=make, hash_every=5
    )
    assert second.resume() == 7
    assert list(second._devices.checkpoints) == [5]  # type: ignore[attr-defined]
    list(second.run())
    expected = weights_sha256(whole.objective.model)
    assert [device.weights_sha256() for device in survivors] == [expected] * 3
    assert rows_of(second.journal) == rows_of(whole.journal)


def test_a_loss_that_is_no_number_skips_the_round_for_all() -> None:
    models: list[QuadraticObjective] = []

    def build() -> QuadraticObjective:
        models.append(QuadraticObjective())
        return models[-1]

    federation, near = fleet(config(rounds=3), build=build)
    rounds: Iterator[Any] = iter(federation.run())
    assert not next(rounds).lost
    near.devices[1].objective.poison = True
    skipped = next(rounds)
    assert skipped.lost
    assert skipped.diagnostics["nonfinite_payloads"] == 1
    near.devices[1].objective.poison = False
    assert not next(rounds).lost
    hashes = {weights_sha256(model.model) for model in models}
    assert len(hashes) == 1


def test_rows_that_do_not_fit_are_refused() -> None:
    federation, near = fleet(config(rounds=3))
    list(federation.run())
    fresh = devices(dict(near.devices[0]._meta), config())[0]
    with pytest.raises(RoundError, match="stands before round 0, not 1"):
        fresh.catch_up(near.rows[1:])
    with pytest.raises(RoundError, match="was not measured"):
        fresh.tell(near.rows[0])
    with pytest.raises(RoundError, match="stands before round 0, not 2"):
        fresh.ask(2, 5)
    other = Device(lambda: tiny_opt(DATA, seed=2), DATA.train, np.arange(3), 0, config(), ZO, near.devices[0]._meta)
    with pytest.raises(JournalError, match="starts from other weights"):
        other.catch_up(near.rows)


def test_faults_are_for_one_process() -> None:
    with pytest.raises(RoundError, match=r"leave federation\.faults out"):
        fleet(config(faults={"miss_probability": 0.5}))


def test_a_privacy_budget_stops_a_fleet_where_it_stops_one_process() -> None:
    announced = np.full(12, 0.5)
    whole = Federation(tiny_opt(DATA), DATA, config(), ZO, Noisy(), Journal(":memory:"), guard_of(announced, 4.0, "wiener"))
    expected = list(whole.run())
    made: list[Nearby] = []

    def make(meta: dict[str, Any]) -> Nearby:
        made.append(Nearby(devices(meta, config())))
        return made[0]

    apart = FleetFederation(
        tiny_opt(DATA), DATA, config(), ZO, Noisy(), Journal(":memory:"), guard_of(announced, 4.0, "wiener"), devices=make
    )
    records = list(apart.run())
    assert 0 < len(records) < 12
    assert apart.stopped == whole.stopped == len(records)
    assert [r.diagnostics["epsilon_spent"] for r in records] == [r.diagnostics["epsilon_spent"] for r in expected]
    assert made[0].done == "the privacy budget is spent"
    assert weights_sha256(apart.objective.model) == weights_sha256(whole.objective.model)


def losses_of(federation: FleetFederation) -> Sequence[float]:
    return [row.diagnostics["loss"] or 0.0 for row in federation.journal.rows()]


def test_the_journal_reports_who_was_there() -> None:
    federation, _ = fleet(config(rounds=3), asleep={1: {1}})
    list(federation.run())
    told = [(row.diagnostics["present_devices"], row.diagnostics["missed_devices"]) for row in federation.journal.rows()]
    assert told == [(3, 0), (2, 1), (3, 0)]
    assert all(loss > 0 for loss in losses_of(federation))
