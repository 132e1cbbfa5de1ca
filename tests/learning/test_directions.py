"""Several directions, learning-rate schedules, weight decay, joint clipping: laws, oracles, replay."""

import json
import math
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.config import FaultsConfig, FederationConfig, ZerothOrderConfig
from learning.errors import JournalError, RoundError
from learning.federation import Federation
from learning.journal import Journal
from learning.mezo import MezoDirections, mezo_seed
from learning.parameters import WeightVector, trainable, weights_sha256
from learning.perturbation import Perturbation
from learning.replay import replay
from learning.uplink import NoiseFreeUplink
from learning.zeroth_order import ZerothOrderStep, project
from tests.learning.tiny import Quadratic, QuadraticObjective, flat, tiny_opt, toy_data

F32 = np.float32


def z_of(count: int, seed: int, round_index: int, direction: int, law: str = "rademacher") -> np.ndarray:
    weights = (WeightVector("w", torch.zeros(count)),)
    Perturbation(weights, seed, law).add(round_index, F32(1), direction=direction)
    return weights[0].flat.numpy()


def federation(path: object = ":memory:", objective: object = None, faults: dict | None = None, **zo: object) -> Federation:
    data = toy_data()
    config = FederationConfig(devices=3, batch_size=4, rounds=9, seed=5, faults=FaultsConfig(**(faults or {})))
    settings_ = {"learning_rate": 1e-3, "mu": 1e-3, "clip": 50.0, **zo}
    return Federation(
        objective or tiny_opt(data), data, config, ZerothOrderConfig(**settings_), NoiseFreeUplink(), Journal(path)
    )


@pytest.mark.parametrize("law", ["rademacher", "gaussian"])
@pytest.mark.parametrize("lost", [False, True])
def test_a_round_of_three_directions_is_the_documented_passes(law: str, lost: bool) -> None:
    start = np.linspace(-0.2, 0.2, 600).astype(F32)
    model = torch.nn.Linear(600, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(start))
    config = ZerothOrderConfig(learning_rate=1e-2, mu=1e-3, perturbation=law, directions=3, weight_decay=0.5)
    step = ZerothOrderStep(Perturbation(trainable(model), 11, law), config)
    seen = []
    step.ask(5, lambda: [np.array([seen.append(flat(model).numpy().copy()) or 0.0], F32)])
    estimates = (3.25, -0.5, 7.0)
    step.tell(5, None if lost else estimates)
    z = [z_of(600, 11, 5, j, law) for j in range(3)]
    a = F32(1e-3)

    def move(w: np.ndarray, factor: np.float32, j: int) -> np.ndarray:
        return (w + (factor * z[j]).astype(F32)).astype(F32)

    w, at = start, []
    for j in range(3):
        w = move(w, a, j)
        at.append(w)
        w = move(w, F32(-2 * float(a)), j)
        at.append(w)
        if j < 2:
            w = move(w, a, j)
    w = move(w, a if lost else F32(float(a) - 1e-2 * 7.0 / 3), 2)
    if not lost:
        for j in range(2):
            w = move(w, F32(-(1e-2 * estimates[j] / 3)), j)
        w = (w * F32(1 - 1e-2 * 0.5)).astype(F32)
    for ours, expected in zip(seen, at, strict=True):
        np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(flat(model).numpy(), w)


def test_directions_average_the_gradient_and_reduce_its_variance() -> None:
    # L = |w|^2 / 2 at w = 1: the update along n directions is eta/n sum (w.z_j) z_j, whose mean is eta w and whose error
    # falls as 1/n: E|g - w|^2 = |w|^2 (d - 1) / n for signs.
    errors = {}
    for n in (1, 8):
        total = []
        for seed in range(60):
            model = Quadratic((256,), start=1.0)
            config = ZerothOrderConfig(mu=1e-2, learning_rate=1e-3, clip=1e6, directions=n)
            step = ZerothOrderStep(Perturbation(trainable(model), seed), config)

            def loss(model: Quadratic = model) -> list[np.ndarray]:
                return [np.array([(flat(model).double() ** 2).sum() / 2], dtype=F32)]

            measured = step.ask(0, loss)
            step.tell(0, measured.payloads[0].tolist())
            gradient = (1.0 - flat(model).double().numpy()) / 1e-3
            total.append(np.square(gradient - 1.0).sum())
        errors[n] = np.mean(total) / 256
    assert errors[1] == pytest.approx(255.0, rel=0.15)
    assert errors[8] == pytest.approx(255.0 / 8, rel=0.15)


