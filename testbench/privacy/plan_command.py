"""What ``pairzero privacy plan`` shows and leaves behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from learning.privacy.sensitivity import delta_warning
from testbench.errors import TestbenchError
from testbench.privacy.comparisons import accounting_gap, better_estimates
from testbench.privacy.plan import ACCOUNTANTS, PlanReport, PlanRow, make_plan
from testbench.privacy.plan_figures import draw_estimates, draw_schedule, write_csv
from testbench.scenario import Scenario
from testbench.spread import root_mean_square

__all__ = ["bars", "default_folder", "run_plan", "say"]


def say(console: Console, text: str) -> None:
    """A line that is not broken into markup."""
    console.print(text, markup=False, highlight=False)


def default_folder(name: str) -> Path:
    """A new folder under ``runs/``."""
    stem = f"privacy-{name}-{datetime.now().strftime('%Y%m%d-%H%M%S')}"
    path, count = Path("runs") / stem, 2
    while path.exists():
        path, count = Path("runs") / f"{stem}-{count}", count + 1
    return path


@contextmanager
def bars(console: Console, label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar, told (done, in all); silent where there is no terminal."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(label, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def run_plan(
    console: Console, scenario: Scenario, examples: int, out: Path | None, signal_std: float | None = None
) -> PlanReport:
    """Plan, print the tables, and write figures and CSV."""
    began = time.monotonic()
    if signal_std is not None and not 0 < signal_std < np.inf:
        raise TestbenchError(f"--signal-std is a standard deviation and must be positive, got {signal_std}")
    with bars(console, "channels") as progress:
        report = make_plan(scenario, examples, progress)
    _schedules(console, report)
    for name, sentence in report.refusals.items():
        say(console, f"{name}: {sentence.removeprefix('theorem4: ')}")
    printed = {sentence: None for row in report.rows for sentence in row.errata}
    for sentence in printed:
        say(console, f"erratum: {sentence}")
    warning = delta_warning(scenario.privacy.delta, examples * scenario.federation.devices)
    if warning is not None:
        say(console, f"warning: {warning}")
    _estimates(console, report, signal_std)
    _gap(console, report, examples)
    say(console, report.caption)
    folder = out if out is not None else default_folder("plan")
    draw_schedule(report, folder)
    draw_estimates(report, folder, signal_std)
    write_csv(folder / "plan.csv", _HEADER, [_cells(row) for row in report.rows])
    say(console, f"results   {folder}: plan.csv, F3.png, F3.csv, estimates.png, estimates.csv")
    say(console, f"took      {time.monotonic() - began:.1f} s")
    return report


_HEADER = [
    "schedule", "scheme", "sum_mu_squared", *(f"epsilon_{name}" for name in ACCOUNTANTS), "std_first", "std_median", "std_rms",
    "std_last",    "full_scale", "silent_rounds", "capped_rounds", "reported_sum_mu_squared",
]  # fmt: skip


def _cells(row: PlanRow) -> list[Any]:
    first, median, rms, last = _stds(row).values()
    spent = float(np.square(row.mu).sum())
    epsilons = [row.epsilons.get(name, "") for name in ACCOUNTANTS]
    return [
        row.label, row.scheme, spent, *epsilons, first, median, rms, last, row.full_scale, row.silent, int(row.capped.sum()),
        row.reported if row.printed else "",
    ]  # fmt: skip


def _stds(row: PlanRow) -> dict[str, float]:
    """Standard deviation of the estimate's noise: first, median and last round, and root mean square of those not silent."""
    return {
        "first": float(row.std[0]),
        "median": float(np.median(row.std)),
        "rms": root_mean_square(row.std),
        "last": float(row.std[-1]),
    }


def _number(value: float) -> str:
    return "silent" if np.isinf(value) else f"{value:.3g}"


def _schedules(console: Console, report: PlanReport) -> None:
    promise = report.scenario.privacy
    say(console, f"Schedules for epsilon = {report.epsilon:g}, delta = {promise.delta:g} by {promise.accounting}")
    table = Table(box=None, pad_edge=False)
    table.add_column("schedule", no_wrap=True)
    sampled = report.sampling_rate is not None
    accountants = ACCOUNTANTS if sampled else ("paper", "gdp")
    for heading in (*(f"ε {name}" for name in accountants), "std first", "median", "rms", "last", "peak", "silent", "capped"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        epsilons = [f"{row.epsilons[name]:.3g}" if name in row.epsilons else "-" for name in accountants]
        table.add_row(
            row.label, *epsilons, *(_number(x) for x in _stds(row).values()), f"{row.full_scale:g}", str(row.silent),
            str(int(row.capped.sum())),
        )  # fmt: skip
    console.print(table)
    say(
        console,
        "std: of the noise in p_hat, first, median and last round, and root mean square of those not silent; peak: full scale "
        "of a payload; rounds silent, at peak power"
        + ("; ε paper and ε gdp: without the amplification by sampling" if sampled else ""),
    )


def _estimates(console: Console, report: PlanReport, signal_std: float | None) -> None:
    analog = [row for row in report.rows if row.scheme == "analog" and row.schedule != "full_power" and not row.printed]
    if not analog:
        return
    row = analog[0]
    stds = _stds(row)
    places = {name: stds[name] for name in ("first", "median", "last")}
    several = report.scenario.zeroth_order.directions
    shown = several if several > 1 else 16
    tables = [better_estimates(std, row.full_scale, signal_std, shown) for std in places.values()]
    say(console, f"\nMean square error / signal power, schedule {row.label}")
    table = Table(box=None, pad_edge=False)
    table.add_column("estimate", no_wrap=True)
    for place, std in places.items():
        table.add_column(f"{place}, std {_number(std)}", justify="right", no_wrap=True)
    for index, entry in enumerate(tables[0]):
        table.add_row(entry.label, *(f"{t[index].nmse:.4g}" for t in tables))
    console.print(table)
    assumed = f"std {signal_std:g}" if signal_std is not None else "97 % within the clip (--signal-std states yours)"
    say(console, f"1: answering zero; mean payload normal, {assumed}")


def _gap(console: Console, report: PlanReport, examples: int) -> None:
    s, promise = report.scenario, report.scenario.privacy
    batch = s.federation.batch_size
    rate = report.sampling_rate if report.sampling_rate is not None else min(1.0, batch / examples)
    say(console, "\nWhat accounting is worth: a static schedule, no power limit")
    table = Table(box=None, pad_edge=False)
    table.add_column("accounting", no_wrap=True)
    table.add_column("std of p_hat", justify="right", no_wrap=True)
    table.add_column("gain", justify="right", no_wrap=True)
    for way in accounting_gap(
        report.epsilon, promise.delta, s.federation.rounds, s.federation.devices, s.zeroth_order.clip, batch, rate
    ):
        table.add_row(way.label, f"{way.std:.4g}", f"{way.gain_db:.1f} dB")
    console.print(table)
    say(
        console,
        f"clip {s.zeroth_order.clip:g}, b = {batch}, K = {s.federation.devices}, {examples} examples per device; records need "
        "clipping per sample and a fixed b",
    )
