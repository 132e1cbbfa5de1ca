"""Hardware faults of the emulated air: found by name, their settings checked, built in physical order.

A fault is a file ``phy/impairments/<name>.py`` with a class ``Part``, or a class that ``module:Class`` names. Not every file
there is one: delays and frequency offsets are functions that the air applies by ``[link.offsets]`` and ``[link.clock]``.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ValidationError

from phy.discovery import find
from phy.draws import KeyedDraws
from phy.errors import PhyError, UnknownPart

if TYPE_CHECKING:
    import torch


class Fault(Protocol):
    """What a part of the kind ``impairments`` offers, built as ``Part(settings, sample_rate_hz)``."""

    stage: Literal["transmitter", "receiver"]
    order: int  # physical order within the stage, from the converter to the antenna, or the other way round

    def apply(self, samples: "torch.Tensor", draws: KeyedDraws, round_index: int) -> "torch.Tensor":
        """Samples [K, N] (transmitter) or [M, N] (receiver) of one round, complex64, with the fault on them."""
        ...


@dataclass(frozen=True)
class ParsedFault:
    """A fault that was found and whose settings are valid, not yet built."""

    name: str
    part: Any
    settings: BaseModel


def available() -> list[str]:
    """Names of the faults that ship: the files in ``phy/impairments`` that have a ``Part``. Imports none of them."""
    return sorted(name for name, has_part in _files().items() if has_part)


def parse(faults: Mapping[str, Mapping[str, Any]]) -> list[ParsedFault]:
    """Find every fault and validate its settings: name -> settings, as in ``LinkConfig.impairments``.

    Raises :class:`phy.errors.UnknownPart` for a name, and :class:`phy.errors.PhyError` for a setting, that does not exist or
    has no meaning; both name the nearest valid one.
    """
    return [_parse(name, settings) for name, settings in faults.items()]


def build(faults: Mapping[str, Mapping[str, Any]], sample_rate_hz: float) -> tuple[list[Fault], list[Fault]]:
    """Build the faults of transmitter and receiver, each list in the order in which they act.

    Raises what :func:`parse` raises.
    """
    # sorted() is stable and the key ends in the name: the order never depends on how the faults were listed.
    parsed = sorted(parse(faults), key=lambda fault: (fault.part.order, fault.name))
    built: dict[str, list[Fault]] = {"transmitter": [], "receiver": []}
    for fault in parsed:
        built[fault.part.stage].append(fault.part(fault.settings, sample_rate_hz))
    return built["transmitter"], built["receiver"]


def _files() -> dict[str, bool]:
    """Files of the folder, and whether each has a ``Part``; read as text, since some import Sionna."""
    files = sorted(resources.files("phy.impairments").iterdir(), key=lambda file: file.name)
    return {
        file.name.removesuffix(".py"): "\nclass Part" in file.read_text(encoding="utf-8")
        for file in files
        if file.name.endswith(".py") and not file.name.startswith("_")
    }


def _parse(name: str, settings: Mapping[str, Any]) -> ParsedFault:
    part = _find(name)
    if not isinstance(settings, Mapping):
        raise PhyError(f"impairments.{name} must be a table of settings, got {settings!r}")
    try:
        return ParsedFault(name, part, part.Settings.model_validate(dict(settings)))
    except ValidationError as error:
        raise PhyError(_sentence(name, part.Settings, error)) from None


def _find(name: str) -> Any:
    if ":" in name:
        part = find("impairments", name)
        missing = [a for a in ("stage", "order", "Settings", "apply") if not hasattr(part, a)]
        if missing:
            raise UnknownPart(f"impairments: {name} is not a fault: it has no {', '.join(missing)}")
        if part.stage not in ("transmitter", "receiver"):
            raise UnknownPart(f"impairments: the stage of {name} must be transmitter or receiver, got {part.stage!r}")
        return part
    files = _files()
    faults = [file for file, has_part in files.items() if has_part]
    if name in faults:
        return find("impairments", name)
    if name in files:
        raise UnknownPart(
            f"impairments: {name} is a tool for Python code and no fault of the link; delays and frequency offsets are set in "
            f"[link.offsets] and [link.clock], and faults are {', '.join(faults)}"
        )
    near = difflib.get_close_matches(name, faults, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(faults)}, or module:Class"
    raise UnknownPart(f"impairments: there is no {name!r}; {hint}")


def _sentence(name: str, settings: type[BaseModel], error: ValidationError) -> str:
    """The first thing that is wrong, in one sentence."""
    first = error.errors()[0]
    where = ".".join(str(step) for step in first["loc"])
    if first["type"] == "extra_forbidden":
        *path, wrong = (str(step) for step in first["loc"])
        keys = _keys(settings, path)
        near = difflib.get_close_matches(wrong, keys, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(keys)}"
        return f"impairments.{'.'.join([name, *path])} has no setting {wrong!r}; {hint}"
    message = str(first["msg"]).removeprefix("Value error, ")
    given = first["input"]
    got = f", got {given!r}" if first["type"] != "value_error" and isinstance(given, int | float | str) else ""
    return f"impairments.{name}{'.' + where if where else ''}: {message[:1].lower()}{message[1:]}{got}"


def _keys(settings: type[BaseModel], path: list[str]) -> list[str]:
    """Settings at a path: of the model itself, or of one nested in it."""
    model: Any = settings
    for step in path:
        model = model.model_fields[step].annotation
    return list(model.model_fields)
