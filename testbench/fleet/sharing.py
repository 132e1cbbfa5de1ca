"""What a coordinator tells its devices of the run, and how a device takes it: plain data, checked, nothing obeyed blindly.

A device takes numbers and wording from its coordinator, never a path and never the name of code to load.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from learning.config import FederationConfig, ModelConfig, TaskConfig, ZerothOrderConfig
from learning.data import TaskData
from testbench.errors import FleetError
from testbench.scenario import Scenario

__all__ = ["Local", "Told", "Wording", "as_told", "software", "told"]

# A model's and a task's settings that name something on a machine: each device has its own.
_MODEL_PLACES = {"path", "cache_folder", "device"}
_TASK_PLACES = {"folder", "train", "validation", "dataset"}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Wording(_Frozen):
    """Labels, prompt and answer words: those of the coordinator's task, for data of a device's own as well."""

    labels: tuple[str, ...] = Field(max_length=1000)
    prompt: str = Field(max_length=10_000)
    verbalizers: tuple[str, ...] = Field(max_length=1000)


class Told(_Frozen):
    """The settings in WELCOME."""

    journal: dict[str, Any]
    federation: FederationConfig
    zeroth_order: ZerothOrderConfig
    model: ModelConfig
    task: TaskConfig
    wording: Wording
    bounded: bool
    threads: int = Field(ge=1, le=1024)
    rounds: int = Field(ge=1)
    reads_files: bool
    payloads: Literal["coordinator", "air"] = "coordinator"


@dataclass(frozen=True)
class Local:
    """What a device's own command line decides: its scenario file, model, data, torch device, threads, and secret's file."""

    scenario: Scenario | None = None
    model: str | None = None
    data: Path | None = None
    torch_device: str | None = None
    threads: int | None = None
    secret: Path | None = None


def software() -> str:
    """Name and version of this program."""
    try:
        return f"pairzero {version('pairzero')}"
    except PackageNotFoundError:
        return "pairzero (from a checkout)"


def told(scenario: Scenario, data: TaskData, meta: dict[str, Any], bounded: bool) -> dict[str, Any]:
    """What devices are told of a scenario, as plain data; the inverse of :func:`as_told`."""
    model, task = scenario.model, scenario.task
    return {
        "journal": meta,
        "federation": scenario.federation.model_dump(mode="json"),
        "zeroth_order": scenario.zeroth_order.model_dump(mode="json"),
        "model": model.model_dump(mode="json", exclude=_MODEL_PLACES),
        "task": task.model_dump(mode="json", exclude=_TASK_PLACES),
        "wording": {
            "labels": list(data.labels),
            "prompt": data.prompt,
            "verbalizers": list(data.verbalizers),
        },
        "bounded": bounded,
        "threads": scenario.compute.threads,
        "rounds": scenario.federation.rounds,
        "reads_files": any(getattr(task, name) is not None for name in _TASK_PLACES),
        # A device of an older version does not know the word, and refuses the run rather than its own part in it.
        **({"payloads": "air"} if scenario.fleet.deposits else {}),
    }


def as_told(settings: dict[str, Any], local: Local) -> Told:
    """The settings with what this device decides for itself.

    Raises :class:`testbench.errors.FleetError` where they make no sense, name code or files, or lack something that only this
    device can give.
    """
    try:
        found = Told.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FleetError(
            f"the coordinator's settings are not understood ({where}: {first['msg'].lower()}); use one version on both sides"
        ) from None
    for section, places in (("model", _MODEL_PLACES), ("task", _TASK_PLACES)):
        named = sorted(places & settings[section].keys())
        if named:
            raise FleetError(f"the coordinator names a {section}.{named[0]}, which is this machine's own affair; join another")
    model, task = found.model, found.task
    if local.scenario is not None:
        # One's own file may name anything; that it is the run's is seen by the hashes.
        model, task = local.scenario.model, local.scenario.task
    else:
        for what, name in (("model.kind", model.kind), ("task.name", task.name)):
            if ":" in name and not (what == "task.name" and local.data is not None):
                raise FleetError(f"the run's {what} is code, {name}; give this device the scenario with --scenario FILE")
        if found.reads_files and local.data is None:
            raise FleetError(
                f'the run\'s task "{task.name}" reads files, whose places on this machine the coordinator cannot know; give '
                "--data FILE, or the scenario with --scenario FILE"
            )
    changes: dict[str, Any] = {}
    if local.model is not None:
        changes["path"] = local.model
    if local.torch_device is not None:
        changes["device"] = local.torch_device
    return found.model_copy(
        update={
            "model": model.model_copy(update=changes),
            "task": task,
            "threads": found.threads if local.threads is None else local.threads,
        }
    )
