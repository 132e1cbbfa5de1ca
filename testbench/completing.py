"""What may follow ``--set``: keys, and after the equals sign the choices of a setting that has some."""

from typing import Any, Literal, get_args, get_origin

from testbench.scenario import PARTS, Scenario, all_keys

__all__ = ["settings"]


def settings(incomplete: str) -> list[str]:
    """Completions of ``incomplete``: ``key=`` for keys, ``key=value`` once a key is complete.

    A single key comes with its first value, so that no shell takes it for finished and puts a space behind it.
    """
    key, equals, begun = incomplete.partition("=")
    if not equals:
        names = [name for name in all_keys() if name.startswith(key)]
        if len(names) == 1:
            return [f"{names[0]}={value}" for value in ("", *(_values(names[0]) or ["..."]))]
        return [f"{name}=" for name in names]
    return [f"{key}={value}" for value in _values(key) if value.startswith(begun)]


def _values(key: str) -> list[str]:
    """The choices of a setting; empty where any value will do."""
    for folder, place in PARTS.items():
        if key == f"link.{place}":
            from phy.discovery import available

            return available(folder)
    field: Any = None
    model: Any = Scenario
    for part in key.split("."):
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return []
        model = field.annotation
    if model is bool:
        return ["true", "false"]
    return [str(choice) for choice in _choices(model)]


def _choices(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for inner in get_args(annotation) for choice in _choices(inner)]
