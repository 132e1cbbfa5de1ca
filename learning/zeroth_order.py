"""The two-point zeroth-order step, MeZO's Algorithm 1 (arXiv 2305.17333) with the restore folded into the update::

    for each of n directions j:     w <- w + mu z_j        L+_j = losses(w)
                                    w <- w - 2 mu z_j      L-_j = losses(w)        p_j = (L+_j - L-_j) / (2 mu), clipped
                                    w <- w + mu z_j        (folded into what comes next)
    w <- w - eta (p_hat_1 z_1 + ... + p_hat_n z_n) / n     p_hat_j = what the uplink made of all p_j
    w <- (1 - eta lambda) w                                only under weight decay lambda, and only matrices

All devices of a process hold the same w and the same z, so one perturbation serves them all. Every scale is computed in float64
and rounded to float32 once; w therefore has the same bits wherever the same rounds are applied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learning.clipping import clipped_mean
from learning.config import ZerothOrderConfig
from learning.passes import measuring, update
from learning.perturbation import Directions

__all__ = ["Projections", "ZerothOrderStep", "project"]

Floats = npt.NDArray[np.float64]
SampleLosses = Sequence[npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Projections:
    """What the devices measured in a round.

    :ivar unclipped: float64[K, n], each device's mean projected gradients before any clipping
    :ivar payloads: float64[K, n], the clipped scalars that are sent
    :ivar clipped_fraction: share of what is clipped (means or samples, single values or whole vectors) that was too large
    :ivar mean_loss: mean over all samples and directions of (L+ + L-) / 2
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
    plus: Sequence[SampleLosses],
    minus: Sequence[SampleLosses],
    config: ZerothOrderConfig,
    *,
    divisor: int | None = None,
    bounded: bool = False,
) -> Projections:
    """Projected gradients from the devices' per-sample float32 losses at w + mu z_j and w - mu z_j.

    The difference is taken per sample, before the mean, in float64: averaging first would lose the digits that the
    difference needs. Clipping is of each device's mean (pAirZero) or of each sample (DPZero, arXiv 2310.09639), of every value
    or of the n values jointly (DP-AggZO): :mod:`learning.clipping`.

    :param plus: for every direction, for every device k, float32[B_k]; ``minus`` likewise
    :param divisor: divide sums by this many samples, however many there are (Poisson batches, which may be empty); what then
        exceeds the clip, in batches larger than that, is clipped once more, which moves no two values further apart
    :param bounded: what is not a number counts as zero before it is averaged, so that the clip bounds it whatever the data
    """
    two_mu = 2.0 * float(np.float32(config.mu))
    devices = range(len(plus[0]))
    unclipped, payloads, too_large, counted = [], [], 0, 0
    for k in devices:
        # float64[B_k, n]: the projected gradient of every sample along every direction.
        values = np.stack(
            [(p[k].astype(np.float64) - m[k].astype(np.float64)) / two_mu for p, m in zip(plus, minus, strict=True)], axis=1
        )
        sent = clipped_mean(values, config, divisor=divisor, bounded=bounded)
        unclipped.append(sent.unclipped)
        payloads.append(sent.payload)
        too_large, counted = too_large + sent.too_large, counted + sent.counted
    both = np.concatenate([losses for side in (plus, minus) for direction in side for losses in direction]).astype(np.float64)
    mean_loss = float(both.mean()) if both.size else float("nan")  # every batch was empty
    return Projections(np.stack(unclipped), np.stack(payloads), too_large / counted if counted else 0.0, mean_loss)


class ZerothOrderStep:
    """A round in two halves: ``ask`` measures the scalars, ``tell`` moves the weights."""

    def __init__(
        self, directions: Directions, config: ZerothOrderConfig, *, divisor: int | None = None, bounded: bool = False
    ) -> None:
        self._z = directions
        self._config = config
        self._divisor, self._bounded = divisor, bounded

    def ask(self, round_index: int, losses: Callable[[], SampleLosses]) -> Projections:
        """Perturb both ways along every direction and evaluate; the weights are left at w - mu z_n.

        :param losses: gives float32[B_k] for every device k, from the weights as they stand; called 2 n times
        """
        measured = []
        for passes in measuring(self._config.mu, self._config.directions):
            self._z.apply(round_index, passes)
            measured.append(losses())
        return project(measured[::2], measured[1::2], self._config, divisor=self._divisor, bounded=self._bounded)

    def tell(self, round_index: int, estimates: Sequence[float] | None, learning_rate: float | None = None) -> None:
        """Restore and update in one sweep; ``estimates`` [n] None (a lost round) only restores.

        :param learning_rate: of this round; by default the configuration's own
        """
        config = self._config
        moved = update(
            config.mu,
            config.learning_rate if learning_rate is None else learning_rate,
            estimates,
            config.directions,
            config.weight_decay,
        )
        self._z.apply(round_index, moved.passes, moved.decay)
