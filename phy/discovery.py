"""Find a part of the link by its name: one file per part, no registry.

The part ``name`` of kind ``schemes`` is the class ``Part`` in ``phy/schemes/<name>.py``; a user's own part is named
``package.module:Class``.
"""

import difflib
import importlib
import pkgutil
from typing import Any

from phy.errors import UnknownPart


def available(kind: str) -> list[str]:
    """Names of the parts that ship in the folder ``phy/<kind>``."""
    package = importlib.import_module(f"phy.{kind}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def check(kind: str, name: str) -> None:
    """Raise :class:`phy.errors.UnknownPart`, with the nearest name, where ``phy/<kind>`` has no ``name``. Imports no part."""
    names = available(kind)
    if ":" not in name and name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names)}, or module:Class"
        raise UnknownPart(f"{kind}: there is no {name!r}; {hint}")


def find(kind: str, name: str) -> Any:
    """Return the class called ``name`` in ``phy/<kind>``, or the class that ``module:Class`` names.

    Raises :class:`phy.errors.UnknownPart` with the nearest name if there is no such part.
    """
    if ":" in name:
        module_name, _, class_name = name.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UnknownPart(f"{kind}: cannot load {name!r}: {error}") from error
        if kind != "channels" and not isinstance(found, type):
            raise UnknownPart(f"{kind}: {name!r} is not a class")
        return found
    check(kind, name)
    return importlib.import_module(f"phy.{kind}.{name}").Part
