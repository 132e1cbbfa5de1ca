"""Whether a claim is true: the privacy of every device computed from the link's own responses, and held against the claim.

A plan charges rounds by closed forms (:mod:`testbench.privacy.charging`); here nothing of them is used. For schemes whose
release is linear and Gaussian the truth is computed (:mod:`testbench.privacy.responses`), not bounded. Schemes of energy
detection are attacked instead (:mod:`testbench.privacy.energy_attack`), which can refute and not confirm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning.privacy.accountants import find as find_accountant
from learning.privacy.errors import PrivacyError
from phy.config import LinkConfig
from phy.link import Link
from testbench.privacy.design import Design
from testbench.privacy.energy_attack import attack_energies
from testbench.privacy.energy_design import EnergyDesign
from testbench.privacy.responses import observed_squares, observing_link
from testbench.scenario import Scenario

__all__ = ["DeviceVerdict", "Verification", "check_energies", "check_plan", "verify"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

#: By how much a computed mu^2 may exceed the charged one: single precision of the emulation, over whole runs and single rounds.
_OF_A_RUN, _OF_A_ROUND = 2e-4, 2e-3
_OF_A_CLAIM = 3e-4  # of epsilon
_WITHOUT_NOISE = 0.05  # the same for all three where the receiver has none, and single precision is all that hides differences
#: Of mu^2 of a round: below this nothing is told apart from rounding.
_NOTHING = 1e-12
_QUICK_TRIALS = 400


@dataclass(frozen=True)
class DeviceVerdict:
    """One device.

    :param charged_mu: what the plan charges for it; :param computed_mu: what the link's responses give
    :param epsilon: of ``computed_mu`` by the accountant of the claim
    :param margin: claimed epsilon less ``epsilon``; :param tolerance: of the computation, relative
    """

    device: int
    charged_mu: float
    computed_mu: float
    epsilon: float
    margin: float
    tolerance: float = _OF_A_CLAIM

    @property
    def refuted(self) -> bool:
        """Whether it has more than is claimed, beyond rounding."""
        return self.margin < -self.tolerance * max(self.epsilon, 1e-3) or math.isnan(self.margin)


@dataclass(frozen=True)
class Verification:
    """A claim of ``epsilon`` at ``delta`` against the truth.

    :param rounds: of the claim; :param computed: how many of them were computed, the others are scaled by what those show
    :param through: which air carried them
    """

    epsilon: float
    delta: float
    rounds: int
    computed: int
    through: str
    devices: tuple[DeviceVerdict, ...]
    notes: tuple[str, ...] = ()

    @property
    def refuted(self) -> tuple[DeviceVerdict, ...]:
        """Devices that have more than is claimed."""
        return tuple(one for one in self.devices if one.refuted)

    @property
    def sentence(self) -> str:
        """What is refuted."""
        worst = max(self.refuted, key=lambda one: one.epsilon)
        return (
            f"a claim of epsilon = {self.epsilon:.4g} at delta = {self.delta:g} is not true of this link: device "
            f"{worst.device} has {worst.epsilon:.4g}, computed from what arrives at the adversary's antennas"
        )


def check_plan(scenario: Scenario, design: Design) -> None:
    """Hold a plan against the link before it is used: some rounds of it, as many as take a moment.

    :raises PrivacyError: what the link's own responses refute, in one sentence
    """
    devices = scenario.federation.devices
    chosen = _sample(design, _affordable(design, devices, symbols=400_000, slots=100))
    if design.settings.as_printed or chosen.size == 0:  # the printed formulas are known to claim too little, and say so
        return
    seen, doubt, _ = _carried(scenario, design, chosen, None, quick=True)
    charged = design.squares[chosen]
    tail = design.charging.csi == "tail"
    of_a_round, of_a_run = (_WITHOUT_NOISE,) * 2 if design.charging.n0 == 0 else (_OF_A_ROUND, _OF_A_RUN)
    over = seen - doubt > charged * (1.0 + of_a_round) + _NOTHING
    more = (seen - doubt).sum(axis=0) > charged.sum(axis=0) * (1.0 + of_a_run) + _NOTHING
    if more.any() or (over.any() and not tail):
        device = int(np.argmax(np.where(more, seen.sum(axis=0), over.any(axis=0))))
        parts = [
            name for name in (scenario.link.power.control, scenario.link.csi.estimator, scenario.link.air or "") if ":" in name
        ]
        blame = f"; look at {', '.join(parts)}" if parts else ""
        raise PrivacyError(
            f"the plan's claim of epsilon = {design.settings.epsilon:g} is not true of this link: in {chosen.size} rounds that "
            f"were computed, device {device} arrives with mu = {math.sqrt(seen[:, device].sum()):.4g} where "
            f"{math.sqrt(charged[:, device].sum()):.4g} is charged{blame}; pairzero privacy verify shows every device"
        )


def check_energies(scenario: Scenario, planned: EnergyDesign) -> None:
    """The same for a scheme of energy detection, by a short attack.

    :raises PrivacyError: what the attack refutes
    """
    found = attack_energies(scenario, planned, _QUICK_TRIALS)
    if found.refuted:
        raise PrivacyError(found.sentence)


def verify(
    scenario: Scenario,
    design: Design,
    *,
    claimed: float | None = None,
    sent: Integers | None = None,
    absent: dict[int, Bools] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Compute the privacy of every device under ``design`` and hold ``claimed`` (None: what the plan spends) against it.

    :param sent: rounds that were sent; None: all of the plan
    :param absent: round -> who was present, where not everybody was
    :param progress: told (rounds computed, rounds to compute)
    """
    devices, rounds = scenario.federation.devices, len(design.amplitudes)
    alive = np.arange(rounds) if sent is None else sent
    kept = np.zeros(rounds, np.bool_)
    kept[alive] = True
    budget = _affordable(design, devices, symbols=400_000_000, slots=2500)
    chosen = _sample(design, budget, kept)
    seen, doubt, through = _carried(scenario, design, chosen, absent, progress=progress)
    doubtful = np.divide(doubt.sum(axis=0), seen.sum(axis=0), out=np.zeros(devices), where=seen.sum(axis=0) > 0)
    charged = np.where(kept[:, None], design.squares, 0.0)
    full = charged.copy()
    if chosen.size < np.count_nonzero(kept & (design.amplitudes > 0)):
        before = charged[chosen].sum(axis=0)
        scale = np.divide(seen.sum(axis=0), before, out=np.ones(devices), where=before > 0)
        full = charged * scale
    full[chosen] = seen
    epsilon = design.planned_epsilon if claimed is None else claimed
    accountant = find_accountant(design.settings.accounting if design.settings.accounting != "paper" else "gdp")()
    verdicts = []
    for k in np.flatnonzero(design.charging.victims).tolist():
        own = design.charging.release_of(k, full)
        found = accountant.epsilon(own, design.settings.delta) if np.isfinite(own.mu).all() else math.inf
        mus = math.sqrt(charged[:, k].sum()), math.sqrt(full[:, k].sum())
        tolerance = (_WITHOUT_NOISE if design.charging.n0 == 0 else _OF_A_CLAIM) + float(doubtful[k])
        verdicts.append(DeviceVerdict(k, *mus, found, epsilon - found, tolerance))
    return Verification(epsilon, design.settings.delta, len(alive), len(chosen), through, tuple(verdicts))


