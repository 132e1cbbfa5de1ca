"""Curves of an attack against what Gaussian privacy allows."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from learning.privacy.audit.membership import roc, tpr_bound
from testbench.privacy.membership_run import Membership
from testbench.privacy.plan_figures import COLOURS, STYLE, foot, save, write_csv

__all__ = ["draw_roc", "plot_roc"]

_LOWEST = 1e-3


def plot_roc(axes: Axes, result: Membership) -> None:
    """The attack's curve on logarithmic axes, with both bounds and the line of guessing."""
    curve = roc(result.members, result.nonmembers)
    fpr = np.geomspace(_LOWEST / 2, 1.0, 200)
    axes.step(
        np.maximum(curve.fpr, _LOWEST / 2), np.maximum(curve.tpr, _LOWEST / 2), where="post", color=COLOURS[0], label="attack"
    )
    axes.plot(fpr, tpr_bound(fpr, result.mu), "--", color=COLOURS[1], label=f"allowed, mu = {result.mu:.3g}")
    axes.plot(fpr, tpr_bound(fpr, result.mu_known), "-.", color=COLOURS[2], label=f"batches known, mu = {result.mu_known:.3g}")
    axes.plot(fpr, fpr, ":", color="#555555", label="guessing")
    for check in result.checks:
        axes.plot([check.fpr], [check.tpr], "o", markersize=4, color=COLOURS[0])
    axes.set(
        xscale="log", yscale="log", xlim=(_LOWEST, 1.0), ylim=(_LOWEST, 1.1), xlabel="false positive rate",
        ylabel="true positive rate", title=f"Known candidate, AUC {result.auc:.3f} ≤ {result.auc_allowed:.3f}",
    )  # fmt: skip
    axes.legend(fontsize=7.5, loc="lower right")


def draw_roc(result: Membership, folder: Path, caption: str) -> Path:
    """``membership.png``, PDF and CSV of the curve."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 5.0), layout="constrained")
        plot_roc(figure.subplots(), result)
        foot(figure, f"{caption}. Bound: TPR <= Phi(Phi^-1(FPR) + mu).")
        path = save(figure, folder, "membership")
    curve = roc(result.members, result.nonmembers)
    rows = zip(curve.fpr.tolist(), curve.tpr.tolist(), tpr_bound(curve.fpr, result.mu).tolist(), strict=True)
    write_csv(folder / "membership.csv", ["fpr", "tpr", "tpr_allowed"], rows)
    return path
