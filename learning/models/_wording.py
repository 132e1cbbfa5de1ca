"""From a template and the texts of examples to rows of tokens, and from rows to padded batches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from learning.data import MASK, Text, parts
from learning.errors import ModelError

__all__ = ["Rows", "Wording", "context_tokens", "continuation", "cut_note", "padding_token"]

Indices = npt.NDArray[np.int64]

# Models whose position embeddings start after the padding token's number.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "mpnet", "longformer")


@dataclass(frozen=True)
class Rows:
    """Token rows one after the other in ``flat`` int64[T]; row i is flat[starts[i] : starts[i] + lengths[i]]."""

    flat: torch.Tensor
    starts: Indices
    lengths: Indices

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], device: torch.device) -> Rows:
        """Pack rows, on ``device``."""
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        flat = np.fromiter((token for row in rows for token in row), dtype=np.int64, count=int(lengths.sum()))
        return cls(torch.from_numpy(flat).to(device), np.cumsum(lengths) - lengths, lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, index: int) -> list[int]:
        """The tokens of one row."""
        start = int(self.starts[index])
        found: list[int] = self.flat[start : start + int(self.lengths[index])].tolist()
        return found

    def padded(self, indices: Indices, fill: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """(tokens, mask), int64[B, width of the longest], padded with ``fill`` on one side."""
        lengths = self.lengths[indices]
        width = int(lengths.max())
        columns = np.arange(width) - ((width - lengths)[:, None] if left else 0)
        inside = (columns >= 0) & (columns < lengths[:, None])
        places = torch.from_numpy(np.where(inside, self.starts[indices][:, None] + columns, 0)).to(self.flat.device)
        mask = torch.from_numpy(inside).to(self.flat.device)
        return self.flat[places].masked_fill_(~mask, fill), mask.to(torch.int64)


class Wording:
    """A template in the tokens of one model.

    :param template: text with the names of ``fields`` in braces, and {mask} for a masked model
    :param longest: tokens of a row, the special ones included; a longer text is cut on the left of its longest field
    :param closed: whether the tokenizer's end tokens are put after the text
    """

    def __init__(self, tokenizer: Any, template: str, fields: Sequence[str], longest: int, *, closed: bool = False) -> None:
        self._tokenizer = tokenizer
        self._longest = longest
        pieces = re.split(r"\{(\w+)\}", template)
        mask = str(getattr(tokenizer, "mask_token", None) or "")
        self._pieces: list[str | int] = [
            piece if place % 2 == 0 else fields.index(piece) if piece in fields else mask if "{" + piece + "}" == MASK
            else "{" + piece + "}"
            for place, piece in enumerate(pieces)
        ]  # fmt: skip
        self._start, end = _special_tokens(tokenizer)
        self._end = end if closed else []

    @property
    def tail(self) -> str:
        """The words after the last field."""
        last = max(place for place, piece in enumerate(self._pieces) if isinstance(piece, int))
        return "".join(str(piece) for piece in self._pieces[last + 1 :])

    def ids(self, text: str) -> list[int]:
        """The tokens of a piece of text, without special ones."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def rows(self, texts: Sequence[Text]) -> tuple[list[list[int]], int]:
        """(a row of tokens per text, how many texts were cut)."""
        prompts = [self._render(parts(text), self._pieces) for text in texts]
        bare = self._tokenizer(prompts, add_special_tokens=False, verbose=False)["input_ids"]
        rows, cut = [], 0
        for text, tokens in zip(texts, bare, strict=True):
            row = [*self._start, *tokens, *self._end]
            if len(row) > self._longest:
                row = self._cut(parts(text))
                cut += 1
            rows.append(row)
        return rows, cut

    def cut_note(self, cut: int, count: int) -> list[str]:
        """What to tell of ``cut`` texts among ``count``; nothing where there are none."""
        return cut_note(cut, count, self._longest)

    def _cut(self, texts: tuple[str, ...]) -> list[int]:
        lengths = [len(self.ids(text)) for text in texts]
        longest = self._pieces.index(lengths.index(max(lengths)))
        head = [*self._start, *self.ids(self._render(texts, self._pieces[:longest]))]
        tail = [*self.ids(self._render(texts, self._pieces[longest + 1 :])), *self._end]
        room = self._longest - len(head) - len(tail)
        if room < 1:
            raise ModelError(f"the prompt's own words fill the {self._longest} tokens allowed; raise model.max_tokens")
        return [*head, *self.ids(texts[lengths.index(max(lengths))])[-room:], *tail]

    @staticmethod
    def _render(texts: tuple[str, ...], pieces: Sequence[str | int]) -> str:
        return "".join(texts[piece] if isinstance(piece, int) else piece for piece in pieces)


def cut_note(cut: int, count: int, longest: int) -> list[str]:
    """What to tell of ``cut`` texts among ``count`` that were longer than ``longest`` tokens."""
    if not cut:
        return []
    return [f"{cut} of {count} texts are longer than {longest} tokens and were cut on their left (model.max_tokens)"]


def context_tokens(model: Any, tokenizer: Any, wanted: int) -> int:
    """How many tokens a row may have: ``wanted``, or what the model and its tokenizer can take where that is less."""
    configuration = getattr(model, "config", None)
    positions = getattr(configuration, "max_position_embeddings", None)
    if positions and getattr(configuration, "model_type", "") in _OFFSET_POSITIONS:
        positions -= int(getattr(configuration, "pad_token_id", None) or 0) + 1
    return min(wanted, positions or wanted, int(getattr(tokenizer, "model_max_length", None) or wanted))


def padding_token(tokenizer: Any, notes: list[str]) -> int:
    """The token that fills short rows, where the mask is zero; a note where the tokenizer has none of its own."""
    pad = tokenizer.pad_token_id
    if pad is not None:
        return int(pad)
    end = tokenizer.eos_token_id
    which = f"its end token ({end})" if end is not None else "token 0"
    notes.append(
        f"the tokenizer has no pad token: {which} fills short rows, where the attention mask keeps it from having any effect"
    )
    return int(end or 0)


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after a text."""
    whole, bare = list(tokenizer.encode("x")), list(tokenizer.encode("x", add_special_tokens=False))
    for place in range(len(whole)):
        if bare and whole[place : place + len(bare)] == bare:
            return whole[:place], whole[place + len(bare) :]
    return [], []


def continuation(wording: Wording, tokenizer: Any, context: str, word: str) -> list[int]:
    """The tokens of ``word`` after ``context``, since tokenizers treat a blank at a word's start in different ways.

    :raises ModelError: the model does not know the word, or joins it to the context so that it has no tokens of its own
    """
    before, after = wording.ids(context), wording.ids(context + word)
    unknown = tokenizer.unk_token_id
    if unknown is not None and unknown in after and unknown not in before:
        raise ModelError(f'the model does not know the verbalizer "{word}"; choose words of its vocabulary')
    if after[: len(before)] != before or len(after) == len(before):
        raise ModelError(
            f'the verbalizer "{word}" has no tokens of its own after "{context.strip()}"; start it with a blank or choose '
            "another word"
        )
    return after[len(before) :]