def _affordable(design: Design, devices: int, *, symbols: int, slots: int) -> int:
    """How many rounds to compute: so many symbols at symbol fidelity, so many slots of samples, few by a user's own air."""
    n = design.directions.count
    if design.link.fidelity == "waveform":
        return max(1, slots // (2 * devices * n))
    if ":" in (design.link.air or ""):
        return max(1, slots // (2 * devices * n))
    return max(1, symbols // (2 * devices * devices * n * n))


def _sample(design: Design, count: int, kept: Bools | None = None) -> Integers:
    """Rounds to compute: all that are sent where there are few, else the most exposed ones and others evenly spread."""
    loud = design.squares.max(axis=1)
    sent = np.flatnonzero((design.amplitudes > 0) & (loud > 0) & (True if kept is None else kept))
    if sent.size <= count:
        return sent
    order = sent[np.argsort(-loud[sent], kind="stable")]
    some, rest = order[: (count + 1) // 2], np.sort(order[(count + 1) // 2 :])
    spread = rest[np.linspace(0, rest.size - 1, count - some.size).astype(np.int64)] if count > some.size else rest[:0]
    return np.unique(np.concatenate((some, spread)))


def _carried(
    scenario: Scenario,
    design: Design,
    rounds: Integers,
    absent: dict[int, Bools] | None,
    *,
    quick: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Floats, Floats, str]:
    """(mu^2 [B, K], its doubt, through which air): the scenario's own where it gives the same twice, else the emulated one."""
    devices, config = scenario.federation.devices, observing_link(design)
    config, through = _air(scenario, design, _light(config), rounds, quick)
    link = Link(config, scenario.seed, listener=design.listener)
    partial = absent or {}
    out, doubt = np.empty((len(rounds), devices)), np.empty((len(rounds), devices))
    whole = np.array([index for index, t in enumerate(rounds.tolist()) if t not in partial], np.int64)
    step = max(1, len(whole) // 20)
    for low in range(0, len(whole), step):
        part = whole[low : low + step]
        out[part], doubt[part] = observed_squares(design, link, rounds[part], devices)
        if progress is not None:
            progress(int(low + len(part)), len(rounds))
    for index, t in enumerate(rounds.tolist()):
        if t in partial:
            one = observed_squares(design, link, rounds[index : index + 1], devices, partial[t])
            out[index], doubt[index] = one[0][0], one[1][0]
    return out, doubt, through


def _light(config: LinkConfig) -> LinkConfig:
    """The same numbers to 1e-4 by the backend without a framework, whose import would take longer than the plan."""
    needed = config.clock.sampling_ppm.on or config.channel.model.startswith("sionna") or config.burst.air == "time_channel"
    if config.fidelity == "waveform" and (needed or ":" in config.channel.model):
        return config
    if ":" in config.channel.model or config.channel.model.startswith("sionna"):
        return config.model_copy(update={"air": config.air or "numpy"})
    return config.model_copy(update={"backend": "numpy"})


def _air(scenario: Scenario, design: Design, config: LinkConfig, rounds: Integers, quick: bool) -> tuple[LinkConfig, str]:
    """The air to compute through. Airs that lead out of this process, or whose noise is fresh, are stood in for."""
    air = config.burst.air
    if config.fidelity == "symbol" or air in ("emulated", "time_channel") or rounds.size == 0:
        return config, f"{config.fidelity} fidelity, {air if config.fidelity == 'waveform' else config.air or config.backend}"
    emulated = config.model_copy(update={"burst": config.burst.model_copy(update={"air": "emulated", "overlay": {}})})
    stand_in = f"emulated, in the place of {air}: the claim holds if its gains and noise are those of [link]"
    if quick or ":" not in air or air.startswith("bridge."):
        return emulated, stand_in
    link = Link(config, scenario.seed, listener=design.listener)
    silence = np.zeros((1, scenario.federation.devices, design.directions.count))
    first = link.observe(rounds[:1], silence)
    if np.array_equal(first, link.observe(rounds[:1], silence)):
        return config, air
    return emulated, stand_in
