"""The points of a sweep as plain data: each a whole scenario, known by the hash of what it computes."""

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from testbench.errors import ScenarioError
from testbench.scenario import Scenario, build, keys_at
from testbench.sweep.axes import SCENARIO, Axis, Choice, SweepError, axes_of, combine, flatten
from testbench.sweep.config import SweepConfig
from testbench.sweep.worker import ROUND_WEIGHT, TRAINING_WEIGHT, WAVEFORM_WEIGHT, link_refusal

__all__ = ["Expanded", "SweepPoint", "expand", "scenario_hash"]


@dataclass(frozen=True)
class SweepPoint:
    """One scenario of a sweep.

    ``id``: hash of scenario and measurement, under which results are kept; ``labels``: axis -> value as the table shows it;
    ``group``: hash of the labels without the seed; ``order``: number of its seed within the group.
    """

    id: str
    scenario_hash: str
    labels: dict[str, Any]
    seed: int
    group: str
    order: int
    scenario: dict[str, Any]
    weight: float

    @property
    def words(self) -> str:
        """The point in a sentence."""
        parts = [f"{name} = {value}" for name, value in self.labels.items()]
        return ", ".join([*parts, f"seed {self.seed}"])


@dataclass(frozen=True)
class Expanded:
    """All points of a sweep, the names of its axes, and a sentence for each point that was left out."""

    points: list[SweepPoint]
    axes: list[str]
    skipped: list[str]


def scenario_hash(scenario: Scenario) -> str:
    """16 hexadecimal digits of the SHA-256 over the settings that shape a result and are not the default.

    Left out: ``name``, ``compute``, how the air is reached (not whether it is noise-free), and where privacy is added up. As
    defaults do not count, a version that only adds settings keeps the hashes of the one before.
    """
    data: dict[str, Any] = scenario.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    data["uplink"] = {"noise_free": scenario.uplink.transport == "none"}
    for key in ("name", "compute"):
        data.pop(key, None)
    if "privacy" in data:  # where runs are added up shapes none of them
        data["privacy"] = {key: value for key, value in data["privacy"].items() if key not in ("ledger", "ledger_epsilon")}
        data = {key: value for key, value in data.items() if key != "privacy" or value}
    return _digest(data)


def _digest(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def expand(sweep: SweepConfig, bases: dict[str, dict[str, Any]]) -> Expanded:
    """Every point, its scenario validated; ``bases``: plain data of the base scenario (key "") and of an axis ``scenario``.

    Raises :class:`SweepError` with the nearest valid key where an axis names nothing, and where a point is no valid scenario
    unless those are to be skipped.
    """
    axes = axes_of(sweep, keys_at([]))
    _check_keys(sweep, axes, bases)
    shared = flatten(sweep.set)
    found: list[SweepPoint] = []
    skipped: list[str] = []
    of_group: Counter[str] = Counter()
    for choices in combine(sweep, axes):
        labels = {axis.name: choice.label for axis, choice in zip(axes, choices, strict=True) if axis.name != "seed"}
        for seed in sweep.seed_list or (None,):
            try:
                scenario = _scenario(bases, shared, choices, seed, labels)
                refusal = link_refusal(scenario) if sweep.measure == "link" else None
                if refusal is not None:
                    raise SweepError(f"{_words(labels)}: {refusal}")
            except SweepError as error:
                if sweep.invalid == "refuse":
                    raise SweepError(f'{error}; to leave such points out, write invalid = "skip"') from error
                skipped.append(str(error))
                continue
            group = _digest({key: repr(value) for key, value in labels.items()})
            found.append(_point(sweep, scenario, labels, group, of_group[group]))
            of_group[group] += 1
    if not found:
        raise SweepError(skipped[0] if skipped else "the sweep has no points")
    return Expanded(found, [axis.name for axis in axes if axis.name != "seed"], skipped)


def _words(labels: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in labels.items()) or "the base scenario"


def _check_keys(sweep: SweepConfig, axes: Sequence[Axis], bases: dict[str, dict[str, Any]]) -> None:
    """Refuse an axis or a shared setting that names no setting, whatever its values."""
    base = bases[""]
    try:
        build(base, "the base scenario")
    except ScenarioError as error:
        raise SweepError(str(error)) from error
    places = dict.fromkeys(flatten(sweep.set), "[set]")
    values = dict(flatten(sweep.set))
    for axis in axes:
        for choice in axis.choices:
            places |= dict.fromkeys(choice.settings, f"the axis {axis.name}")
            values |= choice.settings
    for key, where in places.items():
        if key == SCENARIO:
            continue
        data = copy.deepcopy(base)
        try:
            _put(data, key, values[key])
            build(data, where)
        except ScenarioError as error:
            # Other defects may be mended by the other axes; a setting that does not exist never is.
            if "there is no setting" in str(error):
                raise SweepError(str(error)) from error


def _scenario(
    bases: dict[str, dict[str, Any]],
    shared: dict[str, Any],
    choices: Sequence[Choice],
    seed: int | None,
    labels: dict[str, Any],
) -> Scenario:
    settings = dict(shared)
    for choice in choices:
        settings |= choice.settings
    if seed is not None:
        settings["seed"] = seed
    data = copy.deepcopy(bases[str(settings.pop(SCENARIO, ""))])
    try:
        for key, value in settings.items():
            _put(data, key, value)
        return build(data, _words(labels))
    except ScenarioError as error:
        raise SweepError(str(error)) from error


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise ScenarioError(f"{key}: {section} is a value, not a section")
    data[last] = copy.deepcopy(value)


def _point(sweep: SweepConfig, scenario: Scenario, labels: dict[str, Any], group: str, order: int) -> SweepPoint:
    digest = scenario_hash(scenario)
    measured = {"measure": sweep.measure}
    if sweep.measure == "link":
        measured |= sweep.measurement.model_dump(mode="json")
    rounds = sweep.measurement.rounds * sweep.measurement.entries if sweep.measure == "link" else scenario.federation.rounds
    weight = rounds * (ROUND_WEIGHT if sweep.measure == "link" else TRAINING_WEIGHT)
    if scenario.link.fidelity == "waveform":
        weight *= WAVEFORM_WEIGHT
    plain = {**scenario.plain(), "name": f"{sweep.name[:40]}-{digest}"}
    if scenario.uplink.transport in ("ipc", "tcp") and scenario.uplink.endpoint is None:
        plain["uplink"] = {"transport": "inproc"}  # the same bits, without a process per point
    return SweepPoint(
        id=_digest([digest, measured]),
        scenario_hash=digest,
        labels=labels,
        seed=scenario.seed,
        group=group,
        order=order,
        scenario=plain,
        weight=weight,
    )
