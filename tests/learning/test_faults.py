"""Faults of the protocol: what is drawn, who is heard with what, and where the devices' weights go."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.batches import batch, shards
from learning.config import FaultsConfig, ZerothOrderConfig
from learning.errors import JournalError
from learning.faults import Event, FaultDraws
from learning.federation import Federation, RoundRecord
from learning.journal import Journal
from learning.parameters import trainable, weights_sha256
from learning.perturbation import Perturbation
from learning.replay import replay
from learning.uplink import Aggregate, NoiseFreeUplink
from learning.zeroth_order import ZerothOrderStep
from tests.learning.philox_oracle import stream
from tests.learning.tiny import Quadratic, QuadraticObjective, flat, tiny_federation, tiny_opt, toy_data

EVERY = {
    "miss_probability": 0.2,
    "late_probability": 0.3,
    "late_rounds": 3,
    "wrong_seed_probability": 0.2,
    "wrong_seed_applies": True,
    "lost_broadcast_probability": 0.3,
    "resync_every": 7,
}


class Fixed:
    """Answers by the round alone, so that the weights do not depend on who is heard; keeps what it was sent."""

    def __init__(self) -> None:
        self.heard: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}

    def aggregate(self, round_index: int, payloads: np.ndarray, present: np.ndarray | None = None) -> Aggregate:
        self.heard[round_index] = (payloads[:, 0].copy(), present)
        if round_index % 5 == 4:
            return Aggregate(np.array([np.nan]), lost=True)
        return Aggregate(np.array([0.75 * (round_index % 4) - 1.0]))


def run(rounds: int = 24, **options: Any) -> tuple[Federation, list[RoundRecord]]:
    federation = tiny_federation(rounds=rounds, **options)
    return federation, list(federation.run())


def test_a_draw_is_a_word_of_philox_against_the_probability() -> None:
    draws = FaultDraws(11, 6)
    for event in Event:
        raw = stream(11, b"faults", 5, int(event), 0, 2)
        words = [int.from_bytes(raw[at : at + 8], "little") for at in range(0, 48, 8)]
        for probability in (0.1, 0.5, 0.9):
            expected = [w / 2.0**64 < probability for w in words]
            assert draws.happens(event, 5, probability).tolist() == expected
        if event is Event.OTHER_SEED:
            assert draws.other_seeds(5) == [w >> 1 for w in words]


@pytest.mark.parametrize("event", [Event.MISS, Event.LATE, Event.WRONG_SEED, Event.LOST_BROADCAST])
def test_frequencies_and_keys(event: Event) -> None:
    few, many = FaultDraws(3, 4), FaultDraws(3, 20)
    table = np.array([many.happens(event, t, 0.3) for t in range(3000)])
    assert table.mean() == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / table.size))
    assert np.abs(table.mean(axis=0) - 0.3).max() < 5 * np.sqrt(0.21 / 3000)
    again = np.array([few.happens(event, t, 0.3) for t in range(3000)])
    np.testing.assert_array_equal(table[:, :4], again)  # device 3 of 4 is device 3 of 20
    rarer = np.array([many.happens(event, t, 0.1) for t in range(300)])
    assert not (rarer & ~table[:300]).any()  # a smaller probability only takes events away
    assert few.happens(event, 9, 1.0).all()
    assert not few.happens(event, 9, 0.0).any()
    other = np.array([FaultDraws(4, 20).happens(event, t, 0.3) for t in range(300)])
    assert (other != table[:300]).any()


def test_without_faults_the_bits_and_the_description_are_as_ever(tmp_path: Path) -> None:
    # Hashes made before faults existed.
    golden = {
        "rademacher": "88ba4ad8774d904883cf3e84f26509819bf55491f14c1badb240e86fc8dafb9f",
        "gaussian": "706302407eb577d8f7300d481263cd67bf4440906ac1a85e3598252901052ea0",
    }
    for law, expected in golden.items():
        off = {"late_rounds": 4, "wrong_seed_applies": True, "resync_every": 9}  # of what never happens
        federation, records = run(12, objective=QuadraticObjective(), uplink=Fixed(), law=law, faults=off)
        assert weights_sha256(federation.objective.model) == expected
        assert records[0].diagnostics == {}
        assert set(next(iter(federation.journal.rows())).diagnostics) == {"loss", "payload_mean", "clipped_fraction"}
    assert "faults" not in federation.journal.meta
    list(tiny_federation(tmp_path / "j.sqlite").run(2))
    tiny_federation(tmp_path / "j.sqlite", faults={"late_rounds": 2})
    with pytest.raises(JournalError, match="written with faults = None"):
        tiny_federation(tmp_path / "j.sqlite", faults={"miss_probability": 0.1})


def test_a_missing_device_leaves_the_mean_of_the_others() -> None:
    ideal, air = NoiseFreeUplink(), Fixed()
    federation = tiny_federation(rounds=24, uplink=ideal, faults={"miss_probability": 0.4}, devices=5)
    draws = FaultDraws(0, 5)
    for record in federation.run():
        present = ~draws.happens(Event.MISS, record.round, 0.4)
        np.testing.assert_array_equal(record.present, present)
        assert not record.payloads[~present].any()
        if present.any():
            assert record.estimate == record.payloads[present].mean() == record.payload_mean
        assert record.diagnostics["missed_devices"] == (~present).sum()
        assert record.diagnostics["present_devices"] == present.sum()
    # What is measured does not depend on who is heard.
    _, everybody = run(uplink=Fixed(), devices=5)
    _, some = run(uplink=air, devices=5, faults={"miss_probability": 0.4})
    for all_of_them, record in zip(everybody, some, strict=True):
        np.testing.assert_array_equal(record.payloads, np.where(record.present[:, None], all_of_them.payloads, 0.0))
        assert record.mean_loss == all_of_them.mean_loss
        payloads, present = air.heard[record.round]
        np.testing.assert_array_equal(payloads, record.payloads[:, 0])
        np.testing.assert_array_equal(True if present is None else present, record.present)


def test_nobody_on_the_air_is_a_lost_round_that_asks_nobody() -> None:
    air = Fixed()
    federation, records = run(3, objective=QuadraticObjective(), uplink=air, faults={"miss_probability": 1.0})
    assert all(record.lost and np.isnan(record.payload_mean) for record in records)
    assert air.heard == {}
    assert (flat(federation.objective.model) - 1).abs().max() < 5e-7
    assert next(iter(federation.journal.rows())).diagnostics["payload_mean"] is None


@pytest.mark.parametrize("late_rounds", [1, 3])
@pytest.mark.parametrize("miss", [0.0, 0.2])
def test_late_answers_land_later_in_place_of_fresh_ones(late_rounds: int, miss: float) -> None:
    devices, rounds = 8, 30
    faults = {"late_probability": 0.4, "late_rounds": late_rounds, "miss_probability": miss}
    _, fresh = run(rounds, uplink=Fixed(), devices=devices)
    _, records = run(rounds, uplink=Fixed(), devices=devices, faults=faults)
    assert all(record.present.any() for record in records)  # else the round is lost, and the weights differ
    draws = FaultDraws(0, devices)
    counts = {"missed": 0, "late": 0, "stale": 0}
    for device in range(devices):
        landing: dict[int, float] = {}
        for t in range(rounds):
            own = fresh[t].payloads[device, 0]
            if t in landing:
                expected, present = landing[t], True
                counts["stale"] += 1
            elif miss and draws.happens(Event.MISS, t, miss)[device]:
                expected, present = 0.0, False
                counts["missed"] += 1
            elif draws.happens(Event.LATE, t, 0.4)[device]:
                expected, present = 0.0, False
                landing[t + late_rounds] = own
                counts["late"] += 1
                assert records[t].diagnostics[f"late_payload_{device}"] == own
            else:
                expected, present = own, True
            assert records[t].payloads[device, 0] == expected
            assert records[t].present[device] == present
    for kind, count in counts.items():
        assert sum(record.diagnostics[f"{kind}_devices"] for record in records) == count
    assert counts["stale"] > 0


def test_a_late_payload_that_is_no_number_spoils_the_round_where_it_lands(tmp_path: Path) -> None:
    objective = QuadraticObjective()
    options = {"uplink": Fixed(), "faults": {"late_probability": 1.0}}
    federation = tiny_federation(tmp_path / "j.sqlite", objective=objective, **options)
    objective.poison = True
    assert "nonfinite_payloads" not in next(federation.run(1)).diagnostics
    federation.journal.close()
    resumed = tiny_federation(tmp_path / "j.sqlite", objective=QuadraticObjective(), **options)
    resumed.resume()
    assert next(resumed.run(1)).diagnostics["nonfinite_payloads"] == 3.0


def test_a_wrong_seed_measures_another_direction_and_moves_nobody() -> None:
    objective = QuadraticObjective(Quadratic((40, 7), 0.2))
    federation = tiny_federation(objective=objective, uplink=Fixed(), rounds=20, faults={"wrong_seed_probability": 0.5})
    draws = FaultDraws(0, 3)
    for record in federation.run():
        reference = QuadraticObjective(Quadratic((40, 7), 0.2)).model
        replay(reference, federation.journal, record.round)
        w = flat(reference).double()
        wrong = draws.happens(Event.WRONG_SEED, record.round, 0.5)
        for device in range(3):
            seed = draws.other_seeds(record.round)[device] if wrong[device] else 0
            moved = Quadratic((40, 7), 0.0)
            Perturbation(trainable(moved), seed).add(record.round, np.float32(1.0))
            assert record.payloads[device, 0] == pytest.approx(float(w @ flat(moved).double()), abs=2e-3)
        assert record.diagnostics["wrong_seed_devices"] == wrong.sum()
        assert record.diagnostics["drifted_devices"] == record.diagnostics["drift_distance"] == 0
    rebuilt = Quadratic((40, 7), 0.2)
    replay(rebuilt, federation.journal)
    assert weights_sha256(rebuilt) == weights_sha256(objective.model)


class Device:
    """A device on its own: its model, its seed, the broadcasts that it hears, and a replay now and then."""

    def __init__(self, number: int, faults: FaultsConfig, law: str) -> None:
        self.number, self.faults, self.law = number, faults, law
        self.data = toy_data()
        self.objective = tiny_opt(self.data)
        self.examples = self.objective.prepare(self.data.train)
        self.draws = FaultDraws(0, number + 1)
        self.zo = ZerothOrderConfig(learning_rate=1e-3, mu=1e-3, perturbation=law)
        self.in_step = True

    def happens(self, event: Event, index: int, probability: float) -> bool:
        return bool(self.draws.happens(event, index, probability)[self.number])

    def measure(self, index: int, journal: Journal, shard: np.ndarray) -> float:
        if self.faults.resync_every and index % self.faults.resync_every == 0:
            self.objective, self.in_step = tiny_opt(self.data), True
            replay(self.objective.model, journal, index)
        self.wrong = self.happens(Event.WRONG_SEED, index, self.faults.wrong_seed_probability)
        seed = self.draws.other_seeds(index)[self.number] if self.wrong else 0
        self.step = ZerothOrderStep(Perturbation(trainable(self.objective.model), seed, self.law), self.zo)
        rows = batch(0, index, self.number, shard, 4)
        with torch.inference_mode():
            measured = self.step.ask(index, lambda: [self.objective.losses(self.examples, rows).numpy()])
        return float(measured.payloads[0, 0])

    def hear(self, index: int, estimate: float | None) -> None:
        deaf = self.happens(Event.LOST_BROADCAST, index, self.faults.lost_broadcast_probability)
        self.step.tell(index, None if deaf or estimate is None else (estimate,))
        self.in_step &= estimate is None or not (deaf or self.wrong)


def put(values: torch.Tensor, model: torch.nn.Module) -> None:
    for vector, part in zip(trainable(model), values.split([len(v) for v in trainable(model)]), strict=True):
        vector.flat.copy_(part)


APPLIES = {"wrong_seed_probability": 0.4, "wrong_seed_applies": True}


@pytest.mark.parametrize(
    ("law", "faults"),
    [
        ("rademacher", {"lost_broadcast_probability": 0.4, "resync_every": 8}),
        ("gaussian", {"lost_broadcast_probability": 0.3}),
        ("rademacher", {**APPLIES, "resync_every": 6}),
        ("gaussian", {**APPLIES, "lost_broadcast_probability": 0.3, "resync_every": 10}),
    ],
)
def test_drifted_devices_are_where_devices_of_their_own_would_be(law: str, faults: dict[str, Any]) -> None:
    federation = tiny_federation(rounds=20, uplink=Fixed(), law=law, faults=faults)
    model = federation.objective.model
    alone = [Device(number, federation.config.faults, law) for number in range(3)]
    dealt = shards([label for _, label in alone[0].data.train], federation.config)
    drifts = set()
    for index in range(20):
        payloads = [device.measure(index, federation.journal, dealt[device.number]) for device in alone]
        reference = flat(model).clone()
        terms = federation._faults.plan(index).terms  # type: ignore[union-attr]
        record = next(federation.run(1))
        np.testing.assert_allclose(record.payloads[:, 0], payloads, atol=4e-3)
        moved = flat(model).clone()
        distances = [0.0]
        for device in alone:
            assert (device.number in terms) == (not device.in_step)
            # Undo the device's own passes of this round, which it has not finished, to compare where it stood.
            device.step.tell(index, None)
            put(reference, model)
            said = federation._displacement.add(terms.get(device.number, ()))
            truth = flat(device.objective.model).clone()
            if device.in_step and index % (device.faults.resync_every or 99) == 0:
                torch.testing.assert_close(flat(model), truth, rtol=0, atol=3 * 2.0**-24)
            torch.testing.assert_close(flat(model), truth, rtol=0, atol=3 * (index + 1) * 2.0**-24)
            assert said == pytest.approx(float((truth.double() - reference.double()).norm()), rel=1e-3, abs=1e-5)
            distances.append(said)
            device.step.ask(index, lambda: [np.zeros(1, np.float32)])
            device.hear(index, record.estimate)
        assert record.diagnostics["drift_distance"] == max(distances)
        assert record.diagnostics["drifted_devices"] == len(terms)
        drifts.add(len(terms))
        put(moved, model)
    assert {0, 3} <= drifts  # all in step, and none


def states(federation: Federation, records: list[RoundRecord]) -> list[Any]:
    return [
        (r.round, r.estimate, r.payloads.tobytes(), r.present.tobytes(), r.mean_loss, dict(r.diagnostics)) for r in records
    ] + [weights_sha256(federation.objective.model)]


class Cut(Exception):
    pass


@pytest.mark.parametrize("law", ["rademacher", "gaussian"])
def test_resumed_with_every_fault_is_uninterrupted_bit_for_bit(law: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"law": law, "rounds": 22, "devices": 4, "faults": EVERY}
    whole, records = run(**options)
    expected = states(whole, records)
    total = {name: sum(r.diagnostics.get(name, 0.0) for r in records) for name in records[0].diagnostics}
    for name in ("missed", "late", "stale", "wrong_seed", "lost_broadcast", "drifted"):
        assert total[f"{name}_devices"] > 0
    for cut in (1, 6, 7, 11, 20):
        path = tmp_path / f"{cut}.sqlite"
        first = tiny_federation(path, **options)
        list(first.run(cut - 1))
        kill_before_the_weights_move(first)
        second = tiny_federation(path, **options)
        assert second.resume() == cut
        assert states(second, list(second.run())) == expected[cut:]
    rebuilt = tiny_opt(toy_data()).model
    replay(rebuilt, whole.journal)
    assert weights_sha256(rebuilt) == expected[-1]


def kill_before_the_weights_move(federation: Federation) -> None:
    """One more round that is committed and then cut off."""

    def die(*_: object) -> None:
        raise Cut

    federation._step.tell = die  # type: ignore[method-assign]
    with pytest.raises(Cut):
        next(federation.run(1))
    federation.journal.close()


@settings(max_examples=20, deadline=None)
@given(
    chances=st.tuples(*[st.sampled_from([0.0, 0.1, 0.5, 1.0])] * 4),
    late_rounds=st.integers(1, 5),
    resync_every=st.integers(0, 4),
    applies=st.booleans(),
    cut=st.integers(1, 11),
)
def test_any_faults_add_up_resume_and_replay(
    tmp_path_factory: pytest.TempPathFactory,
    chances: tuple[float, ...],
    late_rounds: int,
    resync_every: int,
    applies: bool,
    cut: int,
) -> None:
    names = ("miss_probability", "late_probability", "wrong_seed_probability", "lost_broadcast_probability")
    faults = dict(zip(names, chances, strict=True))
    faults |= {"late_rounds": late_rounds, "resync_every": resync_every, "wrong_seed_applies": applies}
    path = tmp_path_factory.mktemp("run") / "j.sqlite"

    def begin(place: object) -> Federation:
        return tiny_federation(place, objective=QuadraticObjective(Quadratic((300, 7), 0.1)), faults=faults)

    whole = begin(":memory:")
    records = list(whole.run())
    for record in records if any(chances) else []:
        counted = record.diagnostics
        assert counted["present_devices"] + counted["missed_devices"] + counted["late_devices"] == 3
        assert counted["present_devices"] == record.present.sum()
    first = begin(path)
    list(first.run(cut))
    first.journal.close()
    second = begin(path)
    second.resume()
    assert states(second, list(second.run())) == states(whole, records)[cut:]
    rebuilt = Quadratic((300, 7), 0.1)
    replay(rebuilt, second.journal)
    assert weights_sha256(rebuilt) == weights_sha256(second.objective.model)
    second.journal.close()


def test_devices_in_step_are_evaluated_together() -> None:
    calls: list[int] = []

    class Counting(QuadraticObjective):
        def losses(self, dataset: np.ndarray, indices: np.ndarray) -> torch.Tensor:
            calls.append(len(indices))
            return super().losses(dataset, indices)

    def sizes(faults: dict[str, Any]) -> Iterator[list[int]]:
        federation = tiny_federation(objective=Counting(), faults=faults, uplink=Fixed(), devices=5, rounds=10)
        for _ in federation.run():
            yield calls.copy()
            calls.clear()

    assert all(size == [20, 20] for size in sizes({}))
    assert all(size == [20, 20] for size in sizes({"miss_probability": 0.5, "late_probability": 0.5}))
    draws = FaultDraws(0, 5)
    for index, size in enumerate(sizes({"wrong_seed_probability": 0.5})):
        wrong = int(draws.happens(Event.WRONG_SEED, index, 0.5).sum())
        assert size == [4, 4] * wrong + ([4 * (5 - wrong)] * 2 if wrong < 5 else [])
