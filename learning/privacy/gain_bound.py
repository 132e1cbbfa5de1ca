"""Imperfect channel knowledge: a device's gain |g| = |h / h'| exceeds 1 in about half of the rounds, and sensitivity with it.

A round's amplitude is then a |g| instead of a, and a phase error moves it to the imaginary axis, which the server sees as
well. Two honest ways to charge it, one of which a release has to choose:

``realised``: the gains of the emulation are known, and every round is charged its own largest one. Exact for that run.
``tail``: a bound g_max is announced in advance, every round is charged g_max, and the probability that any round of the
device exceeds it is added to delta. Gains do not depend on the data, so that M = E M_good + (1 - E) M_bad with the same
probability of E for both neighbours, and delta grows by no more than P(not E).

In both, an observer is given all channels. Closed form of the tail, for h' ~ CN(0, v) and h | h' ~ CN(beta h', e2): given x
= |h'|^2, |g|^2 is noncentral chi-square, so P(|g| > G | x) is Marcum's Q1(beta sqrt(2x/e2), G sqrt(2x/e2)); in Craig's form
(M. Simon, M.-S. Alouini, "Digital communication over fading channels", section 4.2) x occurs in one exponential, and its
average over the exponential law of x >= g_th leaves

    P = 1/(2 pi) int (G^2 + G beta sin u) / D(u) * e^(-g_th D(u) / e2) / (1 + v D(u) / e2) du,
    D(u) = G^2 + 2 G beta sin u + beta^2,

over a period, a positive periodic integrand that the trapezoid rule integrates to machine precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from learning.privacy.errors import PrivacyError
from learning.privacy.release import Release, gaussian_mu

__all__ = ["GainLaw", "charge_realised", "charge_tail", "choose_g_max", "gain_law", "realised_mu", "tail_failure"]

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]

_ROUNDING = 1e-9
_MOST_POINTS = 1 << 20


@dataclass(frozen=True)
class GainLaw:
    """How the channel h depends on its estimate h': h' ~ CN(0, variance), h | h' ~ CN(beta h', e2); linear units."""

    variance: float
    beta: float
    e2: float

    def __post_init__(self) -> None:
        if not (self.variance > 0 and self.e2 >= 0 and 0 <= self.beta < math.inf and self.variance + self.e2 < math.inf):
            raise PrivacyError("a gain law needs a positive variance of the estimate, beta >= 0 and e2 >= 0, all finite")

    def exceeds(self, g_max: float, threshold: float = 0.0) -> float:
        """P(|h / h'| > g_max given |h'|^2 >= threshold), rounded up.

        :raises PrivacyError: g_max not above beta, the gain of an error-free estimate, or a negative threshold
        """
        if not self.beta < g_max < math.inf:
            raise PrivacyError(f"g_max must be above the mean gain {self.beta:g} and finite, got {g_max}")
        if not 0 <= threshold < math.inf:
            raise PrivacyError(f"a truncation threshold must not be negative or infinite, got {threshold}")
        if self.e2 == 0:
            return 0.0
        points, last = 64, -1.0
        while points <= _MOST_POINTS:
            value = self._trapezoid(g_max, threshold, points)
            if abs(value - last) <= 1e-10 * value:
                return min(1.0, value * (1 + _ROUNDING))
            points, last = 2 * points, value
        raise PrivacyError(f"the tail beyond g_max = {g_max:g} is not resolved; raise g_max further above {self.beta:g}")

    def active(self, threshold: float) -> float:
        """P(|h'|^2 >= threshold), the share of rounds in which a truncating device transmits."""
        return math.exp(-threshold / self.variance)

    def _trapezoid(self, g: float, threshold: float, points: int) -> float:
        sine = np.sin(2 * np.pi / points * np.arange(points))
        # (G - beta)^2 + 2 G beta (1 + sin u): no cancellation where G is close to beta.
        distance = (g - self.beta) ** 2 + 2 * g * self.beta * (1 + sine)
        weight = (g * (g - self.beta) + g * self.beta * (1 + sine)) / distance
        return float(np.mean(weight * np.exp(-threshold / self.e2 * distance) / (1 + self.variance / self.e2 * distance)))


def gain_law(estimator: str, error_variance: float, correlation: float = 1.0) -> GainLaw:
    """The law of a Rayleigh channel of unit power after estimation and ageing.

    :param estimator: ``ls``: h' = h0 + CN(0, s2), or ``mmse``: that over 1 + s2
    :param error_variance: s2 = 1 / (L_p SNR_p)
    :param correlation: between the channel at the pilot, h0, and at the data; its magnitude, in [0, 1]
    """
    if not 0 <= error_variance < math.inf:
        raise PrivacyError(f"an error variance must not be negative or infinite, got {error_variance}")
    if not 0 <= correlation <= 1:
        raise PrivacyError(f"a correlation in magnitude lies between 0 and 1, got {correlation}")
    residual = error_variance / (1 + error_variance)
    e2 = correlation**2 * residual + (1 - correlation) * (1 + correlation)
    if estimator == "ls":
        return GainLaw(1 + error_variance, correlation / (1 + error_variance), e2)
    if estimator == "mmse":
        return GainLaw(1 / (1 + error_variance), correlation, e2)
    raise PrivacyError(f"there is no gain law for the estimator {estimator!r}; choose ls or mmse, or charge gains as realised")


def tail_failure(law: GainLaw, g_max: float, rounds: int, threshold: float = 0.0, *, independent: bool = False) -> float:
    """P(any of ``rounds`` rounds of a device has |g| > g_max), rounded up.

    A round in which the device is truncated releases nothing about it and cannot fail. ``independent``: 1 - (1 - p)^T, for
    channels that are drawn anew in every round; otherwise the union bound T p, which holds for any correlation over time.
    """
    if rounds < 0:
        raise PrivacyError(f"the number of rounds must not be negative, got {rounds}")
    p = law.exceeds(g_max, threshold) * law.active(threshold)
    if independent and p < 1:
        return -math.expm1(rounds * math.log1p(-p)) * (1 + _ROUNDING)
    return min(1.0, rounds * p)


def choose_g_max(law: GainLaw, rounds: int, failure: float, threshold: float = 0.0, *, independent: bool = False) -> float:
    """Smallest g_max, within 1e-6 relative from above, whose :func:`tail_failure` is at most ``failure``."""
    if not 0 < failure < 1:
        raise PrivacyError(f"a failure probability lies strictly between 0 and 1, got {failure}")
    if law.e2 == 0:
        return math.nextafter(max(1.0, law.beta), math.inf)
    low = max(1.0, law.beta)
    high = low + 1.0
    while tail_failure(law, high, rounds, threshold, independent=independent) > failure:
        low, high = high, 2 * high
    while high - low > 1e-6 * low:
        middle = (low + high) / 2
        kept = tail_failure(law, middle, rounds, threshold, independent=independent) <= failure
        low, high = (low, middle) if kept else (middle, high)
    return high


def charge_tail(
    amplitude: npt.ArrayLike,
    n0: float,
    sensitivity_ratio: float,
    law: GainLaw,
    g_max: float,
    release: Release,
    *,
    threshold: float = 0.0,
    artificial_std: npt.ArrayLike = 0.0,
    independent: bool = False,
) -> Release:
    """``release`` with every round charged g_max, and the probability of exceeding it in ``extra_delta``.

    Of the artificial noise only the device's own is counted: it has the phase of its signal whatever the channel, while that
    of the others may lie on the other axis. mu then grows with |g|, so that g_max is the worst admitted.

    :param amplitude: [T] aligned amplitude a_t announced by the server; :param n0: the observer's, of a complex sample
    """
    a = np.asarray(amplitude, np.float64) * g_max
    mu = gaussian_mu(a, n0, sensitivity_ratio, artificial_std=artificial_std, active=1)
    failure = tail_failure(law, g_max, int(np.count_nonzero(mu)), threshold, independent=independent)
    return replace(release, mu=mu, csi="tail", extra_delta=min(1.0, release.extra_delta + failure))


def realised_mu(
    amplitude: npt.ArrayLike,
    gains: npt.ArrayLike,
    n0: float,
    sensitivity_ratio: float,
    *,
    artificial_std: npt.ArrayLike = 0.0,
) -> Floats:
    """mu_t of the worst device at the gains of the run, from both axes of the complex statistic. Shape [T].

    With d_k = (Delta/clip) a g_k as a vector of the plane and noise covariance S = N0/2 I + a^2 sigma_art^2 sum_j g_j g_j^T,
    mu^2 = max_k d_k^T S^-1 d_k.

    :param amplitude: [T] aligned amplitude; :param gains: complex [T, K], 0 where a device is silent
    """
    g = np.asarray(gains, np.complex128)
    a = np.broadcast_to(np.asarray(amplitude, np.float64), g.shape[:1])
    art = np.broadcast_to(np.asarray(artificial_std, np.float64), g.shape[:1])
    if g.ndim != 2 or not np.all(np.isfinite(g)) or not (np.all(a >= 0) and np.all(art >= 0) and n0 >= 0):
        raise PrivacyError("realised gains are a finite complex table [T, K], amplitudes and noise must not be negative")
    power = np.square(a * art)
    xx = n0 / 2 + power * np.square(g.real).sum(axis=1)
    yy = n0 / 2 + power * np.square(g.imag).sum(axis=1)
    xy = power * (g.real * g.imag).sum(axis=1)
    quadratic = (yy[:, None] * np.square(g.real) - 2 * xy[:, None] * g.real * g.imag + xx[:, None] * np.square(g.imag)).max(
        axis=1, initial=0.0
    )
    # det S = (N0/2)^2 + N0/2 tr + power^2 sum_{i<j} (g_i x g_j)^2, at least its first two terms: no cancellation below them.
    determinant = np.maximum(xx * yy - np.square(xy), (n0 / 2) * (xx + yy - n0 / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        mu = sensitivity_ratio * a * np.sqrt(np.maximum(quadratic, 0.0) / determinant)
    silent = (a == 0) | ~np.any(g, axis=1)
    return np.asarray(np.where(silent, 0.0, np.where(np.isnan(mu), np.inf, mu)))


def charge_realised(
    amplitude: npt.ArrayLike,
    gains: npt.ArrayLike,
    n0: float,
    sensitivity_ratio: float,
    release: Release,
    *,
    artificial_std: npt.ArrayLike = 0.0,
) -> Release:
    """``release`` with every round charged its largest realised gain (:func:`realised_mu`).

    True of this run's channels; a statement in advance about other runs needs the tail.
    """
    mu = realised_mu(amplitude, gains, n0, sensitivity_ratio, artificial_std=artificial_std)
    return replace(release, mu=mu, csi="realised")
