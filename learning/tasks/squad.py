"""SQuAD v1.1 (Rajpurkar et al., arXiv 1606.05250): an answer is generated from title, passage and question.

Read from the official JSON files, from JSON Lines in the hub's columns, or through ``datasets``. The wording is MeZO's
(arXiv 2305.17333, Table 14). The devices train on the first answer of a question; the held-out answer is scored against all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from learning.config import TaskConfig
from learning.data import Example, TaskData
from learning.errors import TaskError
from learning.tasks._sources import Files, Hub, assemble, sources
from learning.tasks._tables import Row, Table, file_lines

__all__ = ["PROMPT", "load"]

PROMPT = "Title: {title}\nContext: {context}\nQuestion: {question}\nAnswer:"

_LAYOUTS = (Files("train-v1.1.json", "dev-v1.1.json"),)
_HUB = Hub("rajpurkar/squad", "plain_text")


def load(config: TaskConfig) -> TaskData:
    """Train on train-v1.1.json and validate on dev-v1.1.json of ``task.folder``, or on what else is named."""
    if config.train_examples_per_label is not None:
        raise TaskError("SQuAD has no labels; set task.train_examples instead of task.train_examples_per_label")
    found = sources(config, _LAYOUTS, _HUB, read=_read)
    if found.validation is None:
        raise TaskError("the task squad needs held-out questions; set task.validation, or task.folder to a whole folder")
    answers: list[tuple[str, ...]] = []
    train = [(number, e) for number, table in enumerate(found.train) for e in _examples(table, answers)]
    validation = _examples(found.validation, answers)
    chosen, held_out, files = assemble(config, train, validation)
    chosen, held_out, kept = _renumbered(chosen, held_out, answers)
    data = TaskData(
        train=chosen,
        validation=held_out,
        labels=(),
        prompt=PROMPT,
        verbalizers=(),
        fields=("title", "context", "question"),
        answers=kept,
        files=files,
    )
    return data.with_wording(config.prompt, config.verbalizers)


def _examples(table: Table, answers: list[tuple[str, ...]]) -> list[Example]:
    """The questions of a table; their answers are appended to ``answers``, at the index that is their label."""
    examples: list[Example] = []
    for number, row in table.rows:
        texts = tuple(table.text(number, row, (name,)) for name in ("title", "context", "question"))
        for name, text in zip(("title", "context", "question"), texts, strict=True):
            if not text and name != "title":
                raise TaskError(f"{table.at(number)} has no {name}; remove the question or write one")
        given = table.value(number, row, ("answers",))
        words = given.get("text") if isinstance(given, Mapping) else given
        found = tuple(str(word).strip() for word in words if str(word).strip()) if isinstance(words, Sequence) else ()
        if not found:
            raise TaskError(
                f"{table.at(number)} has no answer; SQuAD v1.1 has one or more for every question (v2.0's unanswerable "
                "questions cannot be trained on)"
            )
        answers.append(found)
        examples.append((texts, len(answers) - 1))
    if not examples:
        raise TaskError(f"{table.name} holds no questions")
    return examples


def _renumbered(
    train: Sequence[Example], validation: Sequence[Example], answers: Sequence[tuple[str, ...]]
) -> tuple[tuple[Example, ...], tuple[Example, ...], tuple[tuple[str, ...], ...]]:
    # Only the answers of chosen questions are kept, in order.
    kept = [answers[label] for _, label in (*train, *validation)]
    return (
        tuple((text, place) for place, (text, _) in enumerate(train)),
        tuple((text, place) for place, (text, _) in enumerate(validation, start=len(train))),
        tuple(kept),
    )


def _read(path: Path) -> Table | None:
    """The questions of a .json file in the official layout, numbered from 1; None for other endings."""
    if path.suffix.lower() != ".json":
        return None
    try:
        content = json.loads("\n".join(file_lines(path)))
    except ValueError as error:
        raise TaskError(f"{path} is not JSON ({error}); download it again") from error
    return Table(str(path), "question", enumerate(_official(path, content), start=1))


def _official(path: Path, content: Any) -> Iterator[Row]:
    try:
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    yield {
                        "title": article.get("title", ""),
                        "context": paragraph["context"],
                        "question": question["question"],
                        "answers": [answer["text"] for answer in question["answers"]],
                    }
    except (KeyError, TypeError, AttributeError) as error:
        raise TaskError(
            f"{path} is not in SQuAD's layout (data, paragraphs, context, qas, question, answers, text): {error} is not there"
        ) from error
