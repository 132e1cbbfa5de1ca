"""SST-2 (Socher et al. 2013) from a folder in GLUE's layout: train.tsv and dev.tsv, columns sentence and label."""

from __future__ import annotations

from pathlib import Path

from learning.config import TaskConfig
from learning.data import DEFAULT_PROMPT, DEFAULT_VERBALIZERS, Example, TaskData, choose
from learning.errors import TaskError
from learning.tasks._tables import read_rows

__all__ = ["load"]


def load(config: TaskConfig) -> TaskData:
    """Train on train.tsv, validate on dev.tsv; label 0 is negative, 1 positive.

    GLUE's test.tsv carries no labels and is not used.
    """
    if config.folder is None:
        raise TaskError("the task sst2 needs a folder with train.tsv and dev.tsv in GLUE's layout; set task.folder")
    if not config.folder.is_dir():
        raise TaskError(
            f"there is no folder {config.folder}; set task.folder to the one with train.tsv and dev.tsv "
            "(relative paths are taken from the folder in which the command runs)"
        )
    train = _examples(config.folder / "train.tsv")
    validation = _examples(config.folder / "dev.tsv")
    data = TaskData(
        train=choose(train, config.train_examples, config.seed, "training", stream=0),
        validation=choose(validation, config.validation_examples, config.seed, "validation", stream=1),
        labels=("negative", "positive"),
        prompt=DEFAULT_PROMPT,
        verbalizers=DEFAULT_VERBALIZERS,
    )
    return data.with_wording(config.prompt, config.verbalizers)


def _examples(path: Path) -> list[Example]:
    examples = []
    for number, text, label in read_rows(path, "sentence", "label"):
        if label not in ("0", "1"):
            raise TaskError(f'{path}, line {number}, has the label "{label}"; SST-2 has 0 and 1')
        examples.append((text, int(label)))
    return examples
