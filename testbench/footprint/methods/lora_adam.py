"""Low-rank adapters (peft, rank 8) under backpropagation and Adam; the weights are frozen, the activations are not spared."""

from collections.abc import Callable

import torch

from learning.config import LoraConfig, ModelConfig
from learning.models._subset import narrow
from testbench.footprint.methods._training import training
from testbench.footprint.subject import Subject

TITLE, COPIES, FORWARDS, BACKWARDS = "LoRA + Adam", 1, 1, 1


def build(subject: Subject) -> Callable[[], None]:
    """One step."""
    narrow(subject.objective, ModelConfig(lora=LoraConfig(rank=8)))
    trained = [parameter for parameter in subject.model.parameters() if parameter.requires_grad]
    return training(torch.optim.Adam(trained, lr=1e-9), subject.language_loss)
