"""Sweep files in and out: TOML, ``--set``, errors of one sentence."""

import tomllib
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import ValidationError

from testbench.errors import ScenarioError
from testbench.scenario import WrongType, find, keys_at, load, override_setting, refuse_coercions
from testbench.stress.plan_file import sentence
from testbench.sweep.axes import SCENARIO, SweepError, axes_of, flatten
from testbench.sweep.config import FORMAT, SweepConfig

__all__ = ["BASE", "SWEEP", "Loaded", "build_sweep", "load_sweep", "sweep_toml"]

SWEEP, BASE = "sweep.toml", "base.toml"


class Loaded:
    """A sweep with its base scenarios as plain data: key "" the base, others by the names that an axis ``scenario`` gives."""

    def __init__(self, sweep: SweepConfig, bases: dict[str, dict[str, Any]]) -> None:
        self.sweep = sweep
        self.bases = bases


def load_sweep(source: str | Path, overrides: list[str] | None = None) -> Loaded:
    """Read a sweep from a file or a sweep's folder; ``overrides`` (``key=value``) are laid over its base scenario.

    Raises :class:`SweepError` with one sentence that names the file, the key and the nearest valid key.
    """
    path = Path(source)
    if path.is_dir() and (path / SWEEP).is_file():
        path = path / SWEEP
    if not path.is_file():
        raise SweepError(f"there is no sweep {source}; give a TOML file, or the folder of a sweep")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(f"the sweep {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SweepError(f"the sweep {path} is not valid TOML: {error}") from error
    return build_sweep(data, str(path), path.parent, overrides)


def build_sweep(data: dict[str, Any], origin: str, beside: Path | None = None, overrides: list[str] | None = None) -> Loaded:
    """Validate plain data; scenario files are looked for in ``beside`` first. ``origin`` names the data in an error."""
    if data.get("format", FORMAT) != FORMAT:
        raise SweepError(f"{origin} has format {data['format']}, and this version of pairzero reads format {FORMAT}")
    try:
        _refuse_coercions(data)
        sweep = SweepConfig.model_validate(data)
    except WrongType as error:
        raise SweepError(f"{origin}: {error}") from None
    except ValidationError as error:
        raise SweepError(f"{origin}: {sentence(error, SweepConfig)}") from error
    given: dict[str, Any] = {}
    for text in overrides or []:
        override_setting(given, text)
    shared = {**flatten(sweep.set), **flatten(given)}
    sweep = sweep.model_copy(update={"set": shared})
    try:
        axes = axes_of(sweep, keys_at([]))
        names = ["", *(c.settings[SCENARIO] for axis in axes for c in axis.choices if SCENARIO in c.settings)]
        bases = {str(name): load(_beside(name or sweep.scenario, beside)).plain() for name in names}
    except SweepError as error:
        raise SweepError(f"{origin}: {error}") from error
    except ScenarioError as error:
        raise SweepError(f"{origin}: scenario: {error}") from error
    return Loaded(sweep, bases)


def _beside(name: str, folder: Path | None) -> Path:
    if folder is not None and (folder / name).is_file():
        return folder / name
    return find(name)


def _refuse_coercions(data: dict[str, Any]) -> None:
    checked = {key: value for key, value in data.items() if key not in ("axes", "set", "points", "seeds", "paired")}
    refuse_coercions(checked, SweepConfig, [])


def sweep_toml(sweep: SweepConfig) -> str:
    """The sweep as TOML, to be kept beside its base scenario ``base.toml``."""
    document = tomlkit.document()
    document.add(tomlkit.comment("A sweep. `pairzero sweep` takes this folder, with --resume to finish it."))
    for key, value in {**sweep.model_dump(mode="json", exclude_none=True), "scenario": BASE}.items():
        document[key] = value
    return tomlkit.dumps(document)
