"""F5: what channel knowledge does to the estimate, in simulation and in closed form."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from phy.theory import jakes_correlation
from testbench.gallery._draw import PAYLOAD, STYLE, curve, foot, pick, save, style, write_rows
from testbench.gallery._job import Job
from testbench.gallery._theory import truncated_link
from testbench.sweep.table import Row

TITLE = "NMSE and wrong signs over SNR and pilots: perfect, estimated and aged CSI, truncation; theory dashed"

_DEVICES, _PILOTS, _THRESHOLD = 10, 8, 0.1
_AGES = (0.05, 0.1)  # Doppler shift times age
_LABELS = {
    "perfect": "perfect CSI",
    "ls": "LS",
    "mmse": "MMSE",
    "aged 0.05": "aged, f_d τ = 0.05",
    "aged 0.1": "aged, f_d τ = 0.1",
}


def draw(job: Job) -> Path:
    """Draw F5; returns the PNG."""
    rounds = 200_000 if job.paper else 10_000
    common: dict[str, Any] = {
        "measure": "link",
        "scenario": "demo",
        "measurement": {"rounds": rounds},
        "set": {
            "federation.devices": _DEVICES, "link.scheme": "analog", "link.csi.pilot_symbols": _PILOTS,
            "link.power.control": "truncated",
        },
    }  # fmt: skip
    csi: dict[str, dict[str, Any]] = {name: {"link.csi.estimator": name} for name in ("perfect", "ls", "mmse")}
    for age in _AGES:
        csi[f"aged {age:g}"] = {"link.csi.estimator": "perfect", "link.csi.doppler_hz": 1000.0 * age, "link.csi.age_s": 1e-3}
    thresholds = [0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5]
    fixed = {**common["set"], "link.power.threshold": _THRESHOLD}
    snr = job.sweep("snr", {**common, "set": fixed, "axes": {"csi": csi, "link.snr_max_db": "-10..30:9"}})
    pilots = job.sweep(
        "pilots",
        {
            **common,
            "set": {**fixed, "link.snr_max_db": 20.0},
            "axes": {"csi": {name: csi[name] for name in ("ls", "mmse")}, "link.csi.pilot_snr_db": "-10..30:9"},
        },
    )
    cut = job.sweep(
        "threshold",
        {
            **common,
            "set": {**common["set"], "link.snr_max_db": 10.0},
            "axes": {"csi": {name: csi[name] for name in ("perfect", "ls", "mmse")}, "link.power.threshold": thresholds},
        },
    )
    rows = [
        {"panel": name, **row} for name, result in (("SNR", snr), ("pilots", pilots), ("threshold", cut)) for row in result.rows
    ]
    for row in rows:
        row |= dict(zip(("theory_nmse_db", "theory_wrong_sign"), _expected(row), strict=True))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 6.6), layout="constrained")
        panels = figure.subplots(2, 3)
        _column(panels[:, 0], pick(rows, panel="SNR"), "link.snr_max_db", list(csi), "SNR_max [dB], pilots as strong")
        _column(
            panels[:, 1], pick(rows, panel="pilots"), "link.csi.pilot_snr_db", ["ls", "mmse"], "pilot SNR [dB], SNR_max 20 dB"
        )
        _column(
            panels[:, 2],
            pick(rows, panel="threshold"),
            "link.power.threshold",
            ["perfect", "ls", "mmse"],
            "threshold g_th, SNR_max 10 dB",
        )
        for axes in panels[:, 2]:
            axes.set_xscale("log")
        panels[0, 0].set_title("SNR")
        panels[0, 1].set_title("Pilots")
        panels[0, 2].set_title("Truncation")
        handles = panels[0, 0].get_legend_handles_labels()
        theory = panels[0, 0].plot([], [], color="black", linestyle=(0, (2, 1.5)), linewidth=1.0)
        figure.legend([*handles[0], *theory], [*handles[1], "closed form"], loc="outside upper center", ncols=6, frameon=False)
        foot(
            figure,
            "SNR_max = P E|h|²/N0, N0 the variance of a complex sample (N0/2 on the real axis that decides), P the peak "
            "power at "
            f"|p| = clip; analog aggregation, K = {_DEVICES}, one antenna, Rayleigh block fading, truncated channel inversion, "
            f"g_th = {_THRESHOLD:g} unless swept; LS and MMSE from {_PILOTS} pilots per device and round; aged: known "
            "perfectly, "
            f"rho = J0(2π f_d τ) later; {PAYLOAD}; {rounds} rounds a point, seed {rows[0]['seed']}, common random numbers; "
            "bands 95 % "
            "(batch means, Wilson). NMSE against the mean of all K scalars, truncated devices included. Closed form: "
            "testbench.gallery._theory (wrong signs as if Gaussian, which overstates them where gains err). No privacy is "
            "claimed here.",
        )
        path = save(figure, job.folder, job.name)
    write_rows(job.folder / f"{job.name}.csv", rows)
    return path


def _number(row: Row, key: str, otherwise: float) -> float:
    """A cell of the table; what was not set at a point is empty there."""
    value = row.get(key)
    return otherwise if value is None else float(value)


def _expected(row: Row) -> tuple[float, float]:
    """Closed forms of a row's point."""
    name = str(row["csi"])
    snr_db = _number(row, "link.snr_max_db", 10.0 if row["panel"] == "threshold" else 20.0)
    pilot_db = _number(row, "link.csi.pilot_snr_db", snr_db)
    aged = jakes_correlation(1000.0 * float(name.split()[1]), 1e-3) if name.startswith("aged") else 1.0
    found = truncated_link(
        _DEVICES, snr_db, _number(row, "link.power.threshold", _THRESHOLD), "perfect" if name.startswith("aged") else name,
        1.0 / (_PILOTS * 10.0 ** (pilot_db / 10.0)), aged,
    )  # fmt: skip
    return found.nmse_db, found.wrong_sign


def _column(panels: Any, rows: list[Row], x: str, names: list[str], label: str) -> None:
    for index, name in enumerate(_LABELS):
        mine = pick(rows, csi=name)
        if name not in names or not mine:
            continue
        at = np.array([row[x] for row in mine], float)
        for axes, metric, scale in ((panels[0], "nmse_db", 1.0), (panels[1], "wrong_sign", 100.0)):
            curve(
                axes,
                mine,
                x,
                metric,
                index,
                _LABELS[name],
                scale,
                linestyle="none",
                markerfacecolor="none",
                markersize=4 + 1.2 * index,
            )
            axes.plot(
                at,
                [scale * row[f"theory_{metric}"] for row in mine],
                color=style(index)["color"],
                linestyle=(0, (2, 1.5)),
                linewidth=1.0,
            )
    nmse: Axes = panels[0]
    nmse.set(ylabel="NMSE of p̂ [dB]")
    panels[1].set(xlabel=label, ylabel="wrong sign [% of rounds]", ylim=(0, None))
