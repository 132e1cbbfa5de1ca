"""Backpropagation and Adam where the loss needs the logits of the answer position alone."""

from collections.abc import Callable

import torch

from testbench.footprint.methods._training import training
from testbench.footprint.subject import Subject

TITLE, COPIES, FORWARDS, BACKWARDS = "First-order Adam, answer logits", 4, 1, 1


def build(subject: Subject) -> Callable[[], None]:
    """One step."""
    return training(torch.optim.Adam(subject.model.parameters(), lr=1e-9), subject.answer_loss)
