"""Commands that have no function of their own here: the command's function itself, which prints and returns nothing."""

from typing import Any


def command(place: str, name: str) -> Any:
    """The command ``name`` (an underscore for a dash) of the group ``place``; of the command line itself where that is empty.

    :raises AttributeError: there is no such command
    """
    import importlib
    from types import SimpleNamespace

    missing = AttributeError(f"module {'.'.join(filter(None, ('pairzero', place)))!r} has no attribute {name!r}")
    if name.startswith("_"):
        raise missing
    module = None
    for candidate in (place,) if place else (name, f"{name}_"):
        try:
            module = importlib.import_module(f"testbench.commands.{candidate}")
            break
        except ModuleNotFoundError as error:
            if error.name != f"testbench.commands.{candidate}":
                raise
    if module is None:
        raise missing
    if hasattr(module, "command"):
        return module.command
    known = {}
    for info in module.app.registered_commands:
        called = info.name or info.callback.__name__
        known[called.strip("_").replace("-", "_")] = info.callback
    if not place:
        return SimpleNamespace(**known)
    wanted = name.strip("_")
    if wanted not in known:
        raise missing
    return known[wanted]
