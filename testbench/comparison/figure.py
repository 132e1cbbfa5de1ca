"""Figure F8: held-out loss and score of every method against rounds, channel uses, bits and seconds."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from testbench.comparison.folder import ComparisonFolder
from testbench.comparison.table import Facts, grouped, rows
from testbench.figures import GREY, impairments
from testbench.privacy.secrecy import of_several
from testbench.run_folder import spoken
from testbench.scenario import Scenario

# Okabe and Ito's palette without its yellow, and a grey: told apart by colour-blind readers; dashes tell families apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#888888")
_MARKERS = "osD^vPX*"
_STYLE: Any = {"font.size": 8, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True}
_AXES = (
    ("round", "rounds"),
    ("channel_uses", "uplink channel uses, pilots included"),
    ("bits", "payload bits, up and down"),
    ("seconds", "training seconds on this machine"),
)


def draw(folder: ComparisonFolder, scenario: Scenario, facts: Sequence[Facts]) -> None:
    """``figures/convergence.png`` and ``.pdf``."""
    with matplotlib.rc_context(_STYLE):
        figure = convergence(scenario, facts)
        for suffix in ("png", "pdf"):
            figure.savefig(folder.figures / f"convergence.{suffix}", dpi=150)


def convergence(scenario: Scenario, facts: Sequence[Facts]) -> Figure:
    """Two rows (score, loss) of four panels with one legend; a band of one standard deviation where there are seeds."""
    figure = Figure(figsize=(13, 6.8), layout="constrained")
    panels = figure.subplots(2, 4, sharey="row", sharex="col")
    handles = []
    for number, mine in enumerate(grouped(facts)):
        style = _style(number, mine[0])
        for column, (key, _) in enumerate(_AXES):
            for row, what in enumerate(("score", "loss")):
                line = _curve(panels[row][column], mine, key, what, style)
                if row == column == 0:
                    handles.append(line)
    for column, (key, label) in enumerate(_AXES):
        panels[1][column].set_xlabel(label)
        if not any(_with_bits(row)[key] > 0 for row in rows(facts)):
            continue  # no method that sends anything: nothing to be logarithmic about
        panels[0][column].set_xscale("log")
        panels[1][column].xaxis.set_minor_formatter(NullFormatter())  # labels between decades would overlap
    zero_shot = float(np.mean([one["score_zero_shot"] for one in facts]))
    for axes in panels[0]:
        axes.axhline(100 * zero_shot, color=GREY, linestyle=(0, (1, 3)), linewidth=1)
    panels[0][0].annotate("zero-shot", (0.02, 100 * zero_shot), xycoords=("axes fraction", "data"), fontsize=6.5, color=GREY,
                          va="bottom")  # fmt: skip
    panels[0][0].set_ylabel(f"held-out {spoken(facts[0]['metric'])} [%]")
    panels[1][0].set_ylabel("held-out loss [nat]")
    _limit_loss(panels[1][0], facts)
    figure.legend(handles=handles, loc="outside upper center", ncols=min(6, len(handles)), fontsize=8)
    figure.supxlabel("\n".join(textwrap.wrap(caption(scenario, facts), 210)), fontsize=6.5, color=GREY)
    return figure


def caption(scenario: Scenario, facts: Sequence[Facts]) -> str:
    """What the numbers are of."""
    link, seeds = scenario.link, sorted({one["seed"] for one in facts})
    csi = link.csi.estimator
    if any(one["costs"]["pilot_uses"] for one in facts):
        csi += f" from {link.csi.pilot_symbols} pilots per device and block"
    control = link.power.control + (f" at {link.power.threshold:g}" if link.power.control == "truncated" else "")
    band = f"seed {seeds[0]}, one run (no band)"
    if len(seeds) > 1:
        band = f"seeds {', '.join(map(str, seeds))}, bands ± one standard deviation"
    more = " ".join(impairments(scenario).split())
    return (
        f"Scenario {scenario.name}: SNR_max = P E|h|²/N0 = {link.snr_max_db:g} dB, N0 = {link.n0:.3g} per complex sample, "
        f"channel {link.channel.model}, CSI {csi}, {control}; K = {scenario.federation.devices}, batch "
        f"{scenario.federation.batch_size}, clip {link.clip:g}{'; ' + more if more else ''}; {band}. Logarithmic axes begin "
        "after round 0. Methods without a link (dotted) stand at their final value. Digital links are error-free at ergodic "
        "capacity. Seconds are this machine's for all devices in turn, link emulation included, evaluation left out. "
        + of_several([scenario])
    ).strip()


def _style(number: int, facts: Facts) -> dict[str, Any]:
    dashes = "-" if facts["kind"] == "zeroth order" else "--"
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": dashes,
        "marker": _MARKERS[(number // len(_COLOURS) + number) % len(_MARKERS)],
        "markersize": 3.2,
        "markevery": 0.12,
        "linewidth": 1.2,
        "label": facts["title"],
    }


def _curve(axes: Axes, mine: Sequence[Facts], key: str, what: str, style: dict[str, Any]) -> Any:
    """One method in one panel: mean over its seeds at the rounds that all of them have."""
    found = [[_with_bits(row) for row in rows([one])] for one in mine]
    common = sorted(set.intersection(*({row["round"] for row in run} for run in found)))
    scale = 100.0 if what == "score" else 1.0
    values = np.array([[_value(row, what) * scale for row in run if row["round"] in common] for run in found])
    places = np.array([[row[key] for row in run if row["round"] in common] for run in found], dtype=float).mean(axis=0)
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1) if len(mine) > 1 else None
    if not places.any():  # nothing is sent: no place on this axis
        (line,) = axes.plot([], [], **style)
        axes.axhline(float(mean[-1]), **{k: v for k, v in style.items() if k in ("color", "linewidth")}, linestyle=":")
        return line
    shown = places > 0
    (line,) = axes.plot(places[shown], mean[shown], **style)
    if spread is not None:
        axes.fill_between(places[shown], (mean - spread)[shown], (mean + spread)[shown], color=style["color"], alpha=0.15, lw=0)
    return line


def _with_bits(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "bits": row["uplink_bits"] + row["downlink_bits"]}


def _value(row: dict[str, Any], what: str) -> float:
    return math.nan if row[what] is None else float(row[what])


def _limit_loss(axes: Axes, facts: Sequence[Facts]) -> None:
    """A run that goes astray must not squeeze the others: the axis ends a little above the loss of the base weights."""
    start = max(one["loss_zero_shot"] or 0.0 for one in facts)
    axes.set_ylim(0.0, 1.5 * start if start > 0 else None)
