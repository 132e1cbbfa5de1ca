"""What a federation needs of a model: losses of chosen examples under its present weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from learning.data import Example

__all__ = ["Classifier", "Indices", "Objective", "Progress"]

Indices = npt.NDArray[np.int64]
#: Called with (what is being done, steps done, steps in all) during long preparations.
Progress = Callable[[str, int, int], None]


class Objective(Protocol):
    """A model and its loss on a task."""

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
        """What a reader of the results should know, such as that weights are random."""

    def prepare(self, examples: Sequence[Example]) -> Any:
        """Tokenise or embed examples once; the result is what the other methods call ``dataset``."""

    def losses(self, dataset: Any, indices: Indices) -> torch.Tensor:
        """float32[B]: loss of each chosen example."""

    def predict(self, dataset: Any, indices: Indices) -> Indices:
        """int64[B]: predicted label index of each chosen example."""

    def assess(self, dataset: Any, indices: Indices) -> tuple[torch.Tensor, npt.NDArray[np.bool_]]:
        """(losses float32[B], correct bool[B]) from one forward pass."""


class Classifier(ABC):
    """An objective over label scores: cross-entropy and arg max; a kind supplies ``logits`` and ``targets``."""

    @abstractmethod
    def logits(self, dataset: Any, indices: Indices) -> torch.Tensor:
        """float32[B, labels]: score of each label for each chosen example."""

    @abstractmethod
    def targets(self, dataset: Any, indices: Indices) -> torch.Tensor:
        """int64[B]: true label of each chosen example."""

    def losses(self, dataset: Any, indices: Indices) -> torch.Tensor:
        """Cross-entropy over the label scores, per example."""
        return torch.nn.functional.cross_entropy(
            self.logits(dataset, indices), self.targets(dataset, indices), reduction="none"
        )

    def predict(self, dataset: Any, indices: Indices) -> Indices:
        """The label with the largest score."""
        return np.asarray(self.logits(dataset, indices).argmax(dim=1).cpu().numpy(), dtype=np.int64)

    def assess(self, dataset: Any, indices: Indices) -> tuple[torch.Tensor, npt.NDArray[np.bool_]]:
        """Losses and hits from one forward pass."""
        scores, targets = self.logits(dataset, indices), self.targets(dataset, indices)
        losses = torch.nn.functional.cross_entropy(scores, targets, reduction="none")
        return losses, (scores.argmax(dim=1) == targets).cpu().numpy()
