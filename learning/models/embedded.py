"""The small language model that comes with the package (learning.embedded)."""

from __future__ import annotations

from learning.config import ModelConfig
from learning.data import TaskData
from learning.errors import ModelError
from learning.models import causal_lm
from learning.objective import Objective, Progress

__all__ = ["build"]


def build(config: ModelConfig, data: TaskData, progress: Progress | None = None) -> Objective:
    """The embedded model as a causal language model; ``config.path`` must be empty."""
    from learning import embedded

    if config.path is not None:
        raise ModelError("the kind embedded brings its own folder; for another folder set model.kind = causal_lm")
    return causal_lm.build(config.model_copy(update={"path": str(embedded.model_folder())}), data, progress)
