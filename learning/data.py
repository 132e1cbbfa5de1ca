"""What every task yields."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from learning.errors import TaskError
from learning.keys import SELECTION, Words, philox

__all__ = ["DEFAULT_PROMPT", "DEFAULT_VERBALIZERS", "MASK", "Example", "TaskData", "Text", "choose", "parts", "placeholders"]

#: The text of an example; a tuple where the task has several fields, in the order of ``TaskData.fields``.
Text = str | tuple[str, ...]
#: (text, label): an index into ``TaskData.labels``, or of a generation task into ``TaskData.answers``.
Example = tuple[Text, int]

#: Template and answer words of SST-2 in MeZO (arXiv 2305.17333, Table 14), in the order negative, positive.
DEFAULT_PROMPT = "{text} It was"
DEFAULT_VERBALIZERS = (" terrible", " great")

MASK = "{mask}"

_FIELD = re.compile(r"\{([A-Za-z_]\w*)\}")


def placeholders(prompt: str) -> list[str]:
    """The names in braces of a template, {mask} left out."""
    return [name for name in _FIELD.findall(prompt) if "{" + name + "}" != MASK]


def parts(text: Text) -> tuple[str, ...]:
    """The fields of an example's text."""
    return (text,) if isinstance(text, str) else text


@dataclass(frozen=True)
class TaskData:
    """A text task: classification by answer words, or, with ``answers``, generation of an answer.

    :ivar train: (text, label index) of the examples that the devices share out
    :ivar validation: held-out examples
    :ivar labels: names of the label indices; none where answers are generated
    :ivar prompt: template that names every field once, such as "{text} It was"
    :ivar verbalizers: the answer word of each label, as it continues the prompt
    :ivar fields: names of an example's texts
    :ivar masked_prompt: the template of masked language models, with {mask}; None: made of ``prompt``
    :ivar masked_verbalizers: the words that take the mask's place; None: ``verbalizers``
    :ivar answers: of a generation task, the acceptable answers of each label index; the first is trained on
    :ivar files: of each training example, the number of the file that it was read from; None: one source
    :ivar notes: what a reader of the results should know of the data
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    labels: tuple[str, ...]
    prompt: str = DEFAULT_PROMPT
    verbalizers: tuple[str, ...] = DEFAULT_VERBALIZERS
    fields: tuple[str, ...] = ("text",)
    masked_prompt: str | None = None
    masked_verbalizers: tuple[str, ...] | None = None
    answers: tuple[tuple[str, ...], ...] = ()
    files: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.train:
            raise TaskError("the task has no training examples")
        if not self.validation:
            raise TaskError("the task has no held-out examples")
        for prompt in (self.prompt, self.masked_prompt):
            if prompt is not None:
                self._check_prompt(prompt)
        if self.generates:
            self._check_answers()
        else:
            self._check_verbalizers(self.verbalizers)
            if self.masked_verbalizers is not None:
                self._check_verbalizers(self.masked_verbalizers)
        choices, what = (len(self.answers), "answers") if self.generates else (len(self.labels), "labels")
        for text, label in (*self.train, *self.validation):
            if not 0 <= label < choices:
                raise TaskError(f"an example has label index {label}, but the task has {choices} {what}")
            if len(parts(text)) != len(self.fields):
                raise TaskError(
                    f"an example has {len(parts(text))} texts, but the task has the fields {', '.join(self.fields)}"
                )
        if self.files is not None and len(self.files) != len(self.train):
            raise TaskError(
                f"the task has {len(self.train)} training examples but says of {len(self.files)} where they are from"
            )

    @property
    def generates(self) -> bool:
        """Whether the model writes an answer, rather than choosing one."""
        return bool(self.answers)

    @property
    def strata(self) -> list[int]:
        """What a Dirichlet split deals unevenly, per training example: the label, or the first field of generation tasks.

        SQuAD's first field is the title of the article.
        """
        if not self.generates:
            return [label for _, label in self.train]
        numbers: dict[str, int] = {}
        return [numbers.setdefault(parts(text)[0], len(numbers)) for text, _ in self.train]

    def with_wording(self, prompt: str | None, verbalizers: Sequence[str] | None) -> TaskData:
        """The same task under another prompt or other answer words, where given.

        A prompt with {mask} is for masked language models only; one without becomes theirs too, as ``masked`` says.
        """
        changed = self
        if prompt is not None:
            changed = replace(changed, prompt=prompt, masked_prompt=None)
        if verbalizers is not None:
            if self.generates:
                raise TaskError("answers of this task are generated, not chosen among verbalizers; leave out task.verbalizers")
            changed = replace(changed, verbalizers=tuple(verbalizers), masked_verbalizers=None)
        return changed

    def masked(self) -> tuple[str, tuple[str, ...]]:
        """(template with {mask}, verbalizers) for masked language models; every verbalizer starts with a blank.

        A template without {mask} is followed by it and a full stop: "{text} It was" becomes "{text} It was {mask} .".
        """
        prompt = self.masked_prompt or (self.prompt if MASK in self.prompt else f"{self.prompt.rstrip()} {MASK} .")
        return prompt, tuple(" " + word.strip() for word in self.masked_verbalizers or self.verbalizers)

    def sha256(self) -> str:
        """Fingerprint of examples, labels and wording."""
        digest = hashlib.sha256()
        described: list[Sequence[object]] = [self.labels, (self.prompt,), self.verbalizers, self.train, self.validation]
        if self.fields != ("text",):
            described.append(self.fields)
        if self.generates:
            described.append(self.answers)
        if self.files is not None:
            described.append(self.files)
        for part in described:
            digest.update(f"{len(part)}\n".encode())
            for entry in part:
                digest.update(repr(entry).encode())
                digest.update(b"\n")
        return digest.hexdigest()

    def _check_prompt(self, prompt: str) -> None:
        named = placeholders(prompt)
        for name in named:
            if name not in self.fields:
                raise TaskError(f'the prompt "{prompt}" names {{{name}}}, but the fields are {", ".join(self.fields)}')
        for field in self.fields:
            if named.count(field) != 1:
                raise TaskError(f'the prompt "{prompt}" must contain {{{field}}} exactly once')
        if prompt.count(MASK) > 1 or (prompt is self.masked_prompt and MASK not in prompt):
            raise TaskError(f'the prompt "{prompt}" must contain {MASK} exactly once')

    def _check_verbalizers(self, verbalizers: tuple[str, ...]) -> None:
        if len(self.labels) != len(verbalizers):
            raise TaskError(
                f"the task has {len(self.labels)} labels ({', '.join(self.labels)}) but {len(verbalizers)} "
                f"verbalizers ({', '.join(verbalizers)}); give one verbalizer per label"
            )
        if len(set(verbalizers)) != len(verbalizers):
            raise TaskError(f"two labels share a verbalizer among {', '.join(verbalizers)}; give each its own")

    def _check_answers(self) -> None:
        for answers in self.answers:
            if not answers or not answers[0].strip():
                raise TaskError("a question of the task has no answer to train on; leave it out")


def choose(
    examples: Sequence[Example], count: int | None, seed: int, what: str, *, stream: int, per_label: int | None = None
) -> list[int]:
    """Places of ``count`` random examples, or of ``per_label`` of each label, in their own order; of all where both are None.

    The draw is keyed by (seed, stream), per label by (seed, stream, label).
    """
    if per_label is not None:
        return _choose_per_label([label for _, label in examples], per_label, seed, what, stream)
    if count is None:
        return list(range(len(examples)))
    if count > len(examples):
        raise TaskError(f"{count} {what} examples were asked for, but there are {len(examples)}")
    order = Words(philox(seed, SELECTION, stream=stream)).permutation(len(examples))
    return list(np.sort(order[:count]).tolist())


def _choose_per_label(labels: Sequence[int], count: int, seed: int, what: str, stream: int) -> list[int]:
    chosen: list[int] = []
    for label in sorted(set(labels)):
        members = np.flatnonzero(np.asarray(labels) == label)
        if count > len(members):
            raise TaskError(
                f"{count} {what} examples of each label were asked for, but there are {len(members)} of label {label}"
            )
        # round_index keeps the streams of labels apart from those of whole choices
        order = Words(philox(seed, SELECTION, stream=stream, round_index=label + 1)).permutation(len(members))
        chosen += members[order[:count]].tolist()
    return sorted(chosen)
