"""Figures F2, F3, F4 and F10, each by one command, with the numbers beside them and captions that define what they show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from learning.uplink import NoiseFreeUplink, Uplink
from testbench.errors import TestbenchError
from testbench.privacy.audit_command import audit_phy, phy_design
from testbench.privacy.audit_figures import plot_roc
from testbench.privacy.design import design
from testbench.privacy.membership_run import (
    canary_run,
    canary_scenario,
    exposed_canaries,
    exposed_run,
    exposed_scenario,
    membership,
    one_run,
)
from testbench.privacy.plan import make_plan, scenario_of
from testbench.privacy.plan_figures import STYLE, draw_schedule, foot, look, save, write_csv
from testbench.privacy.secrecy import SHARED_SEED
from testbench.privacy.tuning import InProcessAir, Tuned, tune
from testbench.runner import Watcher, prepare
from testbench.scenario import Scenario, load

__all__ = ["FIGURES", "draw"]

Floats = NDArray[np.float64]
Tell = Callable[[str, int, int], None]

#: The paper's contraction, over its 8000 rounds; shorter runs get the same total, so that schedules keep their range.
_CONTRACTION, _PAPER_ROUNDS = 0.998, 8000
_SIGN_RATE = 8.0 / 2.17  # the typical projection: a vote moves as far as it
_BASE = ("evaluation.noise_free=false", "link.csi.estimator=perfect", "link.power.control=weakest", "link.snr_max_db=20")


@dataclass(frozen=True)
class _Contestant:
    """A way to fine-tune: settings over the demo; ``free``: over the noise-free mean; ``open_air``: no privacy plan."""

    label: str
    settings: tuple[str, ...] = ()
    free: bool = False
    open_air: bool = False


def draw(name: str, folder: Path, *, quick: bool = False, tell: Tell | None = None) -> Path:
    """Draw figure ``name`` into ``folder``; ``tell`` hears (what, done, in all).

    :raises TestbenchError: there is no such figure
    """
    maker = FIGURES.get(name.upper())
    if maker is None:
        raise TestbenchError(f"there is no figure {name}; choose {', '.join(FIGURES)}")
    with matplotlib.rc_context(STYLE):
        return maker(folder, quick, tell or (lambda what, done, total: None))


def _scenario(settings: Sequence[str], rounds: int, seed: int) -> Scenario:
    contraction = _CONTRACTION ** (_PAPER_ROUNDS / rounds)
    shared = (*_BASE, f"federation.rounds={rounds}", f"seed={seed}", f"privacy.contraction={contraction:.9f}")
    return load("demo", [*shared, *settings])


def _run(contestant: _Contestant, rounds: int, seed: int, every: int) -> Tuned:
    scenario = _scenario(contestant.settings, rounds, seed)
    data, build = prepare(scenario, Watcher())
    uplink: Uplink
    if contestant.free:
        uplink = NoiseFreeUplink("sign" if scenario.link.scheme == "sign" else "analog")
    elif contestant.open_air:
        uplink = InProcessAir(scenario.link, seed)
    else:
        planned = design(scenario, len(data.train) // scenario.federation.devices)
        uplink = InProcessAir.of(planned, seed)
    return tune(scenario, data, build(), uplink, every)


def _curves(
    contestants: Sequence[_Contestant], rounds: int, seeds: int, every: int, tell: Tell
) -> dict[str, tuple[NDArray[np.int64], Floats, Floats]]:
    """label -> rounds [E], accuracy [seeds, E], loss [seeds, E]; a run that diverged keeps its last accuracy."""
    found, done = {}, 0
    for contestant in contestants:
        runs = []
        for seed in range(1, seeds + 1):
            runs.append(_run(contestant, rounds, seed, every))
            done += 1
            tell(contestant.label, done, len(contestants) * seeds)
        at = max((run.rounds for run in runs), key=len)
        pad = [len(at) - len(run.rounds) for run in runs]
        accuracy = np.stack([np.pad(r.accuracy, (0, p), mode="edge") for r, p in zip(runs, pad, strict=True)])
        loss = np.stack([np.pad(r.loss, (0, p), constant_values=math.nan) for r, p in zip(runs, pad, strict=True)])
        found[contestant.label] = (at, accuracy, loss)
    return found


def _ablation(folder: Path, quick: bool, tell: Tell) -> Path:
    """F2: what schedules and accounting make of the same promise."""
    rounds, seeds, every = (200, 2, 20) if quick else (800, 4, 40)
    promise = ("privacy.epsilon=5", "privacy.delta=0.01")
    sign = ("link.scheme=sign", f"zeroth_order.learning_rate={2e-4 * _SIGN_RATE:.6f}")
    tight = (
        "privacy.epsilon=5", "privacy.delta=1e-5", "privacy.sensitivity=record_add_remove", "privacy.amplification=true",
        "privacy.accounting=pld", "federation.sampling=poisson", "zeroth_order.clip_scope=sample", "privacy.schedule=static",
    )  # fmt: skip
    paper = (*promise, "privacy.accounting=paper")
    contestants = [
        _Contestant("noise-free", (), free=True),
        _Contestant("solution", (*paper, "privacy.schedule=solution")),
        _Contestant("static", (*paper, "privacy.schedule=static")),
        _Contestant("reversed", (*paper, "privacy.schedule=reversed")),
        _Contestant("solution, shrunk", (*paper, "privacy.schedule=solution", "privacy.estimate=wiener")),
        _Contestant("water-filling (sign)", (*paper, *sign, "privacy.schedule=water_filling")),
        _Contestant("tight accounting", tight),
        _Contestant("tight, shrunk", (*tight, "privacy.estimate=wiener")),
    ]
    curves = _curves(contestants, rounds, seeds, every, tell)
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for index, (label, (at, accuracy, loss)) in enumerate(curves.items()):
        style = look(index)
        left.plot(at, 100 * accuracy.mean(axis=0), **style, label=label)
        left.fill_between(
            at, 100 * accuracy.min(axis=0), 100 * accuracy.max(axis=0), color=style["color"], alpha=0.12, linewidth=0
        )
        right.plot(at, _mean(loss), **style)
    left.set(xlabel="round", ylabel="held-out accuracy [%]", title="Accuracy (band: all seeds)")
    right.set(xlabel="round", ylabel="held-out loss [nat]", title="Loss (cut at 3)", ylim=(0, 3))
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False, handlelength=4)
    foot(
        figure,
        f"Embedded model and task, K = 5, b = 16, clip 8, T = {rounds}, SNR_max = P E|h|²/N0 = 20 dB (N0 per complex sample), "
        f"Rayleigh, perfect CSI, {seeds} seeds; adversary: the server. solution, static, reversed, water-filling: (5, 0.01) by "
        "the paper's accounting, any value of a device replaced, Delta = 2 clip, true noise N0/2; A such that A^T is that of "
        "the paper. tight: (5, 1e-5), one record added or removed, clipped per sample, Poisson sampling q = 0.08, by pld. "
        f"shrunk: Wiener and clip on the broadcast, free post-processing. {SHARED_SEED}",
    )
    rows = [
        (label, int(t), float(acc), float(lo))
        for label, (at, accuracy, loss) in curves.items()
        for t, acc, lo in zip(at, accuracy.mean(axis=0), _mean(loss), strict=True)
    ]
    write_csv(folder / "F2.csv", ["contestant", "round", "accuracy_mean", "loss_mean"], rows)
    return save(figure, folder, "F2")


def _mean(loss: Floats) -> Floats:
    """Mean over seeds where all have a number."""
    return np.asarray(loss.mean(axis=0))


def _schedule(folder: Path, quick: bool, tell: Tell) -> Path:
    """F3: the paper's problem at an SNR where peak power matters now and then."""
    planned, examples = scenario_of(None, {"link.snr_max_db": -10.0, "federation.rounds": 1000 if quick else None})
    return draw_schedule(make_plan(planned, examples, lambda done, total: tell("channels", done, total)), folder)


