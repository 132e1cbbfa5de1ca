"""Training a part of a model: named subsets, and adapters through peft."""

import copy

import numpy as np
import pytest
import torch

from learning import models
from learning.config import FederationConfig, LoraConfig, ModelConfig, ZerothOrderConfig
from learning.errors import ModelError
from learning.federation import Federation
from learning.journal import Journal
from learning.models._subset import merge_adapters, narrow
from learning.parameters import count, weights_sha256
from learning.replay import replay
from learning.uplink import NoiseFreeUplink
from tests.learning.tiny import tiny_opt, toy_data


def narrowed(**settings: object) -> models.Objective:
    return narrow(tiny_opt(toy_data()), ModelConfig(kind="causal_lm", random_weights=True, **settings))


def trained(objective: models.Objective, rounds: int = 6) -> Federation:
    data = toy_data()
    config = FederationConfig(devices=2, batch_size=4, rounds=rounds, seed=3)
    zo = ZerothOrderConfig(learning_rate=1e-2, mu=1e-2, clip=50.0)
    federation = Federation(objective, data, config, zo, NoiseFreeUplink(), Journal(":memory:"))
    list(federation.run())
    return federation


def test_a_named_subset_moves_and_the_rest_stays() -> None:
    objective = narrowed(trainable=["*.layers.1.*", "*final_layer_norm*"])
    before = {name: value.clone() for name, value in objective.model.state_dict().items()}
    federation = trained(objective)
    chosen = [n for n, p in objective.model.named_parameters() if ".layers.1." in n or "final_layer_norm" in n]
    assert federation.parameter_count == sum(before[name].numel() for name in chosen)
    for name, value in objective.model.named_parameters():
        assert torch.equal(value, before[name]) != (name in chosen)
    assert federation.journal.meta["trainable"] == "*.layers.1.* *final_layer_norm*"
    again = narrowed(trainable=["*.layers.1.*", "*final_layer_norm*"])
    replay(again.model, federation.journal)
    assert weights_sha256(again.model) == weights_sha256(objective.model)


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match=r'"\*\.layer\.1\*", which fits no weight'):
        narrowed(trainable=["*.layer.1*"])


def test_adapters_start_as_the_model_itself_and_replay() -> None:
    peft = pytest.importorskip("peft")
    del peft
    state = torch.random.get_rng_state()
    plain, objective = tiny_opt(toy_data()), narrowed(lora=LoraConfig(rank=4, alpha=8.0))
    assert torch.equal(state, torch.random.get_rng_state())
    dataset, rows = plain.prepare(toy_data().train), np.arange(8)
    with torch.inference_mode():
        torch.testing.assert_close(objective.losses(dataset, rows), plain.losses(dataset, rows))
    assert count(objective.model) == 2 * 2 * 2 * 4 * 16  # layers, targets, A and B, rank, width
    assert objective.base_weights_sha256 == narrowed(lora=LoraConfig(rank=4, alpha=8.0)).base_weights_sha256
    assert objective.base_weights_sha256 != plain.base_weights_sha256
    a = torch.cat([p.detach().reshape(-1) for n, p in objective.model.named_parameters() if ".lora_A." in n])
    assert float(a.var()) == pytest.approx(1 / (3 * 16), rel=0.3)
    federation = trained(objective)
    again = narrowed(lora=LoraConfig(rank=4, alpha=8.0))
    replay(again.model, federation.journal)
    assert weights_sha256(again.model) == weights_sha256(objective.model)


def test_merged_adapters_give_the_same_losses() -> None:
    pytest.importorskip("peft")
    objective = narrowed(lora=LoraConfig(rank=2))
    trained(objective)
    dataset, rows = objective.prepare(toy_data().validation), np.arange(10)
    with torch.inference_mode():
        with_adapters = objective.losses(dataset, rows)
        base = copy.deepcopy(objective.model)
        merge_adapters(objective.model)
        merged = objective.losses(dataset, rows)
    torch.testing.assert_close(merged, with_adapters, atol=1e-5, rtol=1e-5)
    names = {name for name, _ in objective.model.named_parameters()}
    assert names == {name for name, _ in tiny_opt(toy_data()).model.named_parameters()}
    assert any("lora" in name for name, _ in base.named_parameters())


def test_targets_that_are_not_there_are_refused_by_name() -> None:
    pytest.importorskip("peft")
    with pytest.raises(ModelError, match=r"no layer of the model is called query \(model.lora.targets\).*q_proj"):
        narrowed(lora=LoraConfig(rank=2, targets=("query",)))


def test_one_way_of_choosing_at_a_time() -> None:
    with pytest.raises(ValueError, match="leave one of them out"):
        ModelConfig(trainable=["*"], lora=LoraConfig(rank=1))
