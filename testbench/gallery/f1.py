"""F1: the score over SNR of analog and sign aggregation, private and not, beside perfect links and the untouched model."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from testbench.gallery._draw import GREY, STYLE, foot, pick, save, style, write_rows
from testbench.gallery._job import Job
from testbench.gallery._learning import METHODS, learning
from testbench.privacy.secrecy import SHARED_SEED

TITLE = "Accuracy over SNR_max: analog, sign-soft, sign-hard, perfect links, no privacy, zero-shot"


def draw(job: Job) -> Path:
    """Draw F1; returns the PNG."""
    base = learning(job)
    common = {
        "scenario": base.scenario, "seeds": base.seeds, "set": base.shared(job), "runs": "keep",
        "statistics": {"metrics": [base.final]},
    }  # fmt: skip
    air = {name: method.bundle(base) for name, method in METHODS.items() if method.air}
    snrs = "-20..30:11" if job.paper else [-10, 0, 10, 20]
    over = job.sweep("air", {**common, "axes": {"method": air, "link.snr_max_db": snrs}})
    free = job.sweep(
        "perfect",
        {**common, "axes": {"method": {name: method.bundle(base) for name, method in METHODS.items() if not method.air}}},
    )
    zero_shot = 100.0 * float(free.rows[0][base.zero_shot])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.5, 5.2), layout="constrained")
        axes = figure.subplots()
        for index, (name, method) in enumerate(METHODS.items()):
            label = method.label + (f": {method.claim}" if method.claim != "none" else "")
            rows = pick((over if method.air else free).statistics, method=name, metric=base.final)
            mean, std = [100 * row["mean"] for row in rows], [100 * row["std"] for row in rows]
            if method.air:
                axes.errorbar(
                    [row["link.snr_max_db"] for row in rows], mean, yerr=std, capsize=2.5, label=label, **style(index)
                )
            else:
                axes.axhline(mean[0], label=label, **style(index) | {"marker": "None"})
        axes.axhline(zero_shot, color=GREY, linewidth=1.0, linestyle=(0, (1, 1)), label="zero-shot")
        name = base.spoken[:1].upper() + base.spoken[1:]
        axes.set(
            xlabel="SNR_max [dB]", ylabel=f"held-out {base.spoken} [%]", title=f"{name}, mean ± standard deviation over seeds"
        )
        figure.legend(
            *axes.get_legend_handles_labels(), loc="outside right upper", fontsize=7.5, frameon=False, handlelength=3.5
        )
        foot(
            figure,
            f"{base.words[:1].upper()}{base.words[1:]}. SNR_max = P E|h|²/N0, N0: variance of a complex sample (its real "
            "axis, which "
            "decides and protects, has N0/2), P: peak power; Rayleigh block fading, perfect CSI, everybody inverts to the "
            "weakest device. "
            "Private by the paper's accounting (R_dp, Delta = 2 clip, any value of a device replaced) with receiver noise "
            "only, or exactly "
            f"(GDP) for one record replaced, Delta = 2 clip/b, shrunk estimates; adversary: the server. Same {base.seeds} "
            "seeds for all "
            f"(common random numbers). {SHARED_SEED} {base.missing}",
        )
        path = save(figure, job.folder, job.name)
    rows = [*over.statistics, *free.statistics, {"method": "zero_shot", "metric": base.final, "mean": zero_shot / 100.0}]
    write_rows(job.folder / f"{job.name}.csv", rows)
    return path
