"""The panels of a report on runs: learning curves, the link, lost rounds, the privacy odometer."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from learning.privacy.guard import EPSILON
from testbench.reports.drawing import COLOURS, GREY, Panel, panel, style
from testbench.reports.runs import Run
from testbench.run_folder import spoken

_MOST_POINTS = 4000  # of one cloud: more are thinned out, evenly


def curves(runs: Sequence[Run]) -> list[Panel]:
    """What the federations learned, all runs in the same axes."""
    alone = len(runs) == 1

    metrics = {run.evaluations[0].metric for run in runs if run.evaluations}
    metric = spoken(metrics.pop()) if len(metrics) == 1 else "score"

    def score(axes: Axes) -> None:
        for index, run in enumerate(runs):
            rounds = [e.round for e in run.evaluations]
            axes.plot(rounds, [100 * e.score for e in run.evaluations], label=_name(run, runs), **style(index))
            free = run.summary.get(f"{run.evaluations[0].metric}_noise_free") if run.evaluations else None
            if free is not None and alone:
                axes.axhline(100 * free, color=GREY, linestyle="--", label="noise-free link, at the end")
        axes.set(xlabel="round", ylabel=f"held-out {metric} [%]")
        axes.legend()

    def loss(axes: Axes) -> None:
        for index, run in enumerate(runs):
            rounds = [e.round for e in run.evaluations]
            axes.plot(
                rounds,
                [math.nan if e.loss is None else e.loss for e in run.evaluations],
                label=_name(run, runs),
                **style(index),
            )
            free = run.summary.get("loss_noise_free")
            if free is not None and alone:
                axes.axhline(free, color=GREY, linestyle="--", label="noise-free link, at the end")
        axes.set(xlabel="round", ylabel="held-out loss [nat]")
        axes.legend()

    return [
        panel(metric[:1].upper() + metric[1:], "Held-out examples, measured every so many rounds.", score),
        panel("Loss", "Mean cross-entropy of the same examples.", loss),
    ]


def odometer(runs: Sequence[Run]) -> list[Panel]:
    """Privacy spent over the rounds, of the runs that claim any."""
    claiming = [(index, run) for index, run in enumerate(runs) if run.budget is not None and EPSILON in run.totals.columns]
    if not claiming:
        return []

    def draw(axes: Axes) -> None:
        for index, run in claiming:
            spent = run.totals.columns[EPSILON]
            axes.plot(np.arange(1, len(spent) + 1), spent, label=f"{_name(run, runs)}: spent", **style(index))
        for budget in sorted({run.budget for _, run in claiming if run.budget is not None}):
            axes.axhline(budget, color=GREY, linewidth=1, linestyle=":")
            axes.annotate(
                f"budget {budget:g}", (0.98, budget), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
            )
        axes.set(xlabel="rounds", ylabel="epsilon", ylim=(0, None))
        axes.legend(loc="lower right")

    text = "Epsilon spent so far, by the accountant that the scenario names; the run stops before it passes its budget."
    return [panel("Privacy odometer", text, draw)]


def link(run: Run) -> list[Panel]:
    """What the link did to the scalars of one run."""
    if not run.physical or not run.rounds:
        return []
    totals, n0 = run.totals, run.scenario.link.n0
    heard = totals.heard

    def scatter(axes: Axes) -> None:
        true, estimate = _thin(totals.true_mean[heard]), _thin(totals.estimate[heard])
        axes.plot(true, estimate, ".", markersize=3, color=COLOURS[0], alpha=0.4, rasterized=True)
        if true.size:
            limit = 1.1 * float(max(np.abs(true).max(), np.percentile(np.abs(estimate), 99), 1e-12))
            axes.plot([-limit, limit], [-limit, limit], color=GREY, linewidth=1)
            axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
            outside = int((np.abs(totals.estimate[heard]) > limit).sum())
            if outside:
                axes.annotate(f"{outside} outside", (0.03, 0.93), xycoords="axes fraction", fontsize=8, color=GREY)
        axes.set(xlabel="what a perfect link returns", ylabel="estimate")

    def snr(axes: Axes) -> None:
        with np.errstate(divide="ignore", invalid="ignore"):  # an unbiased estimate of a small power can be negative
            received_db = 10 * np.log10(totals.columns["received_power"] / n0)
        rounds = np.arange(len(received_db))
        axes.plot(_thin(rounds), _thin(received_db), ".", markersize=2.5, color=COLOURS[0], alpha=0.5, rasterized=True)
        axes.set(xlabel="round", ylabel="received SNR [dB]")

    return [
        panel(
            "What the server hears",
            "One point a round and direction; on the line, the estimate is what a perfect link returns.",
            scatter,
        ),
        panel("Received SNR", f"|vᴴy|²/N0 of the sum, N0 = {n0:g} per complex sample.", snr),
    ]


def lost(runs: Sequence[Run]) -> list[Panel]:
    """Lost rounds over the rounds, where there were any."""
    if not any(run.lost_rounds for run in runs):
        return []

    def draw(axes: Axes) -> None:
        for index, run in enumerate(runs):
            axes.step(
                np.arange(1, run.rounds + 1), np.cumsum(run.totals.lost), where="post", label=_name(run, runs), **style(index)
            )
            if len(runs) == 1:
                gone = np.flatnonzero(run.totals.lost)
                axes.plot(_thin(gone) + 1, np.zeros(len(_thin(gone))), "|", color=GREY, markersize=10, clip_on=False)
        axes.set(xlabel="rounds", ylabel="lost rounds, in all", ylim=(0, None))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        if len(runs) > 1:
            axes.legend(loc="upper left")

    text = (
        "A lost round moves nobody: no device passed the threshold, nobody answered, the preamble was missed, or what was sent "
        "was not a number."
    )
    return [panel("Lost rounds", text, draw)]


def _name(run: Run, runs: Sequence[Run]) -> str:
    return "this run" if len(runs) == 1 else run.label


def _thin(values: NDArray[Any]) -> NDArray[Any]:
    return values if len(values) <= _MOST_POINTS else values[:: -(-len(values) // _MOST_POINTS)]
