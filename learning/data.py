"""What every task yields."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from learning.errors import TaskError
from learning.keys import SELECTION, Words, philox

__all__ = ["DEFAULT_PROMPT", "DEFAULT_VERBALIZERS", "Example", "TaskData", "choose"]

Example = tuple[str, int]

#: Template and answer words of SST-2 in MeZO (arXiv 2305.17333, Table 14), in the order negative, positive.
DEFAULT_PROMPT = "{text} It was"
DEFAULT_VERBALIZERS = (" terrible", " great")


@dataclass(frozen=True)
class TaskData:
    """A labelled text task.

    :ivar train: (text, label index) of the examples that the devices share out
    :ivar validation: held-out examples
    :ivar labels: names of the label indices
    :ivar prompt: template with {text}
    :ivar verbalizers: the answer word of each label, as it continues the prompt
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    labels: tuple[str, ...]
    prompt: str = DEFAULT_PROMPT
    verbalizers: tuple[str, ...] = DEFAULT_VERBALIZERS

    def __post_init__(self) -> None:
        if not self.train:
            raise TaskError("the task has no training examples")
        if not self.validation:
            raise TaskError("the task has no held-out examples")
        if self.prompt.count("{text}") != 1:
            raise TaskError(f'the prompt "{self.prompt}" must contain {{text}} exactly once')
        if len(self.labels) != len(self.verbalizers):
            raise TaskError(
                f"the task has {len(self.labels)} labels ({', '.join(self.labels)}) but {len(self.verbalizers)} "
                f"verbalizers ({', '.join(self.verbalizers)}); give one verbalizer per label"
            )
        if len(set(self.verbalizers)) != len(self.verbalizers):
            raise TaskError(f"two labels share a verbalizer among {', '.join(self.verbalizers)}; give each its own")
        for _, label in (*self.train, *self.validation):
            if not 0 <= label < len(self.labels):
                raise TaskError(f"an example has label index {label}, but the task has {len(self.labels)} labels")

    def with_wording(self, prompt: str | None, verbalizers: Sequence[str] | None) -> TaskData:
        """The same task under another prompt or other answer words, where given."""
        return replace(
            self,
            prompt=self.prompt if prompt is None else prompt,
            verbalizers=self.verbalizers if verbalizers is None else tuple(verbalizers),
        )

    def sha256(self) -> str:
        """Fingerprint of examples, labels and wording."""
        digest = hashlib.sha256()
        parts = [self.labels, (self.prompt,), self.verbalizers, self.train, self.validation]
        for part in parts:
            digest.update(f"{len(part)}\n".encode())
            for entry in part:
                digest.update(repr(entry).encode())
                digest.update(b"\n")
        return digest.hexdigest()


def choose(examples: Sequence[Example], count: int | None, seed: int, what: str, *, stream: int) -> tuple[Example, ...]:
    """``count`` random examples in keyed order, or all of them in their own order."""
    if count is None:
        return tuple(examples)
    if count > len(examples):
        raise TaskError(f"{count} {what} examples were asked for, but there are {len(examples)}")
    order = Words(philox(seed, SELECTION, stream=stream)).permutation(len(examples))
    return tuple(examples[index] for index in np.sort(order[:count]).tolist())
