"""What a device computes in a round of a first-order federation: a gradient, or the change of some local steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from learning.parameters import WeightVector

__all__ = ["Adam", "Backward", "Gradient", "LocalSteps", "Rule", "Sgd"]

Parameters = Sequence[torch.nn.Parameter]
#: Puts the gradient of the mean loss on the device's batch number i of this round into the parameters' ``grad``.
Backward = Callable[[int], None]


class Rule(Protocol):
    """Turns batches into a vector that the server subtracts, times ``server_rate``, from the weights."""

    server_rate: float
    #: Batches that a device uses in a round.
    batches: int
    #: Whether :meth:`vector` moves the weights, which the caller then puts back.
    moves: bool

    def vector(self, parameters: Parameters, weights: Sequence[WeightVector], backward: Backward) -> torch.Tensor:
        """float32[d] from the shared weights; the weights are left as the device's local steps leave them."""


class Gradient:
    """The gradient of one batch: FedSGD (McMahan et al., arXiv 1602.05629)."""

    batches = 1
    moves = False

    def __init__(self, learning_rate: float) -> None:
        self.server_rate = learning_rate

    def vector(self, parameters: Parameters, weights: Sequence[WeightVector], backward: Backward) -> torch.Tensor:
        """The gradient itself."""
        backward(0)
        return torch.cat([_gradient(p).reshape(-1) for p in parameters])


class LocalSteps:
    """The difference before - after some steps of a torch optimiser that starts anew in every round: FedAvg."""

    server_rate = 1.0
    moves = True

    def __init__(self, steps: int, optimiser: Callable[[Parameters], torch.optim.Optimizer]) -> None:
        self.batches = steps
        self._optimiser = optimiser

    def vector(self, parameters: Parameters, weights: Sequence[WeightVector], backward: Backward) -> torch.Tensor:
        """What the steps took away from the weights."""
        before = torch.cat([vector.flat for vector in weights])
        optimiser = self._optimiser(parameters)
        for step in range(self.batches):
            backward(step)
            optimiser.step()
        return before.sub_(torch.cat([vector.flat for vector in weights]))


class Sgd(LocalSteps):
    """Local SGD without momentum."""

    def __init__(self, steps: int, learning_rate: float) -> None:
        super().__init__(steps, lambda parameters: torch.optim.SGD(parameters, lr=learning_rate))


class Adam(LocalSteps):
    """Local Adam (arXiv 1412.6980) with its usual constants; devices keep no moments between rounds."""

    def __init__(self, steps: int, learning_rate: float) -> None:
        super().__init__(steps, lambda parameters: torch.optim.Adam(parameters, lr=learning_rate))


def _gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
