"""Figure F3, schedules over the rounds, and the figure of better estimates; with the table of numbers beside each."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from learning.privacy.accountants import find
from learning.privacy.release import Release
from testbench.privacy.comparisons import better_estimates
from testbench.privacy.plan import PlanReport, PlanRow

__all__ = ["COLOURS", "STYLE", "draw_estimates", "draw_schedule", "foot", "save", "write_csv"]

# Okabe and Ito's palette: told apart by colour-blind readers; dashes tell them apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)), (0, (3, 1)))
STYLE: Any = {"font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True}
_GREY = "#555555"
_CHECKPOINTS = 60
_POINTS = 1500  # drawn per curve


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Write ``name``.png and .pdf into ``folder``; returns the PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in ("pdf", "png"):
        figure.savefig(folder / f"{name}.{suffix}", dpi=140)
    return folder / f"{name}.png"


def foot(figure: Figure, text: str) -> None:
    """A caption below the figure, broken to its width."""
    figure.supxlabel(textwrap.fill(text, int(figure.get_figwidth() * 19)), fontsize=6.5, color=_GREY)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table of plain numbers beside a figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows)


def look(index: int) -> dict[str, Any]:
    """Line style of the curve number ``index``."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": _DASHES[index % len(_DASHES)], "linewidth": 1.4}


def draw_schedule(report: PlanReport, folder: Path, name: str = "F3") -> Path:
    """Received SNR of one device, noise of the estimate, and epsilon spent, over the rounds."""
    rounds = len(report.sounding.caps)
    at = np.unique(np.linspace(0, rounds - 1, min(rounds, _POINTS)).astype(int))
    shown = [row for row in report.rows if row.schedule != "theorem4" and not (row.printed and row.schedule == "static")]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 4.8), layout="constrained")
        snr, noise, spent = figure.subplots(1, 3)
        for index, row in enumerate(shown):
            with np.errstate(divide="ignore"):
                snr_db = 20.0 * np.log10(row.amplitudes) - 10.0 * np.log10(report.scenario.link.n0)
            style = look(index)
            shade = {"alpha": 0.35, "linewidth": 0.6} if row.schedule == "full_power" else {}
            snr.plot(at, np.where(row.amplitudes[at] > 0, snr_db[at], np.nan), **style | shade, label=row.label)
            capped = np.flatnonzero(row.capped)
            if row.schedule != "full_power" and capped.size:
                snr.plot(capped, snr_db[capped], "x", markersize=3.5, color=style["color"], alpha=0.5)
            relative = np.where(row.amplitudes[at] > 0, row.std[at] / row.full_scale, np.nan)
            noise.plot(at, relative, **style | shade)
            if row.schedule != "full_power":
                _draw_spent(spent, report, row, style)
        noise.axhline(1.0, color=_GREY, linewidth=0.9)
        noise.annotate("the clip", (0.98, 1.0), xycoords=("axes fraction", "data"), va="bottom", ha="right", fontsize=7)
        snr.set(xlabel="round t", ylabel="a_t²/N0 [dB] = (c_t·clip)²/N0", title="Amplitude (x: limited by peak power)")
        noise.set(xlabel="round t", ylabel="std of estimate's noise / full scale", yscale="log", title="Noise of the estimate")
        spent.axhline(report.epsilon, color=_GREY, linewidth=0.9)
        spent.annotate("target", (0.02, report.epsilon), xycoords=("axes fraction", "data"), va="bottom", fontsize=7)
        accounted = "pld" if report.sampling_rate is not None else "gdp (exact)"
        spent.set(
            xlabel="round t",
            ylabel=f"epsilon spent at delta = {report.scenario.privacy.delta:g}",
            title=f"Spent, by {accounted}",
        )
        figure.legend(*snr.get_legend_handles_labels(), loc="outside right upper", fontsize=7.5, frameon=False, handlelength=4)
        foot(
            figure,
            "Full scale: the clip (analog) or one vote (sign). Silent rounds are left out. Rows as printed follow the paper's "
            "formulas with its accounting and N0 on the real axis, and are charged here what they truly cost. "
            + report.caption,
        )
        path = save(figure, folder, name)
    header = ["round"]
    columns: list[np.ndarray[Any, Any]] = [np.arange(rounds)]
    for row in report.rows:
        header += [f"{row.label}: {what}" for what in ("a2_over_n0_db", "std", "mu", "capped")]
        with np.errstate(divide="ignore"):
            a2 = 20.0 * np.log10(row.amplitudes) - 10.0 * np.log10(report.scenario.link.n0)
        columns += [a2, row.std, row.mu, row.capped.astype(int)]
    write_csv(folder / f"{name}.csv", header, ([c[t].item() for c in columns] for t in range(rounds)))
    return path


