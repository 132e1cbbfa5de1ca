"""Axes of a sweep: what each of their values sets, and how they are combined."""

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from testbench.errors import TestbenchError
from testbench.stress.plan import nearest
from testbench.sweep.config import SweepConfig

__all__ = ["HARDWARE", "SCENARIO", "Axis", "Choice", "SweepError", "axes_of", "combine", "flatten"]

#: Axes that are no setting: the base scenario by name, and hardware presets (``pairzero stress --list-presets``).
SCENARIO, HARDWARE = "scenario", "hardware"

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*:\s*(\d+)\s*(log)?\s*")


class SweepError(TestbenchError):
    """A sweep is unreadable or contradicts itself."""


@dataclass(frozen=True)
class Choice:
    """One value of an axis: as a table shows it, and the settings that it stands for."""

    label: Any
    settings: dict[str, Any]


@dataclass(frozen=True)
class Axis:
    """A named quantity with its values."""

    name: str
    choices: tuple[Choice, ...]

    @property
    def keys(self) -> set[str]:
        """Every setting that one of the values sets."""
        return {key for choice in self.choices for key in choice.settings}


def axes_of(sweep: SweepConfig, sections: Iterable[str]) -> list[Axis]:
    """The axes of a sweep, its list of points last; ``sections`` are those of a scenario.

    Raises :class:`SweepError` where an axis is empty, repeats itself, or sets what another one sets.
    """
    found = _nested(sweep.axes, set(sections), "")
    if sweep.points:
        found.append(_listed(sweep.points, {axis.name for axis in found}))
    for axis in found:
        labels = [repr(choice.label) for choice in axis.choices]
        if not labels:
            raise SweepError(f"the axis {axis.name} has no values")
        twice = next((label for i, label in enumerate(labels) if label in labels[:i]), None)
        if twice is not None:
            raise SweepError(f"the axis {axis.name} has the value {twice} twice")
    shared = flatten(sweep.set)
    for index, axis in enumerate(found):
        if "seed" in axis.keys and sweep.seed_list:
            raise SweepError(f"seeds are given twice, as seeds and by the axis {axis.name}; leave one out")
        for other in found[:index]:
            if (key := _common(axis.keys, other.keys)) is not None:
                raise SweepError(f"the axes {other.name} and {axis.name} contradict each other: both set {key}")
        if (key := _common(axis.keys, set(shared))) is not None:
            raise SweepError(f"[set] and the axis {axis.name} contradict each other: both set {key}")
    return found


def _common(left: set[str], right: set[str]) -> str | None:
    """A setting that both set, or that one sets inside a section that the other sets."""
    for a, b in itertools.product(sorted(left), sorted(right)):
        if a == b or a.startswith(f"{b}.") or b.startswith(f"{a}."):
            return max(a, b, key=len)
    return None


def _nested(data: dict[str, Any], sections: set[str], place: str) -> list[Axis]:
    """Axes in tables: sections of a scenario may be written as sections; another table holds named bundles."""
    found = []
    for name, values in data.items():
        key = f"{place}{name}"
        of_scenario = bool(place) or key.split(".")[0] in sections
        if isinstance(values, dict) and of_scenario and any(_sweeps(value) for value in values.values()):
            found += _nested(values, sections, f"{key}.")
        elif isinstance(values, dict):
            found.append(Axis(key, tuple(_bundle(key, label, settings) for label, settings in values.items())))
        else:
            found.append(Axis(key, tuple(_choice(key, value) for value in _values(key, values))))
    return found


def _sweeps(value: Any) -> bool:
    """Whether a list or a range hangs below, so that this is a section of axes and no table of bundles."""
    if isinstance(value, dict):
        return any(_sweeps(inner) for inner in value.values())
    return isinstance(value, list) or (isinstance(value, str) and _RANGE.fullmatch(value) is not None)


def _values(name: str, values: Any) -> Sequence[Any]:
    if isinstance(values, str):
        return spread(name, values)
    if isinstance(values, list | tuple):
        return values
    raise SweepError(f'the axis {name} must be a list, a range "a..b:points", or a table of bundles, got {values!r}')


