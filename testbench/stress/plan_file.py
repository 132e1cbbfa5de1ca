"""Plans in and out: TOML files, ``--set`` and the other options of the command, errors of one sentence."""

import difflib
import tomllib
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import tomlkit
from pydantic import BaseModel, ValidationError

from phy.config import LinkConfig
from phy.discovery import check
from phy.errors import PhyError
from testbench.errors import TestbenchError
from testbench.scenario import WrongType, override_setting, refuse_coercions
from testbench.stress.axes import CLASSES
from testbench.stress.plan import StressConfig, nearest

SHIPPED = Path(__file__).parent
PLAN = "plan.toml"


class PlanError(TestbenchError):
    """A plan is missing, unreadable or invalid."""


def load_plan(
    source: str | Path = "default",
    *,
    overrides: list[str] | None = None,
    axes: list[str] | None = None,
    presets: list[str] | None = None,
    contestants: list[str] | None = None,
    accuracy: bool = False,
    quick: bool = False,
) -> StressConfig:
    """Read a plan from a file, an output folder or a shipped name, and apply what the command line adds.

    ``axes`` (``timing=0..2us:25``) and ``presets`` take the place of the plan's, ``contestants`` picks some of them. Raises
    :class:`PlanError` with one sentence.
    """
    path = find_plan(source)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"the plan {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"the plan {path} is not valid TOML: {error}") from error
    plan = build_plan(data, str(path))
    for text in overrides or []:
        override_setting(data, text)
    if overrides:
        plan = build_plan(data, "--set " + " --set ".join(overrides))
    if axes or presets:
        data = plan.model_dump(mode="json", exclude_none=True)
        data["axes"] = dict(_axis(text, data.get("axes", {})) for text in axes or [])
        data["presets"] = list(presets or [])
        data["scalar_vs_gradient"]["run"] = False
        plan = build_plan(data, " ".join([*(f"--axis {a}" for a in axes or []), *(f"--preset {p}" for p in presets or [])]))
    if contestants:
        for name in contestants:
            if name not in plan.contestants:
                raise PlanError(f"--contestant: there is no {name!r}{nearest(name, plan.contestants)}")
        chosen = {name: plan.contestants[name] for name in contestants}
        section = plan.scalar_vs_gradient
        left = tuple(name for name in section.contestants if name in chosen)
        plan = plan.model_copy(
            update={
                "contestants": chosen,
                "scalar_vs_gradient": section.model_copy(update={"contestants": left, "run": section.run and bool(left)}),
                "accuracy": plan.accuracy.model_copy(
                    update={"contestants": tuple(name for name in plan.accuracy.contestants if name in chosen)}
                ),
            }
        )
    if accuracy:
        plan = plan.model_copy(update={"accuracy": plan.accuracy.model_copy(update={"run": True})})
    return plan.quick() if quick else plan


def find_plan(source: str | Path) -> Path:
    """The file of a plan given by path, by output folder, or by the name ``default``."""
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir() and (path / PLAN).is_file():
        return path / PLAN
    if str(source) == "default":
        return SHIPPED / "default.toml"
    raise PlanError(f"there is no plan {source}; give a TOML file, a stress test's folder, or nothing for the shipped plan")


def build_plan(data: dict[str, Any], origin: str) -> StressConfig:
    """Validate plain data; ``origin`` names it in the error."""
    try:
        refuse_coercions(data, StressConfig, [])
        # The clip is the payloads' unit; nothing here depends on it, so it is 1 unless the plan says otherwise.
        if isinstance(data.get("link"), dict):
            data = {**data, "link": {"clip": 1.0, **data["link"]}}
        plan = StressConfig.model_validate(data)
        for name in plan.contestants:
            contestant_link(plan, name)
    except WrongType as error:
        raise PlanError(f"{origin}: {error}") from None
    except ValidationError as error:
        raise PlanError(f"{origin}: {sentence(error, StressConfig)}") from error
    except PhyError as error:
        raise PlanError(f"{origin}: {error}") from error
    return plan


def contestant_link(plan: StressConfig, name: str) -> dict[str, Any]:
    """The link of a contestant as plain data, validated; raises :class:`PlanError` or a :class:`phy.errors.PhyError`."""
    merged = merge(plan.link.model_dump(mode="json"), plan.contestants[name].link)
    try:
        config = LinkConfig.model_validate(merged)
    except ValidationError as error:
        raise PlanError(f"contestants.{name}.link: {sentence(error, LinkConfig)}") from error
    for kind, part in (("schemes", config.scheme), ("csi", config.csi.estimator), ("power", config.power.control)):
        try:
            check(kind, part)
        except PhyError as error:
            raise PlanError(f"contestants.{name}.link: {error}") from error
    return merged


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, section by section. A law of an offset is replaced as a whole."""
    found = dict(base)
    for key, value in over.items():
        old = found.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and "law" not in old:
            found[key] = merge(old, value)
        else:
            found[key] = value
    return found


def plan_toml(plan: StressConfig) -> str:
    """The resolved plan as TOML, which :func:`load_plan` reads again."""
    document = tomlkit.document()
    document.add(tomlkit.comment("Resolved plan of a stress test. `pairzero stress` takes it as it is."))
    for key, value in plan.model_dump(mode="json", exclude_none=True).items():
        document[key] = value
    return tomlkit.dumps(document)


def _axis(text: str, known: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    name, equals, values = text.partition("=")
    if not equals:
        raise PlanError(f"--axis {text!r} must read name=range with a unit, for example --axis timing=0..2us:25")
    if name.strip() not in CLASSES:
        raise PlanError(f"--axis: there is no {name.strip()!r}{nearest(name.strip(), CLASSES)}")
    return name.strip(), {**known.get(name.strip(), {}), "range": values}


def sentence(error: ValidationError, root: type[BaseModel]) -> str:
    """The first defect in one sentence, with the nearest valid key where a key is unknown."""
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"]]
    name = ".".join(place)
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        keys = _keys_at(root, place[:-1])
        near = difflib.get_close_matches(place[-1], keys, n=1, cutoff=0.5)
        hint = f"did you mean {'.'.join([*place[:-1], near[0]])}?" if near else f"valid keys here are {', '.join(sorted(keys))}"
        return f"there is no setting {name}; {hint}{more}"
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:] if message.startswith("Input should") else message
    given = first.get("input")
    shown = isinstance(given, (str, int, float, bool)) and repr(given) not in message
    got = f", got {given!r}" if shown else ""
    return f"{name}: {message}{got}{more}" if name else f"{message}{more}"


def _keys_at(root: type[BaseModel], place: list[str]) -> list[str]:
    model: Any = root
    for part in place:
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        model = _model_of(field.annotation if field is not None else model)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_of(annotation: Any) -> Any:
    """The model inside an annotation: of a union or a table by name."""
    if get_origin(annotation) in (Union, UnionType, dict):
        models = [a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
        return models[0] if models else annotation
    return annotation
