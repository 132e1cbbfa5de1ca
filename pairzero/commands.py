"""The commands without a group."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from testbench.doctor import Finding
    from testbench.reports.runs import Run
    from testbench.runner import RunResult, Watcher
    from testbench.scenario import Scenario
    from testbench.stress.campaign import StressResult
    from testbench.sweep.campaign import SweepResult

__all__ = [
    "Settings", "bench", "demo", "differences", "doctor", "export", "init", "load", "read", "replay", "report", "resume", "run",
    "scenarios", "stress", "sweep",
]  # fmt: skip

Settings = Mapping[str, Any] | Sequence[str]
PathLike = str | os.PathLike[str]


def load(scenario: PathLike, settings: Settings | None = None) -> Scenario:
    """A scenario from a TOML file, a run folder, or the name of a shipped one, with settings in place of its own.

    :raises testbench.errors.ScenarioError: one sentence that names the file, the key and the nearest valid key

    >>> load("demo", {"link.snr_max_db": 10, "link.scheme": "sign"}).link.scheme
    'sign'
    >>> load("demo", ["link.snr_max_db=10"]).link.snr_max_db
    10.0
    >>> load("demo", {"link.snr_db": 10})
    Traceback (most recent call last):
    testbench.errors.ScenarioError: --set link.snr_db=10: there is no setting link.snr_db; did you mean link.snr_max_db?
    """
    from testbench.scenario import load as read_scenario

    return read_scenario(scenario if isinstance(scenario, str) else Path(scenario), overrides(settings))


def run(
    scenario: Scenario | PathLike,
    out: PathLike | None = None,
    *,
    settings: Settings | None = None,
    resume: bool = False,
    progress: bool = False,
) -> RunResult:
    """Run a scenario: K devices fine-tune a model through the uplink that it describes.

    :param out: the run folder; by default a new one under ``runs/``
    :param resume: continue the run in ``out``, where its journal ends
    :returns: the folder, and the flat summary that ``summary.json`` holds

    >>> short = {"federation.rounds": 1, "uplink.transport": "inproc", "evaluation.noise_free": False}
    >>> result = run("demo", "runs/one", settings=short)
    >>> result.folder.report.name, result.summary["devices"]
    ('report.html', 5)
    >>> run(result.folder.path, "runs/one", settings={"federation.rounds": 2}, resume=True).summary["resumed_from_round"]
    1
    """
    from testbench.run_folder import RunFolder
    from testbench.runner import run_scenario
    from testbench.scenario import Scenario as ScenarioClass

    if isinstance(scenario, ScenarioClass):
        chosen = scenario if settings is None else _with(scenario, settings)
    else:
        chosen = load(scenario, settings)
    folder = RunFolder.default(chosen.name) if out is None else RunFolder(Path(out))
    return run_scenario(chosen, folder, resume=resume, watcher=_watcher(progress))


def resume(folder: PathLike, *, settings: Settings | None = None, progress: bool = False) -> RunResult:
    """Continue a run where its journal ends: after a kill, or for more rounds. The same as ``pairzero run FOLDER --resume``."""
    return run(folder, folder, settings=settings, resume=True, progress=progress)


def demo(
    out: PathLike | None = None, *, settings: Settings | None = None, resume: bool = False, progress: bool = False
) -> RunResult:
    """Fine-tune the embedded language model over the air, on embedded data."""
    return run("demo", out, settings=settings, resume=resume, progress=progress)


def replay(folder: PathLike) -> str:
    """Rebuild a run's weights from its journal, compare them with the run's, and return their SHA-256.

    :raises testbench.errors.RunFolderError: they differ, or there is nothing to compare with
    """
    from testbench.replaying import replay_run
    from testbench.run_folder import RunFolder

    return replay_run(RunFolder.existing(Path(folder)), _console(quiet=True))


def export(folder: PathLike, to: PathLike) -> Path:
    """Write a run's fine-tuned model as a folder that transformers' ``from_pretrained`` loads."""
    from testbench.exporting import export_run
    from testbench.run_folder import RunFolder

    return export_run(RunFolder.existing(Path(folder)), Path(to), _console(quiet=True))


def scenarios() -> dict[str, str]:
    """The scenarios that ship: name and what it is.

    >>> scenarios()["demo"].partition(":")[0]
    'The demonstration'
    """
    from testbench.scenario import SHIPPED, shipped

    return {name: (SHIPPED / f"{name}.toml").read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for name in shipped()}


def read(folder: PathLike) -> Run:
    """A run folder, read: scenario, summary, evaluations, and every round of the journal as arrays."""
    from testbench.reports.runs import read_run

    return read_run(Path(folder))


def differences(*folders: PathLike) -> dict[str, dict[str, Any]]:
    """What differs between runs: settings (dotted keys) and entries of the summary -> {label of the run: value}."""
    from testbench.reports.page import flat
    from testbench.reports.runs import labels, read_run

    paths = [Path(folder) for folder in folders]
    known = {
        label: {**dict(flat(run.scenario.plain())), **run.summary}
        for label, run in ((label, read_run(path, label)) for path, label in zip(paths, labels(paths), strict=True))
    }
    keys = {key: None for values in known.values() for key in values if key not in ("versions", "notes")}
    rows = {key: {label: values.get(key) for label, values in known.items()} for key in keys}
    return {key: row for key, row in rows.items() if len({repr(value) for value in row.values()}) > 1}


def report(*paths: PathLike, out: PathLike | None = None, slot: int | None = None, progress: bool = False) -> Path:
    """One HTML page about runs, sweeps and tables, side by side; see :func:`testbench.report.report`."""
    from testbench.report import report as write

    return write([Path(path) for path in paths], None if out is None else Path(out), slot=slot, watcher=_watcher(progress))


def stress(
    plan: PathLike | None = None,
    out: PathLike | None = None,
    *,
    settings: Settings | None = None,
    axis: Sequence[str] = (),
    preset: Sequence[str] = (),
    contestant: Sequence[str] = (),
    accuracy: bool = False,
    quick: bool = False,
    workers: int | None = None,
    resume: bool = False,
    progress: bool = False,
) -> StressResult:
    """Break synchronisation on purpose: rows of errors for every scheme at every point, with tables and figures in ``out``.

    :param plan: a plan file or a test's folder; by default the shipped plan
    :param axis: sweep only these, e.g. ``"timing=0..2us:25"``
    """
    from testbench.bars import BarObserver
    from testbench.stress.campaign import run_stress
    from testbench.stress.plan_file import load_plan
    from testbench.stress.store import StressFolder

    chosen = load_plan(
        "default" if plan is None else str(plan),
        overrides=overrides(settings) or [], axes=list(axis), presets=list(preset), contestants=list(contestant),
        accuracy=accuracy, quick=quick,
    )  # fmt: skip
    folder = StressFolder.default(chosen.name) if out is None else StressFolder(Path(out))
    observer = BarObserver(_console(quiet=not progress), "stress")
    return run_stress(chosen, folder, resume=resume, workers=workers, observer=observer)


def sweep(
    source: PathLike,
    out: PathLike | None = None,
    *,
    settings: Settings | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
) -> SweepResult:
    """Run a scenario over axes, on all cores or the Dask cluster of ``scheduler``; rows, statistics, and points that failed.

    :param source: a sweep file, or a sweep's folder
    """
    from testbench.sweep.campaign import run_sweep
    from testbench.sweep.file import load_sweep
    from testbench.sweep.store import SweepFolder

    loaded = load_sweep(source if isinstance(source, str) else Path(source), overrides(settings))
    folder = SweepFolder.default(loaded.sweep.name) if out is None else SweepFolder(Path(out))
    return run_sweep(loaded, folder, resume=resume, workers=workers, scheduler=scheduler)


def bench(select: str | None = None, json_file: PathLike | None = None) -> int:
    """Run the benchmarks whose name contains ``select`` and print their ratios; returns pytest's exit code."""
    from testbench.benching import run_benchmarks

    return run_benchmarks(_console(), select, None if json_file is None else Path(json_file))


