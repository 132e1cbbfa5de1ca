"""Closed loop: fine-tuning runs at a few points of a stress test, as units of the same work."""

from pathlib import Path
from typing import Any

import numpy as np

from testbench.stress.plan import StressConfig
from testbench.stress.points import Point, Unit, point_of, training_weight

_NOISE_FREE = "noise-free"


def training_units(plan: StressConfig, folder: Path) -> list[Unit]:
    """One unit per contestant, value or preset, and seed; and the noise-free references."""
    section = plan.accuracy
    if not section.run:
        return []
    names = section.contestants or tuple(plan.contestants)
    points = [
        point_of(
            plan, name, f"accuracy/{axis_name}/{name}/{i}",
            group="accuracy", axis=axis_name, value=value, unit=axis.base_unit,
            faults=axis.faults(value), overrides=axis.link(value), rounds=section.rounds, sessions=1, batches=1,
        )
        for axis_name, axis in plan.chosen_axes().items()
        if axis_name in section.axes
        for name in names
        for i, value in enumerate(spread(axis.values, section.points))
    ]  # fmt: skip
    hardware = plan.all_hardware()
    points += [
        point_of(
            plan, name, f"accuracy/preset/{preset}/{name}",
            group="accuracy", axis="preset", value=float("nan"), unit="", preset=preset,
            overrides={"offsets": hardware[preset].offsets()}, rounds=section.rounds, sessions=1, batches=1,
        )
        for preset in (plan.presets if section.presets else ())
        for name in names
    ]  # fmt: skip
    # The reference of an analog scheme is the plain mean; that of one-bit votes, the mean or majority of votes.
    references: dict[str, Point] = {}
    for name in names:
        point = point_of(
            plan, name, f"accuracy/{_NOISE_FREE}/{name}",
            group="accuracy", axis=_NOISE_FREE, value=float("nan"), unit="", rounds=section.rounds, sessions=1, batches=1,
        )  # fmt: skip
        references[name] = point
    units = []
    for point in (*references.values(), *points):
        for seed in section.seeds:
            where = f"{point.id}@{seed}"
            training = {
                "folder": str(folder / where.replace("/", "-")),
                "scenario": section.scenario,
                "set": list(section.set),
                "rounds": section.rounds,
                "seed": seed,
                "link": point.link,
                "faults": point.faults.settings(),
                "noise_free": point.axis == _NOISE_FREE,
            }
            units.append(Unit(where, point, 0, 1, training_weight(section.rounds), training))
    return units


def spread(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    """At most ``count`` of ``values``, evenly over them, ends included."""
    if count >= len(values):
        return values
    at = np.unique(np.round(np.linspace(0, len(values) - 1, count)).astype(int)) if count > 1 else [len(values) - 1]
    return tuple(values[i] for i in at)


def train(training: dict[str, Any]) -> dict[str, Any]:
    """Make one run, or continue it, and return its accuracies."""
    from learning.config import FederationConfig
    from testbench.run_folder import RunFolder
    from testbench.runner import run_scenario
    from testbench.scenario import build, load

    scenario = load(training["scenario"], training["set"])
    data = scenario.plain()
    link = dict(training["link"])
    del link["clip"], link["backend"]  # the scenario's own, which stand elsewhere
    data["seed"] = training["seed"]
    data["link"] = {key: value for key, value in link.items() if value is not None}
    data["federation"]["rounds"] = training["rounds"]
    data["uplink"] = {"transport": "inproc"}
    if training["faults"]:
        if "faults" not in FederationConfig.model_fields:
            raise ValueError("this version's learner knows no protocol faults, so the axis has no fine-tuning run")
        data["federation"]["faults"] = training["faults"]
    if training["noise_free"]:
        data["uplink"] = {"transport": "none"}
        scheme = link["scheme"] if link["scheme"] in ("analog", "sign") else "analog"
        data["link"] = {"scheme": scheme, "decision": link["decision"]}
    data["evaluation"] = {"every": max(1, training["rounds"]), "noise_free": False}
    folder = RunFolder(Path(training["folder"]))
    resume = folder.scenario.is_file()
    summary = run_scenario(build(data, "accuracy"), folder, resume=resume).summary
    return {
        "accuracy": summary["accuracy_final"],
        "zero_shot": summary["accuracy_zero_shot"],
        "devices": summary["devices"],
        "rounds": summary["rounds"],
    }
