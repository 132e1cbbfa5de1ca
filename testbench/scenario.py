"""Scenarios: one TOML file that decides everything about a run.

Sections are the configuration objects of the rooms; ``seed`` and ``name`` stand at the top. The clip is written once, in
``[zeroth_order]``, and the link takes it from there. Relative paths are taken from the folder in which the command runs.
"""

import difflib
import re
import tomllib
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from learning.baselines.config import BaselinesConfig
from learning.config import FederationConfig, ModelConfig, TaskConfig, ZerothOrderConfig
from phy.config import LinkConfig
from phy.discovery import check
from phy.errors import UnknownPart
from testbench.elsewhere import OVERLAY_AIR, STREAM_AIR, named
from testbench.errors import ScenarioError
from testbench.fleet.settings import FleetConfig
from testbench.privacy.settings import ENERGY_SCHEMES, PrivacyConfig
from testbench.sdr.settings import StreamSection

SHIPPED = Path(__file__).parent / "scenarios"

# Where a scenario names the parts of each folder of phy.
PARTS = {
    "schemes": "scheme",
    "receivers": "receiver",
    "csi": "csi.estimator",
    "power": "power.control",
    "channels": "channel.model",
    "airs": "air",
    "waveform_airs": "burst.air",
}


# Settings of [stream] that say where it leads.
_ENDS = {"command", "send", "receive"}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UplinkConfig(_Frozen):
    """How the learner reaches the air."""

    transport: Literal["ipc", "tcp", "inproc", "none"] = Field(
        default="ipc", description="none: the noise-free mean, computed in process"
    )
    endpoint: str | None = Field(default=None, description="a running air server; none: the run starts its own")
    timeout_s: float = Field(default=10.0, gt=0, le=3600, description="wait for an answer before asking again")
    attempts: int = Field(default=3, ge=1, le=100, description="how often to ask before giving up")
    keys: Path | None = Field(default=None, description="folder with CURVE keys, for a server that is not on this machine")


class AirConfig(_Frozen):
    """What computes the channel. Estimates agree to 1e-4 between backends; their bits are only equal within one."""

    backend: Literal["sionna", "tensorflow", "numpy"] = Field(
        default="sionna",
        description="sionna: Sionna 2 on PyTorch; tensorflow: Sionna 1.x on TensorFlow, in an environment of its own that "
        "`make air-tensorflow` makes; numpy: the plain reference, without a framework",
    )


class EvaluationConfig(_Frozen):
    """What is measured on held-out data, and how often."""

    every: int = Field(default=50, ge=1, description="rounds between evaluations")
    noise_free: bool = Field(default=False, description="also run the same federation over a noise-free link")
    tensorboard: bool | Literal["where_installed"] = Field(
        default="where_installed", description="write curves for TensorBoard into the run folder's tensorboard/"
    )


class ComputeConfig(_Frozen):
    """How the machine is used."""

    threads: int = Field(default=1, ge=1, le=1024, description="torch threads of the learner")


