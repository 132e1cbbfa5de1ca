"""What a run claims, in sentences."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learning.privacy.sensitivity import Sensitivity
from testbench.fleet.disclosure import disclosures
from testbench.privacy import secrecy
from testbench.privacy.adversary import adversary
from testbench.privacy.charging import Charging
from testbench.scenario import Scenario

__all__ = ["sampling_sentence", "statements"]

_SOURCES = {
    "receiver": "the adversary's receiver noise alone protects",
    "artificial": "artificial noise alone protects, whatever the adversary receives with; receiver noise is given no credit",
    "both": "artificial noise and the adversary's receiver noise protect",
}
_ACCOUNTING = {
    "paper": "counted by the bound of pAirZero (arXiv 2604.12401, Lemma 1), valid and loose",
    "gdp": "counted exactly as Gaussian differential privacy",
    "pld": "counted by privacy loss distributions, rounded against the user",
}


def sampling_sentence(rate: float | None) -> str:
    """What sampling is claimed for, with probability ``rate``."""
    if rate is None:
        return "no amplification by sampling is claimed"
    return (
        f"each record is in a round's batch independently (Poisson) with an announced probability of at most {rate:.4g}; who "
        "is sampled must be a secret of its device"
    )


def statements(
    scenario: Scenario,
    charging: Charging,
    sensitivity: Sensitivity,
    rate: float | None,
    noise: NDArray[np.float64],
    plan: str,
    errata: Sequence[str],
) -> tuple[str, ...]:
    """Neighbours, adversary, noise, gains, sampling, accounting, plan, errata: each a sentence."""
    settings, link = scenario.privacy, scenario.link
    gains = {
        "perfect": "every gain is known, so that every device arrives with the amplitude that power control gives it",
        "realised": "every device is charged the gains that it had in this very run, which says nothing of other runs",
        "tail": f"every round is charged a gain of {charging.g_max:.4g}, and the probability {charging.extra_delta:.3g} that "
        "any gain is larger is part of delta",
    }[charging.csi]
    found = [
        sensitivity.statement,
        f"the adversary is {adversary(scenario)}",
        f"N0 = {link.n0:.4g} is the variance of a complex sample, so that the real decision variable has N0/2; "
        f"{_SOURCES[settings.noise_source]}",
        gains,
        "the rounds that are counted are, sorted by cost, at least as dear as those of any device"
        if rate is not None
        else "what is claimed is that of the device which loses most over the run",
        sampling_sentence(rate),
        f"delta = {settings.delta:g}, {_ACCOUNTING[settings.accounting]}",
        plan,
    ]
    audible = noise[noise > 0]
    if audible.size:
        low, high = float(audible.min()), float(audible.max())
        level = f"{high:.4g}" if high < 1.001 * low else f"{low:.4g} to {high:.4g}, by the schedule,"
        where = "" if audible.size == noise.size else f" in {audible.size} of {noise.size} rounds"
        found.append(
            f"every device adds noise of standard deviation {level} of full scale{where}; its mean square is part of the peak "
            "power, single symbols may exceed it"
        )
    found.extend(secrecy.sentences(scenario))
    found += disclosures(scenario)
    return (*found, *errata)
