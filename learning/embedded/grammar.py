"""A seeded grammar of short reviews whose sentiment is compositional.

A review is one main clause, alone, or beside a second clause that agrees with it ("and") or is conceded to it ("but",
"yet", "although"). Its label is the polarity of the main clause, so a contrast names both feelings and only its structure
tells which one counts; every clause may also be a negation of the opposite feeling ("not dull", "did not hate"). Structure is
drawn before polarity and the words of both polarities come in equal numbers, so nothing but the meaning separates the classes.

Sentences go to train, validation or test by a hash of their text: the splits are disjoint for every seed and count.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import Final, TypeVar

from learning.errors import TaskError

__all__ = ["SPLITS", "review", "reviews", "split_of", "vocabulary"]

T = TypeVar("T")

SPLITS: Final = ("train", "validation", "test")

ASPECTS: Final[dict[str, tuple[str, ...]]] = {
    "film": ("film", "plot", "acting", "ending", "music", "dialogue", "cast"),
    "food": ("meal", "soup", "bread", "dessert", "menu", "sauce", "salad"),
    "hotel": ("hotel", "room", "bed", "view", "lobby", "pool", "staff"),
    "book": ("book", "story", "style", "cover", "hero", "prose", "chapter"),
    "phone": ("phone", "screen", "battery", "speaker", "keyboard", "camera", "charger"),
    "trip": ("trip", "train", "seat", "guide", "driver", "route", "ticket"),
    "game": ("game", "puzzle", "level", "sound", "map", "quest", "score"),
}

# Index 0 holds the negative words, 1 the positive ones: the index is the label.
ADJECTIVES: Final = (
    (
        *("awful", "dull", "horrible", "boring", "dreadful", "poor", "clumsy", "annoying"),
        *("ugly", "weak", "nasty", "tedious", "miserable", "pathetic", "shabby", "lousy"),
    ),
    (
        *("wonderful", "charming", "superb", "lovely", "brilliant", "delightful", "excellent", "pleasant"),
        *("splendid", "impressive", "enjoyable", "satisfying", "perfect", "beautiful", "stunning", "marvelous"),
    ),
)
VERBS: Final = (
    (("hated", "hate"), ("disliked", "dislike"), ("regretted", "regret"), ("despised", "despise")),
    (("loved", "love"), ("enjoyed", "enjoy"), ("admired", "admire"), ("liked", "like")),
)

OPENINGS: Final = (
    *("honestly ,", "to be fair ,", "this time ,", "last week", "in the end ,", "at first glance ,"),
    *("once again ,", "as usual ,", "for the price ,", "well ,"),
)
COPULAS: Final = ("was", "seemed", "felt", "looked", "remained")
INTENSIFIERS: Final = ("very", "really", "so", "truly")
NEGATIONS: Final = ("not", "never", "hardly")
PEOPLE: Final = ("i", "we", "they", "everyone")
CONTRASTS: Final = ("but", "yet")

# Share of openings and intensifiers, of negated clauses, and of copulas among the clauses.
P_OPENING: Final = 0.4
P_INTENSIFIER: Final = 0.35
P_NEGATED: Final = 0.3
P_COPULA: Final = 0.65
# Cumulative shares of the structures: single, and, but/yet, although first, although last.
STRUCTURES: Final = (
    ("single", 0.35),
    ("and", 0.5),
    ("contrast", 0.75),
    ("although_first", 0.9),
    ("although_last", 1.0),
)

# Of ten sentences eight go to train, one to validation and one to test.
_BUCKETS: Final = ("train",) * 8 + ("validation", "test")


def vocabulary() -> list[str]:
    """Every lower-case word and punctuation mark that a review can contain, sorted."""
    words = {"the", "although", "and", "did", "nothing", "about", "there", "was", ",", "."}
    words.update(word for aspects in ASPECTS.values() for word in aspects)
    words.update(word for side in ADJECTIVES for word in side)
    words.update(word for side in VERBS for pair in side for word in pair)
    for phrase in (*OPENINGS, *COPULAS, *INTENSIFIERS, *NEGATIONS, *PEOPLE, *CONTRASTS):
        words.update(phrase.split())
    return sorted(words)


def split_of(sentence: str) -> str:
    """The split that a sentence belongs to, a function of its text alone."""
    return _BUCKETS[hashlib.sha256(sentence.encode()).digest()[0] % len(_BUCKETS)]


def review(draw: random.Random, label: int) -> str:
    """One review of the given label (0 negative, 1 positive); two draws of equal state give equal text."""
    structure = _structure(draw.random())
    subject, other = _two(draw, ASPECTS[_choice(draw, tuple(ASPECTS))])
    opening = _choice(draw, OPENINGS) + " " if draw.random() < P_OPENING else ""
    main = _clause(draw, subject, label)
    if structure == "single":
        body = main
    elif structure == "and":
        body = f"{_clause(draw, other, label)} and {main}"
    else:
        conceded = _clause(draw, other, 1 - label)
        if structure == "contrast":
            body = f"{conceded} , {_choice(draw, CONTRASTS)} {main}"
        elif structure == "although_first":
            body = f"although {conceded} , {main}"
        else:
            body = f"{main} , although {conceded}"
    return _written(f"{opening}{body} .")


def reviews(split: str, count: int, seed: int) -> list[tuple[str, int]]:
    """`count` different reviews of one split with labels 0 (negative) and 1 (positive), half each.

    The order alternates at random and a longer list does not begin with the shorter one's order. An odd count has one positive
    review more. Splits share no sentence, whatever their seeds.

    Raises TaskError for an unknown split, a negative count, or a count that the grammar cannot fill.
    """
    if split not in SPLITS:
        raise TaskError(f"There is no split {split!r}; use one of {', '.join(SPLITS)}.")
    if count < 0:
        raise TaskError(f"{count} reviews cannot be written; ask for 0 or more.")
    draw = random.Random(f"pairzero reviews {split} {seed}")
    labels = [index % 2 for index in range(count, 0, -1)]
    written: dict[str, int] = {}
    for label in labels:
        for _ in range(10_000):
            sentence = review(draw, label)
            if sentence not in written and split_of(sentence) == split:
                written[sentence] = label
                break
        else:
            raise TaskError(f"The grammar ran out of new sentences after {len(written)}; ask for fewer than {count}.")
    examples = list(written.items())
    _shuffle(draw, examples)
    return examples


def _clause(draw: random.Random, aspect: str, polarity: int) -> str:
    """A clause that says that an aspect is good (1) or bad (0), perhaps by denying the opposite."""
    negated = draw.random() < P_NEGATED
    stated = 1 - polarity if negated else polarity
    if draw.random() < P_COPULA:
        adjective = _choice(draw, ADJECTIVES[stated])
        if negated and draw.random() < 0.25:
            return f"there was nothing {adjective} about the {aspect}"
        degree = _choice(draw, INTENSIFIERS) + " " if draw.random() < P_INTENSIFIER else ""
        if negated:
            return f"the {aspect} was {_choice(draw, NEGATIONS)} {degree}{adjective}"
        return f"the {aspect} {_choice(draw, COPULAS)} {degree}{adjective}"
    past, base = _choice(draw, VERBS[stated])
    who = _choice(draw, PEOPLE)
    return f"{who} did not {base} the {aspect}" if negated else f"{who} {past} the {aspect}"


def _structure(u: float) -> str:
    return next(name for name, upto in STRUCTURES if u < upto)


def _choice(draw: random.Random, options: Sequence[T]) -> T:
    # Only random() is promised to give the same stream in every Python release; choice() is not.
    return options[int(draw.random() * len(options))]


def _two(draw: random.Random, options: Sequence[str]) -> tuple[str, str]:
    first = int(draw.random() * len(options))
    second = int(draw.random() * (len(options) - 1))
    return options[first], options[second + (second >= first)]


def _shuffle(draw: random.Random, items: list[T]) -> None:
    for last in range(len(items) - 1, 0, -1):
        other = int(draw.random() * (last + 1))
        items[last], items[other] = items[other], items[last]


def _written(tokens: str) -> str:
    """Tokens as prose: no blank before punctuation, a capital first letter, and the pronoun I."""
    text = " ".join("I" if token == "i" else token for token in tokens.split())
    text = text.replace(" ,", ",").replace(" .", ".")
    return text[0].upper() + text[1:]
