"""Whole runs: resume, replay, losses of the air, and what a seed decides."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learning import models, tasks
from learning.batches import batch, shards
from learning.config import FederationConfig, ModelConfig, TaskConfig, ZerothOrderConfig
from learning.errors import JournalError, RoundError
from learning.federation import Federation
from learning.journal import Journal
from learning.parameters import trainable, weights_sha256
from learning.perturbation import Perturbation
from learning.replay import replay
from learning.uplink import Aggregate, NoiseFreeUplink
from learning.zeroth_order import ZerothOrderStep
from tests.learning.tiny import Quadratic, QuadraticObjective, flat, scales, tiny_federation, tiny_opt, toy_data

LAWS = ["rademacher", "gaussian"]


class Flaky:
    """Loses every third round and adds keyed noise to the others."""

    def aggregate(self, round_index: int, payloads: np.ndarray) -> Aggregate:
        if round_index % 3 == 2:
            return Aggregate(np.array([np.nan]), lost=True, diagnostics={"snr_db": float("nan")})
        noise = np.random.Generator(np.random.Philox(key=round_index)).normal(size=payloads.shape[1])
        return Aggregate(payloads.mean(axis=0) + noise, diagnostics={"snr_db": 3.0})


@pytest.mark.parametrize("law", LAWS)
def test_replay_is_the_live_run_bit_for_bit(law: str, tmp_path: Path) -> None:
    live = tiny_federation(tmp_path / "j.sqlite", law=law, uplink=Flaky())
    records = list(live.run())
    assert [record.lost for record in records] == [t % 3 == 2 for t in range(12)]
    for piece_weights in (256, 1000, 2**18):
        rebuilt = tiny_opt(toy_data()).model
        with Journal(tmp_path / "j.sqlite", read_only=True) as journal:
            assert replay(rebuilt, journal, piece_weights=piece_weights) == 12
        assert weights_sha256(rebuilt) == weights_sha256(live.objective.model)


@pytest.mark.parametrize("law", LAWS)
def test_resumed_is_uninterrupted_bit_for_bit(law: str, tmp_path: Path) -> None:
    whole = tiny_federation(law=law, uplink=Flaky())
    expected = list(whole.run())
    first = tiny_federation(tmp_path / "j.sqlite", law=law, uplink=Flaky())
    list(first.run(5))
    first.journal.close()
    second = tiny_federation(tmp_path / "j.sqlite", law=law, uplink=Flaky())
    seen: list[tuple[int, int]] = []
    assert second.resume(lambda done, total: seen.append((done, total))) == 5
    assert seen[-1] == (second.parameter_count, second.parameter_count)
    records = list(second.run())
    assert [record.round for record in records] == list(range(5, 12))
    for record, other in zip(records, expected[5:], strict=True):
        assert record.estimate == other.estimate
        np.testing.assert_array_equal(record.payloads, other.payloads)
    assert weights_sha256(second.objective.model) == weights_sha256(whole.objective.model)


def test_late_device_catches_up(tmp_path: Path) -> None:
    live = tiny_federation(tmp_path / "j.sqlite", uplink=Flaky())
    list(live.run())
    late = tiny_opt(toy_data()).model
    assert replay(late, live.journal, upto=7) == 7
    assert weights_sha256(late) != weights_sha256(live.objective.model)
    assert replay(late, live.journal, start=7) == 12
    assert weights_sha256(late) == weights_sha256(live.objective.model)


@settings(max_examples=25, deadline=None)
@given(
    estimates=st.lists(st.none() | st.floats(-1e3, 1e3), min_size=1, max_size=6),
    law=st.sampled_from(LAWS),
    start=st.sampled_from([0.0, -0.0, 1.0, 1e-42]),
    learning_rate=st.sampled_from([1e-6, 1e-3, 1.0]),
)
def test_replay_is_three_passes_for_any_estimates(
    estimates: list[float | None], law: str, start: float, learning_rate: float
) -> None:
    # Weights that start at zero matter: there the signs of zeros could differ.
    model, other = Quadratic((300, 5), start), Quadratic((300, 5), start)
    with Journal(":memory:") as journal:
        meta = {"base_weights_sha256": weights_sha256(model), "parameter_count": 305, "perturbation": law}
        journal.begin({**meta, "mu": 1e-3, "learning_rate": learning_rate})
        z = Perturbation(trainable(model), 4, law)
        for index, estimate in enumerate(estimates):
            journal.append(index, 4, None if estimate is None else (estimate,), {})
            factors = scales(1e-3, learning_rate, estimate)
            for factor in (factors.forward, factors.back, factors.update):
                z.add(index, factor)
        replay(other, journal)
    assert weights_sha256(other) == weights_sha256(model)


def test_training_learns_and_beats_chance() -> None:
    federation = tiny_federation(data=toy_data(120, 60), rounds=250, batch_size=16, devices=4)
    before = federation.evaluate()
    list(federation.run())
    after = federation.evaluate()
    assert after.loss < before.loss - 0.05
    assert after.accuracy > 0.6


def test_round_record_is_consistent() -> None:
    federation = tiny_federation(uplink=NoiseFreeUplink("sign"))
    record = next(federation.run(1))
    assert record.payloads.shape == (3, 1)
    assert record.payload_mean == record.payloads.mean()
    assert record.estimate == np.where(record.payloads >= 0, 1, -1).mean()
    row = next(iter(federation.journal.rows()))
    assert (row.round, row.seed, row.estimate, row.lost) == (0, 0, record.estimate, False)
    assert row.diagnostics["loss"] == record.mean_loss


def test_a_round_is_committed_before_the_weights_move() -> None:
    federation = tiny_federation(objective=QuadraticObjective())
    base = flat(federation.objective.model).clone()
    states = []
    append = federation.journal.append

    def watch(*args: object) -> None:
        append(*args)  # type: ignore[arg-type]
        states.append(flat(federation.objective.model).clone())

    federation.journal.append = watch  # type: ignore[method-assign]
    next(federation.run(1))
    # At the commit the weights still stand at w - mu z.
    assert torch.allclose((states[0] - base).abs(), torch.tensor(1e-3), atol=1e-6)


def test_a_round_with_a_payload_that_is_no_number_is_lost_for_all(tmp_path: Path) -> None:
    objective = QuadraticObjective()
    federation = tiny_federation(tmp_path / "j.sqlite", objective=objective)
    base = flat(objective.model).clone()
    objective.poison = True
    record = next(federation.run(1))
    assert record.lost
    assert record.estimate is None
    assert record.diagnostics == {"nonfinite_payloads": 3.0}
    assert (flat(objective.model) - base).abs().max() < 2e-7
    objective.poison = False
    next(federation.run(1))
    rebuilt = Quadratic()
    replay(rebuilt, federation.journal)
    assert weights_sha256(rebuilt) == weights_sha256(objective.model)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e308])
def test_an_estimate_that_is_no_usable_number_loses_the_round(value: float) -> None:
    class Mad:
        def aggregate(self, round_index: int, payloads: np.ndarray) -> Aggregate:
            return Aggregate(np.array([value]))

    federation = tiny_federation(uplink=Mad(), objective=QuadraticObjective())
    record = next(federation.run(1))
    assert record.lost
    assert (flat(federation.objective.model) - 1).abs().max() < 2e-7


def test_uplink_of_the_wrong_shape_is_refused_and_stops_the_federation() -> None:
    class Wrong:
        def aggregate(self, round_index: int, payloads: np.ndarray) -> Aggregate:
            return Aggregate(np.zeros(2))

    federation = tiny_federation(uplink=Wrong(), objective=QuadraticObjective())
    with pytest.raises(RoundError, match=r"\(2,\) estimates"):
        next(federation.run(1))
    with pytest.raises(RoundError, match="resume from its journal"):
        federation.evaluate()
    assert len(federation.journal) == 0


def test_shared_devices_equal_separate_devices() -> None:
    # Every device with its own model and its own perturbation measures the scalar that the shared evaluation gives it.
    data = toy_data()
    together = tiny_federation(data=data)
    record = next(together.run(1))
    dealt = shards([label for _, label in data.train], together.config)
    for device in range(3):
        objective = tiny_opt(data)
        own = objective.prepare(data.train)
        rows = batch(0, 0, device, dealt[device], 4)
        config = ZerothOrderConfig(learning_rate=1e-3, mu=1e-3)
        step = ZerothOrderStep(Perturbation(trainable(objective.model), 0), config)
        with torch.inference_mode():
            measured = step.ask(0, lambda: [objective.losses(own, rows).numpy()])  # noqa: B023
        step.tell(0, record.estimates)
        assert measured.payloads[0, 0] == pytest.approx(record.payloads[device, 0], abs=2e-3)
        assert weights_sha256(objective.model) == weights_sha256(together.objective.model)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_rows_per_forward_changes_only_rounding(rows: int) -> None:
    whole, parts = next(tiny_federation().run(1)), next(tiny_federation(rows_per_forward=rows).run(1))
    np.testing.assert_allclose(parts.payloads, whole.payloads, atol=2e-3)


def test_global_generators_are_untouched(tmp_path: Path) -> None:
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    numpy_state = json.dumps(np.random.get_state()[1].tolist())  # noqa: NPY002
    federation = tiny_federation(tmp_path / "j.sqlite")
    list(federation.run(2))
    federation.evaluate()
    federation.journal.close()
    tiny_federation(tmp_path / "j.sqlite").resume()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert json.dumps(np.random.get_state()[1].tolist()) == numpy_state  # noqa: NPY002


def test_seed_decides_everything() -> None:
    def run(seed: int) -> str:
        federation = tiny_federation(seed=seed)
        torch.manual_seed(seed + 77)
        list(federation.run(3))
        return weights_sha256(federation.objective.model)

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_a_journal_of_another_run_is_refused(tmp_path: Path) -> None:
    list(tiny_federation(tmp_path / "j.sqlite").run(2))
    with pytest.raises(JournalError, match="batch_size = 4, this run has 5"):
        tiny_federation(tmp_path / "j.sqlite", batch_size=5)
    with pytest.raises(JournalError, match="base_weights_sha256"):
        tiny_federation(tmp_path / "j.sqlite", objective=tiny_opt(toy_data(), seed=2))
    with pytest.raises(RoundError, match="resume first"):
        next(tiny_federation(tmp_path / "j.sqlite").run())
    tiny_federation(tmp_path / "j.sqlite", rounds=99)  # a run may become longer


def test_replay_refuses_other_models(tmp_path: Path) -> None:
    federation = tiny_federation(tmp_path / "j.sqlite")
    list(federation.run(2))
    with pytest.raises(JournalError, match="starts from other weights"):
        replay(tiny_opt(toy_data(), seed=2).model, federation.journal)
    with pytest.raises(JournalError, match="trainable weights, this one has 9"):
        replay(Quadratic((9,)), federation.journal)
    with pytest.raises(JournalError, match="holds 2 rounds"):
        replay(tiny_opt(toy_data()).model, federation.journal, upto=3)
    with Journal(":memory:") as empty, pytest.raises(JournalError, match="nothing to replay"):
        replay(Quadratic((9,)), empty)


def test_bridge_shaped_answers_are_enough() -> None:
    class Answer:
        estimate = np.array([0.5])
        lost = False
        diagnostics: Mapping[str, float] = {"snr_db": 1.0}

    class Client:
        def aggregate(self, round_index: int, payloads: np.ndarray) -> Answer:
            assert payloads.shape == (3, 1)
            return Answer()

    record = next(tiny_federation(uplink=Client()).run(1))
    assert record.estimate == 0.5
    assert record.diagnostics == {"snr_db": 1.0}


def test_the_default_model_and_task_learn() -> None:
    data = tasks.load(TaskConfig(train_examples=400, validation_examples=200))
    objective = models.build(ModelConfig(), data)
    config = FederationConfig(rounds=150)
    federation = Federation(objective, data, config, ZerothOrderConfig(), NoiseFreeUplink(), Journal(":memory:"))
    before = federation.evaluate()
    list(federation.run())
    after = federation.evaluate()
    assert 0.35 < before.accuracy < 0.65
    assert after.accuracy > before.accuracy + 0.15