class Scenario(_Frozen):
    """A whole run."""

    name: str = Field(default="run", description="names the run folder: letters, digits, dot, dash, underscore")
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="public, keys every draw: perturbations, splits, fades; batches and noise, unless privacy.randomness is "
        "secret",
    )
    model: ModelConfig = ModelConfig()
    task: TaskConfig = TaskConfig()
    federation: FederationConfig = FederationConfig()
    zeroth_order: ZerothOrderConfig = ZerothOrderConfig()
    air: AirConfig = AirConfig()
    link: LinkConfig = LinkConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    uplink: UplinkConfig = UplinkConfig()
    stream: StreamSection = StreamSection()
    evaluation: EvaluationConfig = EvaluationConfig()
    baselines: BaselinesConfig = BaselinesConfig()
    compute: ComputeConfig = ComputeConfig()
    fleet: FleetConfig = FleetConfig()

    @model_validator(mode="before")
    @classmethod
    def _share(cls, data: Any) -> Any:
        """Hand the seed to the federation, and clip and backend to the link, each of which is written once."""
        if not isinstance(data, dict):
            return data
        for section, key, place in (
            ("federation", "seed", "seed, at the top"),
            ("link", "clip", "zeroth_order.clip"),
            ("link", "backend", "air.backend"),
        ):
            if isinstance(data.get(section), dict) and key in data[section]:
                raise ValueError(f"{section}.{key} is not set here but once for the whole scenario, as {place}")
        data = dict(data)
        for section in ("federation", "link", "zeroth_order"):
            data.setdefault(section, {})
        if isinstance(data["federation"], dict):
            data["federation"] = {**data["federation"], "seed": data.get("seed", 0)}
        step = data["zeroth_order"]
        if isinstance(data["link"], dict) and isinstance(step, dict):
            data["link"] = {**data["link"], "clip": step.get("clip", ZerothOrderConfig().clip)}
            air = data.get("air", {})
            if isinstance(air, dict) and "backend" in air:
                data["link"]["backend"] = air["backend"]
        stream = data.get("stream")
        if isinstance(data["link"], dict):
            streams = isinstance(stream, dict) and (
                stream.get("flowgraph", "none") != "none" or any(stream.get(end) for end in _ENDS)
            )
            data["link"] = named(data["link"], streams)
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", self.name):
            raise ValueError(f"name must be 1 to 64 letters, digits, dots, dashes or underscores, got {self.name!r}")
        if self.uplink.transport == "inproc" and self.air.backend == "tensorflow":
            raise ValueError(
                'air.backend "tensorflow" needs a process of its own: uplink.transport "ipc" or "tcp", not "inproc"'
            )
        for kind, name in self.parts().items():
            try:
                check(kind, name)
            except UnknownPart as error:
                raise ValueError(f"link.{PARTS[kind]}: {str(error).partition(': ')[2]}") from error
        if self.uplink.transport == "none" and self.link.scheme not in ("analog", "sign"):
            raise ValueError(f'the noise-free link knows the schemes analog and sign, not "{self.link.scheme}"')
        if self.uplink.endpoint is not None and self.uplink.transport in ("none", "inproc"):
            raise ValueError(f'uplink.endpoint needs transport "ipc" or "tcp", not "{self.uplink.transport}"')
        if (sentence := self._unreachable()) is not None:
            raise ValueError(sentence)
        uplink = self.uplink
        if (sentence := self.fleet.without_air(uplink.transport, uplink.endpoint, uplink.keys is not None)) is not None:
            raise ValueError(sentence)
        if self.fleet.deposits and self.evaluation.noise_free:
            raise ValueError(
                'evaluation.noise_free measures all devices\' data in the coordinator, which fleet.payloads "air" keeps out; '
                "leave one of them out"
            )
        if self.privacy.on and (sentence := self._unprotected()) is not None:
            raise ValueError(f"privacy: {sentence}")
        return self

    def _unreachable(self) -> str | None:
        """Why the stream or the overlay that was asked for cannot be; None where it can."""
        air = self.link.burst.air
        if self.stream.on and (air != STREAM_AIR or self.link.fidelity != "waveform"):
            return (
                f'stream: a flowgraph carries waveforms through burst.air "stream", not through "{air}" at fidelity '
                f'"{self.link.fidelity}"; leave both out, or [stream]'
            )
        if self.stream.on and self.uplink.transport == "none":
            return "stream: the noise-free link is computed and passes no flowgraph; choose another uplink.transport"
        if self.stream.on and self.uplink.endpoint is not None:
            return "stream: the air server at uplink.endpoint has a stream of its own (--stream); leave [stream] out"
        if air == STREAM_AIR and not self.stream.on and self.uplink.endpoint is None:
            return 'link.burst.air "stream" needs a section [stream]: a flowgraph, a command, or the addresses of one that runs'
        if air == OVERLAY_AIR or self.link.burst.overlay:
            from bridge.captures.overlay import OverlayConfig, fault

            try:
                OverlayConfig.model_validate(self.link.burst.overlay)
            except ValidationError as error:
                return f"link.burst.overlay.{fault(error)}"
        return None

    def _unprotected(self) -> str | None:
        """Why the promise of ``[privacy]`` cannot be made of the other sections; None where it may."""
        link, wanted, sampling = self.link, self.privacy, self.federation.sampling
        record = wanted.sensitivity != "client_value"
        if link.scheme in ENERGY_SCHEMES:
            if (sentence := wanted.of_energy(link.scheme)) is not None:
                return sentence
        elif link.scheme not in ("analog", "sign"):
            return (
                f'nobody can count what the scheme "{link.scheme}" releases; choose analog or sign, or one of energy '
                f"detection: {', '.join(ENERGY_SCHEMES)}"
            )
        elif wanted.accounting == "renyi":
            return f'accounting "renyi" counts variance shifts; for the scheme "{link.scheme}" take "gdp" or "pld"'
        if self.uplink.transport == "none":
            return "the noise-free link has no noise to protect anybody; choose another uplink.transport"
        if self.fleet.on and wanted.randomness == "seed":
            return (
                "a fleet's devices have the seed, and could draw the noise again and subtract it; set privacy.randomness to "
                '"auto" or "secret"'
            )
        if link.power.caps is not None or link.power.adds_noise:
            return "link.power.caps and link.power.artificial_noise follow from [privacy]; leave them out"
        if record and link.scheme not in ("sign", "fsk_mv") and self.zeroth_order.clip_scope != "sample":
            return (
                f'{wanted.sensitivity} bounds what one record adds to a value, which takes zeroth_order.clip_scope "sample" '
                '(or sensitivity "client_value")'
            )
        if wanted.sensitivity == "record_add_remove" and sampling == "fixed":
            return (
                "in a batch of fixed size another record takes the place of one that is lacking; take sensitivity "
                'record_replace_one, or federation.sampling "poisson"'
            )
        if wanted.amplification and sampling == "fixed":
            return 'batches of fixed size amplify nothing that can be claimed; take federation.sampling "poisson"'
        if wanted.estimate == "wiener" and link.scheme == "sign" and link.decision == "hard":
            return 'a hard decision is +1 or -1 and has nothing to shrink; take estimate "none", or link.decision "soft"'
        return None

    def parts(self) -> dict[str, str]:
        """The parts of the link that are found by name: folder of phy -> name."""
        link = self.link
        return {
            "schemes": link.scheme,
            "receivers": link.receiver,
            "csi": link.csi.estimator,
            "power": link.power.control,
            "channels": link.channel.model,
            "airs": link.air or link.backend,
            "waveform_airs": link.burst.air,
        }

    def plain(self) -> dict[str, Any]:
        """The scenario as plain data that :func:`load` accepts again."""
        data: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        del data["federation"]["seed"], data["link"]["clip"], data["link"]["backend"]
        return data

    def to_toml(self) -> str:
        """The resolved scenario as TOML: every setting, whether chosen or default."""
        document = tomlkit.document()
        document.add(tomlkit.comment("Resolved scenario: every setting of the run. `pairzero run` takes it as it is."))
        for key, value in self.plain().items():
            document[key] = value
        return tomlkit.dumps(document)


