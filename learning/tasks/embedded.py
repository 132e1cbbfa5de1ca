"""The task that comes with the package: short reviews written by a grammar, positive or negative."""

from __future__ import annotations

from learning.config import TaskConfig
from learning.data import TaskData, choose
from learning.errors import TaskError

__all__ = ["LARGEST", "load"]

LARGEST = 20_000  # distinct sentences of a split; the grammar has more, but finding them takes ever longer


def load(config: TaskConfig) -> TaskData:
    """1,000 training and 500 held-out reviews unless ``config`` says otherwise; the splits share no sentence."""
    from learning import embedded

    if config.folder or config.train or config.validation or config.dataset:
        raise TaskError('the task embedded brings its own reviews; for other data set task.name, to "text" for example')
    for key, wanted in (("train_examples", config.train_examples), ("validation_examples", config.validation_examples)):
        if wanted is not None and wanted > LARGEST:
            raise TaskError(f"the embedded grammar is meant for at most {LARGEST} examples; lower task.{key} from {wanted}")
    train = embedded.reviews("train", config.train_examples or 1000, config.seed)
    validation = embedded.reviews("validation", config.validation_examples or 500, config.seed)
    places = choose(train, None, config.seed, "training", stream=0, per_label=config.train_examples_per_label)
    data = TaskData(
        train=tuple(train[place] for place in places),
        validation=tuple(validation),
        labels=("negative", "positive"),
        prompt=embedded.PROMPT,
        verbalizers=tuple(embedded.VERBALIZERS),
    )
    return data.with_wording(config.prompt, config.verbalizers)
