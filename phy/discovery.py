"""Find a part of the link by its name: one file per part, no registry.

The part ``name`` of kind ``schemes`` is the class ``Part`` in ``phy/schemes/<name>.py``; a user's own part is named
``package.module:Class``.
"""

import difflib
import importlib
import pkgutil
from typing import Any

from phy.errors import UnknownPart
from phy.foreign import Guarded, first_line, guarded

# Which backend has a framework that a user's module asks for.
_BACKENDS = {"torch": "sionna", "tensorflow": "tensorflow", "keras": "tensorflow"}


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
            raise UnknownPart(f"{kind}: cannot load {name!r}: {error}{_other_backend(error)}") from error
        except Exception as error:  # a user's module does at import whatever it likes
            raise UnknownPart(f"{kind}: cannot load {name!r}: {first_line(error)}") from error
        if kind != "channels" and not isinstance(found, type):
            raise UnknownPart(f"{kind}: {name!r} is not a class")
        return found
    check(kind, name)
    return importlib.import_module(f"phy.{kind}.{name}").Part


def make(kind: str, name: str, *arguments: Any) -> Any:
    """The part of that name, built; a user's own is guarded, so that it raises nothing but :class:`phy.errors.PhyError`."""
    found = find(kind, name)
    if ":" not in name:
        return found(*arguments)
    label = f"{kind}: {name!r}"
    return Guarded(label, guarded(label, found)(*arguments))


def _other_backend(error: Exception) -> str:
    """Where the framework that is missing would be."""
    missing = str(getattr(error, "name", None) or "").partition(".")[0]
    backend = _BACKENDS.get(missing)
    return f"; {missing} is in the environment of air.backend {backend!r}" if backend else ""
