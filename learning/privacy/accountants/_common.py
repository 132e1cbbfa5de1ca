"""What the accountants share: their interface, and what every one of them refuses."""

from __future__ import annotations

from typing import Protocol

from learning.privacy.errors import PrivacyError, UnsupportedRelease, check_delta
from learning.privacy.release import Release

__all__ = ["AccountantLike", "claimable_delta", "refuse", "unsettled"]


class AccountantLike(Protocol):
    """One way of turning a release into (epsilon, delta)."""

    def supports(self, release: Release) -> str | None:
        """None, or one sentence that says why this accountant cannot certify ``release`` and what can."""

    def epsilon(self, release: Release, delta: float) -> float:
        """An epsilon for which the release is (epsilon, delta)-DP; infinity where there is none.

        :raises UnsupportedRelease: see ``supports``
        :raises PrivacyError: delta not in (0, 1), or not above the release's ``extra_delta``
        """

    def delta(self, release: Release, epsilon: float) -> float:
        """A delta for which the release is (epsilon, delta)-DP, at most 1.

        :raises UnsupportedRelease: see ``supports``
        :raises PrivacyError: epsilon not positive and finite
        """


def unsettled(release: Release) -> str | None:
    """Why no accountant can certify ``release``; None where one may."""
    if release.csi == "unbounded":
        return (
            "with imperfect channel knowledge a device's gain exceeds 1 in about half of the rounds; charge the gains as "
            "realised or by a tail bound (learning.privacy.gain_bound)"
        )
    if release.sampled and release.sampling != "poisson":
        batches = "batches of fixed size" if release.sampling == "fixed_size" else "shuffled batches"
        return f"{batches} are not Poisson samples and amplify nothing that can be claimed; set sampling_rate to None"
    return None


def refuse(sentence: str | None) -> None:
    """Raise :class:`UnsupportedRelease` with ``sentence`` unless it is None."""
    if sentence is not None:
        raise UnsupportedRelease(sentence)


def claimable_delta(release: Release, delta: float) -> float:
    """What is left of ``delta`` after the release's ``extra_delta``, rounded down."""
    check_delta(delta)
    left = delta - release.extra_delta
    if release.extra_delta:
        left *= 1 - 1e-12
    if left <= 0:
        raise PrivacyError(
            f"the release's own failure probability {release.extra_delta:g} uses up delta = {delta:g}; raise g_max of the tail "
            "bound, or delta"
        )
    return left
