"""What schedules of the aligned amplitude cost and give, side by side: the numbers behind ``pairzero privacy plan``.

A device at full scale (payload = clip) arrives with amplitude a_t, so that a_t = c_t clip in the paper's letters; N0 is the
variance of the complex receiver sample and the real decision variable has N0/2. How rounds are charged is that of a run
(:mod:`testbench.privacy.charging`), so that the row of a scenario's own schedule is the plan that its run follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from learning.privacy.accountants import find
from learning.privacy.errors import PrivacyError
from learning.privacy.release import Release
from testbench.errors import TestbenchError
from testbench.privacy.adversary import adversary, check_adversary, listener_of
from testbench.privacy.charging import Charging
from testbench.privacy.directions import Directions, sensitivity_of
from testbench.privacy.fitting import fit
from testbench.privacy.sounding import Sounding, sound
from testbench.scenario import Scenario, build
from testbench.spread import unbounded

__all__ = ["ACCOUNTANTS", "PlanReport", "PlanRow", "make_plan", "scenario_of"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Scheme = Literal["analog", "sign"]

ACCOUNTANTS = ("paper", "gdp", "pld")

# The constants of pAirZero (arXiv 2604.12401, section V), where no scenario says otherwise.
_PAPER: dict[str, dict[str, Any]] = {
    "federation": {"devices": 5, "rounds": 8000, "batch_size": 16},
    "zeroth_order": {"clip": 100.0},
    "link": {"scheme": "analog", "snr_max_db": 20.0, "air": "numpy"},
    "privacy": {"epsilon": 5.0, "delta": 0.01},
}


def scenario_of(base: Scenario | None, options: Mapping[str, Any], sampling_rate: float | None = None) -> tuple[Scenario, int]:
    """(what to plan for, examples that a device holds): ``base``, or the paper's constants, under dotted ``options``.

    Of the options None means not given. Several directions are clipped jointly. A record's sensitivity brings clipping per
    sample; ``sampling_rate`` q brings Poisson sampling of shards of b / q examples, and accounting that can count it. A
    scenario that claims no privacy yet promises the paper's (5, 0.01), and is charged the gains of its own channels.

    :raises testbench.errors.ScenarioError: one sentence that names the setting
    """
    data: dict[str, Any] = {k: dict(v) for k, v in _PAPER.items()} if base is None else base.plain()
    if base is not None and not base.privacy.on:
        own = {name: data["privacy"][name] for name in base.privacy.changed if name in data["privacy"]}
        data["privacy"] = {**_PAPER["privacy"], "csi_gain": "realised", **own}
    stated = {name: value for name, value in options.items() if value is not None}
    if stated.get("privacy.adversary.antennas"):
        stated.setdefault("privacy.adversary.channel", "same")
        stated.setdefault("privacy.csi_gain", "realised")
    if stated.get("zeroth_order.directions", 1) > 1:
        stated.setdefault("zeroth_order.clip_norm", "joint")
    if sampling_rate is not None:
        if not 0.0 < sampling_rate <= 1.0:
            raise TestbenchError(f"--sampling-rate is a probability above 0, got {sampling_rate}")
        stated = {"privacy.sensitivity": "record_add_remove", "privacy.accounting": "pld"} | stated
        stated |= {"privacy.amplification": True, "federation.sampling": "poisson"}
    if str(stated.get("privacy.sensitivity", "client_value")).startswith("record"):
        stated.setdefault("zeroth_order.clip_scope", "sample")
        if stated["privacy.sensitivity"] == "record_add_remove":
            stated.setdefault("federation.sampling", "poisson")
    for name, value in stated.items():
        *sections, key = name.split(".")
        place = data
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    if base is not None and data.get("uplink", {}).get("transport") == "none":
        data["uplink"] = {}
    scenario = build(data, "privacy plan" if base is None else base.name)
    batch = scenario.federation.batch_size
    if sampling_rate is not None:
        return scenario, max(1, round(batch / sampling_rate))
    return scenario, max(1, _records(scenario) // scenario.federation.devices)


def _records(scenario: Scenario) -> int:
    """Training examples of the task, which is read where it does not say."""
    if scenario.task.train_examples is not None:
        return scenario.task.train_examples
    from learning import tasks

    return len(tasks.load(scenario.task).train)


@dataclass(frozen=True)
class PlanRow:
    """A schedule's answer.

    :param label: as it stands in tables; :param schedule: its name; :param scheme: whose payloads it is for
    :param full_scale: of a device's value: the clip, or one vote
    :param amplitudes: a_t; :param mu: what round t truly costs; :param std: of the estimate's noise, in the payload's unit
    :param capped: bool[T], rounds at peak power
    :param epsilons: accountant -> epsilon at delta of what the plan truly spends. paper and gdp know no sampling: they then
        state what holds without it
    :param printed: made with the printed formulas, which report ``reported`` as the sum of mu_t^2
    :param errata: sentences on the printed formulas that matter here
    """

    label: str
    schedule: str
    scheme: Scheme
    full_scale: float
    amplitudes: Floats
    mu: Floats
    std: Floats
    capped: Bools
    epsilons: dict[str, float]
    printed: bool = False
    reported: float = math.nan
    errata: tuple[str, ...] = ()

    @property
    def silent(self) -> int:
        """Rounds in which nothing is sent."""
        return int((self.amplitudes == 0).sum())


@dataclass(frozen=True)
class PlanReport:
    """Everything about a plan: what it was made for, channels, rows, and refusals (schedule -> sentence)."""

    scenario: Scenario
    sampling_rate: float | None
    sounding: Sounding
    rows: tuple[PlanRow, ...]
    refusals: dict[str, str]

    def row(self, label: str) -> PlanRow:
        """The row with this label."""
        return next(row for row in self.rows if row.label == label)

    @property
    def epsilon(self) -> float:
        """The promise."""
        return self.scenario.privacy.epsilon or math.nan

    @property
    def caption(self) -> str:
        """The definitions that the numbers need."""
        s, link = self.scenario, self.scenario.link
        tail = unbounded(link, s.federation.devices, "the root mean square of the noise")
        sampling = "no amplification by sampling" if self.sampling_rate is None else f"Poisson, q = {self.sampling_rate:.3g}"
        return (
            f"SNR_max = P E|h|²/N0 = {link.snr_max_db:g} dB, N0 the variance of one complex sample (real axis: N0/2); "
            f"adversary: {adversary(s)}; {sensitivity_of(s).statement}; delta = {s.privacy.delta:g}, {sampling}; channel "
            f"{link.channel.model}, CSI {link.csi.estimator}, {link.power.control}; K = {s.federation.devices}, "
            f"T = {s.federation.rounds}, {_directions(s)}clip {link.clip:g}, A = {s.privacy.contraction:g}, seed {s.seed} "
            f"(one draw of the channels){f'; {tail}' if tail else ''}"
        )


def _directions(scenario: Scenario) -> str:
    several = Directions.of(scenario)
    if several.count == 1:
        return ""
    how = "clipped jointly" if several.joint else "clipped one by one"
    return f"{several.count} directions a round {how}, "


def make_plan(scenario: Scenario, examples: int, progress: Callable[[int, int], None] | None = None) -> PlanReport:
    """Plan every schedule for ``scenario``, whose devices hold ``examples`` each.

    :raises PrivacyError: no schedule has an answer, or the accountant cannot certify such a release
    """
    check_adversary(scenario)
    federation, listener = scenario.federation, listener_of(scenario)
    heard = sound(scenario.link, scenario.seed, federation.devices, federation.rounds, progress, listener)
    rate = min(1.0, scenario.federation.batch_size / examples) if scenario.privacy.amplification else None
    planner = _Planner(scenario, heard, rate)
    rows: list[PlanRow] = []
    refusals: dict[str, str] = {}
    for label, name, scheme, printed in _menu("sign" if scenario.link.scheme == "sign" else "analog"):
        try:
            rows.append(planner.row(label, name, scheme, printed))
        except PrivacyError as error:
            refusals[label] = str(error)
    if not rows:
        raise PrivacyError(next(iter(refusals.values())))
    return PlanReport(scenario, rate, heard, tuple(rows), refusals)


def _menu(scheme: Scheme) -> list[tuple[str, str, Scheme, bool]]:
    """(label, schedule, scheme, as printed)."""
    if scheme == "sign":
        best: list[tuple[str, str, Scheme, bool]] = [("water-filling", "water_filling", "sign", False)]
    else:
        best = [("solution", "solution", "analog", False)]
    plain = [(name.replace("_", " "), name, scheme, False) for name in ("static", "reversed", "online", "full_power")]
    printed: list[tuple[str, str, Scheme, bool]] = [("static, as printed", "static", scheme, True)]
    if scheme == "analog":
        best.append(("water-filling (sign)", "water_filling", "sign", False))
        printed.append(("solution, as printed", "solution", "analog", True))
    return [*best[:1], *plain, *best[1:], *printed, ("theorem4, as printed", "theorem4", "sign", True)]


class _Planner:
    """The one problem that all schedules of a plan solve."""

    def __init__(self, scenario: Scenario, heard: Sounding, rate: float | None) -> None:
        self._scenario, self._heard, self._rate = scenario, heard, rate
        self._accountants = {name: find(name)() for name in ACCOUNTANTS}

    def row(self, label: str, name: str, scheme: Scheme, printed: bool) -> PlanRow:
        """Plan one schedule and charge it what it truly costs."""
        changes: dict[str, Any] = {"schedule": name, "schedule_settings": {}, "as_printed": printed}
        if name == self._scenario.privacy.schedule and scheme == self._scenario.link.scheme:
            changes["schedule_settings"] = self._scenario.privacy.schedule_settings
        if printed:  # the paper's sensitivity, accounting and noise, whatever the scenario has
            changes |= {"accounting": "paper", "sensitivity": "client_value", "amplification": False}
            changes |= {"noise_source": "receiver", "schedule_settings": {}}
        own = self._variant(scheme, {"as_printed": False})
        asked = self._variant(scheme, changes)
        truth = Charging.of(own, sensitivity_of(own), self._heard, self._rate)
        charging = Charging.of(asked, sensitivity_of(asked), self._heard, None if printed else self._rate)
        accountant = self._accountants[asked.privacy.accounting]
        if (sentence := accountant.supports(charging.release(np.zeros(len(self._heard.caps)), 0.0))) is not None:
            raise PrivacyError(f"accounting {asked.privacy.accounting}: {sentence}")
        _, made, amplitudes, noise = fit(asked, charging, self._heard, accountant)
        mu = truth.mu(amplitudes, noise)
        capped = (amplitudes >= self._heard.caps / np.sqrt(1.0 + np.square(noise)) * (1.0 - 1e-9)) & (amplitudes > 0)
        return PlanRow(
            label=label,
            schedule=name,
            scheme=scheme,
            full_scale=truth.full_scale,
            amplitudes=amplitudes,
            mu=mu,
            std=truth.estimate_std(amplitudes, noise, self._heard.active),
            capped=capped,
            epsilons=self._epsilons(truth.release(amplitudes, noise), convolve=not printed),
            printed=printed,
            reported=made.spent if printed else math.nan,
            errata=made.errata,
        )

    def _variant(self, scheme: Scheme, changes: dict[str, Any]) -> Scenario:
        privacy = self._scenario.privacy.model_copy(update=changes)
        link = self._scenario.link.model_copy(update={"scheme": scheme})
        return self._scenario.model_copy(update={"privacy": privacy, "link": link})

    def _epsilons(self, release: Release, convolve: bool) -> dict[str, float]:
        """By every accountant that can say; ``convolve``: also under sampling."""
        found = {}
        plain = replace(release, sampling_rate=None)
        for name, accountant in self._accountants.items():
            counted = release if name == "pld" else plain
            if accountant.supports(counted) is None and (convolve or not counted.sampled):
                found[name] = accountant.epsilon(counted, self._scenario.privacy.delta)
        return found
