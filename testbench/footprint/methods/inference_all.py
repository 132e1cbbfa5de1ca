"""Inference: one forward pass with the logits of all positions, as a language-model loss needs them."""

from collections.abc import Callable

import torch

from testbench.footprint.subject import Subject

TITLE, COPIES, FORWARDS, BACKWARDS = "Inference, all logits", 1, 1, 0


def build(subject: Subject) -> Callable[[], None]:
    """A forward pass."""

    def step() -> None:
        with torch.inference_mode():
            subject.language_loss()

    return step
