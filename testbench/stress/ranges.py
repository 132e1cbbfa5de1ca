"""Ranges of offsets with their unit, as a person writes them: ``0..2us:25``, ``1..1000Hz:13log``, ``0,1,5us``."""

import math
import re
from itertools import pairwise

import numpy as np

TIME = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
FREQUENCY = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6}
ANGLE = {"rad": 1.0, "deg": math.pi / 180.0}
DRIFT = {"ppm": 1.0, "ppb": 1e-3}
SHARE = {"": 1.0, "%": 1e-2}

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_SPAN = re.compile(rf"({_NUMBER})\.\.({_NUMBER})\s*([A-Za-zµ%]*)(?::(\d+)(log)?)?")
_LIST = re.compile(rf"({_NUMBER}(?:\s*,\s*{_NUMBER})*)\s*([A-Za-zµ%]*)")
_POINTS = 25


def parse_range(text: str, units: dict[str, float]) -> tuple[float, ...]:
    """Values in the base unit of ``units`` (the one whose factor is 1), ascending.

    ``a..bUNIT:n`` is n equal steps (25 where n is left out), ``a..bUNIT:nlog`` equal ratios, ``a,b,cUNIT`` a list. Raises
    ValueError with one sentence, which names the valid units where the unit is missing or wrong.
    """
    span = _SPAN.fullmatch(text.strip())
    listed = None if span else _LIST.fullmatch(text.strip())
    if span:
        unit, points = span[3], int(span[4] or _POINTS)
        ends = float(span[1]), float(span[2])
    elif listed:
        unit = listed[2]
    else:
        some = _example(units)
        raise ValueError(
            f"{text!r} is no range: write a..b with unit and points, as in 0..2{some}:25, or a list, as in 0,1,2{some}"
        )
    factor = _factor(text, unit.replace("µ", "u"), units)
    if listed:
        values = np.array([float(part) for part in listed[1].split(",")])
    else:
        if not 2 <= points <= 10_000:
            raise ValueError(f"{text!r} asks for {points} points; choose 2 to 10000")
        if span and span[5]:
            if min(ends) <= 0:
                raise ValueError(f"{text!r}: equal ratios (log) need both ends above zero")
            values = np.geomspace(*ends, points)
        else:
            values = np.linspace(*ends, points)
    # Rounded to 12 digits, so that 0..50us:26 holds 2e-06 and not 2.0000000000000003e-06.
    scaled = [float(f"{value * factor:.12g}") for value in values]
    if scaled[0] < 0 or any(b <= a for a, b in pairwise(scaled)):
        raise ValueError(f"{text!r} must ascend from zero or more: an offset is the half width of its law")
    return tuple(scaled)


def thinned(text: str, points: int) -> str:
    """The same range with at most ``points`` values; a list stays as it is."""
    span = _SPAN.fullmatch(text.strip())
    if not span or int(span[4] or _POINTS) <= points:
        return text
    return f"{span[1]}..{span[2]}{span[3]}:{points}{span[5] or ''}"


def unit_of(text: str) -> str:
    """The unit that a valid range is written in."""
    found = _SPAN.fullmatch(text.strip())
    listed = _LIST.fullmatch(text.strip())
    return (found[3] if found else listed[2] if listed else "").replace("µ", "u")


def _example(units: dict[str, float]) -> str:
    return next(name for name in reversed(units) if name or len(units) == 1)


def _factor(text: str, unit: str, units: dict[str, float]) -> float:
    if unit in units:
        return units[unit]
    names = [name or "none (a plain share)" for name in units]
    valid = f"{', '.join(names[:-1])} or {names[-1]}"
    problem = f"the unit {unit!r} does not fit" if unit else "the unit is missing"
    raise ValueError(f"{text!r}: {problem}; valid units are {valid}")
