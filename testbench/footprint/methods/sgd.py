"""Backpropagation and SGD without momentum: weights, gradients, activations, the logits of all positions."""

from collections.abc import Callable

import torch

from testbench.footprint.methods._training import training
from testbench.footprint.subject import Subject

TITLE, COPIES, FORWARDS, BACKWARDS = "First-order SGD", 2, 1, 1


def build(subject: Subject) -> Callable[[], None]:
    """One step."""
    return training(torch.optim.SGD(subject.model.parameters(), lr=1e-9), subject.language_loss)
