"""Exact accounting of Gaussian rounds without sampling: they compose to one Gaussian mechanism, adaptively chosen or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from learning.privacy import gdp
from learning.privacy.accountants._common import claimable_delta, refuse, unsettled
from learning.privacy.errors import PrivacyError, check_delta, check_epsilon
from learning.privacy.release import Release

__all__ = ["Accountant", "Estimate", "clt_mu"]


@dataclass(frozen=True)
class Estimate:
    """An epsilon that is no guarantee, and the sentence that has to be printed next to it."""

    epsilon: float
    mu: float
    caveat: str


class Accountant:
    """The closed form delta(epsilon) of :mod:`learning.privacy.gdp` at mu = sqrt(sum mu_t^2); exact, so no other is smaller."""

    name = "gdp"

    def supports(self, release: Release) -> str | None:
        """None, or why there is no closed form for ``release``."""
        if (sentence := unsettled(release)) is not None:
            return sentence
        if release.sampled:
            return (
                "with sampling Gaussian DP has only a central-limit estimate, which may be too small; take accountant pld for "
                "a guarantee, or set sampling_rate to None"
            )
        return None

    def epsilon(self, release: Release, delta: float) -> float:
        """See :class:`learning.privacy.accountants.AccountantLike`."""
        refuse(self.supports(release))
        return gdp.epsilon(release.total_mu, claimable_delta(release, delta))

    def delta(self, release: Release, epsilon: float) -> float:
        """See :class:`learning.privacy.accountants.AccountantLike`."""
        refuse(self.supports(release))
        check_epsilon(epsilon)
        return min(1.0, gdp.delta(epsilon, release.total_mu) + release.extra_delta)

    def estimate(self, release: Release, delta: float) -> Estimate:
        """Central-limit estimate under Poisson sampling, labelled as no guarantee; for design and for plots.

        :raises UnsupportedRelease: batches that are not Poisson samples
        """
        refuse(unsettled(release))
        check_delta(delta)
        mu = clt_mu(release)
        caveat = "central-limit estimate for many rounds and small q; it may be below the true epsilon and is not a guarantee"
        return Estimate(gdp.epsilon(mu, delta), mu, caveat)


def clt_mu(release: Release) -> float:
    """q sqrt(sum_t (e^(mu_t^2) - 1)) (Z. Bu et al., "Deep learning with Gaussian differential privacy", arXiv 1911.11607).

    Infinite where one round alone is. :raises PrivacyError: no sampling rate
    """
    if release.sampling_rate is None:
        raise PrivacyError(
            "the central-limit estimate is for sampled rounds; give a sampling rate or take the exact accountant"
        )
    with np.errstate(over="ignore"):
        return float(release.sampling_rate * np.sqrt(np.sum(np.expm1(np.square(release.mu)))))
