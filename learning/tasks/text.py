"""Any labelled text in TSV, CSV or JSON Lines files: a training file, and a validation file or a held-out part."""

from __future__ import annotations

import numpy as np

from learning.config import TaskConfig
from learning.data import DEFAULT_PROMPT, DEFAULT_VERBALIZERS, Example, TaskData, choose
from learning.errors import TaskError
from learning.keys import SELECTION, Words, philox
from learning.tasks._tables import read_rows

__all__ = ["load"]


def load(config: TaskConfig) -> TaskData:
    """Labels are ``config.labels`` in that order, else the distinct values of the training file, sorted."""
    if config.train is None:
        raise TaskError("the task text needs a training file (.tsv, .csv or .jsonl); set task.train")
    rows = read_rows(config.train, config.text_column, config.label_column)
    labels = config.labels or tuple(sorted({label for _, _, label in rows}))
    if len(labels) < 2:
        raise TaskError(f'every row of {config.train} has the label "{labels[0]}"; two labels or more are needed')
    if config.verbalizers is None and len(labels) != 2:
        raise TaskError(
            f"{config.train} has {len(labels)} labels ({', '.join(labels)}); set task.verbalizers, one answer word per label"
        )
    train = _index(rows, labels, str(config.train))
    if config.validation is not None:
        held_out_rows = read_rows(config.validation, config.text_column, config.label_column)
        held_out = _index(held_out_rows, labels, str(config.validation))
    else:
        train, held_out = _hold_out(train, config)
    data = TaskData(
        train=choose(train, config.train_examples, config.seed, "training", stream=0),
        validation=choose(held_out, config.validation_examples, config.seed, "validation", stream=1),
        labels=labels,
        prompt=DEFAULT_PROMPT,
        verbalizers=config.verbalizers or DEFAULT_VERBALIZERS,
    )
    return data.with_wording(config.prompt, None)


def _index(rows: list[tuple[int, str, str]], labels: tuple[str, ...], file: str) -> list[Example]:
    numbers = {label: index for index, label in enumerate(labels)}
    examples = []
    for number, text, label in rows:
        if label not in numbers:
            raise TaskError(f'{file}, line {number}, has the unknown label "{label}"; the labels are {", ".join(labels)}')
        examples.append((text, numbers[label]))
    return examples


def _hold_out(examples: list[Example], config: TaskConfig) -> tuple[list[Example], list[Example]]:
    # Equal texts stay on one side, so that none is both trained on and judged.
    texts = sorted({text for text, _ in examples})
    held = max(1, round(config.validation_fraction * len(texts)))
    if held >= len(texts):
        raise TaskError(
            f"{config.train} has {len(texts)} different texts, too few to hold any out; add rows or set task.validation"
        )
    order = Words(philox(config.seed, SELECTION, stream=2)).permutation(len(texts))
    chosen = {texts[index] for index in np.asarray(order[:held]).tolist()}
    return [e for e in examples if e[0] not in chosen], [e for e in examples if e[0] in chosen]
