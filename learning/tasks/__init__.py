"""The tasks: one file each, found by its name; each has ``load(config) -> TaskData``."""

from __future__ import annotations

import sys
from collections.abc import Callable

from learning.config import TaskConfig
from learning.data import TaskData
from learning.discovery import find as _find
from learning.discovery import names as _names

__all__ = ["find", "load", "names"]


def names() -> list[str]:
    """The tasks that come with the package."""
    return _names(sys.modules[__name__])


def find(name: str) -> Callable[[TaskConfig], TaskData]:
    """The loader of the task ``name``, or of ``module:callable``."""
    return _find(sys.modules[__name__], name, "load", "task")


def load(config: TaskConfig) -> TaskData:
    """Load the task that ``config`` names."""
    return find(config.name)(config)
