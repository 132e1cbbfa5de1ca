"""First-order federations against plain descent, digital uplinks against their definitions."""

import copy
import math

import numpy as np
import pytest
import torch

from learning.baselines.federation import PLAIN, Blocks, FirstOrderFederation
from learning.baselines.local import Adam, Gradient, Rule, Sgd
from learning.baselines.uplinks import DigitalUplink, MajorityUplink
from learning.batches import batch, poisson, shards
from learning.config import FederationConfig
from learning.uplink import Aggregate, NoiseFreeUplink, Uplink
from tests.learning.tiny import flat, tiny_opt, toy_data

DATA = toy_data()


def federation(rule: Rule, uplink: Uplink | None = None, blocks: Blocks = PLAIN, **changes: object) -> FirstOrderFederation:
    config = FederationConfig(**({"devices": 3, "batch_size": 4, "rounds": 5, "seed": 0} | changes))
    return FirstOrderFederation(tiny_opt(DATA), DATA, config, rule, uplink or NoiseFreeUplink(), blocks)


def by_hand(loss_of: object, model: torch.nn.Module) -> list[torch.Tensor]:
    """Gradients by torch.autograd.grad, apart from what the federation does."""
    return list(torch.autograd.grad(loss_of(), list(model.parameters())))


def test_fedsgd_is_gradient_descent_on_the_union_of_the_batches():
    found = federation(Gradient(0.05))
    records = list(found.run(4))
    objective = tiny_opt(DATA)
    rows, dealt = objective.prepare(DATA.train), shards(DATA.strata, found.config)
    for index, record in enumerate(records):
        union = np.concatenate([batch(0, index, device, dealt[device], 4) for device in range(3)])
        losses = objective.losses(rows, union)
        assert record.mean_loss == pytest.approx(float(losses.detach().mean()), rel=1e-5)
        gradients = by_hand(lambda losses=losses: losses.mean(), objective.model)
        with torch.no_grad():
            for parameter, gradient in zip(objective.model.parameters(), gradients, strict=True):
                parameter -= 0.05 * gradient
    moved = flat(objective.model) - flat(tiny_opt(DATA).model)
    assert (flat(found.objective.model) - flat(objective.model)).norm() < 1e-4 * moved.norm()
    assert moved.norm() > 1e-3


def test_one_local_step_of_sgd_is_fedsgd():
    one, other = federation(Gradient(0.1)), federation(Sgd(1, 0.1))
    start = flat(one.objective.model).clone()
    for run in (one, other):
        list(run.run(3))
    moved = flat(one.objective.model) - start
    assert (flat(other.objective.model) - flat(one.objective.model)).norm() < 1e-4 * moved.norm()


def test_local_steps_take_new_batches_and_devices_start_from_the_shared_weights():
    found = federation(Sgd(2, 0.1), devices=2)
    list(found.run(2))
    shared = tiny_opt(DATA)
    rows, dealt = shared.prepare(DATA.train), shards(DATA.strata, found.config)
    for index in range(2):
        ends = []
        for device in range(2):
            local = copy.deepcopy(shared.model)
            objective = tiny_opt(DATA)
            objective.model.load_state_dict(local.state_dict())
            for step in range(2):
                chosen = batch(0, 2 * index + step, device, dealt[device], 4)
                gradients = by_hand(lambda o=objective, c=chosen: o.losses(rows, c).mean(), objective.model)
                with torch.no_grad():
                    for parameter, gradient in zip(objective.model.parameters(), gradients, strict=True):
                        parameter -= 0.1 * gradient
            ends.append([p.detach().clone() for p in objective.model.parameters()])
        with torch.no_grad():
            for parameter, *values in zip(shared.model.parameters(), *ends, strict=True):
                parameter.copy_(sum(values) / 2)
    moved = flat(shared.model) - flat(tiny_opt(DATA).model)
    assert (flat(found.objective.model) - flat(shared.model)).norm() < 1e-3 * moved.norm()


