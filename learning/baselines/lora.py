"""Low-rank adapters (Hu et al., arXiv 2106.09685) put into a model by peft, with keyed initial values."""

from __future__ import annotations

import numpy as np
import torch

from learning.baselines.config import LoraConfig
from learning.errors import ModelError
from learning.keys import INITIAL_WEIGHTS
from learning.parameters import trainable
from learning.perturbation import Perturbation

__all__ = ["add_adapters"]


def add_adapters(model: torch.nn.Module, config: LoraConfig, seed: int) -> None:
    """Put adapters into ``model`` in place; from then on only they are trainable.

    The down projections are drawn from (seed, purpose), Gaussian with standard deviation 1 / rank; the up projections are
    zero, so that the model computes at first what it computed before.

    :raises ModelError: peft is not installed, or the model has no such layers
    """
    try:
        import peft
    except ImportError as error:
        raise ModelError('LoRA needs peft; run pip install "peft>=0.17", or leave out the methods with LoRA') from error
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=None if config.target_modules is None else list(config.target_modules),
        lora_dropout=0.0,
    )
    with torch.random.fork_rng(devices=[]):  # peft draws initial values, which are overwritten, from the global generator
        try:
            peft.inject_adapter_in_model(settings, model)
        except (ValueError, AttributeError) as error:
            wanted = "peft's defaults" if config.target_modules is None else ", ".join(config.target_modules)
            raise ModelError(
                f"the model has no linear layers to adapt under {wanted}; name some as baselines.lora.target_modules, or "
                "leave out the methods with LoRA"
            ) from error
    model.eval()
    vectors = trainable(model)
    for vector in vectors:
        vector.flat.zero_()
    down = [vector for vector in vectors if "lora_A" in vector.name]
    Perturbation(down, seed, "gaussian", purpose=INITIAL_WEIGHTS).add(0, np.float32(1.0 / config.rank))
