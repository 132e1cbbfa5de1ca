"""Prompted classification with a causal language model, all weights trainable.

The loss of a text is the cross-entropy over the label words' logits at the answer position, the last of the prompt
(as MeZO does, arXiv 2305.17333); no other logits are computed.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from learning.config import ModelConfig
from learning.data import Example, TaskData
from learning.errors import ModelError
from learning.models._loading import check_folder, draw_weights, load_pretrained, load_tokenizer, model_config, usable_device
from learning.models._loading import word_tokenizer as _word_tokenizer
from learning.objective import Classifier, Indices, Progress
from learning.parameters import weights_sha256

__all__ = ["CausalLanguageModel", "Prompts", "build"]


def build(config: ModelConfig, data: TaskData, progress: Progress | None = None) -> CausalLanguageModel:
    """A model from ``config.path`` (folder or hub name); with ``random_weights``, drawn ones (OPT-125M's shape by default)."""
    notes = []
    if config.path is None and not config.draws_weights:
        raise ModelError("the kind causal_lm needs model.path, a folder or hub name, or model.random_weights = true")
    if config.path is not None:
        check_folder(config.path, weights=not config.draws_weights)
        tokenizer = load_tokenizer(config.path)
    if config.draws_weights:
        configuration = model_config(config.path)
        if config.path is None:
            texts = [text for text, _ in data.train]
            wording = [data.prompt.replace("{text}", " "), *data.verbalizers]
            tokenizer = _word_tokenizer(texts, wording, configuration.vocab_size, configuration)
            notes.append("the tokenizer is a word list made from the training texts")
        notes.append("the weights are random: good for timing and plumbing, not for learning")
        model = draw_weights(configuration, config.weights_seed)
    else:
        assert config.path is not None
        model = load_pretrained(config.path)
    return CausalLanguageModel(model, tokenizer, data, config, notes)


@dataclass(frozen=True)
class Prompts:
    """Tokenised prompts, padded on the left: tokens and mask int64[N, L], lengths and labels int64[N]."""

    tokens: torch.Tensor
    mask: torch.Tensor
    lengths: npt.NDArray[np.int64]
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.lengths)


class CausalLanguageModel(Classifier):
    """A causal language model that answers a prompt with one of the verbalizers.

    :param tokenizer: a transformers tokenizer; every verbalizer must be one token after the prompt
    :raises ModelError: a verbalizer is not one token, or two are the same
    """

    def __init__(
        self, model: torch.nn.Module, tokenizer: Any, data: TaskData, config: ModelConfig, notes: Sequence[str] = ()
    ) -> None:
        self._device = usable_device(config.device)
        self.model = model.to(self._device).eval()
        self.notes = list(notes)
        self.base_weights_sha256 = weights_sha256(model)
        self.identity = {"model_kind": "causal_lm", "max_tokens": str(config.max_tokens), "forward": config.forward}
        self._tokenizer = tokenizer
        self._before, self._after = data.prompt.split("{text}")
        self._start = self._leading_tokens()
        self._autocast = config.forward == "bfloat16"
        positions = getattr(getattr(model, "config", None), "max_position_embeddings", None)
        self._longest = min(config.max_tokens, positions or config.max_tokens)
        accepted = inspect.signature(model.forward).parameters
        self._keeps_logits = "logits_to_keep" in accepted
        self._takes_positions = "position_ids" in accepted
        self._answers = torch.tensor([self._answer(word) for word in data.verbalizers], device=self._device)
        if len(set(self._answers.tolist())) != len(data.verbalizers):
            raise ModelError(f"two of the verbalizers {', '.join(data.verbalizers)} are the same token; choose other words")

    def prepare(self, examples: Sequence[Example]) -> Prompts:
        """Tokenise once; a prompt that is too long loses tokens on the left of its text, never its wording."""
        texts = [text for text, _ in examples]
        prompts = [self._before + text + self._after for text in texts]
        bare = self._tokenizer(prompts, add_special_tokens=False, verbose=False)["input_ids"]
        whole = [self._start + row for row in bare]
        rows = [row if len(row) <= self._longest else self._cut(text) for text, row in zip(texts, whole, strict=True)]
        width = max(map(len, rows))
        tokens = torch.full((len(rows), width), self._padding, dtype=torch.int64)
        mask = torch.zeros((len(rows), width), dtype=torch.int64)
        for number, row in enumerate(rows):
            tokens[number, width - len(row) :] = torch.tensor(row)
            mask[number, width - len(row) :] = 1
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        labels = torch.tensor([label for _, label in examples])
        return Prompts(tokens.to(self._device), mask.to(self._device), lengths, labels.to(self._device))

    def logits(self, dataset: Prompts, indices: Indices) -> torch.Tensor:
        """float32[B, labels]: the label words' logits after the prompt."""
        rows = torch.from_numpy(indices).to(self._device)
        width = int(dataset.lengths[indices].max())
        mask = dataset.mask[rows, -width:]
        inputs: dict[str, Any] = {"input_ids": dataset.tokens[rows, -width:], "attention_mask": mask, "use_cache": False}
        if self._takes_positions:
            inputs["position_ids"] = (mask.cumsum(dim=1) - 1).clamp_(min=0)
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._autocast):
            if self._keeps_logits:
                last = self.model(**inputs, logits_to_keep=1).logits[:, -1]
            else:
                hidden = self.model.base_model(**inputs).last_hidden_state[:, -1]  # type: ignore[operator]
                last = self.model.get_output_embeddings()(hidden)  # type: ignore[operator]
        scores: torch.Tensor = last[:, self._answers].float()
        return scores

    def targets(self, dataset: Prompts, indices: Indices) -> torch.Tensor:
        """The true labels."""
        return dataset.labels[torch.from_numpy(indices).to(self._device)]

    @property
    def _padding(self) -> int:
        # Any token will do where the mask is zero; OPT's and Llama's tokenizers have a pad token, GPT-2's has not.
        pad = self._tokenizer.pad_token_id
        return int(self._tokenizer.eos_token_id or 0) if pad is None else int(pad)

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _leading_tokens(self) -> list[int]:
        # What the tokenizer puts before a text; an end token after it would stand where the answer belongs.
        whole, bare = list(self._tokenizer.encode("x")), self._ids("x")
        places = [place for place in range(len(whole)) if whole[place : place + len(bare)] == bare]
        return whole[: places[0]] if places else []

    def _cut(self, text: str) -> list[int]:
        head, tail = self._start + self._ids(self._before), self._ids(self._after)
        room = self._longest - len(head) - len(tail)
        if room < 1:
            raise ModelError(f"the prompt's own words fill the {self._longest} tokens allowed; raise model.max_tokens")
        return [*head, *self._ids(text)[-room:], *tail]

    def _answer(self, verbalizer: str) -> int:
        # In context, since tokenizers treat a blank at a word's start in different ways.
        context = self._after if self._after.strip() else "x"
        before, after = self._ids(context), self._ids(context + verbalizer)
        unknown = self._tokenizer.unk_token_id
        if unknown is not None and unknown in after and unknown not in before:
            raise ModelError(f'the model does not know the verbalizer "{verbalizer}"; choose words of its vocabulary')
        if after[:-1] != before:
            raise ModelError(
                f'the verbalizer "{verbalizer}" is not one token after "{context.strip()}"; start it with a blank or '
                "choose another word"
            )
        return int(after[-1])