def test_local_adam_is_kingma_and_bas_with_fresh_moments_in_every_round():
    found = federation(Adam(2, 0.01), devices=1)
    list(found.run(2))
    objective = tiny_opt(DATA)
    rows, dealt = objective.prepare(DATA.train), shards(DATA.strata, found.config)
    for index in range(2):
        first = [torch.zeros_like(p) for p in objective.model.parameters()]
        second = [torch.zeros_like(p) for p in objective.model.parameters()]
        for step in range(2):
            chosen = batch(0, 2 * index + step, 0, dealt[0], 4)
            gradients = by_hand(lambda c=chosen: objective.losses(rows, c).mean(), objective.model)
            with torch.no_grad():
                for p, g, m, v in zip(objective.model.parameters(), gradients, first, second, strict=True):
                    m.copy_(0.9 * m + 0.1 * g)
                    v.copy_(0.999 * v + 0.001 * g * g)
                    p -= 0.01 * (m / (1 - 0.9 ** (step + 1))) / ((v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
    difference = (flat(found.objective.model) - flat(objective.model)).abs()
    assert difference.quantile(0.99) < 1e-4  # entries whose gradient is of rounding's size may step either way
    assert (flat(objective.model) - flat(tiny_opt(DATA).model)).abs().median() > 5e-3


def test_poisson_batches_are_divided_by_the_fixed_size():
    found = federation(Gradient(1.0), devices=1, sampling="poisson")
    list(found.run(1))
    objective = tiny_opt(DATA)
    rows, dealt = objective.prepare(DATA.train), shards(DATA.strata, found.config)
    chosen = poisson(0, 0, 0, dealt[0], 4)
    assert len(chosen) not in (0, 4)
    gradients = by_hand(lambda: objective.losses(rows, chosen).sum() / 4, objective.model)
    wanted = flat(objective.model) - torch.cat([g.reshape(-1) for g in gradients])
    torch.testing.assert_close(flat(found.objective.model), wanted, rtol=1e-4, atol=1e-5)


def test_a_run_is_the_same_twice_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    runs = [federation(Adam(2, 0.01)) for _ in range(2)]
    for run in runs:
        list(run.run(2))
    assert torch.equal(flat(runs[0].objective.model), flat(runs[1].objective.model))
    assert torch.equal(torch.get_rng_state(), state)


class Air:
    """Remembers what it carried; answers the mean plus one, and loses the rounds it is told to."""

    def __init__(self, lost: tuple[int, ...] = ()) -> None:
        self.rounds: list[int] = []
        self.payloads: list[np.ndarray] = []
        self._lost = lost

    def aggregate(self, round_index: int, payloads: np.ndarray, present: object = None) -> Aggregate:
        self.rounds.append(round_index)
        self.payloads.append(payloads)
        if round_index in self._lost:
            return Aggregate(np.full(payloads.shape[1:], np.nan), lost=True)
        return Aggregate(payloads.mean(axis=0) + 1.0)


def test_blocks_are_clipped_padded_and_numbered_without_gaps():
    air = Air()
    found = federation(Gradient(1e-3), air, Blocks(1000, 0.02))
    d = found.parameter_count
    blocks = math.ceil(d / 1000)
    records = list(found.run(2))
    assert air.rounds == list(range(2 * blocks))
    sent = np.concatenate(air.payloads[:blocks], axis=1)
    assert sent.shape == (3, 1000 * blocks)
    assert np.abs(sent).max() == 0.02
    assert not sent[:, d:].any()
    assert records[0].clipped_fraction == pytest.approx(np.mean(np.abs(sent[:, :d]) == 0.02), abs=1e-6)
    assert 0 < records[0].clipped_fraction < 1


def test_entries_of_a_lost_block_stay_and_the_others_move():
    found = federation(Gradient(1.0), Air(lost=(1,)), Blocks(1000, 1e-9))
    before = flat(found.objective.model).clone()
    (record,) = found.run(1)
    step = before - flat(found.objective.model)
    assert record.lost_blocks == 1
    assert not step[1000:2000].any()
    torch.testing.assert_close(step[:1000], torch.ones(1000), rtol=0, atol=1e-5)


def test_a_vector_that_is_not_a_number_moves_nobody():
    found = federation(Gradient(1.0))
    before = flat(found.objective.model).clone()
    losses = found.objective.losses
    found.objective.losses = lambda *a: losses(*a) * float("nan")
    (record,) = found.run(1)
    assert record.skipped
    assert torch.equal(flat(found.objective.model), before)


@pytest.mark.parametrize(("bits", "kind"), [(16, np.float16), (32, np.float32)])
def test_a_digital_mean_is_of_the_floats_that_are_sent(bits, kind):
    values = np.random.default_rng(0).normal(size=(3, 50))
    mean = DigitalUplink(bits).aggregate(0, values).estimate
    assert np.array_equal(mean, mean.astype(kind))
    assert np.array_equal(mean, kind(values.astype(kind).astype(float).mean(axis=0)))
    assert np.abs(mean - values.mean(axis=0)).max() > 0
    present = np.array([True, False, True])
    np.testing.assert_allclose(
        DigitalUplink(bits).aggregate(0, values, present).estimate, values[present].mean(axis=0), rtol=2e-3, atol=1e-4
    )
    assert DigitalUplink(bits).aggregate(0, values, ~np.ones(3, bool)).lost


def test_half_precision_overflows_to_a_round_that_nobody_applies():
    assert not np.isfinite(DigitalUplink(16).aggregate(0, np.full((2, 1), 1e6)).estimate).any()


def test_one_bit_down_has_no_room_for_a_tie():
    votes = np.array([[3.0, -1.0, 0.0], [-2.0, -5.0, -1.0]])
    assert MajorityUplink().aggregate(0, votes).estimate.tolist() == [1.0, -1.0, 1.0]
    assert MajorityUplink().aggregate(0, votes, np.array([False, True])).estimate.tolist() == [-1.0, -1.0, -1.0]
    assert MajorityUplink().aggregate(0, votes, np.zeros(2, bool)).lost
