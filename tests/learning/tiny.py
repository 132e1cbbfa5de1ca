"""A tiny random OPT, a toy task and a quadratic objective for the tests."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import OPTConfig

from learning.config import FederationConfig, ModelConfig, ZerothOrderConfig
from learning.data import Example, TaskData
from learning.federation import Federation
from learning.journal import Journal
from learning.models._loading import draw_weights, word_tokenizer
from learning.models.causal_lm import CausalLanguageModel
from learning.parameters import weights_sha256
from learning.passes import measuring, update
from learning.uplink import NoiseFreeUplink, Uplink

WORDS = ("the", "film", "was", "a", "very", "plain", "story")
TONE = (("bad", "poor", "awful"), ("good", "fine", "lovely"))


def toy_data(train: int = 60, validation: int = 20, seed: int = 0) -> TaskData:
    rng = np.random.default_rng(seed)

    def example(label: int) -> Example:
        filler = rng.permutation(WORDS)[: int(rng.integers(2, 6))].tolist()
        return " ".join([*filler, str(rng.choice(TONE[label]))]), label

    return TaskData(
        tuple(example(i % 2) for i in range(train)), tuple(example(i % 2) for i in range(validation)), ("neg", "pos")
    )


def opt_config(**changes: Any) -> OPTConfig:
    settings = {
        "vocab_size": 48,
        "hidden_size": 16,
        "word_embed_proj_dim": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 40,
        "max_position_embeddings": 40,
        "init_std": 0.2,
    }
    return OPTConfig(**(settings | changes))


def tiny_opt(data: TaskData, seed: int = 1, **settings: Any) -> CausalLanguageModel:
    config = opt_config()
    tokenizer = word_tokenizer([text for text, _ in data.train], ["It was", *data.verbalizers], 48, config)
    model_config = ModelConfig(kind="causal_lm", random_weights=True, **settings)
    return CausalLanguageModel(draw_weights(config, seed), tokenizer, data, model_config)


def tiny_federation(
    path: Any = ":memory:",
    *,
    data: TaskData | None = None,
    uplink: Uplink | None = None,
    law: str = "rademacher",
    objective: Any = None,
    **changes: Any,
) -> Federation:
    data = data or toy_data()
    config = FederationConfig(**({"devices": 3, "batch_size": 4, "rounds": 12, "seed": 0} | changes))
    zo = ZerothOrderConfig(learning_rate=1e-3, mu=1e-3, perturbation=law)
    return Federation(objective or tiny_opt(data), data, config, zo, uplink or NoiseFreeUplink(), Journal(path))


class Quadratic(torch.nn.Module):
    def __init__(self, sizes: Sequence[int] = (300, 300, 7), start: float = 1.0) -> None:
        super().__init__()
        self.parts = torch.nn.ParameterList(torch.full((size,), start) for size in sizes)


class QuadraticObjective:
    """Loss of example i: |w|^2 / 2 + label, whose projected gradient along z is w.z exactly (up to rounding)."""

    def __init__(self, model: torch.nn.Module | None = None) -> None:
        self.model = model or Quadratic()
        self.base_weights_sha256 = weights_sha256(self.model)
        self.identity: dict[str, str] = {}
        self.notes: list[str] = []
        self.poison = False

    def prepare(self, examples: Sequence[Example]) -> np.ndarray:
        return np.array([label for _, label in examples], dtype=np.float32)

    def losses(self, dataset: np.ndarray, indices: np.ndarray) -> torch.Tensor:
        norm = sum(float((p.detach().double() ** 2).sum()) for p in self.model.parameters()) / 2
        value = float("nan") if self.poison else norm
        return torch.full((len(indices),), value, dtype=torch.float32)

    def predict(self, dataset: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return np.zeros(len(indices), dtype=np.int64)

    def assess(self, dataset: np.ndarray, indices: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        return self.losses(dataset, indices), np.zeros(len(indices), dtype=bool)


class Scales(NamedTuple):
    forward: np.float32
    back: np.float32
    update: np.float32


def scales(mu: float, learning_rate: float, estimate: float | None) -> Scales:
    """The three factors of a round of one direction."""
    (forward,), (back,) = measuring(mu, 1)
    (last,) = update(mu, learning_rate, None if estimate is None else (estimate,), 1).passes
    return Scales(forward.scale, back.scale, last.scale)


def flat(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])