@pytest.mark.parametrize("law", ["rademacher", "gaussian", "mezo"])
@pytest.mark.parametrize(
    "options",
    [
        {"directions": 3},
        {"schedule": "cosine", "warmup_rounds": 3},
        {"weight_decay": 2.0, "directions": 2, "schedule": "linear"},
    ],
)
def test_the_journal_replays_bit_for_bit_and_resumes(law: str, options: dict, tmp_path: Path) -> None:
    whole = federation(tmp_path / "whole.sqlite", perturbation=law, **options)
    records = list(whole.run())
    rebuilt = tiny_opt(toy_data())
    replay(rebuilt.model, whole.journal, piece_weights=300)
    assert weights_sha256(rebuilt.model) == weights_sha256(whole.objective.model)
    cut = federation(tmp_path / "cut.sqlite", perturbation=law, **options)
    list(cut.run(4))
    cut.journal.close()
    again = federation(tmp_path / "cut.sqlite", perturbation=law, **options)
    assert again.resume() == 4
    late = list(again.run())
    assert [r.estimates for r in late] == [r.estimates for r in records[4:]]
    assert weights_sha256(again.objective.model) == weights_sha256(whole.objective.model)


def test_estimates_and_learning_rates_lie_in_the_journal(tmp_path: Path) -> None:
    live = federation(tmp_path / "j.sqlite", directions=2, schedule="linear", warmup_rounds=2)
    records = list(live.run())
    rows = list(live.journal.rows())
    assert [row.estimates for row in rows] == [r.estimates for r in records]
    assert all(len(row.estimates or ()) == 2 for row in rows)
    # Warm-up to eta over two rounds, then a straight line that would reach zero at round 9.
    expected = [1e-3 * f for f in (0.5, 1.0, 1.0, 6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7)]
    np.testing.assert_allclose([row.learning_rate for row in rows], expected, rtol=1e-12)
    plain = sqlite3.connect(tmp_path / "j.sqlite").execute("SELECT estimate, estimates FROM rounds").fetchall()
    assert all(one == sum(json.loads(several)) / 2 for one, several in plain)
    means = [row.diagnostics["payload_mean_1"] for row in rows]
    assert means == [r.payloads[:, 1].mean() for r in records]


def test_cosine_and_constant_rates() -> None:
    config = ZerothOrderConfig(learning_rate=2.0, schedule="cosine")
    assert config.rate(0, 10) == 2.0
    assert config.rate(5, 10) == pytest.approx(1.0)
    assert config.rate(10, 10) == pytest.approx(0.0, abs=1e-15)
    assert ZerothOrderConfig(learning_rate=0.3).rate(7, 10) == 0.3


def test_weight_decay_leaves_vectors_alone() -> None:
    model = torch.nn.Linear(300, 2)
    start = flat(model).clone()
    config = ZerothOrderConfig(learning_rate=0.1, weight_decay=1.0, mu=1e-3)
    step = ZerothOrderStep(Perturbation(trainable(model), 0), config)
    step.ask(0, lambda: [np.zeros(1, F32)])
    step.tell(0, (0.0,))
    torch.testing.assert_close(model.weight.detach().reshape(-1), 0.9 * start[:600], atol=1e-6, rtol=0)
    torch.testing.assert_close(model.bias.detach(), start[600:], atol=1e-7, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1, max_size=6),
    scope=st.sampled_from(["device", "sample"]),
    clip=st.floats(1e-2, 1e4),
)
def test_joint_clipping_bounds_the_norm_and_keeps_the_direction(values: list, scope: str, clip: float) -> None:
    plus = [[np.array([row[j] for row in values], F32)] for j in range(3)]
    minus = [[np.zeros(len(values), F32)] for _ in range(3)]
    config = ZerothOrderConfig(mu=0.5, clip=clip, clip_scope=scope, clip_norm="joint", directions=3)
    sent = project(plus, minus, config)
    payload = sent.payloads[0]
    assert np.linalg.norm(payload) <= clip * (1 + 1e-12)
    table = np.array(values, np.float64)
    if scope == "sample":
        norms = np.linalg.norm(table, axis=1)
        expected = (table * np.minimum(1.0, clip / np.maximum(norms, 1e-300))[:, None]).mean(axis=0)
    else:
        mean = table.mean(axis=0)
        expected = mean * min(1.0, clip / max(float(np.linalg.norm(mean)), 1e-300))
    np.testing.assert_allclose(payload, expected, rtol=1e-9, atol=1e-12 * clip)


