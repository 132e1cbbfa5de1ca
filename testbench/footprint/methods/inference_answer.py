"""Inference: one forward pass with the logits of the answer position alone."""

from collections.abc import Callable

import torch

from testbench.footprint.subject import Subject

TITLE, COPIES, FORWARDS, BACKWARDS = "Inference, answer logits", 1, 1, 0


def build(subject: Subject) -> Callable[[], None]:
    """A forward pass."""

    def step() -> None:
        with torch.inference_mode():
            subject.answer_loss()

    return step
