"""Any labelled text: TSV, CSV or JSON Lines files, or a dataset; a held-out part of it where nothing else is given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from learning.config import TaskConfig
from learning.data import DEFAULT_PROMPT, DEFAULT_VERBALIZERS, Example, TaskData, Text, placeholders
from learning.errors import TaskError
from learning.keys import SELECTION, Words, philox
from learning.tasks._sources import assemble, sources
from learning.tasks._tables import Columns, Table, labelled

__all__ = ["load"]


def load(config: TaskConfig) -> TaskData:
    """Labels are ``config.labels`` in that order, else the distinct values of the training rows, sorted.

    {text} of the prompt stands for ``config.text_column``, any other name in braces for the column of that name.
    """
    prompt = DEFAULT_PROMPT if config.prompt is None else config.prompt
    fields = {name: (config.text_column if name == "text" else name,) for name in dict.fromkeys(placeholders(prompt))}
    found = sources(config)
    tables = [(table, _rows(table, fields, config)) for table in found.train]
    where = " and ".join(table.name for table, _ in tables)
    labels = config.labels or tuple(sorted({label for _, rows in tables for _, _, label in rows}))
    if len(labels) < 2:
        raise TaskError(f'every row of {where} has the label "{labels[0]}"; two labels or more are needed')
    if config.verbalizers is None and len(labels) != 2:
        raise TaskError(
            f"{where} has {len(labels)} labels ({', '.join(labels)}); set task.verbalizers, one answer word per label"
        )
    train = [(number, e) for number, (table, rows) in enumerate(tables) for e in _index(table, rows, labels)]
    if found.validation is not None:
        held_out = _index(found.validation, _rows(found.validation, fields, config), labels)
    else:
        train, held_out = _hold_out(train, config, where)
    chosen, held_out_chosen, files = assemble(config, train, held_out)
    return TaskData(
        train=chosen,
        validation=held_out_chosen,
        labels=labels,
        prompt=prompt,
        verbalizers=config.verbalizers or DEFAULT_VERBALIZERS,
        fields=tuple(fields),
        files=files,
    )


def _rows(table: Table, fields: Mapping[str, Columns], config: TaskConfig) -> list[tuple[int, Text, str]]:
    return labelled(table, fields, (config.label_column,))[0]


def _index(table: Table, rows: list[tuple[int, Text, str]], labels: tuple[str, ...]) -> list[Example]:
    numbers = {label: index for index, label in enumerate(labels)}
    examples: list[Example] = []
    for number, text, label in rows:
        if label not in numbers:
            raise TaskError(f'{table.at(number)} has the unknown label "{label}"; the labels are {", ".join(labels)}')
        examples.append((text, numbers[label]))
    return examples


def _hold_out(
    examples: list[tuple[int, Example]], config: TaskConfig, where: str
) -> tuple[list[tuple[int, Example]], list[Example]]:
    # Equal texts stay on one side, so that none is both trained on and judged.
    texts = sorted({text for _, (text, _) in examples}, key=lambda text: text if isinstance(text, str) else "\0".join(text))
    held = max(1, round(config.validation_fraction * len(texts)))
    if held >= len(texts):
        raise TaskError(f"{where} has {len(texts)} different texts, too few to hold any out; add rows or set task.validation")
    order = Words(philox(config.seed, SELECTION, stream=2)).permutation(len(texts))
    chosen = {texts[index] for index in np.asarray(order[:held]).tolist()}
    return [e for e in examples if e[1][0] not in chosen], [example for _, example in examples if example[0] in chosen]
