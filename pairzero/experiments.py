"""Comparisons, memory and figures: what a paper's section of experiments is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairzero.commands import PathLike, Settings, _console, _loaded, overrides

if TYPE_CHECKING:
    from testbench.scenario import Scenario

__all__ = ["compare", "figure", "memory"]


def compare(
    scenario: Scenario | PathLike = "compare",
    out: PathLike | None = None,
    *,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    settings: Settings | None = None,
    resume: bool = False,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Run baselines beside a scenario, on the same data, seeds and channel: what each method and seed came to.

    :param methods: only these, e.g. ``["pairzero", "feedsign"]``; by default the scenario's, or all that fit it
    :param seeds: by default the scenario's one
    :param resume: go on in ``out``; what is finished there is kept

    Each dictionary has ``method``, ``title``, ``seed``, ``notes``, and scores and costs as docs/baselines.md lists them; table
    and figure are in ``out``, by default a new folder under ``runs/``.
    """
    from testbench.comparison.command import run
    from testbench.comparison.folder import ComparisonFolder

    chosen = _loaded(scenario, settings)
    folder = ComparisonFolder.default(chosen.name) if out is None else ComparisonFolder(Path(out))
    wanted = None if methods is None else tuple(methods)
    return run(_console(quiet=not progress), chosen, folder, wanted, (chosen.seed,) if seeds is None else tuple(seeds), resume)


def memory(
    scenario: PathLike | None = None,
    out: PathLike | None = None,
    *,
    model: Sequence[str] = (),
    methods: Sequence[str] | None = None,
    batch: int | None = None,
    tokens: Sequence[int] | None = None,
    device: str | None = None,
    settings: Settings | None = None,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Measure the peak memory of methods, each in a process of its own, beside the paper's sums: the rows of Table T1.

    :param scenario: whose model is measured; by default OPT-125M's shape with random weights
    :param model: ``opt-125m``, ``opt-350m``, ``opt-1.3b``, ``embedded`` or folders, in place of the scenario's
    :param methods: only these, e.g. ``["engine", "adam"]``
    :param tokens: tokens per example, one measurement each

    Peaks are MiB above what the imports take; docs/baselines.md names the columns. Table and figure are in ``out``.
    """
    from testbench.footprint.command import memory as measure

    return measure(
        _console(quiet=not progress), None if scenario is None else str(scenario), models=list(model),
        chosen=None if methods is None else ",".join(methods), batch=batch,
        tokens=None if tokens is None else ",".join(map(str, tokens)), device=device, overrides=overrides(settings) or [],
        out=None if out is None else Path(out),
    )  # fmt: skip


def figure(
    name: str | None = None,
    out: PathLike | None = None,
    *,
    paper: bool = False,
    settings: Settings | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    redraw: bool = False,
    progress: bool = False,
) -> Path | dict[str, str]:
    """Draw a figure or table of the field; the path of its PNG, with PDF and numbers beside it. Without a name: all titles.

    :param paper: the paper's sizes, as far as weights and data are at hand, instead of quick ones
    :param resume: finish the figure in ``out``, repeating nothing
    :param redraw: measure nothing; draw from what ``out`` has
    :raises testbench.errors.TestbenchError: there is no such figure, or ``out`` lacks what it is redrawn from

    >>> sorted(figure())[:3]
    ['F1', 'F10', 'F11']
    """
    from testbench.errors import TestbenchError
    from testbench.gallery._command import draw, titles

    if name is None:
        return titles()
    if redraw and out is None:
        raise TestbenchError("redraw draws from what a folder has: give it as out")
    return draw(
        _console(quiet=not progress), name, paper=paper, overrides=overrides(settings) or [], workers=workers,
        scheduler=scheduler, out=None if out is None or redraw else Path(out), resume=resume,
        source=Path(out) if redraw and out is not None else None,
    )  # fmt: skip
