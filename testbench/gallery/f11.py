"""F11: what truncated channel inversion trades, in simulation and by the theory of broadband analog aggregation."""

import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.special import exp1

from testbench.gallery._draw import GREY, PAYLOAD, STYLE, curve, foot, pick, save, style, write_rows
from testbench.gallery._job import Job
from testbench.gallery._theory import clipped_normal_variance, truncated_link

TITLE = "Truncated channel inversion: receive SNR against participation and error, theory and simulation"

_DEVICES, _SNR_DB, _SIGMA = 10, 5.0, 0.3
_ROUNDS = 10_000  # of a point, quick


def draw(job: Job) -> Path:
    """Draw F11; returns the PNG."""
    rounds = 200_000 if job.paper else _ROUNDS
    ratios = np.array([0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    thresholds = [float(f"{-math.log1p(-ratio):.9g}") for ratio in ratios]
    # An average power of one: the peak is raised by what inversion leaves unused.
    mean_square = clipped_normal_variance(_SIGMA)
    raised = [_SNR_DB - 10.0 * math.log10(g * float(exp1(g)) * mean_square) for g in thresholds]
    limits = {"peak": [_SNR_DB] * len(thresholds), "average": raised}
    rows: list[dict[str, Any]] = []
    for limit, snrs in limits.items():
        result = job.sweep(
            limit,
            {
                "measure": "link",
                "scenario": "demo",
                "measurement": {"rounds": rounds, "sigma": _SIGMA},
                "set": {
                    "federation.devices": _DEVICES, "link.scheme": "analog", "link.csi.estimator": "perfect",
                    "link.power.control": "truncated",
                },
                "points": [
                    {"label": g, "link.power.threshold": g, "link.snr_max_db": float(f"{snr:.9g}")}
                    for g, snr in zip(thresholds, snrs, strict=True)
                ],
            },
        )  # fmt: skip
        for row, snr in zip(result.rows, snrs, strict=True):
            g, n0 = float(row["point"]), float(row["n0"])
            rows.append(
                {
                    "limit": limit, "truncation_ratio": -math.expm1(-g), "threshold": g, "snr_max_db": snr, **row,
                    # Of one device at the receiver: amplitude^2 E p^2 / N0, and the same for an average transmit power of 1.
                    "receive_snr_db": 10.0 * math.log10(g * mean_square / n0),
                    "snr_per_power_db": 10.0 * math.log10(g * mean_square / row["mean_power"]),
                    "theory_snr_per_power_db": -10.0 * math.log10(float(exp1(g))),
                    "theory_participation": math.exp(-g),
                    "theory_nmse_db": truncated_link(_DEVICES, snr, g, sigma=_SIGMA).nmse_db,
                }
            )  # fmt: skip
    peak, average = pick(rows, limit="peak"), pick(rows, limit="average")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 4.4), layout="constrained")
        snr, part, nmse = figure.subplots(1, 3)
        x = [row["truncation_ratio"] for row in peak]
        theory: dict[str, Any] = {"linestyle": (0, (2, 1.5)), "linewidth": 1.0}
        curve(snr, peak, "truncation_ratio", "snr_per_power_db", 0, "average power P, simulated", linestyle="none")
        snr.plot(x, [row["theory_snr_per_power_db"] for row in peak], color=style(0)["color"], label="1 / E1(g_th)", **theory)
        snr.plot(
            x, [10 * math.log10(row["threshold"]) for row in peak], label="peak power P: g_th", **style(1) | {"marker": "None"}
        )
        snr.set(
            xlabel="truncation ratio ζ = 1 - exp(-g_th)", ylabel="receive SNR / (P/N0) [dB]", title="Receive SNR of a device"
        )
        snr.legend(fontsize=7.5)
        curve(part, peak, "truncation_ratio", "participation", 0, "simulated", 100.0, linestyle="none")
        part.plot(x, [100 * row["theory_participation"] for row in peak], color=style(0)["color"], label="1 - ζ", **theory)
        part.set(xlabel="truncation ratio ζ", ylabel="devices that transmit [%]", title="Participation", ylim=(0, 103))
        part.legend(fontsize=7.5)
        for index, (mine, label) in enumerate(
            ((peak, f"peak power: SNR_max {_SNR_DB:g} dB"), (average, f"average power: P/N0 {_SNR_DB:g} dB"))
        ):
            look = 1 - index
            curve(nmse, mine, "truncation_ratio", "nmse_db", look, label, linestyle="none")
            nmse.plot(x, [row["theory_nmse_db"] for row in mine], color=style(look)["color"], **theory)
            best = min(mine, key=lambda row: row["theory_nmse_db"])
            nmse.axvline(best["truncation_ratio"], color=style(look)["color"], linewidth=0.8, linestyle=":")
        nmse.plot([], [], color=GREY, label="closed form; its optimum dotted", **theory)
        nmse.set(xlabel="truncation ratio ζ", ylabel="NMSE of p̂ [dB]", title="Error of the estimate")
        nmse.legend(fontsize=7.5)
        for axes in (snr, part, nmse):
            axes.set_xscale("log")
        foot(
            figure,
            "Truncated inversion (G. Zhu, Y. Wang, K. Huang, arXiv 1812.11494): a device below |h|² = g_th is silent, the "
            "server "
            "divides by those that are not. N0: variance of a complex sample; P: of a device, at most (peak, at |p| = clip) "
            "or on "
            f"average over fades and scalars. K = {_DEVICES}, Rayleigh block fading, perfect CSI, one antenna; {PAYLOAD}; "
            f"{rounds} rounds "
            f"a point, seed {peak[0]['seed']}, bands 95 % (batch means). NMSE against the mean of all K scalars. No privacy "
            "is claimed.",
        )
        path = save(figure, job.folder, job.name)
    write_rows(job.folder / f"{job.name}.csv", rows)
    return path
