"""Numerical accounting by privacy loss distributions: the guarantee for Poisson-sampled rounds.

What is certified with sampling: adding or removing one record, present in each round's batch independently with probability q,
where the batch and its size stay secret and the sum is divided by a fixed b. The pair that dominates is N(0, 1) against
(1 - q) N(0, 1) + q N(mu_t, 1), both ways (Y. Zhu, J. Dong, Y.-X. Wang, "Optimal accounting of differential privacy via
characteristic function", arXiv 2106.08567); :mod:`learning.privacy.accountants._losses` composes its discretised losses
pessimistically, and dp_accounting reads delta and epsilon off them. Only add-or-remove is asked for; a factor 2 is in mu.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, Literal

import numpy as np
from scipy.optimize import brentq

from learning.privacy import gdp
from learning.privacy.accountants._common import claimable_delta, refuse, unsettled
from learning.privacy.accountants._levels import round_up_to_levels
from learning.privacy.accountants._losses import composed
from learning.privacy.accountants.gdp import clt_mu
from learning.privacy.errors import PrivacyError, check_epsilon
from learning.privacy.release import Release

__all__ = ["NUMERICAL_DELTA", "Accountant"]

#: Added to every delta that is computed numerically: above the rounding of the transforms of up to 1e4 rounds.
NUMERICAL_DELTA = 1e-11

_FINEST, _COARSEST = 1e-5, 1e-3  # interval of the discretised loss
_GRID = 100_000  # most points of one discretised loss
_KEPT = 4  # composed losses that are kept
_TOO_LOUD = 20.0  # mu of one round beyond which sampling is not worth its grid: the unsampled closed form is charged


class Accountant:
    """Poisson-sampled Gaussians by their privacy losses; without sampling the closed form, which those only approximate.

    :param levels: most distinct mu that are convolved; every round's mu is rounded up to one of them
    :param replace_one: what to do with sampled ``record_replace_one`` releases: ``refuse``, or ``group``: charge a replacement
        as a removal (mu/2) and an addition (mu/2), epsilon = 2 e where (1 + e^e) delta(e) <= delta; valid but loose
    """

    name = "pld"

    def __init__(self, levels: int = 64, replace_one: Literal["refuse", "group"] = "refuse") -> None:
        if levels < 1:
            raise PrivacyError(f"accountant pld needs at least one level, got {levels}")
        if replace_one not in ("refuse", "group"):
            raise PrivacyError(f"replace_one is refuse or group, got {replace_one!r}")
        self._levels = levels
        self._group = replace_one == "group"
        self._known: OrderedDict[tuple[bytes, float], Any] = OrderedDict()  # plans ask about the same rounds again

    def supports(self, release: Release) -> str | None:
        """None, or why there is no guarantee for ``release``."""
        if (sentence := unsettled(release)) is not None:
            return sentence
        if not release.sampled:
            return None
        if release.relation == "client_value":
            return (
                "sampling records does not hide a client's value; set sampling_rate to None, or take relation record_add_remove"
            )
        if release.relation == "record_replace_one" and not self._group:
            return (
                "Poisson sampling is certified for adding or removing a record; take relation record_add_remove, or charge a "
                "replacement as two changes with replace_one='group'"
            )
        return None

    def epsilon(self, release: Release, delta: float) -> float:
        """See :class:`learning.privacy.accountants.AccountantLike`."""
        refuse(self.supports(release))
        left = claimable_delta(release, delta)
        whole = gdp.epsilon(release.total_mu, left)  # sampling never hurts
        loss = self._sampled_loss(release)
        numerical = left - NUMERICAL_DELTA
        if loss is None or numerical <= 0:
            return whole
        if release.relation == "record_replace_one":
            return min(whole, _grouped_epsilon(loss, left))
        return min(whole, float(loss.get_epsilon_for_delta(numerical)))

    def delta(self, release: Release, epsilon: float) -> float:
        """See :class:`learning.privacy.accountants.AccountantLike`."""
        refuse(self.supports(release))
        check_epsilon(epsilon)
        whole = gdp.delta(epsilon, release.total_mu)
        loss = self._sampled_loss(release)
        if loss is not None:
            if release.relation == "record_replace_one":
                whole = min(whole, _grouped_delta(loss, epsilon / 2))
            else:
                whole = min(whole, float(loss.get_delta_for_epsilon(epsilon)) + NUMERICAL_DELTA)
        return min(1.0, whole + release.extra_delta)

    def _sampled_loss(self, release: Release) -> Any:
        """The composed loss of the sampled rounds; None where the closed form without sampling is all there is to say."""
        if not release.sampled or not np.any(release.mu):
            return None
        if release.relation == "record_replace_one":
            release = release.scaled(0.5)
        if not np.all(release.mu < _TOO_LOUD):
            return None
        assert release.sampling_rate is not None
        key = (release.mu.tobytes(), release.sampling_rate)
        if key in self._known:
            self._known.move_to_end(key)
        else:
            mu, counts = round_up_to_levels(release.mu[release.mu > 0], self._levels)
            self._known[key] = composed(mu, counts, release.sampling_rate, _interval(release))
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return self._known[key]


def _interval(release: Release) -> float:
    """Small beside the composed loss, and not so small that the grid of it or of the loudest round grows out of hand."""
    spread = clt_mu(release)
    loudest = float(release.mu.max())
    widest = loudest * (loudest + 20.0)
    return max(min(_COARSEST, max(_FINEST, 2e-3 * spread)), widest / _GRID)


def _grouped_delta(loss: Any, half: float) -> float:
    """delta at epsilon = 2 half of two changes in a row, each (half, delta(half))."""
    if half > 300:
        half = 300.0
    return float((1 + math.exp(half)) * (loss.get_delta_for_epsilon(half) + NUMERICAL_DELTA))


def _grouped_epsilon(loss: Any, delta: float) -> float:
    def excess(half: float) -> float:
        return _grouped_delta(loss, half) - delta

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
        if high > 256:
            return math.inf
    root = float(brentq(excess, 0.0, high, xtol=1e-9))
    while root < high and excess(root) > 0:
        root = min(high, root + 1e-8 + 1e-8 * root)
    return 2 * root
