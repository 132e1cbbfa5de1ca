"""Figures of a stress test: heat maps, curves with bands, presets, scalar against gradient, accuracy."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from testbench.stress.captions import caption
from testbench.stress.comparison import Compared, curve_of
from testbench.stress.limits import Row
from testbench.stress.plan import StressConfig
from testbench.stress.points import gradient_variants
from testbench.stress.results import swept
from testbench.stress.store import StressFolder

# Okabe and Ito's palette, with dashes and markers of their own: told apart by colour-blind readers and in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#B8A800")
_DASHES = ("-", "--", "-.", ":")
_MARKERS = "osD^vPX*<"
_GREY = "#555555"
_STYLE: Any = {"font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True, "svg.fonttype": "none"}
_NMSE_RANGE = (-20.0, 5.0)


def draw_figures(folder: StressFolder, plan: StressConfig, rows: Sequence[Row], compared: Sequence[Compared]) -> None:
    """Draw every figure that the rows allow into ``figures/`` (PNG)."""
    with matplotlib.rc_context(_STYLE):
        for axis in plan.chosen_axes():
            mine = [row for row in rows if row["group"] == "sweep" and row["axis"] == axis]
            if mine:
                _save(folder, f"curves-{axis}", _curves(plan, axis, mine))
                _save(folder, f"heat-{axis}", _heat(plan, axis, mine))
        presets = [row for row in rows if row["group"] == "preset"]
        if presets:
            _save(folder, "presets", _presets(plan, presets))
        if compared:
            _save(folder, "scalar-vs-gradient", _gradient(plan, rows, compared))
        trained = [row for row in rows if row["group"] == "accuracy"]
        if trained:
            _save(folder, "accuracy", _accuracy(plan, trained))


def _save(folder: StressFolder, name: str, figure: Figure) -> None:
    figure.savefig(folder.figures / f"{name}.png", dpi=130)


def _foot(figure: Figure, text: str) -> None:
    """A caption below the figure, broken to its width."""
    text = "; ".join(text.split("\n"))
    count = math.ceil(len(text) / (figure.get_figwidth() * 18.5))
    figure.supxlabel("\n".join(textwrap.wrap(text, len(text) // count + 12)), fontsize=6.5, color=_GREY)


def style(index: int) -> dict[str, Any]:
    """Line style of the contestant number ``index``."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": _DASHES[(index // 2) % len(_DASHES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 3.5,
        "linewidth": 1.4,
    }


def _axis_label(plan: StressConfig, axis: str) -> tuple[str, float]:
    """Label of the x axis, and the size of its unit."""
    chosen = plan.chosen_axes()[axis]
    unit, factor = chosen.shown_unit
    unit = unit.replace("us", "µs").replace("deg", "°")
    return f"{chosen.title} x{f' [{unit}]' if unit else ''}", factor


def _curves(plan: StressConfig, axis: str, rows: Sequence[Row]) -> Figure:
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    nmse, wrong = figure.subplots(1, 2)
    label, factor = _axis_label(plan, axis)
    for index, name in enumerate(plan.contestants):
        mine = swept(rows, axis, name)
        if mine:
            x = [row["value"] / factor for row in mine]
            look = style(index) | {"markevery": max(1, len(x) // 8)}
            for axes, metric, scale in ((nmse, "nmse_db", 1.0), (wrong, "wrong_sign", 100.0)):
                axes.plot(x, [_finite(row[metric], scale) for row in mine], label=mine[0]["label"], **look)
                ends = [[_finite(row[f"{metric}_{end}"], scale) for row in mine] for end in ("low", "high")]
                axes.fill_between(x, *ends, color=look["color"], alpha=0.2, linewidth=0)
    nmse.axhline(plan.nmse_limit_db, color=_GREY, linewidth=0.8)
    nmse.annotate(
        f"{plan.nmse_limit_db:g} dB", (0.01, plan.nmse_limit_db), xycoords=("axes fraction", "data"), va="bottom", fontsize=7
    )
    nmse.set(xlabel=label, ylabel="NMSE [dB]", title="Error of the estimate", ylim=_limits(nmse))
    wrong.set(xlabel=label, ylabel="wrong sign [% of rounds]", title="Estimate of the wrong sign", ylim=(0, None))
    handles, labels = nmse.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False, handlelength=3.5)
    law = plan.chosen_axes()[axis].law_in_words()
    _foot(figure, f"{law[:1].upper()}{law[1:]}. {caption(plan, axis)}")
    return figure


def _limits(axes: Axes) -> tuple[float, float]:
    low, high = axes.get_ylim()
    return max(low, -40.0), min(high, 10.0)


def _finite(value: float, scale: float = 1.0) -> float:
    return value * scale if math.isfinite(value) else math.nan


def _heat(plan: StressConfig, axis: str, rows: Sequence[Row]) -> Figure:
    rows = [row for row in rows if not row["added"]]  # those belong to a single contestant
    names = [name for name in plan.contestants if any(row["contestant"] == name for row in rows)]
    values = sorted({row["value"] for row in rows})
    label, factor = _axis_label(plan, axis)
    figure = Figure(figsize=(11, 1.9 + 0.32 * len(names)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, metric, title, colours, bounds, scale in (
        (panels[0], "nmse_db", "NMSE [dB]", "viridis_r", _NMSE_RANGE, 1.0),
        (panels[1], "wrong_sign", "wrong sign [%]", "cividis_r", (0.0, _top(rows)), 100.0),
    ):
        table = np.full((len(names), len(values)), np.nan)
        for row in rows:
            table[names.index(row["contestant"]), values.index(row["value"])] = scale * row[metric]
        image = axes.imshow(
            table, aspect="auto", cmap=colours, vmin=bounds[0], vmax=bounds[1], interpolation="nearest",
            extent=(-0.5, len(values) - 0.5, len(names) - 0.5, -0.5),
        )  # fmt: skip
        axes.grid(False)
        ticks = range(0, len(values), math.ceil(len(values) / 7))
        axes.set_xticks(ticks, [f"{values[i] / factor:.3g}" for i in ticks])
        axes.set_yticks(range(len(names)), [plan.contestants[name].label for name in names])
        axes.set(xlabel=label, title=title)
        figure.colorbar(image, ax=axes, extend="both" if metric == "nmse_db" else "neither", pad=0.02)
    _foot(figure, caption(plan, axis))
    return figure


def _top(rows: Sequence[Row]) -> float:
    """Upper end of the colours of wrong signs [%]: guessing is 50 %."""
    highest = max((100 * row["wrong_sign"] for row in rows if math.isfinite(row["wrong_sign"])), default=50.0)
    return min(50.0, 10.0 * math.ceil(max(highest, 1.0) / 10.0))


def _presets(plan: StressConfig, rows: Sequence[Row]) -> Figure:
    names = [name for name in plan.contestants if any(row["contestant"] == name for row in rows)]
    presets = [name for name in plan.presets if any(row["preset"] == name for row in rows)]
    hardware = plan.all_hardware()
    figure = Figure(figsize=(3.4 + 0.75 * len(presets), 2.6 + 0.6 * len(names)), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    for axes, metric, title, colours, bounds, scale in (
        (panels[0], "nmse_db", "NMSE [dB]", "viridis_r", _NMSE_RANGE, 1.0),
        (panels[1], "wrong_sign", "wrong sign [% of rounds]", "cividis_r", (0.0, 50.0), 100.0),
    ):
        table = np.full((len(names), len(presets)), np.nan)
        for row in rows:
            table[names.index(row["contestant"]), presets.index(row["preset"])] = scale * row[metric]
        axes.imshow(table, aspect="auto", cmap=colours, vmin=bounds[0], vmax=bounds[1])
        axes.grid(False)
        for (i, j), value in np.ndenumerate(table):
            if not math.isnan(value):
                dark = value > (bounds[0] + bounds[1]) / 2
                text = f"{value:.1f}" if metric == "nmse_db" else f"{value:.0f}" if value >= 10 else f"{value:.1f}"
                axes.text(j, i, text, ha="center", va="center", fontsize=7.5, color="white" if dark else "black")
        axes.set_yticks(range(len(names)), [plan.contestants[name].label for name in names])
        marks = [f"{name}{' *' if hardware[name].assumed else ''}" for name in presets]
        axes.set_xticks(range(len(presets)), marks, rotation=35, ha="right")
        axes.set_title(title)
    _foot(figure, f"* some of its figures are assumed, see the table of presets. {caption(plan)}")
    return figure


def _gradient(plan: StressConfig, rows: Sequence[Row], compared: Sequence[Compared]) -> Figure:
    section = plan.scalar_vs_gradient
    name = section.contestants[0]
    ages = section.ages_s
    figure = Figure(figsize=(12, 7.2), layout="constrained")
    panels = figure.subplots(2, 2)
    timing, cfo, tolerance, offset = panels[0][0], panels[0][1], panels[1][1], panels[1][0]
    for index, (variant, entries, duration_s) in enumerate(gradient_variants(plan)):
        look = style(index) | {"markersize": 3}
        curve = curve_of(rows, name, "timing", entries, duration_s, ages[0])
        timing.plot([1e6 * row["value"] for row in curve], [row["nmse_db"] for row in curve], label=variant, **look)
        _fill(timing, curve, 1e6, look["color"])
        curve = curve_of(rows, name, "cfo", entries, duration_s, ages[0])
        cfo.plot([row["value"] for row in curve], [row["nmse_db"] for row in curve], label=variant, **look)
        _fill(cfo, curve, 1.0, look["color"])
    for axes in (timing, cfo):
        axes.axhline(plan.nmse_limit_db, color=_GREY, linewidth=0.8)
        axes.set(ylabel="NMSE [dB]", ylim=_limits(axes))
    timing.set(
        xlabel="timing offset x [µs], uniform on ±x", title=f"Timing (T = {1e6 * section.symbol_duration_s:g} µs per entry)"
    )
    timing.set_xscale("log")
    timing.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    timing.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    timing.xaxis.set_minor_formatter(NullFormatter())
    cfo.set(
        xscale="log", xlabel="frequency offset x [Hz], uniform on ±x", title=f"Frequency, pilot {1e3 * ages[0]:g} ms before"
    )
    timing.legend(fontsize=7.5, loc="upper left")
    _tolerances(plan, compared, name, offset, "timing")
    _tolerances(plan, compared, name, tolerance, "cfo")
    rounds = sorted({c.rounds for c in compared})
    _foot(
        figure,
        f"{plan.contestants[name].label}; equal energy and symbol duration per entry, entries back to back; a point has "
        f"{rounds[0]} to {rounds[-1]} rounds (fewer for large d). {caption(plan, comparison=True)}",
    )
    return figure


def _fill(axes: Axes, curve: Sequence[Row], factor: float, colour: str) -> None:
    x = [factor * row["value"] for row in curve]
    low, high = ([row[f"nmse_db_{end}"] for row in curve] for end in ("low", "high"))
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def _tolerances(plan: StressConfig, compared: Sequence[Compared], name: str, axes: Axes, axis: str) -> None:
    """Largest offset over d; the stretched scalar as a level of its own."""
    section = plan.scalar_vs_gradient
    factor = 1e6 if axis == "timing" else 1.0
    ages = section.ages_s[:1] if axis == "timing" else section.ages_s
    for index, age_s in enumerate(ages):
        mine = [c for c in compared if (c.contestant, c.axis, c.age_s) == (name, axis, age_s) and c.largest.state != "none"]
        line = [c for c in mine if c.duration_s == section.symbol_duration_s]
        at = f", pilot {1e3 * age_s:g} ms before" if axis == "cfo" else ""
        look = style(index)
        axes.plot([c.entries for c in line], [factor * c.largest.value for c in line], label=f"d entries of T{at}", **look)
        for c in line:
            if c.largest.state == "all":
                axes.annotate("≥", (c.entries, factor * c.largest.value), fontsize=8, ha="right", va="bottom")
        for c in mine:
            if c.duration_s != section.symbol_duration_s:
                axes.plot(
                    [1],
                    [factor * c.largest.value],
                    "*",
                    color=look["color"],
                    markersize=11,
                    label=f"scalar of {section.stretch:g} T{at}",
                )
    unit = "µs" if axis == "timing" else "Hz"
    axes.set(
        xscale="log", yscale="log", xlabel="entries d", ylabel=f"largest offset [{unit}]",
        title=f"Largest {'timing' if axis == 'timing' else 'frequency'} offset with NMSE < {plan.nmse_limit_db:g} dB",
    )  # fmt: skip
    for side in (axes.xaxis, axes.yaxis) if axis == "timing" else (axes.xaxis,):
        side.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if side is axes.yaxis else (1.0,)))
        side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        side.set_minor_formatter(NullFormatter())
    axes.legend(fontsize=7.5)


def _accuracy(plan: StressConfig, rows: Sequence[Row]) -> Figure:
    axes_names = list(dict.fromkeys(row["axis"] for row in rows))
    figure = Figure(figsize=(1.5 + 4.2 * len(axes_names), 4.0), layout="constrained")
    panels = figure.subplots(1, len(axes_names), squeeze=False, sharey=True)[0]
    for axes, axis in zip(panels, axes_names, strict=True):
        presets = list(dict.fromkeys(row["preset"] for row in rows if row["axis"] == axis))
        label, factor = ("", 1.0) if axis == "preset" else _axis_label(plan, axis)
        for index, name in enumerate(plan.contestants):
            mine = [row for row in rows if row["axis"] == axis and row["contestant"] == name]
            if not mine:
                continue
            keys = list(dict.fromkeys(row["preset"] if axis == "preset" else row["value"] for row in mine))
            groups = [[r for r in mine if (r["preset"] if axis == "preset" else r["value"]) == key] for key in keys]
            x = [float(presets.index(k)) for k in keys] if axis == "preset" else [k / factor for k in keys]
            middle = [100 * float(np.mean([r["accuracy"] for r in g])) for g in groups]
            spread = [100 * float(np.std([r["accuracy"] for r in g])) for g in groups]
            axes.errorbar(x, middle, yerr=spread if any(spread) else None, label=mine[0]["label"], **style(index))
            reference = [r["accuracy_noise_free"] for r in mine if r["accuracy_noise_free"] is not None]
            if reference:
                axes.axhline(100 * float(np.mean(reference)), color=style(index)["color"], linestyle=":", linewidth=1)
        axes.axhline(100 * rows[0]["accuracy_zero_shot"], color=_GREY, linewidth=0.8, linestyle="--")
        if axis == "preset":
            axes.set_xticks(range(len(presets)), presets, rotation=35, ha="right")
        axes.set(xlabel=label, title=axis if axis == "preset" else plan.chosen_axes()[axis].title)
    panels[0].set_ylabel("held-out accuracy [%]")
    panels[0].legend(fontsize=7.5)
    seeds = sorted({row["seed"] for row in rows})
    band = "bars: standard deviation over seeds" if len(seeds) > 1 else "one run per point (no band)"
    _foot(
        figure,
        f"scenario {plan.accuracy.scenario}, {rows[0]['rounds']} rounds, K = {rows[0]['devices']}, seeds {seeds}, {band}; "
        f"dotted: noise-free; dashed: zero-shot\nSNR_max = {plan.link.snr_max_db:g} dB, "
        f"pilot {1e3 * plan.link.csi.age_s:g} ms old, T = {1e6 * plan.link.offsets.symbol_duration_s:g} µs",
    )
    return figure
