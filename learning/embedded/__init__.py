"""The embedded language model and task: a small pretrained OPT and seeded reviews, so that a demonstration downloads nothing.

The model was taught to voice the sentiment of a review under some phrasings and never under `PROMPT`, whose answers it
saw only as coin tosses (`learning.embedded.corpus`). Fine-tuning teaches it to voice the same sentiment there. Importing this
package imports neither torch nor transformers.
"""

from pathlib import Path
from typing import Final

from learning.embedded.corpus import LABEL_WORDS, PROMPT_WORDS
from learning.embedded.grammar import SPLITS, reviews

__all__ = ["PROMPT", "SPLITS", "VERBALIZERS", "model_folder", "reviews"]

PROMPT: Final = "{text} " + PROMPT_WORDS
"""The fine-tuning prompt; `{text}` stands for the review."""

VERBALIZERS: Final[tuple[str, str]] = (" " + LABEL_WORDS[0], " " + LABEL_WORDS[1])
"""The answers that stand for labels 0 (negative) and 1 (positive); each is one token."""


def model_folder() -> Path:
    """The folder that transformers loads: `AutoModelForCausalLM.from_pretrained(model_folder())`."""
    return Path(__file__).parent / "model"
