"""What a federation needs of a model: losses of chosen examples under its present weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from learning.data import Example

__all__ = ["Classifier", "Indices", "Objective", "Progress", "metrics_of"]

Indices = npt.NDArray[np.int64]
#: Called with (what is being done, steps done, steps in all) during long preparations.
Progress = Callable[[str, int, int], None]


class Objective(Protocol):
    """A model and its loss on a task.

    One that writes answers also has ``metrics``: the names of its scores, the headline first. Without it the score is accuracy.
    """

    @property
    def model(self) -> torch.nn.Module:
        """Holds the trainable tensors."""

    @property
    def base_weights_sha256(self) -> str:
        """``weights_sha256`` of the model as it was loaded."""

    @property
    def identity(self) -> dict[str, str]:
        """What besides the weights determines the losses; a run's journal records it and resuming compares it."""

    @property
    def notes(self) -> list[str]:
        """What a reader of the results should know, such as that weights are random; ``prepare`` may add to it."""

    def prepare(self, examples: Sequence[Example]) -> Any:
        """Tokenise or embed examples once; the result is what the other methods call ``dataset``."""

    def losses(self, dataset: Any, indices: Indices) -> torch.Tensor:
        """float32[B]: loss of each chosen example."""

    def assess(self, dataset: Any, indices: Indices) -> tuple[torch.Tensor, npt.NDArray[Any]]:
        """(losses float32[B], scores in [0, 1]): bool[B] of right answers, or float64[B, metrics] in the order of metrics."""


def metrics_of(objective: Objective) -> tuple[str, ...]:
    """The names of an objective's scores, the headline first."""
    return tuple(getattr(objective, "metrics", ("accuracy",)))


class Classifier(ABC):
    """An objective over label scores: cross-entropy and arg max; a kind supplies ``logits`` and ``targets``.

    :ivar minimises: ``likelihood``, or ``metric``: the loss is 1 for a wrong label and 0 for the right one
    """

    metrics: tuple[str, ...] = ("accuracy",)
    minimises: str = "likelihood"

    @abstractmethod
    def logits(self, dataset: Any, indices: Indices) -> torch.Tensor:
        """float32[B, labels]: score of each label for each chosen example."""

    @abstractmethod
    def targets(self, dataset: Any, indices: Indices) -> torch.Tensor:
        """int64[B]: true label of each chosen example."""

    def losses(self, dataset: Any, indices: Indices) -> torch.Tensor:
        """Cross-entropy over the label scores, per example."""
        return self._losses(self.logits(dataset, indices), self.targets(dataset, indices))

    def predict(self, dataset: Any, indices: Indices) -> Indices:
        """int64[B]: the label with the largest score."""
        return np.asarray(self.logits(dataset, indices).argmax(dim=1).cpu().numpy(), dtype=np.int64)

    def assess(self, dataset: Any, indices: Indices) -> tuple[torch.Tensor, npt.NDArray[Any]]:
        """Losses and hits from one forward pass."""
        scores, targets = self.logits(dataset, indices), self.targets(dataset, indices)
        return self._losses(scores, targets), (scores.argmax(dim=1) == targets).cpu().numpy()

    def _losses(self, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if self.minimises == "metric":
            return (scores.argmax(dim=1) != targets).float()
        return torch.nn.functional.cross_entropy(scores, targets, reduction="none")
