"""The two-point zeroth-order step, MeZO's Algorithm 1 (arXiv 2305.17333) with the restore folded into the update.

    w <- w + mu z        L+ = losses(w)
    w <- w - 2 mu z      L- = losses(w)        p = (L+ - L-) / (2 mu), clipped, one scalar per device
    w <- w + (mu - eta p_hat) z                p_hat = what the uplink made of all p

All devices of a process hold the same w and the same z, so one perturbation serves them all. The three scales are computed
in float64 and rounded to float32 once; w therefore has the same bits wherever the same rounds are applied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learning.config import ZerothOrderConfig
from learning.perturbation import Perturbation

__all__ = ["Projections", "Scales", "ZerothOrderStep", "project", "scales"]

Floats = npt.NDArray[np.float64]
SampleLosses = Sequence[npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Scales:
    """The float32 factors of z in a round's three passes."""

    forward: np.float32
    back: np.float32
    update: np.float32


def scales(mu: float, learning_rate: float, estimate: float | None) -> Scales:
    """The three scales of a round; ``estimate`` is None for a lost round, whose third pass only restores.

    With mu32 = float32(mu): +mu32, -2 mu32 (exact), float32(mu32 - learning_rate * estimate) from float64.
    """
    forward = np.float32(mu)
    step = 0.0 if estimate is None else learning_rate * estimate
    with np.errstate(over="ignore"):
        update = np.float32(float(forward) - step)
    return Scales(forward, np.float32(-2.0 * float(forward)), update)


@dataclass(frozen=True)
class Projections:
    """What the devices measured in a round.

    :ivar unclipped: float64[K], each device's mean projected gradient before any clipping
    :ivar payloads: float64[K], the clipped scalars that are sent
    :ivar clipped_fraction: share of the clipped values (devices or samples, as configured) that hit +-clip
    :ivar mean_loss: mean over all samples of (L+ + L-) / 2
    """

    unclipped: Floats
    payloads: Floats
    clipped_fraction: float
    mean_loss: float

    @property
    def finite(self) -> bool:
        """Whether every payload is a number; a round with another is lost for all."""
        return bool(np.isfinite(self.payloads).all())


def project(
    plus: SampleLosses, minus: SampleLosses, config: ZerothOrderConfig, *, divisor: int | None = None, bounded: bool = False
) -> Projections:
    """Projected gradients from each device's per-sample float32 losses at w + mu z and w - mu z.

    The difference is taken per sample, before the mean, in float64: averaging first would lose the digits that the
    difference needs. Clipping is of each device's mean (pAirZero) or of each sample (DPZero, arXiv 2310.09639).

    :param divisor: divide sums by this many samples, however many there are (Poisson batches, which may be empty); what then
        exceeds the clip, in batches larger than that, is clipped once more, which moves no two values further apart
    :param bounded: what is not a number counts as zero before it is averaged, so that the clip bounds it whatever the data
    """
    two_mu = 2.0 * float(np.float32(config.mu))
    per_sample = [(p.astype(np.float64) - m.astype(np.float64)) / two_mu for p, m in zip(plus, minus, strict=True)]
    if bounded:
        per_sample = [np.where(np.isnan(values), 0.0, values) for values in per_sample]

    def mean(values: Floats) -> float:
        return float(values.mean() if divisor is None else values.sum() / divisor)

    unclipped = np.array([mean(values) for values in per_sample])
    if config.clip_scope == "sample":
        payloads = np.array([mean(np.clip(values, -config.clip, config.clip)) for values in per_sample])
        clipped = np.abs(np.concatenate(per_sample)) > config.clip
        if divisor is not None:
            payloads = np.clip(payloads, -config.clip, config.clip)
    else:
        payloads = np.clip(unclipped, -config.clip, config.clip)
        clipped = np.abs(unclipped) > config.clip
    if bounded:  # a mean of opposite infinities
        payloads = np.where(np.isnan(payloads), 0.0, payloads)
    both = np.concatenate([*plus, *minus]).astype(np.float64)
    if not both.size:  # every batch was empty
        return Projections(unclipped, payloads, 0.0, float("nan"))
    return Projections(unclipped, payloads, float(clipped.mean()), float(both.mean()))


class ZerothOrderStep:
    """A round in two halves: ``ask`` measures the scalars, ``tell`` moves the weights."""

    def __init__(
        self, perturbation: Perturbation, config: ZerothOrderConfig, *, divisor: int | None = None, bounded: bool = False
    ) -> None:
        self._z = perturbation
        self._config = config
        self._divisor, self._bounded = divisor, bounded

    def ask(self, round_index: int, losses: Callable[[], SampleLosses]) -> Projections:
        """Perturb both ways and evaluate; the weights are left at w - mu z.

        :param losses: gives float32[B_k] for every device k, from the weights as they stand
        """
        scale = scales(self._config.mu, self._config.learning_rate, None)
        self._z.add(round_index, scale.forward)
        plus = losses()
        self._z.add(round_index, scale.back)
        minus = losses()
        return project(plus, minus, self._config, divisor=self._divisor, bounded=self._bounded)

    def tell(self, round_index: int, estimate: float | None) -> None:
        """Restore and update in one pass; ``estimate`` None (a lost round) only restores."""
        self._z.add(round_index, scales(self._config.mu, self._config.learning_rate, estimate).update)
