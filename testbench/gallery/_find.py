"""Find a figure by its name: the file ``f3.py`` is F3."""

import difflib
import importlib
import pkgutil
import re
from types import ModuleType

import testbench.gallery
from testbench.errors import TestbenchError

__all__ = ["find", "names"]


def names() -> list[str]:
    """The figures and tables, in the order of their numbers."""
    found = [m.name for m in pkgutil.iter_modules(testbench.gallery.__path__) if re.fullmatch(r"[ft]\d+", m.name)]
    return sorted((name.upper() for name in found), key=lambda name: (name[0], int(name[1:])))


def find(name: str) -> ModuleType:
    """The module of figure ``name``; raises :class:`testbench.errors.TestbenchError` with the nearest name."""
    known = names()
    if name.upper() not in known:
        near = difflib.get_close_matches(name.upper(), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
        raise TestbenchError(f"there is no figure {name}; {hint}")
    return importlib.import_module(f"testbench.gallery.{name.lower()}")
