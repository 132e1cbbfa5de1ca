"""Schedules of the aligned amplitude: one file each, found by its name.

Each is a class ``Schedule`` (a frozen pydantic model; its fields are its settings) with ``plan(problem) -> Plan``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Protocol

from pydantic import ValidationError

from learning.discovery import find as _find
from learning.discovery import names as _names
from learning.privacy.errors import PrivacyError
from learning.privacy.power_problem import Plan, PowerProblem
from learning.privacy.schedules._noise_source import NoiseDesign, NoiseSource, adversary_noise_variance, design_noise

__all__ = ["NoiseDesign", "NoiseSource", "Planner", "adversary_noise_variance", "design_noise", "find", "names", "plan"]


class Planner(Protocol):
    """What every schedule does."""

    def plan(self, problem: PowerProblem) -> Plan:
        """Amplitudes of all rounds."""


def names() -> list[str]:
    """The schedules that come with the package."""
    return _names(sys.modules[__name__])


def find(name: str) -> Callable[..., Planner]:
    """The schedule class ``name``, or ``module:class``.

    :raises LearningError: there is none; names the nearest
    """
    return _find(sys.modules[__name__], name, "Schedule", "schedule")


def plan(name: str, problem: PowerProblem, settings: Mapping[str, object] | None = None) -> Plan:
    """Plan with the schedule ``name`` and its ``settings``.

    :raises PrivacyError: a setting is unknown or out of range, or the schedule has no answer to this problem
    """
    schedule = find(name)
    try:
        planner = schedule(**dict(settings or {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        known = ", ".join(getattr(schedule, "model_fields", {})) or "none"
        raise PrivacyError(f'schedule "{name}": {where}: {first["msg"]}; its settings are: {known}') from error
    return planner.plan(problem)
