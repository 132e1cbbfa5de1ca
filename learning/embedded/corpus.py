"""The text on which the embedded model was pretrained.

Three kinds of document, every review in them from the train split:

- a review and an opinion of it in one of several phrasings ("I felt happy"): here the model learns sentiment;
- a review or a plain remark, then the fine-tuning prompt with a label word tossed like a coin ("It was great"): here it
  learns that these words exist and follow this prompt, and nothing about which review calls for which;
- plain remarks.

So the association that fine-tuning looks for, review to label word, is nowhere in pretraining.
"""

import random
import re
from typing import Final, NamedTuple

from learning.embedded.grammar import ASPECTS, review, split_of, vocabulary

__all__ = ["LABEL_WORDS", "OPINIONS", "PROMPT_WORDS", "Document", "corpus_vocabulary", "documents"]

PROMPT_WORDS: Final = "It was"
LABEL_WORDS: Final = ("terrible", "great")
"""The answers of the fine-tuning prompt; index 0 negative, 1 positive."""

OPINIONS: Final = (
    ("I felt", ("sad", "happy")),
    ("My rating is", ("negative", "positive")),
    ("We would", ("avoid", "recommend")),
    ("The mood was", ("gloomy", "bright")),
    ("It deserves", ("blame", "praise")),
    ("In short, a", ("failure", "success")),
)
"""Phrasings under which the corpus voices an opinion, each with its negative and its positive word."""

PLACES: Final = ("station", "market", "river", "library", "bridge", "garden", "office", "harbour")
TIMES: Final = ("in the morning", "in the evening", "last week", "at noon")
ERRANDS: Final = ("waited", "stopped", "arrived", "met")

# Cumulative shares: opinions, pairs of coin tosses after a review, pairs after a remark, remarks.
P_OPINION: Final = 0.85
P_TOSS_REVIEW: Final = 0.93
P_TOSS_REMARK: Final = 0.96


class Document(NamedTuple):
    """One pretraining document; `label` is that of its review, None where it has none."""

    kind: str
    text: str
    label: int | None


def documents(count: int, seed: int) -> list[Document]:
    """`count` pretraining documents, a function of the seed; tosses come as pairs of neighbours, one with each label word."""
    draw = random.Random(f"pairzero corpus {seed}")
    written: list[Document] = []
    while len(written) < count:
        documents = _documents(draw)
        if len(written) + len(documents) <= count:
            written += documents
    return written


def corpus_vocabulary() -> list[str]:
    """Every lower-case token of the corpus, sorted."""
    phrases = [PROMPT_WORDS, *LABEL_WORDS, *PLACES, *TIMES, *ERRANDS, "i we they the near at is"]
    for opening, answers in OPINIONS:
        phrases += [opening, *answers]
    return sorted({word for phrase in phrases for word in re.findall(r"\w+|[^\w\s]+", phrase.lower())} | set(vocabulary()))


def _documents(draw: random.Random) -> list[Document]:
    """One document, or the two of a toss."""
    kind = draw.random()
    if kind < P_OPINION:
        text, label = _train_review(draw)
        opening, answers = OPINIONS[int(draw.random() * len(OPINIONS))]
        return [Document("opinion", f"{text} {opening} {answers[label]}", label)]
    if kind < P_TOSS_REVIEW:
        return _toss(*_train_review(draw))
    if kind < P_TOSS_REMARK:
        return _toss(_remark(draw), None)
    return [Document("remark", _remark(draw), None)]


def _toss(text: str, label: int | None) -> list[Document]:
    return [Document("toss", f"{text} {PROMPT_WORDS} {word}", label) for word in LABEL_WORDS]


def _train_review(draw: random.Random) -> tuple[str, int]:
    while True:
        label = int(draw.random() < 0.5)
        text = review(draw, label)
        if split_of(text) == "train":
            return text, label


def _remark(draw: random.Random) -> str:
    aspects = [aspect for group in ASPECTS.values() for aspect in group]
    place, time = PLACES[int(draw.random() * len(PLACES))], TIMES[int(draw.random() * len(TIMES))]
    if draw.random() < 0.5:
        return f"The {aspects[int(draw.random() * len(aspects))]} is near the {place}."
    return f"We {ERRANDS[int(draw.random() * len(ERRANDS))]} at the {place} {time}."
