"""A first scenario: every setting that there is, explained, those of a shipped scenario switched on."""

import os
from pathlib import Path
from typing import Any

import tomlkit

from testbench.errors import TestbenchError
from testbench.scenario import Scenario, find, keys_at, load
from testbench.settings import is_section, type_name

__all__ = ["scenario_text", "write_scenario"]

_WIDTH = 110

_HEAD = """# A scenario of pairzero: run it with  pairzero run {name}
#
# It starts as a copy of "{base}". Every setting there is stands here; those behind a # are at their defaults. A mistyped key is
# refused with the nearest valid one. One setting on the command line: --set link.snr_max_db=10. All settings, with the hardware
# faults of [link.impairments]: docs/scenario.md. SNR is P E|h|^2 / N0, with N0 the noise variance of one complex sample.
"""


def write_scenario(path: Path, base: str = "demo", *, force: bool = False) -> Path:
    """Write a commented scenario, ready to run, and return its path.

    Raises :class:`testbench.errors.TestbenchError` where the file exists, unless with ``force``, or cannot be written.
    """
    if path.is_dir():
        path = path / "scenario.toml"
    text = scenario_text(path.name, base)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise TestbenchError(f"{path} exists; choose another name, or overwrite it with --force") from error
    except OSError as error:
        raise TestbenchError(f"{path} cannot be written: {os.strerror(error.errno or 0)}") from error
    return path


def scenario_text(name: str, base: str) -> str:
    """The file: settings that ``base`` states as it states them, all others commented out at their defaults."""
    stated = tomlkit.parse(find(base).read_text(encoding="utf-8")).unwrap()
    load(base)  # a scenario that does not load is no start
    lines = [_HEAD.format(name=name, base=Path(base).name)]
    lines += _keys([], stated)
    for section in keys_at([]):
        lines += _section([section], stated)
    return "\n".join(lines).rstrip() + "\n"


def _section(place: list[str], stated: dict[str, Any]) -> list[str]:
    model = _model(place)
    if not is_section(model):
        return []
    lines = ["", *_comment(" ".join((model.__doc__ or "").split())), f"[{'.'.join(place)}]", *_keys(place, stated)]
    for key in keys_at(place):
        lines += _section([*place, key], stated)
    return lines


def _keys(place: list[str], stated: dict[str, Any]) -> list[str]:
    """The settings of one section: the explanation, then the setting."""
    for part in place:
        stated = stated.get(part, {})
    model = _model(place)
    lines = []
    for key in keys_at(place):
        field = model.model_fields[key]
        if is_section(field.annotation):
            continue
        if isinstance(stated.get(key), dict) or type_name(field.annotation) == "sections":
            continue  # hardware faults, and other mappings: docs/scenario.md has them
        lines += _comment(f"{field.description or key} ({type_name(field.annotation).replace('`', '')})")
        if key in stated:
            lines.append(f"{key} = {_toml(stated[key])}")
        elif field.default_factory is not None or field.is_required() or (default := _plain(field.default)) is None:
            lines.append(f"# {key} =")
        else:
            lines.append(f"# {key} = {_toml(default)}")
    return lines


def _model(place: list[str]) -> Any:
    model: Any = Scenario
    for part in place:
        model = model.model_fields[part].annotation
    return model


def _plain(value: Any) -> Any:
    """A default as a file can hold it; None where it cannot."""
    if isinstance(value, (tuple, frozenset, set)):
        return [_plain(entry) for entry in value]
    if hasattr(value, "model_dump"):
        return {key: entry for key, entry in value.model_dump(mode="json").items() if entry is not None}
    return str(value) if isinstance(value, Path) else value


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        table.update(value)
        return table.as_string()
    return str(tomlkit.item(value).as_string())


def _comment(text: str) -> list[str]:
    """Text as comment lines of bearable width."""
    lines, line = [], "#"
    for word in text.replace("``", "").split():
        if len(line) + 1 + len(word) > _WIDTH:
            lines.append(line)
            line = "#"
        line += f" {word}"
    return [*lines, line]
