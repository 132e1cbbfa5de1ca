"""The command ``pairzero compare``."""

from pathlib import Path
from typing import Any

from rich.console import Console

from testbench.comparison.folder import ComparisonFolder
from testbench.errors import TestbenchError
from testbench.scenario import Scenario, build, find, load


def compare(
    console: Console,
    source: str,
    *,
    methods: str | None,
    seeds: str | None,
    overrides: list[str],
    out: Path | None,
    resume: bool,
) -> None:
    """Run the methods one after the other, then write and show table and figure; a finished method is not repeated."""
    if resume and out is None:
        folder = find(source).parent
        if not (folder / "comparison.json").exists() and not (folder / "runs").is_dir():
            raise TestbenchError("--resume needs the comparison's folder: add --out DIR, or give DIR as the scenario")
        out = folder
    scenario = load(source, overrides)
    wanted = None if methods is None else tuple(dict.fromkeys(name.strip() for name in methods.split(",") if name.strip()))
    if wanted == ():
        raise TestbenchError("--methods needs at least one method, for example --methods pairzero,feedsign")
    numbers = _seeds(seeds, scenario.seed)
    folder_ = ComparisonFolder.default(scenario.name) if out is None else ComparisonFolder(out)
    _say(console, f"comparison of {scenario.name}: folder {folder_.path}")
    run(console, scenario, folder_, wanted, numbers, resume)


def run(
    console: Console,
    scenario: Scenario,
    folder: ComparisonFolder,
    wanted: tuple[str, ...] | None,
    seeds: tuple[int, ...],
    resume: bool,
) -> list[dict[str, Any]]:
    """All methods under all seeds; returns what each finished one said of itself."""
    # The heavy libraries load here, not before the first line is on the screen.
    from testbench.comparison import figure, table
    from testbench.comparison.method import Method, NotApplicable, make, names
    from testbench.comparison.running import run_method
    from testbench.privacy.secrecy import of_several
    from testbench.progress import ProgressWatcher

    chosen = wanted or scenario.baselines.methods
    plan: list[tuple[str, Method]] = []
    for name in chosen or names():
        for seed in seeds:
            seeded = build({**scenario.plain(), "seed": seed}, f"seed {seed}")
            try:
                plan.append((name, make(name, seeded)))
            except NotApplicable as reason:
                if chosen:
                    raise TestbenchError(f"{reason}; leave it out of the methods") from reason
                _say(console, f"left out: {reason}")
                break
    with folder:
        folder.prepare(scenario, resume)
        watcher = ProgressWatcher(console)
        for number, (name, method) in enumerate(plan, 1):
            place = folder.of(name, method.scenario.seed)
            what = f"{number}/{len(plan)} {name}" + (f", seed {method.scenario.seed}" if len(seeds) > 1 else "")
            if place.done:
                _say(console, f"{what}: finished before")
                continue
            _say(console, f"{what}: {method.title}")
            for note in method.notes:
                _say(console, f"note: {note}")
            try:
                run_method(name, method, place, watcher)
            except KeyboardInterrupt:
                watcher.finished()
                _say(console, f"interrupted; continue with: pairzero compare {folder.path} --resume")
                raise
            _tabulate(folder, scenario)
        facts = _tabulate(folder, scenario)
        figure.draw(folder, scenario, facts)
    table.show(console, facts)
    if text := of_several([scenario]):
        _say(console, f"note    {text}")
    for note in dict.fromkeys(f"{one['title']}: {note}" for one in facts for note in one["notes"]):
        _say(console, f"note    {note}")
    _say(console, f"table   {folder.table}")
    _say(console, f"figure  {folder.figures / 'convergence.png'}")
    return facts


def list_methods(console: Console) -> None:
    """Name and first line of every method's file."""
    import importlib

    from testbench.comparison.method import names

    for name in names():
        first = (importlib.import_module(f"testbench.comparison.methods.{name}").__doc__ or "").splitlines()[0]
        _say(console, f"{name:14} {first}")


def _tabulate(folder: ComparisonFolder, scenario: Scenario) -> list[dict[str, Any]]:
    """The table of what is finished so far, in the order of the methods."""
    from testbench.comparison import table
    from testbench.comparison.method import names

    order = names()
    facts = folder.finished()
    facts.sort(key=lambda one: (order.index(one["method"]) if one["method"] in order else len(order), one["seed"]))
    table.write_tables(folder, scenario, facts)
    return facts


def _seeds(text: str | None, default: int) -> tuple[int, ...]:
    if text is None:
        return (default,)
    try:
        found = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        found = ()
    if not found or min(found) < 0:
        raise TestbenchError(f"--seeds takes whole numbers from 0, separated by commas, for example 1,2,3,4; got {text!r}")
    return found


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
