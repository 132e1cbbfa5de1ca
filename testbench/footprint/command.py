"""The command ``pairzero memory``."""

import difflib
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from testbench.errors import TestbenchError
from testbench.scenario import load

#: pAirZero's own numbers of devices and rounds, for which bits are counted where no scenario says otherwise.
_PAPER_DEVICES, _PAPER_ROUNDS = 5, 8000


def memory(
    console: Console,
    source: str | None,
    *,
    models: list[str],
    chosen: str | None,
    batch: int | None,
    tokens: str | None,
    device: str | None,
    overrides: list[str],
    out: Path | None,
) -> list[dict[str, Any]]:
    """Measure, print Table T1, and write table and figure; returns its rows."""
    scenario = None if source is None else load(source, overrides)
    if scenario is None and overrides:
        raise TestbenchError("--set changes a scenario's settings; give a scenario, or leave it out")
    folder = out or _new_folder()
    if (folder / "memory.csv").exists():
        raise TestbenchError(f"{folder} already holds a measurement; choose another --out")
    if scenario is not None and not models:
        models = [_model_of(scenario.model.kind, scenario.model.path, scenario.model.draws_weights)]
    lengths = _lengths(tokens, 64 if scenario is None else min(64, scenario.model.max_tokens))
    # The heavy libraries load here, not before mistakes in the arguments were told.
    from testbench.footprint import figure, methods, table
    from testbench.footprint.measuring import measure_all
    from testbench.footprint.shapes import SHAPES
    from testbench.footprint.subject import Spec
    from testbench.summary import versions

    models = models or ["opt-125m"]
    for model in models:
        _check_model(model, [*SHAPES, "embedded"])
    names = methods.names() if chosen is None else [name.strip() for name in chosen.split(",") if name.strip()]
    for name in names:
        methods.find(name)
    settings = None if scenario is None else scenario.model
    specs = [
        Spec(
            model,
            name,
            batch or (16 if scenario is None else scenario.federation.batch_size),
            length,
            device or ("cpu" if settings is None else settings.device),
            "float32" if settings is None else settings.forward,
            1 if scenario is None else scenario.compute.threads,
        )
        for model in models
        for length in lengths
        for name in names
    ]
    _say(console, f"memory: {len(specs)} measurements, each in a process of its own; folder {folder}")
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    ) as progress:
        task = progress.add_task("", total=len(specs))

        def tell(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        found = measure_all(specs, tell, lambda text: _say(progress.console, text))
    if not found:
        raise TestbenchError("nothing could be measured")
    federation = table.Federation(
        _PAPER_DEVICES if scenario is None else scenario.federation.devices,
        _PAPER_ROUNDS if scenario is None else scenario.federation.rounds,
    )
    rows = table.rows(found, federation)
    table.show(console, rows, federation)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    (folder / "memory.csv").write_text(table.as_csv(rows), encoding="utf-8")
    (folder / "memory.json").write_text(table.as_json(rows, federation, versions()), encoding="utf-8")
    figure.draw(rows, folder / "figures" / "memory")
    _say(console, f"table   {folder / 'memory.csv'}, {folder / 'memory.json'}")
    _say(console, f"figure  {folder / 'figures' / 'memory.png'}")
    return rows


def _model_of(kind: str, path: str | None, draws: bool) -> str:
    if kind == "embedded":
        return "embedded"
    if kind != "causal_lm":
        raise TestbenchError(f'memory is measured of causal language models, and model.kind is "{kind}"; give --model instead')
    if draws:
        if path is not None:
            raise TestbenchError("random weights of a folder's shape are not measured; give --model")
        return "opt-125m"
    if path is None:
        raise TestbenchError("the scenario names no model.path; give --model opt-125m, or a folder")
    return path


def _check_model(model: str, known: list[str]) -> None:
    """A name that is neither a shape nor looks like a folder or a hub name is a slip of the pen."""
    if model in known or os.sep in model or Path(model).is_dir():
        return
    near = difflib.get_close_matches(model, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    raise TestbenchError(f"there is no model {model}; {hint} (or a folder, or a hub name OWNER/NAME)")


def _lengths(text: str | None, default: int) -> list[int]:
    if text is None:
        return [default]
    try:
        found = list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        found = []
    if not found or min(found) < 8 or max(found) > 2048:
        raise TestbenchError(f"--tokens takes whole numbers from 8 to 2048 with commas, for example 64,256; got {text!r}")
    return found


def _new_folder() -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path, count = Path("runs") / f"memory-{stamp}", 2
    while path.exists():
        path, count = Path("runs") / f"memory-{stamp}-{count}", count + 1
    return path


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