def shipped() -> list[str]:
    """Names of the scenarios that come with the project."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load(source: str | Path, overrides: list[str] | None = None) -> Scenario:
    """Read a scenario from a TOML file, or by the name of a shipped one, and apply ``key=value`` overrides.

    Raises :class:`testbench.errors.ScenarioError` with one sentence that names the file, the key and the nearest valid key.
    """
    path = find(source)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"the scenario {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"the scenario {path} is not valid TOML: {error}") from error
    if not overrides:
        return build(data, str(path))
    build(data, str(path))  # so that a defect of the file is not blamed on the overrides, or the other way round
    for text in overrides:
        override_setting(data, text)
    return build(data, "--set " + " --set ".join(overrides))


def find(source: str | Path) -> Path:
    """The file of a scenario given by path or by the name of a shipped one."""
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir() and (path / "scenario.toml").is_file():
        return path / "scenario.toml"
    named = SHIPPED / f"{path.name}.toml"
    if path.parent == Path() and named.is_file():
        return named
    near = difflib.get_close_matches(path.stem, shipped(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"shipped scenarios are {', '.join(shipped())}"
    raise ScenarioError(f"there is no scenario {source}; {hint}")


def build(data: dict[str, Any], origin: str) -> Scenario:
    """Validate plain data; ``origin`` names it in the error."""
    try:
        refuse_coercions(data, Scenario, [])
        scenario = Scenario.model_validate(data)
    except WrongType as error:
        raise ScenarioError(f"{origin}: {error}") from None
    except ValidationError as error:
        raise ScenarioError(f"{origin}: {_sentence(error)}") from error
    return _with_absolute_paths(scenario)


def override_setting(data: dict[str, Any], text: str) -> None:
    """Apply one ``--set key=value`` to plain data."""
    key, equals, raw = text.partition("=")
    if not equals or not all(part.strip() for part in key.split(".")):
        raise ScenarioError(f"--set {text!r} must read key=value, for example --set link.snr_max_db=10")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()  # a bare word is a string: --set link.scheme=sign
    *sections, last = key.strip().split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise ScenarioError(f"--set {text!r}: {section} is a value, not a section")
    data[last] = value


class WrongType(ValueError):
    """A value of a type that its setting cannot have."""


def refuse_coercions(data: Any, model: Any, place: list[str]) -> None:
    """Refuse true for a number, "8" for 8 and a value for a section, which validation would accept or word badly."""
    if not isinstance(data, dict):
        raise WrongType(f"{'.'.join(place)} is a section, [{'.'.join(place)}], and cannot be {data!r}")
    for key, value in data.items():
        field = model.model_fields.get(key)
        if field is None:
            continue
        choices = _choices(field.annotation)
        here = [*place, key]
        if any(isinstance(c, type) and issubclass(c, BaseModel) for c in choices):
            refuse_coercions(value, choices[0], here)
        elif isinstance(value, bool) and bool not in choices:
            raise WrongType(f"{'.'.join(here)} cannot be {str(value).lower()}")
        elif isinstance(value, str) and not any(c in (str, Path) or not isinstance(c, type) for c in choices):
            raise WrongType(
                f"{'.'.join(here)} must be a {' or '.join(_NOUNS.get(c, c.__name__) for c in choices)}, got {value!r}"
            )


_NOUNS = {int: "whole number", float: "number", bool: "true or false", tuple: "list", list: "list"}


def _choices(annotation: Any) -> list[Any]:
    """The types that an annotation allows, literals kept as they are."""
    if get_origin(annotation) in (Union, UnionType):
        return [c for inner in get_args(annotation) if inner is not type(None) for c in _choices(inner)]
    if get_origin(annotation) is Annotated:
        return _choices(get_args(annotation)[0])
    return [get_origin(annotation) if isinstance(get_origin(annotation), type) else annotation]


def _text(path: Any) -> str | None:
    return None if path is None else str(Path(path).expanduser().resolve())


def _with_text(overlay: dict[str, Any]) -> dict[str, Any]:
    return {**overlay, "file": _text(overlay["file"])} if overlay.get("file") is not None else overlay


def _with_absolute_paths(scenario: Scenario) -> Scenario:
    """Paths made absolute, so that the stored scenario runs from anywhere."""

    def absolute(path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().resolve()

    model, task, uplink, fleet, link = scenario.model, scenario.task, scenario.uplink, scenario.fleet, scenario.link
    train = tuple(path.expanduser().resolve() for path in task.train) if isinstance(task.train, tuple) else absolute(task.train)
    dataset = task.dataset
    if dataset is not None and Path(dataset).expanduser().is_dir():
        dataset = str(Path(dataset).expanduser().resolve())
    local = model.path is not None and Path(model.path).expanduser().exists()
    return scenario.model_copy(
        update={
            "model": model.model_copy(
                update={
                    "path": str(Path(model.path).expanduser().resolve()) if local and model.path else model.path,
                    "cache_folder": absolute(model.cache_folder),
                }
            ),
            "task": task.model_copy(
                update={
                    "folder": absolute(task.folder),
                    "train": train,
                    "validation": absolute(task.validation),
                    "dataset": dataset,
                }
            ),
            "uplink": uplink.model_copy(update={"keys": absolute(uplink.keys)}),
            "fleet": fleet.model_copy(update={"keys": absolute(fleet.keys)}),
            "privacy": scenario.privacy.model_copy(
                update={
                    "adversary": scenario.privacy.adversary.model_copy(update={"file": _text(scenario.privacy.adversary.file)}),
                    "ledger": ledger if (ledger := scenario.privacy.ledger) in ("auto", "none") else _text(ledger),
                }
            ),
            "link": link.model_copy(
                update={
                    "channel": link.channel.model_copy(update={"file": _text(link.channel.file)}),
                    "burst": link.burst.model_copy(update={"overlay": _with_text(link.burst.overlay)}),
                }
            ),
        }
    )


def _sentence(error: ValidationError) -> str:
    """The first defect in one sentence, with the nearest valid key where a key is unknown."""
    first = error.errors(include_url=False)[0]
    place = [part for part in first["loc"] if isinstance(part, str)]
    name = ".".join(str(part) for part in first["loc"])
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        near = _nearest(place, first.get("input"))
        hint = f"did you mean {near}?" if near else f"valid keys here are {', '.join(sorted(keys_at(place[:-1])))}"
        return f"there is no setting {name}; {hint}{more}"
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    got = f", got {given!r}" if isinstance(given, (str, int, float, bool)) else ""
    message = message[:1].lower() + message[1:] if message.startswith("Input should") else message
    return f"{name}: {message}{got}{more}" if name else f"{message}{more}"


def _nearest(place: list[str], given: Any) -> str | None:
    """The valid key nearest to an unknown one: a slip of the pen, the same elsewhere, one cut short, or what looks alike."""
    keys, known = keys_at(place[:-1]), all_keys()
    leaves = {path.split(".")[-1]: path for path in reversed(known)}
    start = f"{place[-1]}_"
    some: dict[str, str] = {} if isinstance(given, dict) else leaves  # no single setting is a section
    here, elsewhere = [key for key in keys if key.startswith(start)], [key for key in some if key.startswith(start)]
    for candidates, cutoff in ((keys, 0.8), (some, 0.999), (here, 0.0), (elsewhere, 0.0), (keys, 0.6), (some, 0.7)):
        for near in difflib.get_close_matches(place[-1], candidates, n=1, cutoff=cutoff):
            return leaves[near] if candidates is some or candidates is elsewhere else ".".join([*place[:-1], near])
    if len(place) > 1:  # a section that exists: what its keys share with the path is its name
        return None
    inner = ".".join([*place, *list(given)[:1]]) if isinstance(given, dict) else ".".join(place)
    return next(iter(difflib.get_close_matches(inner, known, n=1, cutoff=0.7)), None)


def keys_at(place: list[str]) -> list[str]:
    """The keys that a scenario may hold in the section ``place``."""
    model: Any = Scenario
    for part in place:
        model = model.model_fields[part].annotation
    hidden = {FederationConfig: {"seed"}, LinkConfig: {"clip", "backend"}}.get(model, set())
    return [key for key in model.model_fields if key not in hidden]


def all_keys(place: tuple[str, ...] = ()) -> list[str]:
    """Every setting by its dotted key, from the section ``place`` on."""
    found = []
    for key in keys_at(list(place)):
        model: Any = Scenario
        for part in (*place, key):
            model = model.model_fields[part].annotation
        path = (*place, key)
        if isinstance(model, type) and issubclass(model, BaseModel):
            found += all_keys(path)
        else:
            found.append(".".join(path))
    return found