def _epsilon(folder: Path, quick: bool, tell: Tell) -> Path:
    """F4: accuracy against epsilon, by who counts."""
    rounds, seeds = (200, 2) if quick else (800, 4)
    grid = (1.0, 4.0, 16.0, 64.0) if quick else (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
    common = ("privacy.delta=1e-5", "privacy.schedule=static", "privacy.estimate=wiener")
    sample = ("zeroth_order.clip_scope=sample",)
    ways: dict[str, tuple[str, ...]] = {
        "paper, value of a device": ("privacy.accounting=paper",),
        "gdp, value of a device": ("privacy.accounting=gdp",),
        "gdp, record replaced": ("privacy.accounting=gdp", "privacy.sensitivity=record_replace_one", *sample),
        "pld, record, Poisson": (
            "privacy.accounting=pld", "privacy.sensitivity=record_add_remove", "privacy.amplification=true",
            "federation.sampling=poisson", *sample,
        ),
    }  # fmt: skip
    contestants = [
        _Contestant(f"{label} @ {eps:g}", (*common, *more, f"privacy.epsilon={eps}"))
        for label, more in ways.items()
        for eps in grid
    ]
    contestants += [_Contestant("no privacy, over the air", open_air=True), _Contestant("noise-free", free=True)]
    curves = _curves(contestants, rounds, seeds, rounds, tell)
    final = {label: 100 * accuracy[:, -1] for label, (_, accuracy, _) in curves.items()}
    zero_shot = 100 * float(curves["noise-free"][1][:, 0].mean())
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    for index, label in enumerate(ways):
        style = look(index)
        values = np.stack([final[f"{label} @ {eps:g}"] for eps in grid])
        axes.plot(grid, values.mean(axis=1), **style, marker="o", markersize=4, label=label)
        axes.fill_between(grid, values.min(axis=1), values.max(axis=1), color=style["color"], alpha=0.15, linewidth=0)
    for offset, label in enumerate(("no privacy, over the air", "noise-free")):
        axes.axhline(final[label].mean(), **look(len(ways) + offset), label=label)
    axes.axhline(zero_shot, color="#555555", linewidth=0.8, label="zero-shot")
    axes.set(xscale="log", xlabel="epsilon at delta = 1e-5", ylabel="held-out accuracy [%]", title="What a promise costs")
    axes.legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    foot(
        figure,
        f"Embedded model and task, K = 5, b = 16, clip 8, T = {rounds}, static schedule, SNR_max = P E|h|²/N0 = 20 dB (N0 per "
        "complex sample, real axis N0/2), Rayleigh, perfect CSI; adversary: the server; estimates shrunk (Wiener) and clipped; "
        f"{seeds} seeds, band: all of them. Sensitivities: 2 clip; 2 clip/b; clip/b with q = 0.08. {SHARED_SEED}",
    )
    rows = [
        (label, float(eps), float(final[f"{label} @ {eps:g}"].mean()), float(final[f"{label} @ {eps:g}"].min()),
         float(final[f"{label} @ {eps:g}"].max()))
        for label in ways for eps in grid
    ]  # fmt: skip
    rows += [
        (name, math.inf, float(final[name].mean()), float(final[name].min()), float(final[name].max()))
        for name in ("no privacy, over the air", "noise-free")
    ]
    write_csv(folder / "F4.csv", ["accounting", "epsilon", "accuracy_mean", "accuracy_min", "accuracy_max"], rows)
    return save(figure, folder, "F4")


def _audit(folder: Path, quick: bool, tell: Tell) -> Path:
    """F10: claimed against measured epsilon, and the known-candidate attack."""
    trials, runs = (10_000, 6) if quick else (100_000, 40)
    grid = (0.5, 1.0, 2.0, 4.0, 8.0)
    ways: dict[str, dict[str, Any]] = {
        "gdp (exact)": {"privacy.accounting": "gdp"},
        "paper": {"privacy.accounting": "paper"},
        "paper, as printed": {"privacy.accounting": "paper", "privacy.as_printed": True},
        "gdp, estimated channels, realised": {
            "privacy.accounting": "gdp", "link.csi": {"estimator": "ls", "pilot_symbols": 8, "pilot_snr_db": 10.0},
            "privacy.csi_gain": "realised",
        },
    }  # fmt: skip
    promised = (2.0, 8.0) if quick else (1.0, 2.0, 4.0, 8.0)
    total = len(ways) * len(grid) + len(promised) + runs
    points: list[tuple[str, float, float, str]] = []
    for label, options in ways.items():
        for eps in grid:
            planned, examples = scenario_of(None, {**options, "privacy.epsilon": eps, "privacy.delta": 1e-5})
            short, plan = phy_design(planned, 8, examples)
            result = audit_phy(short, plan, trials, {})
            name = "paper, as printed" if plan.settings.as_printed else plan.settings.accounting
            verdict = next(v for v in result.verdicts if v.name == name)
            points.append((label, verdict.claimed_epsilon, verdict.empirical_epsilon, verdict.verdict))
            tell("antennas", len(points), total)
    base = canary_scenario(quick)
    done = []
    for index in range(runs):
        federation = base.federation.model_copy(update={"seed": base.seed + index})
        done.append(canary_run(base.model_copy(update={"seed": base.seed + index, "federation": federation}), 200))
        tell("canaries", len(points) + index + 1, total)
    attack = membership(done)
    single = []
    for eps in promised:
        count = exposed_canaries(eps, 1e-5, quick)
        exposed = exposed_scenario(count, quick)
        privacy = exposed.privacy.model_copy(update={"epsilon": eps})
        single.append(one_run(exposed_run(exposed.model_copy(update={"privacy": privacy}), count)))
        tell("one run", len(points) + runs + len(single), total)
    figure = Figure(figsize=(11, 5.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for index, label in enumerate(ways):
        mine = [(x, y) for name, x, y, _ in points if name == label and y > 0]
        left.plot(*zip(*mine, strict=True), **look(index), marker="o", markersize=4, label=f"antennas: {label}")
    by_analysis = {
        analysis: [(each.claims["gdp"], limit.epsilon) for each in single for limit in each.analyses if limit.name == analysis]
        for analysis in (limit.name for limit in single[0].analyses if limit.held)
    }
    for marker, (analysis, found) in zip("v^s", by_analysis.items(), strict=False):
        if seen := [point for point in found if point[1] > 0]:
            left.plot(*zip(*seen, strict=True), marker, color="#000000", markersize=5, label=f"one run: {analysis}")
    limits = (0.05, 60.0)
    left.plot(limits, limits, ":", color="#555555", label="claimed = measured")
    left.fill_between(limits, limits, [limits[1]] * 2, color="#D55E00", alpha=0.07, linewidth=0)
    left.annotate("claims refuted", (0.08, 20), fontsize=8, color="#D55E00")
    left.set(
        xscale="log", yscale="log", xlim=limits, ylim=limits, xlabel="claimed epsilon at delta = 1e-5",
        ylabel="measured lower bound (95 %)", title="Audit",
    )  # fmt: skip
    left.legend(fontsize=7, loc="lower right")
    plot_roc(right, attack)
    foot(
        figure,
        f"Left: two worlds +-clip of the loudest of K = 5 devices, 8 rounds that spend the claim, {trials} trials, everything "
        "that the antenna receives, SNR_max = 20 dB (N0 per complex sample, real axis N0/2), Rayleigh; as printed: the paper's "
        f"formulas with N0 on the real axis. Black: one run each of the embedded model, {exposed.federation.rounds} rounds, "
        f"K = {exposed.federation.devices}, {' / '.join(str(each.bound.canaries) for each in single)} worst-case canaries, in "
        "every batch, a record replaced; all limits of a run hold jointly. "
        f"Right: {runs} runs, {base.federation.rounds} rounds, K = 2, b = 8, 200 candidates each with a random label, "
        f"epsilon = {base.privacy.epsilon:g} for a record replaced; the attacker knows all but those labels. A bound of "
        "zero is not drawn.",
    )
    rows: list[tuple[Any, ...]] = list(points)
    rows += [
        (f"one run, {analysis}", x, y, "holds" if y <= x else "violated")
        for analysis, found in by_analysis.items()
        for x, y in found
    ]
    write_csv(folder / "F10.csv", ["claim", "claimed_epsilon", "empirical_lower_bound", "verdict"], rows)
    checks = [(c.fpr, c.tpr, c.fpr_upper, c.tpr_lower, c.bound) for c in attack.checks]
    write_csv(folder / "F10-roc.csv", ["fpr", "tpr", "fpr_upper", "tpr_lower", "tpr_allowed"], checks)
    return save(figure, folder, "F10")


#: Name -> how it is drawn: folder, quick, tell -> PNG.
FIGURES: dict[str, Callable[[Path, bool, Tell], Path]] = {"F2": _ablation, "F3": _schedule, "F4": _epsilon, "F10": _audit}