def test_joint_clipping_of_one_direction_is_plain_clipping() -> None:
    plus, minus = [[np.array([1.0, 900.0, -3.0], F32)]], [[np.zeros(3, F32)]]
    for scope in ("device", "sample"):
        sent = [
            project(plus, minus, ZerothOrderConfig(mu=0.5, clip=10.0, clip_scope=scope, clip_norm=norm)).payloads[0, 0]
            for norm in ("direction", "joint")
        ]
        assert sent[0] == pytest.approx(sent[1], rel=1e-15)


@pytest.mark.parametrize("norm", ["direction", "joint"])
def test_infinite_and_missing_losses_stay_bounded_where_privacy_asks(norm: str) -> None:
    plus = [[np.array([np.inf, np.nan, 1.0], F32)], [np.array([2.0, 1.0, -np.inf], F32)]]
    minus = [[np.zeros(3, F32)], [np.zeros(3, F32)]]
    config = ZerothOrderConfig(mu=0.5, clip=4.0, clip_scope="sample", clip_norm=norm, directions=2)
    sent = project(plus, minus, config, divisor=3, bounded=True).payloads[0]
    assert np.isfinite(sent).all()
    assert np.linalg.norm(sent, ord=2 if norm == "joint" else np.inf) <= 4.0
    assert not project(plus, minus, config).finite


def test_faults_work_along_several_directions(tmp_path: Path) -> None:
    faults = {
        "late_probability": 0.4,
        "wrong_seed_probability": 0.3,
        "wrong_seed_applies": True,
        "lost_broadcast_probability": 0.4,
    }
    whole = federation(tmp_path / "whole.sqlite", directions=2, faults=faults)
    records = list(whole.run())
    cut = federation(tmp_path / "cut.sqlite", directions=2, faults=faults)
    list(cut.run(5))
    again = federation(tmp_path / "cut.sqlite", directions=2, faults=faults)
    again.resume()
    late = list(again.run())
    for one, other in zip(late, records[5:], strict=True):
        np.testing.assert_array_equal(one.payloads, other.payloads)
        assert one.diagnostics == other.diagnostics
    assert max(r.diagnostics["drift_distance"] for r in records) > 0


def test_drift_of_a_deaf_device_is_what_it_missed() -> None:
    # A device that missed the round's update along both directions stands at the base weights.
    objective = QuadraticObjective(Quadratic((300,), start=1.0))
    live = federation(
        objective=objective, directions=2, learning_rate=1e-2, clip=1e3, faults={"lost_broadcast_probability": 1.0}
    )
    base = flat(objective.model).clone()
    list(live.run(1))
    moved = float((flat(objective.model) - base).double().norm())
    record = next(live.run(1))
    assert record.diagnostics["drift_distance"] == pytest.approx(moved, rel=1e-4)
    assert moved > 0.01


def test_drifting_devices_refuse_what_cannot_be_followed() -> None:
    with pytest.raises(RoundError, match="weight_decay"):
        federation(weight_decay=0.1, faults={"lost_broadcast_probability": 0.1})


