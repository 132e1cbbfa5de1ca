"""F6: who survives which asynchrony, from the stress test."""

import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from testbench.gallery._draw import STYLE, foot, save, write_rows
from testbench.gallery._job import Job

TITLE = "NMSE heat maps over timing, frequency and phase offsets, per scheme and receiver (from pairzero stress)"

_AXES = {
    "timing": ("0..64us:25", 1e6, "timing offset / T"),
    "cfo": ("0..500Hz:26", 1.0, ""),
    "phase": ("0..180deg:25", 1.0, ""),
}


def draw(job: Job) -> Path:
    """Draw F6; returns the PNG."""
    from testbench.errors import TestbenchError
    from testbench.stress.campaign import run_stress
    from testbench.stress.captions import caption
    from testbench.stress.plan_file import load_plan
    from testbench.stress.store import StressFolder

    if job.scheduler is not None:
        raise TestbenchError("F6 is a stress test, which runs on this machine's cores; leave out --scheduler")
    plan = load_plan(
        "default", overrides=list(job.sets), axes=[f"{name}={text}" for name, (text, _, _) in _AXES.items()], quick=False
    )
    if not job.paper:
        plan = plan.quick()
    folder = StressFolder(job.folder / "stress")
    if job.redraw and not folder.plan.is_file():
        raise TestbenchError(
            f"{job.folder} lacks what F6 is drawn from: there is no {folder.path}; measure it with: pairzero figure F6"
        )
    resume = (job.resume or job.redraw) and folder.plan.is_file()
    result = run_stress(plan, folder, resume=resume, workers=job.workers, observer=job.observer)
    if result.failures:
        raise TestbenchError(f"F6: {result.failures[0]}; try again with: pairzero figure F6 --out {job.folder} --resume")
    names = list(plan.contestants)
    duration_s = plan.link.offsets.symbol_duration_s
    age_s = plan.link.csi.age_s
    scales = {
        "timing": (1.0 / duration_s, f"τ / T, uniform on ±x, T = {1e6 * duration_s:g} µs"),
        "cfo": (age_s, f"Δf · τ_p, uniform on ±x, pilot τ_p = {1e3 * age_s:g} ms before"),
        "phase": (180.0 / math.pi, "φ_max [°], uniform on ±x"),
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 2.4 + 0.3 * len(names)), layout="constrained")
        panels: Any = figure.subplots(1, 3, sharey=True)
        image = None
        for axes, (axis, (factor, label)) in zip(panels, scales.items(), strict=True):
            rows = [row for row in result.rows if row["group"] == "sweep" and row["axis"] == axis and not row["added"]]
            limits = {row["contestant"]: row for row in result.largest if row["axis"] == axis}
            values = sorted({row["value"] for row in rows})
            table = np.full((len(names), len(values)), np.nan)
            for row in rows:
                table[names.index(row["contestant"]), values.index(row["value"])] = row["nmse_db"]
            edge = (values[1] - values[0]) / 2 * factor
            image = axes.imshow(
                table, aspect="auto", cmap="viridis_r", vmin=-20, vmax=5, interpolation="nearest",
                extent=(values[0] * factor - edge, values[-1] * factor + edge, len(names) - 0.5, -0.5),
            )  # fmt: skip
            # The limit as a line, so that print and every reader see it without colours.
            for i, name in enumerate(names):
                if name in limits and limits[name]["nmse_state"] == "found":
                    x = limits[name]["nmse_largest"] * factor
                    axes.plot([x, x], [i - 0.5, i + 0.5], color="white", linewidth=2.2)
                    axes.plot([x, x], [i - 0.5, i + 0.5], color="black", linewidth=1.0)
            axes.grid(False)
            axes.set(xlabel=label, title={"timing": "Timing", "cfo": "Frequency", "phase": "Phase"}[axis])
        panels[0].set_yticks(range(len(names)), [plan.contestants[name].label for name in names])
        if image is not None:
            figure.colorbar(image, ax=panels, extend="both", pad=0.01, label="NMSE [dB]")
        foot(
            figure, f"Line: NMSE crosses {plan.nmse_limit_db:g} dB. {caption(plan)}. No privacy is claimed.".replace("\n", "; ")
        )
        path = save(figure, job.folder, job.name)
    write_rows(job.folder / f"{job.name}.csv", [row for row in result.rows if row["group"] == "sweep"])
    return path
