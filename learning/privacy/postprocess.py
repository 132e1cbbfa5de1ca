"""What may be done to a released estimate for free: differential privacy is closed under post-processing.

Everything here uses public outputs and announced constants only. The noise variance of an estimate is public: it follows from
the schedule, (clip / K)^2 (sigma^2 / a_t^2 + K s_t^2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from learning.privacy.errors import PrivacyError

__all__ = ["Broadcast", "Processing", "RunningWiener", "clip", "gaussian_mse", "joint_clip", "wiener"]

Floats = npt.NDArray[np.float64]

#: What is applied of a received estimate: as it is, clipped, or shrunk (Wiener, causal) and clipped.
Processing = Literal["none", "clip", "wiener"]


def clip(estimate: Floats, limit: float) -> Floats:
    """Estimate to [-limit, limit], elementwise: never farther from any payload that lies in there itself."""
    if not limit > 0.0:
        raise PrivacyError(f"the clip is {limit}; it must be positive")
    return np.asarray(np.clip(estimate, -limit, limit))


def joint_clip(values: Floats, limit: float) -> Floats:
    """Scale vectors [..., n] to a Euclidean norm of at most ``limit``.

    It is the projection on the ball, so never farther from a point in it. On devices it bounds the joint sensitivity of
    n directions by 2 limit, whatever n (DP-AggZO); on the server it is free.
    """
    if not limit > 0.0:
        raise PrivacyError(f"the clip is {limit}; it must be positive")
    # hypot-like scaling first: squares of large numbers overflow, those of small ones vanish
    largest = np.abs(values).max(axis=-1, keepdims=True)
    unit = values / np.where(largest > 0.0, largest, 1.0)
    norm = largest * np.sqrt(np.square(unit).sum(axis=-1, keepdims=True))
    return np.asarray(np.where(norm > limit, values * (limit / np.maximum(norm, limit)), values))


def wiener(estimate: Floats, noise_variance: Floats | float, signal_power: Floats | float) -> Floats:
    """Shrink by S / (S + N): the least mean-square error for a zero-mean signal of power S in noise of variance N."""
    total = np.add(signal_power, noise_variance, dtype=np.float64)
    gain = np.divide(signal_power, total, out=np.ones_like(total), where=total > 0.0)
    # Infinite noise: nothing was heard, whatever the number says.
    heard = np.where(gain > 0.0, estimate, 0.0)
    return np.asarray(gain * heard)


class RunningWiener:
    """Wiener shrinkage with the signal power estimated from past outputs alone, so that every gain is known beforehand.

    After each round, y^2 - N is an unbiased estimate of E[p^2], of variance 2 (S + N)^2 for a Gaussian output; a mean weighted
    with 1 / (S_0 + N)^2 and forgotten at rate ``memory`` follows it through rounds of very different noise. The prior counts
    like ``prior_rounds`` noise-free rounds. After SAGE (arXiv 2608.03277), which averages without weights.

    :param prior_power: S_0, power assumed before anything is heard, such as clip^2, the largest possible
    :param memory: factor by which a round counts less after each further one, in (0, 1]; 1 never forgets
    :param prior_rounds: weight of the prior, which is never forgotten
    :param floor: smallest gain in [0, 1), a guard against a power that was wrongly taken for zero
    """

    def __init__(self, prior_power: float, memory: float = 0.97, prior_rounds: float = 1.0, floor: float = 0.0) -> None:
        if not 0.0 < prior_power < math.inf:
            raise PrivacyError(f"prior_power is {prior_power}; it must be positive and finite, such as the square of the clip")
        if not 0.0 < memory <= 1.0 or not 0.0 < prior_rounds < math.inf or not 0.0 <= floor < 1.0:
            raise PrivacyError("memory must lie in (0, 1], prior_rounds above 0 and floor in [0, 1)")
        self._prior_power, self._memory, self._prior, self._floor = prior_power, memory, prior_rounds, floor
        self._sum = 0.0
        self._weight = 0.0

    @property
    def signal_power(self) -> float:
        """Estimate of E[p^2] from the rounds so far; at least 0 and at most ``prior_power``."""
        mean = (self._prior * self._prior_power + self._sum) / (self._prior + self._weight)
        return min(max(mean, 0.0), self._prior_power)

    def apply(self, estimate: Floats, noise_variance: float) -> Floats:
        """Shrink one round's estimates [n] with what earlier rounds told, then learn from them."""
        if not noise_variance >= 0.0:
            raise PrivacyError(f"the noise variance is {noise_variance}; it must not be negative")
        values = np.asarray(estimate, dtype=np.float64)
        power = self.signal_power
        shrunk = wiener(values, noise_variance, power)
        if math.isfinite(noise_variance):
            shrunk = np.where(np.abs(shrunk) < self._floor * np.abs(values), self._floor * values, shrunk)
        self._learn(values, noise_variance)
        return np.asarray(shrunk)

    def _learn(self, values: Floats, noise_variance: float) -> None:
        self._sum *= self._memory
        self._weight *= self._memory
        relative = noise_variance / self._prior_power
        weight = values.size / (1.0 + relative) ** 2
        if weight > 0.0 and np.isfinite(values).all():
            self._sum += weight * (float(np.mean(np.square(values))) - noise_variance)
            self._weight += weight

    def state(self) -> dict[str, float]:
        """What a resumed run needs."""
        return {"sum": self._sum, "weight": self._weight}

    def restore(self, state: dict[str, float]) -> None:
        """Take up the state of an earlier run."""
        if set(state) != {"sum", "weight"} or not all(math.isfinite(value) for value in state.values()):
            raise PrivacyError('this is no state of RunningWiener; it has the finite numbers "sum" and "weight"')
        self._sum, self._weight = float(state["sum"]), float(state["weight"])