# --- MeZO's own stream -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [((3, 5), (7,), (40, 40)), ((1000, 777), (16,), (17,))])
def test_mezo_directions_are_torchs_stream_bit_for_bit(sizes: tuple[tuple[int, ...], ...]) -> None:
    weights = [WeightVector(str(i), torch.zeros(math.prod(size))) for i, size in enumerate(sizes)]
    MezoDirections(weights, 0).add_seeded(1234, F32(1.0))
    state = torch.random.get_rng_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)  # the published code's way, to compare with
        for vector, size in zip(weights, sizes, strict=True):
            z = torch.normal(mean=0, std=1, size=size, dtype=torch.float32)
            assert torch.equal(vector.flat, z.reshape(-1))
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_mezo_round_is_the_published_loop() -> None:
    # Algorithm 1 of arXiv 2305.17333 with its four passes and fresh seeds; ours folds the restore into the update.
    model, other = Quadratic((700, 33), start=0.3), Quadratic((700, 33), start=0.3)
    config = ZerothOrderConfig(mu=1e-3, learning_rate=1e-2, clip=1e6, perturbation="mezo")
    step = ZerothOrderStep(MezoDirections(trainable(model), 9), config)

    def loss(of: Quadratic) -> float:
        return float(F32((flat(of).double() ** 2).sum() / 2))

    def perturb(scaling: float, seed: int) -> None:
        torch.manual_seed(seed)
        for parameter in other.parameters():
            z = torch.normal(mean=0, std=1, size=parameter.data.size(), dtype=parameter.data.dtype)
            parameter.data = parameter.data + scaling * z * 1e-3

    measured = step.ask(3, lambda: [np.array([loss(model)], F32)])
    step.tell(3, measured.payloads[0].tolist())
    seed = mezo_seed(9, 3)
    with torch.random.fork_rng(devices=[]):
        perturb(1, seed)
        plus = loss(other)
        perturb(-2, seed)
        minus = loss(other)
        assert measured.payloads[0, 0] == pytest.approx((plus - minus) / 2e-3, rel=1e-6)
        perturb(1, seed)
        torch.manual_seed(seed)
        for parameter in other.parameters():
            z = torch.normal(mean=0, std=1, size=parameter.data.size(), dtype=parameter.data.dtype)
            parameter.data = parameter.data - 1e-2 * ((plus - minus) / 2e-3 * z)
    moved = float((flat(other) - 0.3).abs().max())
    assert float((flat(model) - flat(other)).abs().max()) < 1e-5 * moved


# --- journals of the first format -------------------------------------------------------------------------------------


def old_journal(path: Path) -> None:
    with Journal(path) as journal:
        journal.begin({"mu": 1e-3})
        journal.append(0, 1, (0.5,), {"loss": 1.0})
    db = sqlite3.connect(path)
    db.executescript(
        "ALTER TABLE rounds DROP COLUMN estimates; ALTER TABLE rounds DROP COLUMN learning_rate;"
        "UPDATE meta SET value = '1' WHERE key = 'format_version';"
    )
    db.close()


def test_a_journal_of_the_first_format_is_read_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    old_journal(path)
    with Journal(path, read_only=True) as journal:
        assert [row.estimates for row in journal.rows()] == [(0.5,)]
    before = path.read_bytes()
    with Journal(path, read_only=True):
        pass
    assert path.read_bytes() == before
    with Journal(path) as journal:
        journal.append(1, 1, (0.25, 0.75), {}, 1e-4)
        rows = list(journal.rows())
    assert [(row.estimates, row.learning_rate) for row in rows] == [((0.5,), None), ((0.25, 0.75), 1e-4)]
    assert rows[1].estimate == 0.5


def test_a_row_with_other_directions_than_the_run_is_refused(tmp_path: Path) -> None:
    live = federation(tmp_path / "j.sqlite", directions=2)
    list(live.run(2))
    live.journal.close()
    db = sqlite3.connect(tmp_path / "j.sqlite")
    db.execute("UPDATE rounds SET estimates = '[1.0, 2.0, 3.0]' WHERE round = 1")
    db.commit()
    db.close()
    with Journal(tmp_path / "j.sqlite", read_only=True) as journal, pytest.raises(JournalError, match="3 estimates"):
        replay(tiny_opt(toy_data()).model, journal)
