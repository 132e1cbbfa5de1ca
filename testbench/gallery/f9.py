"""F9: the parameters that the paper's design takes from data: clip, sign-reversal probability, contraction."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

from testbench.errors import TestbenchError
from testbench.gallery._draw import GREY, STYLE, foot, save, style, write_rows
from testbench.gallery._job import Job
from testbench.gallery._learning import learning
from testbench.gallery._projections import Floats, Study, load_study, measure, reversal_probabilities
from testbench.scenario import load

TITLE = "Parameter study: histograms of projections (clip), sign-reversal probability, contraction"

_PAPER_E0, _PAPER_SIZE = 0.4960, 64
_SHOWN = 5  # directions whose batches are shown


def draw(job: Job) -> Path:
    """Draw F9; returns the PNG."""
    kept = job.folder / f"{job.name}-measurements.npz"
    if job.redraw and not kept.is_file():
        raise TestbenchError(
            f"{job.folder} lacks what F9 is drawn from: there is no {kept.name}; measure it with: pairzero figure F9"
        )
    base = learning(job)
    if job.redraw or (job.resume and kept.is_file()):
        study = load_study(kept)
    else:
        study = _measure(job, base.scenario, base.settings, 8000 if job.paper else 400, 40 if job.paper else 20)
        study.save(kept)
    draws = 10_000 if job.paper else 2000
    seed, own = int(study.seed), int(study.batch_size)
    by_size = {size: reversal_probabilities(study.projections, size, draws, seed) for size in dict.fromkeys((own, _PAPER_SIZE))}
    true = study.projections.mean(axis=-1)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 7.4), layout="constrained")
        panels = figure.subplots(2, 3)
        inside = _histogram(panels[0, 0], study)
        _batches(panels[0, 1], study, by_size[_PAPER_SIZE][1], true)
        _density(panels[0, 2], {size: e for size, (e, _) in by_size.items()})
        _against(panels[1, 0], study, {size: e for size, (e, _) in by_size.items()}, true)
        gap = _gap(panels[1, 1], study)
        _contraction(panels[1, 2], study, gap)
        checkpoints = ", ".join(str(r) for r in study.rounds)
        foot(
            figure,
            "Projection of example i along z: (l_i(w + µz) - l_i(w - µz)) / 2µ. "
            f"{'Paper settings: ' + base.words if job.paper else 'Embedded model and task, 1000 training examples'}; "
            f"noise-free run of K = 5, b = {own}, unclipped, seed {seed}; {study.projections.shape[1]} directions at rounds "
            f"{checkpoints}. True: mean over "
            f"all {study.projections.shape[2]} examples. e_k: share of {draws} batches, drawn without replacement, whose "
            "mean has the other sign; dashed: Q(|p| √b / s) "
            "of a Gaussian mean, s the median spread, with the finite population's correction. Contraction: smallest "
            "(G(t)/G(0))^(1/t) over t, G the training loss (its infimum taken as 0); one run, no band. "
            f"Inside ±clip: {100 * inside:.2f} % of examples' projections. No link, no noise, no privacy; choosing clip, e0 "
            "or A on private data is not free.",
        )
        path = save(figure, job.folder, job.name)
    rows = [
        {
            "round": int(study.rounds[c]), "direction": s, "true_projection": float(true[c, s]),
            "std_of_examples": float(study.projections[c, s].std()),
            **{f"e_b{size}": float(e[c, s]) for size, (e, _) in by_size.items()},
            "inside_clip": float((np.abs(study.projections[c, s]) <= study.clip).mean()),
        }
        for c in range(len(study.rounds))
        for s in range(study.projections.shape[1])
    ]  # fmt: skip
    write_rows(job.folder / f"{job.name}.csv", rows)
    ratio = np.power(gap[1:], 1.0 / study.loss_rounds[1:])
    write_rows(
        job.folder / f"{job.name}-contraction.csv",
        [
            {"round": int(t), "gap_over_first": float(g), "root": float(r)}
            for t, g, r in zip(study.loss_rounds[1:], gap[1:], ratio, strict=True)
        ],
    )
    return path


def _measure(job: Job, scenario: str, settings: dict[str, Any], rounds: int, directions: int) -> Study:
    given = {"task.train_examples": 1000, **settings, "federation.rounds": rounds}
    sets = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in given.items()]
    loaded = load(scenario, [*sets, *job.sets])
    reported = 0

    def tell(done: int, total: int) -> None:
        nonlocal reported
        if not reported:
            job.observer.started(total, 0, float(total), 0.0, "one process")
        job.observer.advanced(float(done - reported))
        reported = done

    try:
        return measure(loaded, 5, directions, tell)
    finally:
        job.observer.finished()


def _histogram(axes: Axes, study: Study) -> float:
    """Examples' and batches' projections with the clip; returns the share of examples inside."""
    clip, examples = float(study.clip), study.projections.ravel()
    limit = max(1.25 * clip, float(np.percentile(np.abs(examples), 99.9)))
    bins = np.linspace(-limit, limit, 81)
    for index, (values, label) in enumerate(
        ((examples, "of an example"), (study.batch_projections.ravel(), f"of a batch of {int(study.batch_size)}"))
    ):
        look = style(index)
        axes.hist(
            np.clip(values, -limit, limit),
            bins.tolist(),
            density=True,
            histtype="step",
            color=look["color"],
            linestyle=look["linestyle"],
            linewidth=1.4,
            label=label,
        )
    for sign in (-1, 1):
        axes.axvline(sign * clip, color=GREY, linewidth=1.0, linestyle=":")
    inside = float((np.abs(examples) <= clip).mean())
    axes.annotate(f"clip ±{clip:g}: {100 * inside:.1f} % inside", (0.03, 0.93), xycoords="axes fraction", fontsize=7.5)
    axes.set(xlabel="projection", ylabel="density (log)", yscale="log", title="Projections, all checkpoints")
    axes.legend(fontsize=7.5, loc="upper right")
    return inside


def _batches(axes: Axes, study: Study, means: Floats, true: Floats) -> None:
    """Batch projections along a few directions at the middle checkpoint, with their true values."""
    middle = len(study.rounds) // 2
    for index in range(min(_SHOWN, means.shape[1])):
        look = style(index)
        axes.hist(
            means[middle, index],
            40,
            density=True,
            histtype="step",
            color=look["color"],
            linestyle=look["linestyle"],
            linewidth=1.3,
        )
        axes.axvline(true[middle, index], color=look["color"], linewidth=0.9, linestyle=look["linestyle"], ymax=0.12)
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    axes.set(
        xlabel=f"projection of a batch of {_PAPER_SIZE}", ylabel="density",
        title=f"Batches along {min(_SHOWN, means.shape[1])} directions, round {study.rounds[middle]} (ticks: true values)",
    )  # fmt: skip


def _density(axes: Axes, e: dict[int, Floats]) -> None:
    for index, (size, values) in enumerate(e.items()):
        look = style(index)
        axes.hist(
            values.ravel(), np.linspace(0.0, 0.55, 45).tolist(), density=True, histtype="step", color=look["color"],
            linestyle=look["linestyle"], linewidth=1.4, label=f"b = {size}: largest {values.max():.4f}",
        )  # fmt: skip
    axes.axvline(_PAPER_E0, color=GREY, linewidth=1.0, linestyle=":", label=f"e0 = {_PAPER_E0:.4f} of the paper")
    axes.set(
        xlabel="sign-reversal probability e_k", ylabel="density over directions, checkpoints", title="Inherent sign reversal"
    )
    axes.legend(fontsize=7.5)


def _against(axes: Axes, study: Study, e: dict[int, Floats], true: Floats) -> None:
    count = study.projections.shape[-1]
    for index, (size, values) in enumerate(e.items()):
        look = style(index)
        axes.plot(
            true.ravel(), values.ravel(), look["marker"], color=look["color"], markersize=3, alpha=0.6, label=f"b = {size}"
        )
        spread = float(np.median(study.projections.std(axis=-1, ddof=1))) * np.sqrt((1.0 - size / count) / size)
        at = np.linspace(true.min(), true.max(), 401)
        axes.plot(at, norm.sf(np.abs(at) / spread), color=look["color"], linewidth=1.0, linestyle=(0, (2, 1.5)))
    axes.axhline(_PAPER_E0, color=GREY, linewidth=1.0, linestyle=":")
    axes.set(xlabel="true projection", ylabel="e_k", title="Sign reversal against the true projection")
    axes.legend(fontsize=7.5)


def _gap(axes: Axes, study: Study) -> Floats:
    gap = study.losses / study.losses[0]
    axes.plot(study.loss_rounds, gap, **style(0) | {"markevery": 4})
    axes.set(xlabel="round t", ylabel="G(t) / G(0)", yscale="log", title="Training loss of the noise-free run")
    return np.asarray(gap)


def _contraction(axes: Axes, study: Study, gap: Floats) -> None:
    root = np.power(gap[1:], 1.0 / study.loss_rounds[1:])
    best = int(np.argmin(root))
    axes.plot(study.loss_rounds[1:], root, **style(0) | {"markevery": 4})
    axes.plot(
        study.loss_rounds[1 + best],
        root[best],
        "*",
        markersize=11,
        color=style(1)["color"],
        label=f"A = {root[best]:.5f} at t = {study.loss_rounds[1 + best]}",
    )
    axes.axhline(0.998, color=GREY, linewidth=1.0, linestyle=":", label="A = 0.998 of the paper")
    axes.set(xlabel="round t", ylabel="(G(t) / G(0))^(1/t)", title="Contraction")
    axes.legend(fontsize=7.5)
