"""Two tables in closed form: what each way of accounting costs in noise, and what post-processing gives back for free."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from learning.privacy import gdp, paper_bound
from learning.privacy.accountants import find
from learning.privacy.calibration import largest_mu
from learning.privacy.postprocess import gaussian_mse
from learning.privacy.sensitivity import Relation, Sensitivity

__all__ = ["Accounting", "Estimator", "accounting_gap", "better_estimates"]

_WITHIN = 2.17  # standard deviations of a normal law that hold 97 % of it


@dataclass(frozen=True)
class Accounting:
    """One way to state the same run: its noise when (epsilon, delta) is met exactly and evenly, without a power limit.

    :param std: of the estimate, in the payload's unit; :param gain_db: less noise power than the first row
    """

    label: str
    mu_per_round: float
    std: float
    gain_db: float


def accounting_gap(
    epsilon: float, delta: float, rounds: int, devices: int, clip: float, batch: int, sampling_rate: float
) -> list[Accounting]:
    """From the paper's accounting to a record's with Poisson sampling, each for a static schedule of ``rounds`` rounds.

    mu per round is what the schedule may cost; the estimate's noise is std = (Delta / mu) / K.
    """

    def even(square: float) -> float:
        return math.sqrt(square / rounds)

    printed = 2.0 * paper_bound.r_dp(epsilon, delta)
    exact = gdp.mu(epsilon, delta) ** 2
    sampled = largest_mu(
        find("pld")(), rounds, epsilon, delta, sampling_rate=sampling_rate, relation="record_add_remove", tolerance=1e-3
    )
    ways: tuple[tuple[str, float, Relation, bool], ...] = (
        ("paper: R_dp, any value of a device, Delta = 2 clip", even(printed), "client_value", False),
        ("exact Gaussian DP, Delta = 2 clip", even(exact), "client_value", False),
        ("exact, one record replaced, Delta = 2 clip / b", even(exact), "record_replace_one", True),
        ("exact, one record added or removed, Delta = clip / b", even(exact), "record_add_remove", True),
        (f"and Poisson sampling, q = {sampling_rate:.3g}, by pld", sampled, "record_add_remove", True),
    )
    found: list[Accounting] = []
    for label, mu, relation, divides in ways:
        std = Sensitivity(relation, clip, batch=batch if divides else None).delta / mu / devices
        gain = 20.0 * math.log10(found[0].std / std) if found else 0.0
        found.append(Accounting(label, mu, std, gain))
    return found


@dataclass(frozen=True)
class Estimator:
    """Mean square error of one estimator at one noise level, over the signal's power: 1 is what saying "zero" gives."""

    label: str
    nmse: float


def better_estimates(noise_std: float, clip: float, signal_std: float | None = None, directions: int = 16) -> list[Estimator]:
    """Errors of estimates that cost no privacy, for a mean payload p ~ N(0, S) heard in noise N(0, noise_std^2).

    ``signal_std``: sqrt(S); None: such that 97 % of p lie within the clip, which is assumed, as the paper reports of its
    projections. ``directions``: n scalars clipped jointly to the same norm, S / n each: the noise is that of every one of
    them, the whole signal is compared.
    """
    std = clip / _WITHIN if signal_std is None else signal_std
    s, n = std**2, noise_std**2
    if not math.isfinite(n):
        labels = ("plain", "clipped", "Wiener", "Wiener, clipped", f"{directions} jointly clipped", f"{directions} Wiener")
        return [Estimator(label, math.inf if label == "plain" else 1.0) for label in labels]
    gain = s / (s + n) if n > 0 else 1.0
    part = s / directions
    joint_gain = part / (part + n) if n > 0 else 1.0
    tiny = np.finfo(np.float64).tiny
    return [
        Estimator("plain", gaussian_mse(s, n) / s),
        Estimator("clipped", gaussian_mse(s, n, limit=clip) / s),
        Estimator("Wiener", gaussian_mse(s, n, gain=max(gain, tiny)) / s),
        Estimator("Wiener, clipped", gaussian_mse(s, n, gain=max(gain, tiny), limit=clip) / s),
        Estimator(f"{directions} jointly clipped", gaussian_mse(part, n, limit=clip, n=directions) / s),
        Estimator(f"{directions} Wiener", gaussian_mse(part, n, gain=max(joint_gain, tiny), n=directions) / s),
    ]
