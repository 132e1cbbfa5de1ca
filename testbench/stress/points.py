"""The points of a plan and the units of work that they are cut into: plain data that a worker process receives."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from phy.config import LinkConfig
from testbench.stress.axes import ProtocolFaults
from testbench.stress.plan import PayloadLaw, StressConfig
from testbench.stress.plan_file import contestant_link, merge
from testbench.stress.ranges import FREQUENCY, TIME, parse_range

# Weights of the progress bar: a round of a scalar at symbol fidelity is 1.
_WAVEFORM_WEIGHT = 300.0
_TRAINING_WEIGHT = 30_000.0


@dataclass(frozen=True)
class Point:
    """One contestant at one value of one axis (or with one preset).

    ``group``: sweep, preset, gradient or accuracy. ``value`` is in the axis's base unit, NaN for a preset. ``added``: not of
    the plan's grid, but measured to narrow the band of a limit.
    """

    id: str
    group: str
    contestant: str
    label: str
    axis: str
    value: float
    unit: str
    preset: str
    entries: int
    rounds: int
    sessions: int
    batches: int
    devices: int
    seed: int
    payload: PayloadLaw
    faults: ProtocolFaults
    link: dict[str, Any]
    overrides: dict[str, Any] = field(default_factory=dict)
    added: bool = False

    @property
    def curve(self) -> str:
        """The curve that the point belongs to: what its id begins with."""
        return self.id.rpartition("/")[0]

    @property
    def config(self) -> LinkConfig:
        """The link's configuration."""
        return LinkConfig.model_validate(self.link)

    def session_rounds(self) -> int:
        """Rounds of each session but the last."""
        return -(-self.rounds // self.sessions)


@dataclass(frozen=True)
class Unit:
    """Sessions ``first`` .. ``last`` - 1 of a point, evaluated in one go; or one fine-tuning run (``seed``, ``training``)."""

    id: str
    point: Point
    first: int
    last: int
    weight: float
    training: dict[str, Any] | None = None


def training_weight(rounds: int) -> float:
    """Weight of a fine-tuning run in the progress bar."""
    return rounds * _TRAINING_WEIGHT


def points_of(plan: StressConfig) -> list[Point]:
    """All open-loop points of a plan, in the order of its results."""
    found = [*_sweep(plan), *_presets(plan)]
    if plan.scalar_vs_gradient.run:
        found += _gradient(plan)
    return found


def units_of(point: Point, unit_rounds: int) -> list[Unit]:
    """The units of an open-loop point."""
    length = point.session_rounds()
    at_once = max(1, unit_rounds // (length * point.entries))
    waveform = point.link["fidelity"] == "waveform"
    if waveform:
        at_once = 1
    sessions = -(-point.rounds // length)
    edges = [*range(0, sessions, at_once), sessions]
    cost = (_WAVEFORM_WEIGHT if waveform else 1.0) * point.entries
    return [
        Unit(f"{point.id}#{a}-{b}", point, a, b, (min(point.rounds, b * length) - a * length) * cost)
        for a, b in pairwise(edges)
    ]


def point_of(plan: StressConfig, name: str, place: str, **fields: Any) -> Point:
    """A point of contestant ``name``; ``fields`` replace what a sweep has."""
    overrides = fields.get("overrides", {})
    link = merge(contestant_link(plan, name), overrides)
    sessions = min(plan.static_sessions, plan.rounds) if is_static(link) else plan.sessions
    given: dict[str, Any] = {
        "entries": 1,
        "rounds": plan.rounds,
        "sessions": sessions,
        "batches": sessions,
        "preset": "",
        "faults": ProtocolFaults(),
        **fields,
    }
    return Point(
        id=place,
        contestant=name,
        label=plan.contestants[name].label,
        devices=plan.devices,
        seed=plan.seed,
        payload=plan.payload,
        link=link,
        **given,
    )


def is_static(value: Any) -> bool:
    """Whether a link draws anything once per device, so that one session is one draw."""
    if not isinstance(value, dict):
        return False
    if value.get("per") == "device":
        return value.get("law") in ("uniform", "normal")
    return any(is_static(inner) for inner in value.values())


def _sweep(plan: StressConfig) -> list[Point]:
    return [
        _swept(plan, name, axis_name, value, f"sweep/{axis_name}/{name}/{i}")
        for axis_name, axis in plan.chosen_axes().items()
        for name in plan.contestants
        for i, value in enumerate(axis.values)
    ]


def _swept(plan: StressConfig, name: str, axis_name: str, value: float, place: str, **fields: Any) -> Point:
    axis = plan.chosen_axes()[axis_name]
    return point_of(
        plan, name, place,
        group="sweep", axis=axis_name, value=value, unit=axis.base_unit,
        faults=axis.faults(value), overrides=axis.link(value), **fields,
    )  # fmt: skip


def beside(plan: StressConfig, point: Point, value: float) -> Point:
    """A point of the same curve, of a sweep or of the comparison with a gradient, at another value."""
    place = f"{point.curve}/at-{value!r}"
    if point.group == "sweep":
        return _swept(plan, point.contestant, point.axis, value, place, added=True)
    duration_s, age_s = point.config.offsets.symbol_duration_s, point.config.csi.age_s
    return _compared(plan, point.contestant, point.axis, point.entries, duration_s, age_s, value, place, added=True)


def _presets(plan: StressConfig) -> list[Point]:
    hardware = plan.all_hardware()
    return [
        point_of(
            plan, name, f"preset/{preset}/{name}",
            group="preset", axis="preset", value=float("nan"), unit="", preset=preset,
            overrides={"offsets": hardware[preset].offsets()},
        )
        for preset in plan.presets
        for name in plan.contestants
    ]  # fmt: skip


def gradient_variants(plan: StressConfig) -> list[tuple[str, int, float]]:
    """What is compared: (name, entries, symbol duration [s]); the stretched scalar comes after the scalar."""
    section = plan.scalar_vs_gradient
    found = []
    for entries in section.entries:
        found.append(("scalar" if entries == 1 else f"gradient, d = {entries}", entries, section.symbol_duration_s))
        if entries == 1:
            found.append((f"scalar, {section.stretch:g} T", 1, section.stretch * section.symbol_duration_s))
    return found


def _gradient(plan: StressConfig) -> list[Point]:
    section = plan.scalar_vs_gradient
    found = []
    for name in section.contestants:
        for variant, (_, entries, duration_s) in enumerate(gradient_variants(plan)):
            for axis, text, units, ages in (
                ("timing", section.timing, TIME, section.ages_s[:1]),
                ("cfo", section.cfo, FREQUENCY, section.ages_s),
            ):
                values = np.array(parse_range(text, units))
                if axis == "timing":  # the grid is in units of the symbol, whatever its length
                    values = values * (duration_s / section.symbol_duration_s)
                for age, age_s in enumerate(ages):
                    found += [
                        _compared(
                            plan, name, axis, entries, duration_s, age_s, value,
                            f"gradient/{axis}/{name}/{variant}/{age}/{i}",
                        )
                        for i, value in enumerate(values.tolist())
                    ]  # fmt: skip
    return found


def _compared(
    plan: StressConfig,
    name: str,
    axis: str,
    entries: int,
    duration_s: float,
    age_s: float,
    value: float,
    place: str,
    **fields: Any,
) -> Point:
    key, unit = ("timing_s", "s") if axis == "timing" else ("frequency_hz", "Hz")
    offsets: dict[str, Any] = {
        "symbol_duration_s": duration_s,
        "spacing": "contiguous" if entries > 1 else "guarded",
        key: {"law": "uniform", "value": value} if value else {},
    }
    rounds = plan.scalar_vs_gradient.rounds_of(entries)
    return point_of(
        plan, name, place,
        group="gradient", axis=axis, value=value, unit=unit, entries=entries, rounds=rounds, sessions=1,
        batches=min(20, rounds), overrides={"offsets": offsets, "csi": {"age_s": age_s}}, **fields,
    )  # fmt: skip
