"""T2: accuracy of every method at a stated promise, with its spread over seeds and the untouched model."""

from pathlib import Path

from testbench.gallery._draw import pick, write_rows
from testbench.gallery._job import Job
from testbench.gallery._learning import METHODS, learning
from testbench.gallery._tables import draw_table
from testbench.privacy.secrecy import SHARED_SEED

TITLE = "Accuracy by task and method at a fixed promise (epsilon, delta), with spread and zero-shot"

_SNR_DB = 20.0


def draw(job: Job) -> Path:
    """Draw T2; returns the PNG."""
    base = learning(job)
    result = job.sweep(
        "methods",
        {
            "scenario": base.scenario, "seeds": base.seeds, "set": base.shared(job) | {"link.snr_max_db": _SNR_DB},
            "axes": {"method": {name: method.bundle(base) for name, method in METHODS.items()}},
            "paired": {"axis": "method", "reference": "perfect_analog"},
            "statistics": {"metrics": [base.final, "loss_final"]},
        },
    )  # fmt: skip
    zero_shot = float(result.rows[0][base.zero_shot])
    rows = [["zero-shot", "none", f"{100 * zero_shot:.1f}", "", "", "", ""]]
    for name, method in METHODS.items():
        of_method = {row["metric"]: row for row in pick(result.statistics, method=name)}
        accuracy, loss = of_method[base.final], of_method.get("loss_final")
        less = pick(result.differences, method=name, metric=base.final)
        spent = [row["epsilon_gdp"] for row in pick(result.rows, method=name) if row.get("epsilon_gdp") is not None]
        rows.append(
            [
                method.label,
                method.claim,
                f"{100 * accuracy['mean']:.1f} ± {100 * accuracy['std']:.1f}",
                f"{100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f}",
                ""
                if not less
                else f"{100 * less[0]['mean']:+.1f} ({100 * less[0]['low']:+.1f} to {100 * less[0]['high']:+.1f})",
                "diverged" if loss is None else f"{loss['mean']:.3f}",
                f"{sum(spent) / len(spent):.3g}" if spent else "",
            ]
        )
    head = [
        "method",
        "promise",
        f"{base.spoken} [%]",
        "95 % of the mean",
        "less Perfect, paired",
        "loss [nat]",
        "epsilon, exactly",
    ]
    caption = (
        f"{base.words[:1].upper()}{base.words[1:]}. {base.spoken[:1].upper()}{base.spoken[1:]}: mean "
        f"± standard deviation over {base.seeds} seeds, Student's t "
        "for its mean; "
        "paired: seed by seed minus Perfect, analog (common random numbers). SNR_max = P E|h|²/N0 = "
        f"{_SNR_DB:g} dB, N0: variance of a complex sample, real axis N0/2; Rayleigh block fading, perfect CSI, "
        "weakest-device inversion. "
        "(5, 0.01): the paper's accounting, any value of a device, Delta = 2 clip; (5, 1e-5): exact (GDP), one record "
        "replaced, Delta = 2 "
        "clip/b; receiver noise only; adversary: the server. Last column: what the rounds cost at the promise's delta, "
        "counted exactly "
        f"(GDP, N0/2). {SHARED_SEED} {base.missing}"
    )
    path = draw_table(job.folder, job.name, "What a promise costs", head, rows, caption, left=2)
    write_rows(
        job.folder / f"{job.name}.csv",
        [*result.statistics, {"method": "zero_shot", "metric": base.final, "mean": zero_shot}],
    )
    write_rows(job.folder / f"{job.name}-paired.csv", result.differences)
    return path