class Broadcast:
    """What the server makes of each round's estimates before everybody applies them, with what earlier rounds told.

    :param processing: none, clip, or wiener (shrink, then clip)
    :param limit: largest magnitude that a true mean can have; in Euclidean norm over the directions where ``joint``
    :param directions: estimates n of a round
    :param joint: whether payloads are clipped jointly, so that means lie in a ball of radius ``limit``
    """

    def __init__(self, processing: Processing, limit: float, directions: int = 1, joint: bool = False) -> None:
        if processing not in get_args(Processing):
            raise PrivacyError(f"no post-processing is called {processing!r}; choose {', '.join(get_args(Processing))}")
        self._processing = processing
        self._limit = limit
        self._joint = joint and directions > 1
        power = limit * limit / directions if self._joint else limit * limit
        self._wiener = RunningWiener(power) if processing == "wiener" else None

    def apply(self, estimates: Sequence[float], noise_variance: float) -> tuple[float, ...]:
        """Process one round's n estimates, whose noise has this variance each (only ``wiener`` looks at it)."""
        if self._processing == "none":
            return tuple(estimates)
        values = np.array(estimates, np.float64)
        if self._wiener is not None:
            values = self._wiener.apply(values, noise_variance)
        values = joint_clip(values, self._limit) if self._joint else clip(values, self._limit)
        return tuple(values.tolist())


def gaussian_mse(
    signal_power: float, noise_variance: float, *, gain: float = 1.0, limit: float = math.inf, n: int = 1
) -> float:
    """E ||clip(gain y) - p||^2 over n entries in closed form, p ~ N(0, S I), y = p + N(0, N I), clipped jointly to ``limit``.

    Given y, p has the mean g y, g = S / (S + N), and the variance S N / (S + N) per entry, which nothing can avoid; the rest is
    E (min(b R, limit) - g R)^2 over the norm R of y, with b the gain; R^2 / (S + N) is chi-square with n degrees of freedom.
    With gain = g and no limit only the unavoidable part is left (Wiener); with gain 1 and no limit it is n N.

    :return: total over the n entries; n = 1 is :func:`clip`
    """
    if not (signal_power >= 0.0 and noise_variance >= 0.0 and limit > 0.0 and gain > 0.0 and n >= 1):
        raise PrivacyError("powers must not be negative, limit, gain and n must be positive")
    total = signal_power + noise_variance
    if total == 0.0:
        return 0.0
    from scipy.special import gammaincc, gammaln

    best = signal_power / total
    edge = limit / gain  # norms of y beyond it are clipped
    half = 0.5 * edge * edge / total
    tail = [float(gammaincc(0.5 * (n + i), half)) for i in range(3)]
    first = math.sqrt(2.0 * total) * math.exp(gammaln(0.5 * (n + 1)) - gammaln(0.5 * n)) * tail[1]  # E[R; R > edge]
    second = total * n * tail[2]  # E[R^2; R > edge]
    inside = (gain - best) ** 2 * (total * n - second)
    outside = 0.0 if math.isinf(limit) else limit**2 * tail[0] - 2.0 * limit * best * first + best**2 * second
    return float(n * signal_power * noise_variance / total + inside + outside)
