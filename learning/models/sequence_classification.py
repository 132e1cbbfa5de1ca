"""A classifier of transformers (an encoder or decoder with a classification head), all weights trainable.

The text itself is classified, without a prompt; two texts are a pair, of three and more all but the first are joined. A head
that the folder lacks is drawn from ``model.weights_seed``, the same on every machine.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from learning.config import ModelConfig
from learning.data import Example, TaskData, Text, parts
from learning.errors import ModelError
from learning.models._loading import (
    check_folder,
    draw_tensors,
    draw_weights,
    load_tokenizer,
    load_with_missing,
    model_config,
    usable_device,
)
from learning.models._precision import Precision
from learning.models._wording import Rows, context_tokens, cut_note, padding_token
from learning.objective import Classifier, Indices, Progress
from learning.parameters import weights_sha256

__all__ = ["Encoded", "SequenceClassifier", "build"]

_AUTO = "AutoModelForSequenceClassification"


def build(config: ModelConfig, data: TaskData, progress: Progress | None = None) -> SequenceClassifier:
    """A model from ``config.path`` (folder or hub name) for the labels of ``data``."""
    if config.path is None:
        raise ModelError("the kind sequence_classification needs model.path, a folder or hub name such as roberta-base")
    if data.generates:
        raise ModelError("a classifier writes no answers; take model.kind causal_lm for this task")
    check_folder(config.path, weights=not config.draws_weights)
    tokenizer = load_tokenizer(config.path)
    notes = ["the text itself is classified: prompt and verbalizers of the task play no part"]
    configuration = model_config(config.path)
    order = _label_order(configuration, data.labels, notes)
    configuration.num_labels = len(data.labels)
    if config.draws_weights:
        notes.append("the weights are random: good for timing and plumbing, not for learning")
        model = draw_weights(configuration, config.weights_seed, _AUTO)
    else:
        model = _load(config, configuration, data.labels, notes)
    return SequenceClassifier(model, tokenizer, data, config, notes, order)


def _load(config: ModelConfig, configuration: Any, labels: Sequence[str], notes: list[str]) -> torch.nn.Module:
    assert config.path is not None
    try:
        model, missing = load_with_missing(config.path, _AUTO, config=configuration)
    except ModelError as error:
        if "mismatch" in str(error.__cause__):
            raise ModelError(
                f"the model in {config.path} has a trained head for another number of labels than the {len(labels)} of the "
                f"task ({', '.join(labels)}); choose another model, or its encoder alone"
            ) from error
        raise
    prefix = str(getattr(model, "base_model_prefix", "")) + "."
    lost = [name for name in missing if name.startswith(prefix) and ".pooler." not in name]
    if lost:
        raise ModelError(f"the weights in {config.path} lack {len(lost)} tensors, such as {lost[0]}; complete the download")
    if missing:
        draw_tensors(model, configuration, config.weights_seed, set(missing))
        notes.append(f"the classification head is new: {len(missing)} tensors were drawn from model.weights_seed")
    return model


def _label_order(configuration: Any, labels: Sequence[str], notes: list[str]) -> list[int] | None:
    """Which output of a trained head each label is, where the folder names its outputs as the task its labels."""
    named = {str(name).lower(): int(place) for place, name in (getattr(configuration, "id2label", None) or {}).items()}
    if set(named) == {label.lower() for label in labels}:
        return [named[label.lower()] for label in labels]
    if named and not all(name.startswith("label_") for name in named) and len(named) == len(labels):
        notes.append(f"the model names its outputs {', '.join(named)}; they are taken in that order for {', '.join(labels)}")
    return None


@dataclass(frozen=True)
class Encoded:
    """Tokenised texts, the segment of each token, and labels int64[N]."""

    rows: Rows
    segments: Rows | None
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.rows)


class SequenceClassifier(Classifier):
    """A transformers model whose head scores the labels.

    :param order: which output stands for each label; None: in order
    """

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Any,
        data: TaskData,
        config: ModelConfig,
        notes: Sequence[str] = (),
        order: Sequence[int] | None = None,
    ) -> None:
        self._device = usable_device(config.device)
        self._precision = Precision(config.forward, self._device)
        self.model = model.to(self._device).eval()
        self.notes = list(notes)
        self.base_weights_sha256 = weights_sha256(model)
        self.identity = {"model_kind": "sequence_classification", **config.identity()}
        self.minimises = config.loss
        self._tokenizer = tokenizer
        self._padding = padding_token(tokenizer, self.notes)
        self._has_padding = tokenizer.pad_token_id is not None
        # Decoders find the last token of a row by its not being the padding one.
        model.config.pad_token_id = self._padding  # type: ignore[union-attr]
        tokenizer.truncation_side = "left"
        self._longest = context_tokens(model, tokenizer, config.max_tokens)
        kinds = int(getattr(model.config, "type_vocab_size", 0) or 0)
        self._segmented = kinds > 1 and "token_type_ids" in inspect.signature(model.forward).parameters
        self._order = None if order is None else torch.tensor(list(order), device=self._device)

    def prepare(self, examples: Sequence[Example]) -> Encoded:
        """Tokenise once; what is too long loses tokens on its left."""
        pairs = [_pair(text) for text, _ in examples]
        second = [pair[1] for pair in pairs] if len(pairs[0]) == 2 else None
        first = [pair[0] for pair in pairs]
        lengths = [len(row) for row in self._tokenizer(first, second, verbose=False)["input_ids"]]
        encoded = self._tokenizer(
            first, second, truncation=True, max_length=self._longest, return_token_type_ids=self._segmented
        )
        self.notes += cut_note(sum(length > self._longest for length in lengths), len(lengths), self._longest)
        rows = encoded["input_ids"]
        if not self._has_padding and any(row[-1] == self._padding for row in rows):
            raise ModelError(
                "the tokenizer has no pad token and ends texts with the token that would stand for it; name a pad_token in the "
                "model folder's tokenizer_config.json"
            )
        labels = torch.tensor([label for _, label in examples], device=self._device)
        segments = Rows.of(encoded["token_type_ids"], self._device) if self._segmented else None
        return Encoded(Rows.of(rows, self._device), segments, labels)

    def logits(self, dataset: Encoded, indices: Indices) -> torch.Tensor:
        """float32[B, labels]: the head's scores."""
        tokens, mask = dataset.rows.padded(indices, self._padding, left=False)
        inputs: dict[str, Any] = {"input_ids": tokens, "attention_mask": mask}
        if dataset.segments is not None:
            inputs["token_type_ids"] = dataset.segments.padded(indices, 0, left=False)[0]
        model: Any = self.model
        with self._precision():
            scores: torch.Tensor = model(**inputs).logits.float()
        return scores if self._order is None else scores[:, self._order]

    def targets(self, dataset: Encoded, indices: Indices) -> torch.Tensor:
        """The true labels."""
        return dataset.labels[torch.from_numpy(indices).to(self._device)]


def _pair(text: Text) -> tuple[str, ...]:
    first, *others = parts(text)
    return (first, " ".join(others)) if others else (first,)