def doctor() -> list[Finding]:
    """What is installed, and what would mend what is not.

    >>> {finding.name for finding in doctor()} >= {"python", "extra phy", "threads", "GPU", "GNU Radio", "ports"}
    True
    """
    from testbench.doctor import examine

    return examine()


def init(path: PathLike = "scenario.toml", *, scenario: str = "demo") -> Path:
    """Write a commented scenario with every setting there is; see :func:`testbench.starting.write_scenario`.

    >>> load(init("mine.toml")).federation.devices
    5
    """
    from testbench.starting import write_scenario

    return write_scenario(Path(path), scenario)


def overrides(settings: Settings | None) -> list[str] | None:
    """Settings as the ``key=value`` of the command line.

    :raises testbench.errors.ScenarioError: a value that TOML cannot hold

    >>> overrides({"link.scheme": "sign", "link.csi.age_s": 1e-3, "evaluation.noise_free": True})
    ['link.scheme="sign"', 'link.csi.age_s=0.001', 'evaluation.noise_free=true']
    """
    if settings is None or not isinstance(settings, Mapping):
        return None if settings is None else list(settings)
    return [f"{key}={_toml(key, value)}" for key, value in settings.items()]


def _toml(key: str, value: Any) -> str:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    from testbench.errors import ScenarioError

    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    try:
        if isinstance(value, Mapping):
            table = tomlkit.inline_table()
            table.update(value)
            return table.as_string()
        return str(tomlkit.item(value).as_string())
    except (TOMLKitError, ValueError, TypeError) as error:
        raise ScenarioError(
            f"{key} cannot be {value!r}: a setting is text, a number, true or false, a list or a mapping; leave it out for its "
            "default"
        ) from error


def _loaded(scenario: Scenario | PathLike, settings: Settings | None = None) -> Scenario:
    from testbench.scenario import Scenario as ScenarioClass

    if isinstance(scenario, ScenarioClass):
        return _with(scenario, settings) if settings else scenario
    return load(scenario, settings)


def _with(scenario: Scenario, settings: Settings) -> Scenario:
    from testbench.scenario import build, override_setting

    data = scenario.plain()
    for text in overrides(settings) or []:
        override_setting(data, text)
    return build(data, scenario.name)


def _console(quiet: bool = False) -> Console:
    from rich.console import Console

    return Console(quiet=quiet)


def _watcher(progress: bool) -> Watcher | None:
    if not progress:
        return None
    from testbench.progress import ProgressWatcher

    return ProgressWatcher(_console())
