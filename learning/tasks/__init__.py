"""The tasks: a file each, or a row of the table of prompted tasks, found by name; each is loaded as ``TaskData``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from learning.config import TaskConfig
from learning.data import TaskData
from learning.discovery import find as _find
from learning.discovery import names as _names
from learning.tasks._prompted import TABLE, load_prompted

__all__ = ["find", "load", "names"]


def names() -> list[str]:
    """The tasks that come with the package."""
    return sorted([*_names(sys.modules[__name__]), *TABLE])


def find(name: str) -> Callable[[TaskConfig], TaskData]:
    """The loader of the task ``name``, or of ``module:callable``."""
    if name in TABLE:
        return partial(load_prompted, name)
    return _find(sys.modules[__name__], name, "load", "task", more=tuple(TABLE))


def load(config: TaskConfig) -> TaskData:
    """Load the task that ``config`` names."""
    return find(config.name)(config)
