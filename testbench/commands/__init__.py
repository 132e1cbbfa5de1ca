"""The commands of ``pairzero``, one file each, found by name; adding one touches no other file.

A file ``NAME.py`` of this folder (an underscore of the name reads as a dash, one at its end is dropped) holds either ``app``, a
:class:`typer.Typer` with the commands of a group, or ``command``, a function whose docstring begins with the line that
``pairzero --help`` shows. The files are read to show a help text and to complete a line, so what is heavy (numpy, torch,
pydantic, rich, the rooms themselves) is imported within the functions: ``tests/testbench/test_startup.py`` holds them to it.
"""

import importlib
import pkgutil
from collections.abc import Iterator, MutableMapping
from typing import Any

import typer
import typer.main
from typer.core import TyperGroup


class _Found(MutableMapping[str, Any]):
    """Name of a command -> the command, imported when it is asked for."""

    def __init__(self) -> None:
        names = (module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
        self._modules = {name.rstrip("_").replace("_", "-"): f"{__name__}.{name}" for name in sorted(names)}
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _command(importlib.import_module(self._modules[name]), name)
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        self._modules.pop(name, None)
        self._loaded.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._modules.keys() | self._loaded.keys()))

    def __len__(self) -> int:
        return len(self._modules.keys() | self._loaded.keys())


def _command(module: Any, name: str) -> Any:
    """The command of a module: its group, or its one function."""
    group = getattr(module, "app", None)
    if group is None:
        group = typer.Typer(add_completion=False)
        group.command(name)(module.command)
    group._add_completion = False  # completion is installed once, for pairzero itself
    command = typer.main.get_command(group)
    command.name = name
    return command


class Commands(TyperGroup):
    """The group ``pairzero``: its commands are the files of this folder, beside those that were added by hand."""

    def __init__(self, *, commands: Any = None, **attributes: Any) -> None:
        found = _Found()
        found.update(commands or {})
        super().__init__(**attributes)
        self.commands = found

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, without importing one."""
        return list(self.commands)
