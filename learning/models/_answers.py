"""A causal language model that writes the answer: trained on the answer's tokens, scored by what it generates.

The loss of an example is the mean negative log-likelihood of the tokens of its first answer, a line break at its end included
(as MeZO trains SQuAD, arXiv 2305.17333); logits are computed at those positions only. Generation is greedy and ends with the
line. With ``model.loss`` metric the loss is 1 - F1 of the generated answer, which has no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from learning.config import ModelConfig
from learning.data import Example, TaskData
from learning.errors import ModelError
from learning.metrics import exact_match, f1
from learning.models._causal import CausalForward
from learning.models._wording import Rows, Wording, context_tokens, padding_token
from learning.objective import Indices
from learning.parameters import weights_sha256

__all__ = ["AnsweringModel", "Questions"]


@dataclass(frozen=True)
class Questions:
    """Tokenised prompts, the same with their first answers, how many tokens those have, and all acceptable answers."""

    prompts: Rows
    answered: Rows
    answer_lengths: Indices
    acceptable: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.prompts)


class AnsweringModel:
    """A causal language model on a generation task.

    :param tokenizer: a transformers tokenizer with a token for a line break, or at least one for the end
    :raises ModelError: it has neither, or ``config.answer_tokens`` leaves no room for a prompt
    """

    metrics = ("f1", "exact_match")

    def __init__(
        self, model: torch.nn.Module, tokenizer: Any, data: TaskData, config: ModelConfig, notes: Sequence[str] = ()
    ) -> None:
        self._forward = CausalForward(model, config)
        self.model = self._forward.model
        self.notes = list(notes)
        self.base_weights_sha256 = weights_sha256(model)
        self.identity = {"model_kind": "causal_lm", **config.identity(), "answer_tokens": str(config.answer_tokens)}
        self.minimises = config.loss
        self._tokenizer = tokenizer
        self._answers = data.answers
        self._answer_tokens = config.answer_tokens
        self._padding = padding_token(tokenizer, self.notes)
        room = context_tokens(model, tokenizer, config.max_tokens) - config.answer_tokens
        if room < 8:
            raise ModelError(
                f"answers of {config.answer_tokens} tokens leave {max(room, 0)} for the prompt; raise model.max_tokens or "
                "lower model.answer_tokens"
            )
        self._wording = Wording(tokenizer, data.prompt, data.fields, room)
        breaks = _tokens_with_line_breaks(tokenizer)
        end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.bos_token_id
        if not breaks and end is None:
            raise ModelError("the tokenizer has neither a line break nor an end token, so that no answer could end")
        self._stops = sorted({*breaks, *(() if end is None else (int(end),))})
        self._end = breaks[0] if end is None else int(end)

    def prepare(self, examples: Sequence[Example]) -> Questions:
        """Tokenise once; a prompt that is too long loses tokens on the left of its longest text, never its wording."""
        rows, cut = self._wording.rows([text for text, _ in examples])
        self.notes += self._wording.cut_note(cut, len(rows))
        acceptable = tuple(self._answers[label] for _, label in examples)
        answers = self._tokenised([given[0] for given in acceptable])
        shortened = sum(len(answer) > self._answer_tokens for answer in answers)
        if shortened:
            self.notes.append(
                f"{shortened} of {len(rows)} answers are longer than {self._answer_tokens} tokens and are trained on without "
                "the rest (model.answer_tokens)"
            )
        answers = [answer[: self._answer_tokens] for answer in answers]
        device = self._forward.device
        return Questions(
            Rows.of(rows, device),
            Rows.of([[*row, *answer] for row, answer in zip(rows, answers, strict=True)], device),
            np.array([len(answer) for answer in answers], dtype=np.int64),
            acceptable,
        )

    def losses(self, dataset: Questions, indices: Indices) -> torch.Tensor:
        """float32[B]: negative log-likelihood per answer token [nat]; or 1 - F1 of what is generated."""
        if self.minimises == "metric":
            return self._as_losses(self._scores(dataset, indices))
        return self._likelihoods(dataset, indices)

    def assess(self, dataset: Questions, indices: Indices) -> tuple[torch.Tensor, npt.NDArray[Any]]:
        """Losses, and [F1, exact match] of the generated answers, float64[B, 2]."""
        scores = self._scores(dataset, indices)
        losses = self._as_losses(scores) if self.minimises == "metric" else self._likelihoods(dataset, indices)
        return losses, scores

    def write(self, dataset: Questions, indices: Indices) -> list[str]:
        """The generated answers: greedy, up to the first line break."""
        tokens, mask = dataset.prompts.padded(indices, self._padding, left=True)
        written = self._forward.generate(tokens, mask, longest=self._answer_tokens, stops=self._stops, padding=self._padding)
        texts: list[str] = self._tokenizer.batch_decode(written.tolist(), skip_special_tokens=True)
        return [text.partition("\n")[0].strip() for text in texts]

    def _scores(self, dataset: Questions, indices: Indices) -> npt.NDArray[np.float64]:
        answers = self.write(dataset, indices)
        truths = [dataset.acceptable[index] for index in indices.tolist()]
        return np.array([[f1(a, t), exact_match(a, t)] for a, t in zip(answers, truths, strict=True)], dtype=np.float64)

    def _as_losses(self, scores: npt.NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy((1.0 - scores[:, 0]).astype(np.float32))

    def _likelihoods(self, dataset: Questions, indices: Indices) -> torch.Tensor:
        tokens, mask = dataset.answered.padded(indices, self._padding, left=True)
        lengths = torch.from_numpy(dataset.answer_lengths[indices]).to(tokens.device)
        columns = int(dataset.answer_lengths[indices].max())
        # The token before the answer predicts its first, and the last one predicts nothing.
        answer = torch.arange(columns, device=tokens.device) >= columns - lengths[:, None]
        logits = self._forward.last_logits(tokens[:, :-1], mask[:, :-1], answer)
        each = torch.nn.functional.cross_entropy(logits, tokens[:, -columns:][answer], reduction="none")
        spread = torch.zeros(answer.shape, device=tokens.device)
        spread[answer] = each
        return spread.sum(dim=1) / lengths

    def _tokenised(self, answers: Sequence[str]) -> list[list[int]]:
        """The tokens of each answer as it continues the prompt, with its end."""
        tail = self._wording.tail.strip() or "x"
        before = self._wording.ids(tail)
        whole = self._tokenizer([f"{tail} {answer}\n" for answer in answers], add_special_tokens=False)["input_ids"]
        rows = []
        for answer, tokens in zip(answers, whole, strict=True):
            joined = list(tokens[: len(before)]) != before
            row = self._wording.ids(f" {answer}\n") if joined else list(tokens[len(before) :])
            rows.append(row if row and row[-1] in self._stops else [*row, self._end])  # tokenizers may drop the line break
        return rows


def _tokens_with_line_breaks(tokenizer: Any) -> list[int]:
    """Every token after which a line is over."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    return [token for token, text in enumerate(texts) if "\n" in text]
