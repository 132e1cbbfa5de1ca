"""The task that comes with the package: short reviews written by a grammar, positive or negative."""

from __future__ import annotations

from learning.config import TaskConfig
from learning.data import TaskData

__all__ = ["load"]


def load(config: TaskConfig) -> TaskData:
    """1,000 training and 500 held-out reviews unless ``config`` says otherwise; the splits share no sentence."""
    from learning import embedded

    train = embedded.reviews("train", config.train_examples or 1000, config.seed)
    validation = embedded.reviews("validation", config.validation_examples or 500, config.seed)
    data = TaskData(
        train=tuple(train),
        validation=tuple(validation),
        labels=("negative", "positive"),
        prompt=embedded.PROMPT,
        verbalizers=tuple(embedded.VERBALIZERS),
    )
    return data.with_wording(config.prompt, config.verbalizers)
