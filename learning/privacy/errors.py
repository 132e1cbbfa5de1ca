"""What can go wrong in the privacy package, each with one sentence that says what to do."""

from __future__ import annotations

import math

from learning.errors import LearningError

__all__ = ["CostlierThanPlanned", "PrivacyError", "UnsupportedRelease", "check_delta", "check_epsilon"]


class PrivacyError(LearningError):
    """A privacy statement that was asked for cannot be made."""


class CostlierThanPlanned(PrivacyError):
    """A round that was sent cost more than its bound.

    :ivar cost: in the unit of the run's counter
    """

    def __init__(self, cost: float, sentence: str) -> None:
        super().__init__(sentence)
        self.cost = cost


class UnsupportedRelease(PrivacyError):
    """An accountant cannot certify this kind of release; the sentence names one that can, or the missing choice."""


def check_epsilon(epsilon: float) -> None:
    """Raise :class:`PrivacyError` unless 0 < epsilon < infinity."""
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise PrivacyError(f"epsilon must be positive and finite, got {epsilon}")


def check_delta(delta: float) -> None:
    """Raise :class:`PrivacyError` unless 0 < delta < 1."""
    if not 0 < delta < 1:
        raise PrivacyError(f"delta must lie strictly between 0 and 1, got {delta}; 1e-5 is usual, and below 1/n is needed")
