"""A causal language model, all weights trainable: it answers a prompt with a verbalizer, or writes the answer itself.

The loss of a classified text is the cross-entropy over the label words' logits at the answer position, the last of the prompt
(as MeZO does, arXiv 2305.17333); no other logits are computed. Generation tasks are learning.models._answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from learning.config import ModelConfig
from learning.data import MASK, Example, TaskData, parts
from learning.errors import ModelError
from learning.models._answers import AnsweringModel
from learning.models._causal import CausalForward
from learning.models._loading import check_folder, draw_weights, load_pretrained, load_tokenizer, model_config
from learning.models._loading import word_tokenizer as _word_tokenizer
from learning.models._wording import Rows, Wording, context_tokens, continuation, padding_token
from learning.objective import Classifier, Indices, Progress
from learning.parameters import weights_sha256

__all__ = ["CausalLanguageModel", "Prompts", "build"]


def build(config: ModelConfig, data: TaskData, progress: Progress | None = None) -> CausalLanguageModel | AnsweringModel:
    """A model from ``config.path`` (folder or hub name); with ``random_weights``, drawn ones (OPT-125M's shape by default)."""
    notes = []
    if config.path is None and not config.draws_weights:
        raise ModelError("the kind causal_lm needs model.path, a folder or hub name, or model.random_weights = true")
    if MASK in data.prompt:
        raise ModelError(
            f"the prompt has a {MASK}, which causal models do not fill; take model.kind masked_lm, or leave it out"
        )
    if config.path is not None:
        check_folder(config.path, weights=not config.draws_weights)
        tokenizer = load_tokenizer(config.path)
    if config.draws_weights:
        configuration = model_config(config.path)
        if config.path is None:
            tokenizer = _word_tokenizer(*_vocabulary(data), configuration.vocab_size, configuration)
            notes.append("the tokenizer is a word list made from the training texts")
        notes.append("the weights are random: good for timing and plumbing, not for learning")
        model = draw_weights(configuration, config.weights_seed)
    else:
        assert config.path is not None
        model = load_pretrained(config.path)
    kind = AnsweringModel if data.generates else CausalLanguageModel
    return kind(model, tokenizer, data, config, notes)


def _vocabulary(data: TaskData) -> tuple[list[str], list[str]]:
    """(texts whose words a word list is made of, texts whose words it must have)."""
    wording = data.prompt
    for field in data.fields:
        wording = wording.replace("{" + field + "}", " ")
    texts = [part for text, _ in data.train for part in parts(text)]
    return [*texts, *(answer for answers in data.answers for answer in answers)], [wording, *data.verbalizers]


@dataclass(frozen=True)
class Prompts:
    """Tokenised prompts, and their labels int64[N]."""

    rows: Rows
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.rows)


class CausalLanguageModel(Classifier):
    """A causal language model that answers a prompt with one of the verbalizers.

    A verbalizer is one token after the prompt; or, with ``config.verbalizer_score`` sum or mean, any number of tokens, whose
    log-likelihoods are added up or averaged (the latter as MeZO does), one forward pass per verbalizer.

    :param tokenizer: a transformers tokenizer
    :raises ModelError: a verbalizer is not known, not one token where it must be, or two are the same
    """

    def __init__(
        self, model: torch.nn.Module, tokenizer: Any, data: TaskData, config: ModelConfig, notes: Sequence[str] = ()
    ) -> None:
        self._forward = CausalForward(model, config)
        self.model = self._forward.model
        self.notes = list(notes)
        self.base_weights_sha256 = weights_sha256(model)
        self.identity = {"model_kind": "causal_lm", **config.identity()}
        self.minimises = config.loss
        self._tokenizer = tokenizer
        self._score = config.verbalizer_score
        self._padding = padding_token(tokenizer, self.notes)
        longest = context_tokens(model, tokenizer, config.max_tokens)
        # The wording is first made without a limit, which the verbalizers' own tokens lower.
        self._wording = Wording(tokenizer, data.prompt, data.fields, longest)
        self._answers = [self._answer(word) for word in data.verbalizers]
        if len({tuple(answer) for answer in self._answers}) != len(data.verbalizers):
            raise ModelError(f"two of the verbalizers {', '.join(data.verbalizers)} are the same token; choose other words")
        self._single = torch.tensor([answer[0] for answer in self._answers], device=self._forward.device)
        more = max(map(len, self._answers)) - 1
        if more:
            self._wording = Wording(tokenizer, data.prompt, data.fields, longest - more)

    def prepare(self, examples: Sequence[Example]) -> Prompts:
        """Tokenise once; a prompt that is too long loses tokens on the left of its longest text, never its wording."""
        rows, cut = self._wording.rows([text for text, _ in examples])
        self.notes += self._wording.cut_note(cut, len(rows))
        labels = torch.tensor([label for _, label in examples], device=self._forward.device)
        return Prompts(Rows.of(rows, self._forward.device), labels)

    def logits(self, dataset: Prompts, indices: Indices) -> torch.Tensor:
        """float32[B, labels]: the label words' logits after the prompt, or the scores of their tokens."""
        tokens, mask = dataset.rows.padded(indices, self._padding, left=True)
        if all(len(answer) == 1 for answer in self._answers):
            last = torch.ones((len(indices), 1), dtype=torch.bool, device=tokens.device)
            return self._forward.last_logits(tokens, mask, last)[:, self._single]
        return torch.stack([self._likelihood(tokens, mask, answer) for answer in self._answers], dim=1)

    def targets(self, dataset: Prompts, indices: Indices) -> torch.Tensor:
        """The true labels."""
        return dataset.labels[torch.from_numpy(indices).to(self._forward.device)]

    def _likelihood(self, tokens: torch.Tensor, mask: torch.Tensor, answer: list[int]) -> torch.Tensor:
        """float32[B]: log-likelihood of the tokens of one verbalizer after each prompt, added up or averaged."""
        rows, length = len(tokens), len(answer)
        words = torch.tensor(answer, device=tokens.device).expand(rows, length)
        whole = torch.cat([tokens, words[:, :-1]], dim=1)
        whole_mask = torch.cat([mask, torch.ones_like(words[:, :-1])], dim=1)
        keep = torch.ones((rows, length), dtype=torch.bool, device=tokens.device)
        scores = torch.log_softmax(self._forward.last_logits(whole, whole_mask, keep), dim=1)
        each = scores.gather(1, words.reshape(-1, 1)).view(rows, length)
        return each.sum(dim=1) if self._score == "sum" else each.mean(dim=1)

    def _answer(self, verbalizer: str) -> list[int]:
        context = self._wording.tail if self._wording.tail.strip() else "x"
        found = continuation(self._wording, self._tokenizer, context, verbalizer)
        if len(found) > 1 and self._score == "one_token":
            raise ModelError(
                f'the verbalizer "{verbalizer}" is not one token after "{context.strip()}" but {len(found)}; start it with a '
                'blank, choose another word, or set model.verbalizer_score to "mean" or "sum"'
            )
        return found
