"""Train a part of a model: weights chosen by name, or low-rank adapters beside frozen weights."""

from __future__ import annotations

import fnmatch
from typing import Any

import numpy as np
import torch

from learning.config import LoraConfig, ModelConfig
from learning.errors import ModelError
from learning.keys import ADAPTERS
from learning.models._loading import quiet_loading
from learning.objective import Objective
from learning.parameters import WeightVector, weights_sha256
from learning.perturbation import Perturbation

__all__ = ["merge_adapters", "narrow"]


def narrow(objective: Objective, config: ModelConfig) -> Objective:
    """The objective with only those weights trainable that ``config`` names; itself where it names none.

    :raises ModelError: no weight has such a name, peft is not installed, or no layer can take an adapter
    """
    if config.trainable is not None:
        _choose(objective.model, config.trainable)
        objective.identity["trainable"] = " ".join(config.trainable)
    elif config.lora.rank:
        _adapt(objective.model, config.lora, config.weights_seed)
        # A run belongs to all of its weights, adapters included.
        objective.base_weights_sha256 = weights_sha256(objective.model)  # type: ignore[misc]
        objective.identity["lora"] = f"rank {config.lora.rank}, alpha {config.lora.alpha:g}, {' '.join(config.lora.targets)}"
    return objective


def _choose(model: torch.nn.Module, patterns: tuple[str, ...]) -> None:
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ModelError(
                f'model.trainable names "{pattern}", which fits no weight of this model; its weights are called '
                f"{names[0]}, {names[1] if len(names) > 1 else names[0]}, ..., {names[-1]}"
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns))


def _adapt(model: torch.nn.Module, config: LoraConfig, seed: int) -> None:
    """Put adapters into ``model``: A drawn by us with the variance of peft's own initial values, B zero."""
    try:
        import peft
    except ModuleNotFoundError as error:
        raise ModelError('model.lora needs peft; install it with: pip install "pairzero[lora]"') from error
    alpha: Any = config.alpha  # peft declares a whole number and takes any
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=alpha, target_modules=list(config.targets), lora_dropout=0.0, bias="none"
    )
    try:
        with quiet_loading():  # peft draws from torch's global generator
            peft.inject_adapter_in_model(settings, model)
    except ValueError as error:
        linear = sorted({name.split(".")[-1] for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)})
        raise ModelError(
            f"no layer of the model is called {' or '.join(config.targets)} (model.lora.targets); its linear layers are "
            f"called {', '.join(linear) or 'nothing: it has none'}"
        ) from error
    number = 0
    for name, parameter in model.named_parameters():
        adapter = ".lora_" in name
        parameter.requires_grad_(adapter)
        if adapter:
            parameter.data = parameter.data.float().contiguous()
            parameter.data.zero_()
        if ".lora_A." in name:
            vector = WeightVector(name, parameter.detach().view(-1))
            deviation = np.float32(1.0 / np.sqrt(3.0 * parameter.shape[1]))
            Perturbation([vector], seed, "gaussian", purpose=ADAPTERS).add(0, deviation, direction=number)
            number += 1
    model.eval()


def merge_adapters(model: torch.nn.Module) -> torch.nn.Module:
    """Fold every adapter into the weights beside it and take it out, in place; a model without adapters stays as it is."""
    for name, part in list(model.named_modules()):
        if hasattr(part, "lora_A") and hasattr(part, "get_base_layer"):
            layer: Any = part
            layer.merge()
            parent = model.get_submodule(name.rpartition(".")[0]) if "." in name else model
            setattr(parent, name.rpartition(".")[2], layer.get_base_layer())
    return model
