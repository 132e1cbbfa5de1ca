"""What the first-order methods share."""

from collections.abc import Callable

import torch


def training(optimiser: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
    """Forward, backward, optimiser step; gradients are freed before the next forward. Dropout is off."""

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step
