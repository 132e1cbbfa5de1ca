"""What was released about one device over a run: the mu of every round, and how its data were sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from learning.privacy.errors import PrivacyError
from learning.privacy.gdp import compose
from learning.privacy.sensitivity import Relation

__all__ = ["PRINTED_NOISE", "Csi", "Release", "Sampling", "adversary_n0", "envelope", "gaussian_mu"]

Floats = npt.NDArray[np.float64]
Sampling = Literal["poisson", "fixed_size", "shuffled"]
Csi = Literal["perfect", "realised", "tail", "unbounded"]

#: What ``as_printed`` changes, in one sentence.
PRINTED_NOISE = (
    "as printed, N0 is the variance of a real decision variable; the real axis of CN(0, N0) carries only N0/2, so the printed "
    "formulas understate every mu by 3 dB where N0 is that of a complex sample"
)


@dataclass(frozen=True)
class Release:
    """Gaussian mechanisms about the worst-placed single device, one a round.

    :param mu: float64[T]: sensitivity over noise standard deviation of each round; 0 a silent round, infinity one without
        noise. Copied and made read-only.
    :param sampling_rate: probability q with which a record is in a round's batch; None: no amplification is claimed
    :param sampling: how batches are drawn, where ``sampling_rate`` is given; only ``poisson`` amplifies
    :param relation: the neighbouring relation for which ``mu`` was computed
    :param csi: ``perfect``; ``realised`` or ``tail``: the channel gains are charged as :mod:`learning.privacy.gain_bound`
        does; ``unbounded``: gains may exceed 1 and nothing was done about it, which every accountant refuses
    :param extra_delta: probability of an event in which nothing is claimed, added to delta
    :param table: float64[T, K]: mu of every device in every round, of which ``mu`` then is the envelope (:func:`envelope`)
    :raises PrivacyError: a negative or undefined mu, a rate outside (0, 1], or an unknown word
    """

    mu: Floats
    sampling_rate: float | None = None
    sampling: Sampling = "poisson"
    relation: Relation = "client_value"
    csi: Csi = "perfect"
    extra_delta: float = 0.0
    table: Floats | None = None

    def __post_init__(self) -> None:
        mu = np.array(self.mu, np.float64)
        if mu.ndim != 1:
            raise PrivacyError(f"mu must be a row of one number per round, got shape {mu.shape}")
        if not np.all(mu >= 0):
            raise PrivacyError(f"mu must not be negative or undefined; round {int(np.argmin(mu >= 0))} has {mu[~(mu >= 0)][0]}")
        mu.flags.writeable = False
        object.__setattr__(self, "mu", mu)
        if self.sampling_rate is not None and not 0 < self.sampling_rate <= 1:
            raise PrivacyError(f"a sampling rate is a probability above 0, got {self.sampling_rate}")
        if not 0 <= self.extra_delta <= 1:
            raise PrivacyError(f"extra_delta must be a probability, got {self.extra_delta}")
        for name, value, words in (
            ("sampling", self.sampling, get_args(Sampling)),
            ("relation", self.relation, get_args(Relation)),
            ("csi", self.csi, get_args(Csi)),
        ):
            if value not in words:
                raise PrivacyError(f"{name} must be one of {', '.join(words)}, got {value!r}")

    @property
    def total_mu(self) -> float:
        """sqrt(sum mu_t^2), the mu of the composition without sampling, rounded up."""
        return compose(self.mu.tolist()) if np.any(self.mu) else 0.0

    @property
    def sampled(self) -> bool:
        """Whether amplification by sampling is claimed; a rate of 1 claims none."""
        return self.sampling_rate is not None and (self.sampling_rate < 1 or self.sampling != "poisson")

    @property
    def announced(self) -> Floats:
        """What each round costs its most exposed device. [T]."""
        return self.mu if self.table is None else np.asarray(self.table.max(axis=1))

    def scaled(self, factor: float) -> Release:
        """The same release with every mu times ``factor``."""
        return replace(self, mu=self.mu * factor, table=None if self.table is None else self.table * factor)

    def prefix(self, rounds: int) -> Release:
        """The first ``rounds`` rounds."""
        if self.table is None:
            return replace(self, mu=self.mu[:rounds])
        some = self.table[:rounds]
        return replace(self, mu=envelope(some), table=some)


def envelope(table: Floats) -> Floats:
    """For each i the largest i-th largest mu of any device, [T] from mu [T, K]: a sequence that costs no device less.

    Rounds compose in any order, and each costs more the larger its mu is, so that a sequence which is at least as large as a
    device's in sorted order costs at least as much. Rounds' own maxima would do as well, and cost more where fades differ.
    """
    return np.asarray(np.sort(table, axis=0)[::-1].max(axis=1)) if table.size else np.zeros(len(table))


def adversary_n0(n0: float, advantage_db: float = 0.0, antennas: int = 1) -> float:
    """Receiver noise of an observer with an SNR advantage and several antennas, combined coherently.

    :param n0: noise variance of a complex sample at the server
    """
    if not n0 >= 0 or antennas < 1 or not math.isfinite(advantage_db):
        raise PrivacyError("an observer needs N0 >= 0, a finite SNR advantage in dB and at least one antenna")
    return n0 / (10 ** (advantage_db / 10) * antennas)


def gaussian_mu(
    amplitude: npt.ArrayLike,
    n0: float,
    sensitivity_ratio: float,
    *,
    artificial_std: npt.ArrayLike = 0.0,
    active: npt.ArrayLike = 1,
    as_printed: bool = False,
) -> Floats:
    """mu_t = (Delta / clip) a_t / sigma_t,  sigma_t^2 = N0/2 + a_t^2 K_active sigma_art^2. Shape [T].

    :param amplitude: [T]: aligned amplitude a_t; 0 a silent round
    :param n0: the observer's noise variance of a complex sample (:func:`adversary_n0`); the real axis carries half of it
    :param sensitivity_ratio: Delta / clip (:attr:`learning.privacy.sensitivity.Sensitivity.ratio`)
    :param artificial_std: [T] or one number: each device's artificial noise on the signal's axis, in units of full scale
    :param active: [T] or one number: devices that transmit and add it
    :param as_printed: the formula of arXiv 2604.12401 with N0 in the place of N0/2 (:data:`PRINTED_NOISE`)
    :raises PrivacyError: a negative or undefined argument
    """
    a, art, k = np.broadcast_arrays(
        np.asarray(amplitude, np.float64), np.asarray(artificial_std, np.float64), np.asarray(active, np.float64)
    )
    if not (np.all(a >= 0) and np.all(art >= 0) and np.all(k >= 0) and n0 >= 0 and sensitivity_ratio >= 0):
        raise PrivacyError("amplitudes, noise and sensitivity must not be negative or undefined")
    noise = (n0 if as_printed else n0 / 2) + np.square(a) * k * np.square(art)
    with np.errstate(divide="ignore", invalid="ignore"):
        mu = sensitivity_ratio * a / np.sqrt(noise)
    return np.asarray(np.where(a == 0, 0.0, mu), np.float64)
