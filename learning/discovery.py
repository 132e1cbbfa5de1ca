"""Find a task or a model kind by the name of its file, without a list to keep up to date."""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from learning.errors import LearningError

__all__ = ["find", "names"]


def names(package: ModuleType) -> list[str]:
    """The public modules of ``package``."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def find(package: ModuleType, name: str, attribute: str, what: str, more: Sequence[str] = ()) -> Callable[..., Any]:
    """The callable ``attribute`` of the module ``name`` in ``package``; or ``name`` itself where it is module:callable.

    :param what: the noun of error messages, such as "task"; :param more: other names that the message may offer
    :raises LearningError: no such module or callable; names the nearest known one
    """
    if ":" in name:
        module_name, _, attribute = name.partition(":")
        if "" not in sys.path and os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # the command's own folder stands first in the path, the user's does not
    else:
        known = names(package)
        if name not in known:
            known = sorted([*known, *more])
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise LearningError(f'there is no {what} "{name}"; {hint} (your own: module:function)')
        module_name = f"{package.__name__}.{name}"
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        raise LearningError(
            f'{what} "{name}" needs the module {error.name}, which cannot be imported; install it or correct the name'
        ) from error
    except AttributeError as error:
        raise LearningError(f'{what} "{name}" is not there: the module {module_name} has no {attribute}') from error
    if not callable(found):
        raise LearningError(f'{what} "{name}" cannot be called; name a function or class')
    return found  # type: ignore[no-any-return]