def spread(name: str, text: str) -> list[float | int]:
    """``a..b:n`` is n equal steps, ``a..b:nlog`` equal ratios; whole numbers where both ends and all values are."""
    found = _RANGE.fullmatch(text)
    if found is None:
        raise SweepError(f'the axis {name}: {text!r} is no range; write "a..b:points", "a..b:pointslog", or a list in brackets')
    low, high, points, log = float(found[1]), float(found[2]), int(found[3]), bool(found[4])
    if not 2 <= points <= 100_000:
        raise SweepError(f"the axis {name}: {text!r} asks for {points} points; choose 2 to 100000")
    if log and not (low > 0 and high > 0):
        raise SweepError(f"the axis {name}: {text!r}: equal ratios (log) need both ends above zero")
    if not (math.isfinite(low) and math.isfinite(high)) or low == high:
        raise SweepError(f"the axis {name}: {text!r} has no width")
    values = (np.geomspace if log else np.linspace)(low, high, points)
    whole = not any("." in end or "e" in end.lower() for end in (found[1], found[2]))
    rounded = [float(f"{value:.12g}") for value in values]
    return [int(v) for v in rounded] if whole and all(v.is_integer() for v in rounded) else rounded


def _choice(name: str, value: Any) -> Choice:
    if name == HARDWARE:
        from testbench.stress.hardware import shipped

        if value not in (known := shipped()):
            raise SweepError(f"the axis hardware: there is no {value!r}{nearest(str(value), known)}")
        laws = known[value].offsets()
        return Choice(value, {f"link.offsets.{key}": law for key, law in laws.items()})
    return Choice(value, {name: value})


def _bundle(axis: str, label: str, settings: Any) -> Choice:
    if not isinstance(settings, dict):
        raise SweepError(f"the axis {axis}: {label} must be a table of settings, got {settings!r}")
    return Choice(label, flatten(settings))


def flatten(settings: dict[str, Any], place: str = "") -> dict[str, Any]:
    """Settings by dotted key, however their sections are written."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{place}{name}"
        if isinstance(value, dict) and value:
            found |= flatten(value, f"{key}.")
        else:
            found[key] = value
    return found


def _listed(points: Sequence[dict[str, Any]], taken: set[str]) -> Axis:
    """The list of points as one more axis: labelled, or numbered."""
    choices = []
    for index, settings in enumerate(points, 1):
        rest = dict(settings)
        label = rest.pop("label", index)
        choices.append(Choice(label, flatten(rest)))
    name = "point"
    while name in taken:
        name += "_"
    return Axis(name, tuple(choices))


def combine(sweep: SweepConfig, axes: Sequence[Axis]) -> list[tuple[Choice, ...]]:
    """One choice of each axis, in the order of ``axes``, for every point; those in a group of ``zip`` advance together."""
    names = [axis.name for axis in axes]
    groups: list[list[int]] = []
    for group in sweep.zip:
        for name in group:
            if name not in names:
                raise SweepError(f"zip: there is no axis {name!r}{nearest(name, names)}")
        members = [names.index(name) for name in group]
        if any(member in other for other in groups for member in members) or len(set(members)) < len(members):
            raise SweepError(f"zip: an axis of {', '.join(group)} is named twice")
        lengths = {names[member]: len(axes[member].choices) for member in members}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} has {count} values" for name, count in lengths.items())
            raise SweepError(f"zip: axes that advance together need as many values each, but {told}")
        groups.append(members)
    zipped = {member for group in groups for member in group}
    groups = sorted([*groups, *([i] for i in range(len(axes)) if i not in zipped)], key=min)
    steps = [list(zip(*(axes[member].choices for member in group), strict=True)) for group in groups]
    order = [member for group in groups for member in group]
    found = []
    for chosen in itertools.product(*steps):
        flat = dict(zip(order, itertools.chain.from_iterable(chosen), strict=True))
        found.append(tuple(flat[index] for index in range(len(axes))))
    return found
