"""The accounting of pAirZero as printed (arXiv 2604.12401, Lemma 1): sum mu_t^2 / 2 <= R_dp. Valid, but loose."""

from __future__ import annotations

from learning.privacy import paper_bound
from learning.privacy.accountants._common import claimable_delta, refuse, unsettled
from learning.privacy.release import Release

__all__ = ["Accountant"]


class Accountant:
    """R_dp of :mod:`learning.privacy.paper_bound`; refuses to amplify by sampling, which the paper does not account."""

    name = "paper"

    def supports(self, release: Release) -> str | None:
        """None, or why the paper's bound says nothing about ``release``."""
        if (sentence := unsettled(release)) is not None:
            return sentence
        if release.sampled:
            return "the paper's accounting ignores sampling; set sampling_rate to None, or take accountant pld"
        return None

    def epsilon(self, release: Release, delta: float) -> float:
        """See :class:`learning.privacy.accountants.AccountantLike`."""
        refuse(self.supports(release))
        left = claimable_delta(release, delta)
        mu = release.total_mu
        return paper_bound.epsilon(mu * mu / 2, left)

    def delta(self, release: Release, epsilon: float) -> float:
        """See :class:`learning.privacy.accountants.AccountantLike`."""
        refuse(self.supports(release))
        mu = release.total_mu
        return min(1.0, paper_bound.delta(mu * mu / 2, epsilon) + release.extra_delta)
