"""How a generated answer is scored: F1 over words and exact match, normalised as SQuAD's official script does.

Source: the evaluation script v1.1 of Rajpurkar et al., arXiv 1606.05250, section 6.1: lower case, without punctuation, without
the articles a, an, the, with single blanks; the best score over the acceptable answers counts.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

__all__ = ["exact_match", "f1", "normalised"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(answer: str) -> str:
    """The answer as it is compared."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def f1(answer: str, acceptable: Sequence[str]) -> float:
    """The largest harmonic mean of precision and recall over words, in [0, 1]; repeated words count as often as in both."""
    return max(_f1(normalised(answer).split(), normalised(truth).split()) for truth in acceptable)


def exact_match(answer: str, acceptable: Sequence[str]) -> float:
    """1 where the answer is one of the acceptable ones, else 0."""
    return float(any(normalised(answer) == normalised(truth) for truth in acceptable))


def _f1(answer: Sequence[str], truth: Sequence[str]) -> float:
    # As in the official script, an answer without a word in common scores 0, an empty one against an empty one too.
    shared = (Counter(answer) & Counter(truth)).total()
    if shared == 0:
        return 0.0
    precision, recall = shared / len(answer), shared / len(truth)
    return 2.0 * precision * recall / (precision + recall)
