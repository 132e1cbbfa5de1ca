"""The problem every schedule solves: how loudly to speak in each round under a peak-power limit and a privacy budget.

One round, in symbol units: y = a_t sum_k s_k + noise with s_k = p_k / clip in [-1, 1] and real-axis noise variance sigma^2,
so that mu_t = (Delta / clip) a_t / sigma and the mean's estimate y / (K a_t) has the standard deviation sigma / (K a_t).
The convergence bound of pAirZero (arXiv 2604.12401, Theorem 1) weighs the noise of round t = 1..T by A^(T - t).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learning.privacy.errors import PrivacyError

__all__ = ["Plan", "PowerProblem", "analog_objective", "real_noise_variance", "sign_constants", "sign_objective"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# Plans aim this far below the budget, relatively: more than the rounding of a sum over a million rounds.
_MARGIN = 1e-11


def real_noise_variance(n0: float, as_printed: bool = False) -> float:
    """Noise variance of the real decision variable: N0 / 2 of complex noise CN(0, N0); N0 itself in the printed formulas."""
    return n0 if as_printed else n0 / 2.0


@dataclass(frozen=True, kw_only=True)
class PowerProblem:
    """What a schedule is made from.

    :param rounds: T
    :param devices: devices K that transmit in a round
    :param noise_variance: of the real decision variable, see :func:`real_noise_variance`
    :param budget: largest allowed sum of mu_t^2; infinity for none. The paper's R_dp is half of it
    :param sensitivity_ratio: Delta / clip; 2 where one device's value may be replaced (the paper, and any sign payload)
    :param contraction: A in (0, 1], by which the optimality gap shrinks per round
    :param caps: float64[T], peak-power limit of the amplitude, min_k |h_k(t)| at peak power 1; None for no limit known
    :param as_printed: follow the paper's printed formulas, where they differ, and report the errata that matter
    :raises PrivacyError: a value out of its range
    """

    rounds: int
    devices: int
    noise_variance: float
    budget: float
    sensitivity_ratio: float = 2.0
    contraction: float = 0.998
    caps: Floats | None = None
    as_printed: bool = False

    def __post_init__(self) -> None:
        for name in ("rounds", "devices"):
            if getattr(self, name) < 1:
                raise PrivacyError(f"{name} is {getattr(self, name)}; a schedule needs at least one")
        for name in ("noise_variance", "sensitivity_ratio"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise PrivacyError(f"{name} is {getattr(self, name)}; it must be positive and finite")
        if not self.budget > 0.0:
            raise PrivacyError(f"the privacy budget is {self.budget}; it must be positive, or infinite for none")
        if not 0.0 < self.contraction <= 1.0:
            raise PrivacyError(f"contraction is {self.contraction}; it must lie above 0 and at most at 1")
        if self.caps is not None:
            caps = np.array(self.caps, dtype=np.float64)
            if caps.shape != (self.rounds,):
                raise PrivacyError(f"caps has shape {list(caps.shape)}; a schedule of {self.rounds} rounds needs one per round")
            if not (np.isfinite(caps).all() and (caps >= 0.0).all()):
                raise PrivacyError("caps holds a negative or non-finite amplitude; give min_k |h_k| of each round")
            caps.setflags(write=False)
            object.__setattr__(self, "caps", caps)

    @property
    def spendable(self) -> float:
        """The budget less a margin for rounding, so that plans meet it from below."""
        return self.budget * (1.0 - _MARGIN)

    def mu_squared(self, amplitudes: Floats) -> Floats:
        """mu_t^2 = (Delta / clip)^2 a_t^2 / sigma^2 of amplitudes of any shape."""
        return np.asarray(np.square(self.sensitivity_ratio * amplitudes) / self.noise_variance)

    def mu_squared_caps(self) -> Floats:
        """Largest mu_t^2 that peak power allows, float64[T]; infinite where no cap is known."""
        return np.full(self.rounds, np.inf) if self.caps is None else self.mu_squared(self.caps)

    def amplitudes(self, mu_squared: Floats) -> Floats:
        """Inverse of :meth:`mu_squared` for a whole schedule, never above a cap, and at it exactly where that is asked for."""
        found = np.sqrt(mu_squared * self.noise_variance) / self.sensitivity_ratio
        if self.caps is None:
            return np.asarray(found)
        return np.where(mu_squared >= self.mu_squared_caps(), self.caps, np.minimum(found, self.caps))

    def root_weights(self, reverse: bool = False) -> Floats:
        """A^((T - t) / 2), float64[T], at most 1; ``reverse``: A^((t - 1) / 2). Kept above zero where it underflows."""
        age = np.arange(self.rounds, dtype=np.float64)
        exponents = age if reverse else age[::-1]
        return np.asarray(np.maximum(np.exp(0.5 * math.log(self.contraction) * exponents), 1e-290))

    def estimate_std(self, amplitudes: Floats, clip: float = 1.0) -> Floats:
        """Standard deviation of the estimated mean, clip sigma / (K a_t); infinite in silent rounds."""
        with np.errstate(divide="ignore"):
            return np.asarray(clip * math.sqrt(self.noise_variance) / (self.devices * amplitudes))


@dataclass(frozen=True)
class Plan:
    """A schedule's answer.

    :param name: of the schedule
    :param amplitudes: float64[T], aligned amplitude a_t; None: the noise-free mean, no air at all
    :param spent: sum of mu_t^2
    :param budget: what was allowed
    :param capped: bool[T], rounds at peak power
    :param zeta: the paper's multiplier in symbol units (clip 1; the paper's own is clip^2 times this for analog payloads);
        None where no level was sought or the budget does not bind
    :param errata: sentences on the printed formulas that matter for this plan
    """

    name: str
    amplitudes: Floats | None
    spent: float
    budget: float
    capped: Bools | None = None
    zeta: float | None = None
    errata: tuple[str, ...] = ()

    @property
    def table(self) -> Floats:
        """The amplitudes, float64[T].

        :raises PrivacyError: there are none, since nothing goes over the air
        """
        if self.amplitudes is None:
            raise PrivacyError(f"the schedule {self.name} has no amplitudes; run it on a noise-free uplink")
        return self.amplitudes

    @property
    def within_budget(self) -> bool:
        """Whether no more is spent than allowed."""
        return self.spent <= self.budget

    @property
    def statement(self) -> str:
        """One sentence for the person who reads the run."""
        if self.amplitudes is None:
            return f"{self.name}: the noise-free mean gives no privacy"
        silent = int((self.amplitudes == 0.0).sum())
        capped = 0 if self.capped is None else int(self.capped.sum())
        share = (
            f"{self.spent:.5g} of a budget of {self.budget:.5g}" if self.budget < math.inf else f"{self.spent:.5g}, no budget"
        )
        over = "" if self.within_budget else ", MORE THAN ALLOWED"
        rounds = len(self.amplitudes)
        return f"{self.name}: sum of mu^2 {share}{over}; of {rounds} rounds {silent} silent, {capped} at peak power"


def analog_objective(problem: PowerProblem, amplitudes: Floats) -> float:
    """P1: sum_t A^(T - t) sigma^2 / a_t^2, which the noise adds to the analog scheme's bound; infinite if a round is silent."""
    with np.errstate(divide="ignore"):
        return float(np.sum(np.square(problem.root_weights()) * problem.noise_variance / np.square(amplitudes)))


def sign_constants(devices: int, sign_error: float, as_printed: bool = False) -> tuple[float, float]:
    """D = 4 K e0 (1 - e0) and S = K^2 (1 - 2 e0)^2 of the sign scheme's bound; ``as_printed`` loses the square on 1 - 2 e0."""
    margin = 1.0 - 2.0 * sign_error
    return 4.0 * devices * sign_error * (1.0 - sign_error), devices**2 * (margin if as_printed else margin**2)


def sign_objective(problem: PowerProblem, amplitudes: Floats, sign_error: float) -> float:
    """P2: sum_t A^(T - t) e_t^2 with Cantelli's e_t^2 = (D x + 1) / ((D + S) x + 1), x = a_t^2 / sigma^2; 1 if silent."""
    spread, signal = sign_constants(problem.devices, sign_error)
    x = np.square(amplitudes) / problem.noise_variance
    return float(np.sum(np.square(problem.root_weights()) * (spread * x + 1.0) / ((spread + signal) * x + 1.0)))
