"""A user's own model and loss: any torch module that says how examples become tensors and what the loss of each is.

In a scenario: ``model.kind = "module:Class"``. In Python: ``federate(model, data)``. docs/own-model.md has an example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from learning.config import FederationConfig, ModelConfig, ZerothOrderConfig
from learning.data import Example, TaskData
from learning.errors import ModelError
from learning.federation import Federation
from learning.journal import Journal
from learning.models._loading import draw_tensors, usable_device
from learning.models._precision import Precision
from learning.objective import Indices, Objective
from learning.parameters import weights_sha256
from learning.uplink import NoiseFreeUplink, Uplink

__all__ = ["ModuleObjective", "OwnModel", "as_objective", "federate", "seeded_weights"]

#: What ``encode`` may return: a tensor, or several in a tuple or a mapping; the first axis of each is the example.
Batch = torch.Tensor | tuple[torch.Tensor, ...] | Mapping[str, torch.Tensor]


@runtime_checkable
class OwnModel(Protocol):
    """What a torch module needs in order to be fine-tuned; it may also have ``metrics``, the names of its scores."""

    def encode(self, examples: Sequence[Example]) -> Batch:
        """The examples, (text, label), as tensors whose first axis is the example; called once per set of examples."""

    def losses(self, batch: Any) -> torch.Tensor:
        """[B]: the loss of each example of a batch, rows of what ``encode`` returned."""

    def scores(self, batch: Any) -> torch.Tensor:
        """[B] or [B, metrics], in [0, 1]: how right each answer is; accuracy unless ``metrics`` names it."""


class ModuleObjective:
    """A torch module of a user's own as an objective.

    :raises ModelError: the module lacks a method, or one of them returns something of another shape
    """

    def __init__(self, module: torch.nn.Module, config: ModelConfig | None = None) -> None:
        config = config or ModelConfig()
        self._name = f"{type(module).__module__}:{type(module).__qualname__}"
        lacking = [name for name in ("encode", "losses", "scores") if not callable(getattr(module, name, None))]
        if lacking:
            raise ModelError(
                f"the model {self._name} lacks the method {' and '.join(lacking)}; docs/own-model.md says what each does"
            )
        self._device = usable_device(config.device)
        self._precision = Precision(config.forward, self._device)
        self._own: Any = module.to(self._device).eval()
        self.model: torch.nn.Module = module
        self.base_weights_sha256 = weights_sha256(module)
        self.identity = {"model_kind": self._name, **config.identity()}
        self.notes: list[str] = list(getattr(module, "notes", ()))
        self.metrics: tuple[str, ...] = tuple(getattr(module, "metrics", ("accuracy",)))
        self._scored = config.loss == "metric"

    def prepare(self, examples: Sequence[Example]) -> Batch:
        """What the module encodes, on the device."""
        batch: Batch = _each(self._own.encode(examples), lambda tensor: tensor.to(self._device))
        for tensor in _tensors(batch):
            if not isinstance(tensor, torch.Tensor) or tensor.ndim == 0 or len(tensor) != len(examples):
                raise ModelError(
                    f"{self._name}.encode must return tensors with one row for each of the {len(examples)} examples, and "
                    f"returned {_shape(tensor)}"
                )
        return batch

    def losses(self, dataset: Batch, indices: Indices) -> torch.Tensor:
        """float32[B]: the module's losses, or one minus its first score where ``model.loss`` is metric."""
        batch = self._rows(dataset, indices)
        if self._scored:
            return torch.from_numpy((1.0 - self._scores(batch, len(indices))[:, 0]).astype(np.float32))
        return self._losses(batch, len(indices))

    def assess(self, dataset: Batch, indices: Indices) -> tuple[torch.Tensor, npt.NDArray[Any]]:
        """Losses and scores float64[B, metrics]."""
        return self.losses(dataset, indices), self._scores(self._rows(dataset, indices), len(indices))

    def _rows(self, dataset: Batch, indices: Indices) -> Batch:
        rows = torch.from_numpy(indices).to(self._device)
        chosen: Batch = _each(dataset, lambda tensor: tensor[rows])
        return chosen

    def _losses(self, batch: Batch, count: int) -> torch.Tensor:
        with self._precision():
            losses = self._own.losses(batch)
        if not isinstance(losses, torch.Tensor) or losses.shape != (count,):
            raise ModelError(
                f"{self._name}.losses must return a loss per example, shape ({count},), and returned {_shape(losses)}; a loss "
                'of torch does so with reduction="none"'
            )
        return losses.float()

    def _scores(self, batch: Batch, count: int) -> npt.NDArray[np.float64]:
        with self._precision():
            scores = torch.as_tensor(self._own.scores(batch))
        if scores.shape not in ((count,), (count, len(self.metrics))) or (scores.ndim == 1 and len(self.metrics) > 1):
            raise ModelError(
                f"{self._name}.scores must return one score per example and metric ({', '.join(self.metrics)}), and returned "
                f"{_shape(scores)}"
            )
        return np.asarray(scores.double().cpu().numpy(), dtype=np.float64).reshape(count, -1)


def as_objective(made: Any, config: ModelConfig) -> Objective:
    """``made`` as it is where it is an objective; a module of the user's own wrapped.

    :raises ModelError: it is neither
    """
    if all(hasattr(made, name) for name in ("model", "prepare", "losses", "assess")):
        objective: Objective = made
        return objective
    if isinstance(made, torch.nn.Module):
        return ModuleObjective(made, config)
    raise ModelError(
        f"the model kind {config.kind} made a {type(made).__name__}, which is neither a torch module with encode, losses and "
        "scores nor an objective (docs/own-model.md)"
    )


def federate(
    model: torch.nn.Module | Objective,
    data: TaskData,
    federation: FederationConfig | None = None,
    step: ZerothOrderConfig | None = None,
    *,
    uplink: Uplink | None = None,
    journal: Path | str = ":memory:",
) -> Federation:
    """A federation that fine-tunes ``model`` on ``data``: ``for record in federate(model, data).run(): ...``.

    :param uplink: how scalars reach the server; None: their noise-free mean
    :param journal: SQLite file; it must be new, or of the same run, which ``resume()`` then continues
    """
    objective = ModuleObjective(model) if isinstance(model, torch.nn.Module) else model
    return Federation(
        objective,
        data,
        federation or FederationConfig(),
        step or ZerothOrderConfig(),
        uplink or NoiseFreeUplink(),
        Journal(journal),
    )


def seeded_weights(module: torch.nn.Module, seed: int, deviation: float = 0.02) -> None:
    """Draw a module's weights anew, to the same bits on every machine: matrices Gaussian, gains 1, offsets 0."""
    draw_tensors(module, SimpleNamespace(initializer_range=deviation), seed)


def _each(batch: Any, change: Any) -> Any:
    if isinstance(batch, Mapping):
        return {key: change(tensor) for key, tensor in batch.items()}
    if isinstance(batch, (tuple, list)):
        return tuple(change(tensor) for tensor in batch)
    return change(batch) if isinstance(batch, torch.Tensor) else batch


def _tensors(batch: Any) -> list[Any]:
    if isinstance(batch, Mapping):
        return list(batch.values())
    return list(batch) if isinstance(batch, (tuple, list)) else [batch]


def _shape(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"
