"""The kinds of model: one file each, found by its name; each has ``build(config, data, progress) -> Objective``."""

from __future__ import annotations

import sys
from collections.abc import Callable

from learning.config import ModelConfig
from learning.data import TaskData
from learning.discovery import find as _find
from learning.discovery import names as _names
from learning.errors import LearningError, ModelError
from learning.models._subset import merge_adapters, narrow
from learning.objective import Objective, Progress

__all__ = ["build", "find", "merge_adapters", "names"]


def names() -> list[str]:
    """The kinds that come with the package."""
    return _names(sys.modules[__name__])


def find(kind: str) -> Callable[[ModelConfig, TaskData, Progress | None], Objective]:
    """The builder of the model kind ``kind``, or of ``module:callable``."""
    return _find(sys.modules[__name__], kind, "build", "model kind")


def build(config: ModelConfig, data: TaskData, progress: Progress | None = None) -> Objective:
    """Load or make the model that ``config`` names, for the labels and wording of ``data``; only what it names is trainable.

    :raises ModelError: it cannot be; for a user's own kind also where its code fails
    """
    make = find(config.kind)
    if ":" not in config.kind:
        return narrow(make(config, data, progress), config)
    from learning.own import as_objective

    try:
        made = make(config, data, progress)
    except LearningError:
        raise
    except Exception as error:
        raise ModelError(f"the model kind {config.kind} failed while it was made: {type(error).__name__}: {error}") from error
    return narrow(as_objective(made, config), config)
