"""Prompted classification with a masked language model, all weights trainable (LM-BFF, arXiv 2012.15723; MeZO's RoBERTa).

The template holds a mask; the scores of a text are the label words' logits there, and no other logits are computed.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from learning.config import ModelConfig
from learning.data import MASK, Example, TaskData
from learning.errors import ModelError, TaskError
from learning.models._loading import check_folder, draw_weights, load_pretrained, load_tokenizer, model_config, usable_device
from learning.models._precision import Precision
from learning.models._wording import Rows, Wording, context_tokens, continuation, padding_token
from learning.objective import Classifier, Indices, Progress
from learning.parameters import weights_sha256

__all__ = ["MaskedLanguageModel", "MaskedPrompts", "build"]

_AUTO = "AutoModelForMaskedLM"


def build(config: ModelConfig, data: TaskData, progress: Progress | None = None) -> MaskedLanguageModel:
    """A model from ``config.path`` (folder or hub name), or one of its shape with drawn weights."""
    if config.path is None:
        raise ModelError("the kind masked_lm needs model.path, a folder or hub name such as roberta-base")
    if data.generates:
        raise ModelError("a masked language model chooses words and writes no answers; take model.kind causal_lm for this task")
    check_folder(config.path, weights=not config.draws_weights)
    tokenizer = load_tokenizer(config.path)
    notes = []
    if config.draws_weights:
        notes.append("the weights are random: good for timing and plumbing, not for learning")
        model = draw_weights(model_config(config.path), config.weights_seed, _AUTO)
    else:
        model = load_pretrained(config.path, _AUTO)
    return MaskedLanguageModel(model, tokenizer, data, config, notes)


@dataclass(frozen=True)
class MaskedPrompts:
    """Tokenised prompts, the place of the mask in each, and the labels; the latter two int64[N]."""

    rows: Rows
    places: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.rows)


class MaskedLanguageModel(Classifier):
    """A masked language model that fills the mask of a prompt with one of the verbalizers.

    :param tokenizer: a transformers tokenizer with a mask token; every verbalizer must be one token
    :raises ModelError: there is no mask token, a verbalizer is not one token, or two are the same
    """

    def __init__(
        self, model: torch.nn.Module, tokenizer: Any, data: TaskData, config: ModelConfig, notes: Sequence[str] = ()
    ) -> None:
        self._device = usable_device(config.device)
        self._precision = Precision(config.forward, self._device)
        self.model = model.to(self._device).eval()
        self.notes = list(notes)
        self.base_weights_sha256 = weights_sha256(model)
        template, verbalizers = data.masked()
        self.identity = {
            "model_kind": "masked_lm",
            **config.identity(),
            "masked_prompt": template,
            "masked_verbalizers": "|".join(verbalizers),
        }
        self.minimises = config.loss
        if tokenizer.mask_token_id is None:
            raise ModelError("the tokenizer has no mask token; choose a masked language model, or model.kind causal_lm")
        self._mask = int(tokenizer.mask_token_id)
        self._tokenizer = tokenizer
        self._padding = padding_token(tokenizer, self.notes)
        self._takes_mask = "attention_mask" in inspect.signature(model.forward).parameters
        longest = context_tokens(model, tokenizer, config.max_tokens)
        self._wording = Wording(tokenizer, template, data.fields, longest, closed=True)
        context = template.partition(MASK)[0].rpartition("}")[2].strip() or "x"
        answers = [self._answer(context, word) for word in verbalizers]
        if len(set(answers)) != len(answers):
            raise ModelError(f"two of the verbalizers {', '.join(verbalizers)} are the same token; choose other words")
        self._answers = torch.tensor(answers, device=self._device)

    def prepare(self, examples: Sequence[Example]) -> MaskedPrompts:
        """Tokenise once; a prompt that is too long loses tokens on the left of its longest text, never its wording."""
        rows, cut = self._wording.rows([text for text, _ in examples])
        self.notes += self._wording.cut_note(cut, len(rows))
        for row, (text, _) in zip(rows, examples, strict=True):
            if row.count(self._mask) != 1:
                raise TaskError(
                    f'a text holds the mask token "{self._tokenizer.mask_token}" itself; remove it: {str(text)[:60]}'
                )
        places = torch.tensor([row.index(self._mask) for row in rows], device=self._device)
        labels = torch.tensor([label for _, label in examples], device=self._device)
        return MaskedPrompts(Rows.of(rows, self._device), places, labels)

    def logits(self, dataset: MaskedPrompts, indices: Indices) -> torch.Tensor:
        """float32[B, labels]: the label words' logits at the mask."""
        chosen = torch.from_numpy(indices).to(self._device)
        tokens, mask = dataset.rows.padded(indices, self._padding, left=False)
        scores: torch.Tensor = self._logits_at(tokens, mask, dataset.places[chosen])[:, self._answers].float()
        return scores

    def targets(self, dataset: MaskedPrompts, indices: Indices) -> torch.Tensor:
        """The true labels."""
        return dataset.labels[torch.from_numpy(indices).to(self._device)]

    def _logits_at(self, tokens: torch.Tensor, mask: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """[B, V]: the logits at one place of each row.

        Heads of masked models work place by place, so the encoder's output is reduced to the places before its head sees it.
        """
        rows = torch.arange(len(tokens), device=tokens.device)
        model: Any = self.model

        def reduce(module: Any, inputs: Any, output: Any) -> Any:
            output["last_hidden_state"] = output["last_hidden_state"][rows, places].unsqueeze(1)
            return output

        hook = model.base_model.register_forward_hook(reduce)
        try:
            with self._precision():
                logits = model(input_ids=tokens, **({"attention_mask": mask} if self._takes_mask else {})).logits
        finally:
            hook.remove()
        found: torch.Tensor = logits[:, 0]
        return found

    def _answer(self, context: str, verbalizer: str) -> int:
        found = continuation(self._wording, self._tokenizer, context, verbalizer)
        if len(found) != 1:
            raise ModelError(
                f'the verbalizer "{verbalizer}" is not one token after "{context}" but {len(found)}, and a mask stands for '
                "one; choose another word"
            )
        return found[0]
