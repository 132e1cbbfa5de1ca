"""The loudest schedule that keeps a promise: a bracket from the safe side, whose checked end is returned."""

from __future__ import annotations

import math

import numpy as np

from learning.privacy.accountants import AccountantLike
from learning.privacy.accountants._common import refuse
from learning.privacy.errors import PrivacyError, check_delta, check_epsilon
from learning.privacy.release import Release
from learning.privacy.sensitivity import Relation

__all__ = ["largest_mu", "largest_scale"]


def largest_scale(
    accountant: AccountantLike, shape: Release, epsilon: float, delta: float, *, tolerance: float = 1e-4
) -> float:
    """Largest factor s, within ``tolerance`` relative, for which ``shape.scaled(s)`` is (epsilon, delta)-DP by ``accountant``.

    The accountant has been asked about the returned factor, and its epsilon is at most the target.

    :param shape: a schedule of mu up to a common factor
    :raises PrivacyError: a shape without any audible round, or one that is louder than any finite epsilon
    :raises UnsupportedRelease: the accountant cannot certify such a release
    """
    check_epsilon(epsilon)
    check_delta(delta)
    if not 0 < tolerance < 1:
        raise PrivacyError(f"the tolerance of a calibration is relative and between 0 and 1, got {tolerance}")
    refuse(accountant.supports(shape))
    if not np.any(shape.mu):
        raise PrivacyError(
            "a schedule that is silent in every round costs nothing at any scale; give one with an audible round"
        )
    if not np.all(np.isfinite(shape.mu)):
        raise PrivacyError("a round without noise costs an infinite epsilon at any scale; take it out of the schedule")

    def excess(scale: float) -> float:
        """ln(epsilon / target): at most 0 where the promise is kept, -inf where nothing is spent."""
        spent = accountant.epsilon(shape.scaled(scale), delta)
        if spent <= epsilon:
            return math.log(spent / epsilon) if spent > 0 else -math.inf
        return max(math.log(spent / epsilon), 1e-300)

    # About the right order of magnitude; only the speed depends on it.
    low = high = math.sqrt(2 * epsilon) / shape.total_mu / math.sqrt(shape.sampling_rate or 1.0)
    under = over = excess(low)
    while under > 0:
        high, over, low = low, under, low / 2
        under = excess(low)
    while over <= 0:
        low, under, high = high, over, high * 2
        over = excess(high)
    step = math.log1p(tolerance) / 3
    turn = 0
    while high > low * (1 + tolerance):
        # Interpolation in logarithms, tried a little to either side so that the bracket closes; every third turn bisects.
        turn += 1
        share = -under / (over - under) if math.isfinite(over) and math.isfinite(under) and turn % 3 else 0.5
        guess = low * (high / low) ** share
        for trial in (guess * math.exp(-step), guess * math.exp(step)):
            if low < trial < high:
                value = excess(trial)
                low, under, high, over = (trial, value, high, over) if value <= 0 else (low, under, trial, value)
    return low


def largest_mu(
    accountant: AccountantLike,
    rounds: int,
    epsilon: float,
    delta: float,
    *,
    sampling_rate: float | None = None,
    relation: Relation = "client_value",
    tolerance: float = 1e-4,
) -> float:
    """Largest mu of a round for which ``rounds`` rounds at it are (epsilon, delta)-DP; see :func:`largest_scale`."""
    if rounds < 1:
        raise PrivacyError(f"a schedule needs at least one round, got {rounds}")
    shape = Release(np.ones(rounds), sampling_rate=sampling_rate, relation=relation)
    return largest_scale(accountant, shape, epsilon, delta, tolerance=tolerance)