def _draw_spent(axes: Axes, report: PlanReport, row: PlanRow, style: dict[str, Any]) -> None:
    sampled, rounds = report.sampling_rate is not None, len(row.mu)
    name = "pld" if sampled else "gdp"
    if name not in row.epsilons or (row.printed and sampled):
        return
    if sampled:  # every prefix would cost convolutions: the end only
        ends = np.array([rounds])
    else:
        ends = np.unique(np.linspace(1, rounds, min(rounds, _CHECKPOINTS)).astype(int))
    accountant, delta = find(name)(), report.scenario.privacy.delta
    whole = Release(row.mu, csi="realised")
    values = [row.epsilons[name]] if sampled else [accountant.epsilon(whole.prefix(int(t)), delta) for t in ends]
    axes.plot(ends, values, marker="o" if sampled else None, markersize=4, **style)


def draw_estimates(report: PlanReport, folder: Path, signal_std: float | None = None, name: str = "estimates") -> Path:
    """Error of plain and post-processed estimates over the noise, in closed form, with the plans' noise marked."""
    clip = report.scenario.link.clip
    at = np.geomspace(0.01, 100.0, 121)
    several = report.scenario.zeroth_order.directions
    shown = several if several > 1 else 16
    tables = [better_estimates(float(x) * clip, clip, signal_std, shown) for x in at]
    labels = [e.label for e in tables[0]]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 4.6), layout="constrained")
        axes = figure.subplots()
        for index, label in enumerate(labels):
            axes.plot(at, [10 * np.log10(t[index].nmse) for t in tables], **look(index), label=label)
        low, high = -40.0, 25.0
        for index, row in enumerate(r for r in report.rows if r.scheme == "analog" and r.schedule in ("static", "solution")):
            last = float(row.std[-1]) / clip
            if at[0] <= last <= at[-1]:
                axes.axvline(last, color=_GREY, linewidth=0.8, linestyle=_DASHES[index % 4])
                axes.annotate(f"{row.label}, last round", (last, low + 1), rotation=90, fontsize=6.5, ha="right", va="bottom")
        axes.set(
            xlabel="std of the estimate's noise / clip", ylabel="mean square error / signal power [dB]", xscale="log",
            ylim=(low, high), title="What post-processing gives back, at no privacy",
        )  # fmt: skip
        axes.legend(fontsize=7.5)
        signal = f"{signal_std:g}" if signal_std else "clip/2.17 (97 % within the clip)"
        foot(
            figure,
            f"Mean payload p ~ N(0, S), assumed, sqrt(S) = {signal}; noise Gaussian; 0 dB is what answering zero gives. "
            f"{shown} directions: one joint clip, S/{shown} each, the noise on each. The law's 3 % beyond the clip are what "
            "clipping loses at low noise; real payloads lie within. Closed form (learning.privacy.postprocess.gaussian_mse).",
        )
        path = save(figure, folder, name)
    write_csv(
        folder / f"{name}.csv",
        ["std_over_clip", *labels],
        ([float(x), *(e.nmse for e in t)] for x, t in zip(at, tables, strict=True)),
    )
    return path
