"""Figures of a run: what the federation learned, and what the link did to its scalars."""

import math
import textwrap
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

from learning.journal import Journal
from phy.config import LinkConfig
from testbench.run_folder import Evaluation, RunFolder, spoken
from testbench.scenario import Scenario
from testbench.summary import LinkTotals

# Okabe and Ito's palette: told apart by colour-blind readers and in grey.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#666666"


def draw_figures(
    folder: RunFolder,
    scenario: Scenario,
    evaluations: list[Evaluation],
    noise_free: list[Evaluation],
    summary: dict[str, Any],
) -> None:
    """Draw ``figures/learning.png`` and, where there is a physical link, ``figures/link.png``; PDFs beside them."""
    with matplotlib.rc_context({"font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True}):
        _save(folder, "learning", _learning(scenario, evaluations, noise_free, summary))
        with Journal(folder.journal, read_only=True) as journal:
            totals = LinkTotals.of(journal)
        if "received_power" in totals.columns:
            _save(folder, "link", _link(scenario, totals, summary))


_CHANNELS = {"rayleigh": "Rayleigh block fading", "awgn": "no fading", "tdl": "TDL fading"}


def impairments(scenario: Scenario) -> str:
    """Every setting of link and faults that is not the default and that :func:`caption` does not state itself."""
    stated = {
        "scheme",
        "snr_max_db",
        "clip",
        "receive_antennas",
        "air",
        "csi.estimator",
        "csi.pilot_symbols",
        "csi.pilot_snr_db",
    }
    stated |= {"power.control", "power.threshold", "power.caps", "power.artificial_noise", "channel.model"}
    found = _unusual("", scenario.link.model_dump(), LinkConfig().model_dump(), stated)
    if scenario.link.csi.age_s and scenario.link.csi.doppler_hz:
        found.append(f"rho {scenario.link.ageing_correlation:.4f}")
    if scenario.link.power.caps is not None:
        found.append("scheduled amplitude")
    noise = scenario.link.power.artificial_noise
    if isinstance(noise, tuple):
        found.append(f"artificial noise scheduled, up to {max(noise):.4g}")
    elif noise:
        found.append(f"artificial noise {noise:g}")
    if scenario.zeroth_order.perturbation != "rademacher":
        found.append("gaussian z")
    if scenario.federation.split != "iid":
        found.append(f"Dirichlet({scenario.federation.dirichlet_alpha:g}) split")
    faults = scenario.federation.faults
    found += _unusual("", faults.model_dump(), type(faults)().model_dump(), set())
    return textwrap.fill("; ".join(found), 110)


def _unusual(place: str, values: dict[str, Any], defaults: dict[str, Any], stated: set[str]) -> list[str]:
    """What differs from the defaults, as ``name value``; a law is one phrase."""
    found = []
    for key, value in values.items():
        name, default = f"{place}{key}", defaults.get(key)
        if name in stated or value == default:
            continue
        if isinstance(value, dict) and "law" in value:
            mean = f" about {value['mean']:g}" if value.get("mean") else ""
            found.append(f"{name} {value['law']} {value.get('value', 0):g}{mean} per {value.get('per', 'round')}")
        elif isinstance(value, dict):
            found += _unusual(f"{name}.", value, default if isinstance(default, dict) else {}, stated)
        else:
            found.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")
    return found


def caption(scenario: Scenario, summary: dict[str, Any]) -> str:
    """One line that states what the numbers are of."""
    link = scenario.link
    if summary["snr_max_db"] is None:
        return f"noise-free link, K = {scenario.federation.devices}, seed {scenario.seed}, one run"
    csi = link.csi.estimator
    if summary["pilot_symbols_per_round"]:
        snr = link.snr_max_db if link.csi.pilot_snr_db is None else link.csi.pilot_snr_db
        csi += f" from {link.csi.pilot_symbols} pilots at {snr:g} dB"
    fading = _CHANNELS.get(link.channel.model, link.channel.model)
    control = link.power.control + (f" at {link.power.threshold:g}" if link.power.control == "truncated" else "")
    return (
        f"{link.scheme}, {fading}, SNR_max = P E|h|²/N0 = {link.snr_max_db:g} dB (N0 per complex sample), "
        f"CSI {csi}, {control},\nK = {scenario.federation.devices}, M = {link.receive_antennas}, clip {link.clip:g}, "
        f"seed {scenario.seed}, one run (no band)" + ("\n" + more if (more := impairments(scenario)) else "")
    )


def _save(folder: RunFolder, name: str, figure: Figure) -> None:
    for suffix in ("png", "pdf"):
        figure.savefig(folder.figures / f"{name}.{suffix}", dpi=150)
        figure.set_layout_engine("none")  # the place of everything is found; finding it takes half of the time


def _learning(
    scenario: Scenario, evaluations: list[Evaluation], noise_free: list[Evaluation], summary: dict[str, Any]
) -> Figure:
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    score, loss = figure.subplots(1, 2)
    metric = spoken(evaluations[0].metric)
    air = "noise-free" if summary["snr_max_db"] is None else "over the air"
    for curve, colour, style, label in ((noise_free, GREY, "--", "noise-free"), (evaluations, BLUE, "-", air)):
        if not curve:
            continue
        rounds = [e.round for e in curve]
        score.plot(rounds, [100 * e.score for e in curve], style, color=colour, label=label)
        loss.plot(rounds, [math.nan if e.loss is None else e.loss for e in curve], style, color=colour, label=label)
    score.axhline(100 * evaluations[0].score, color=ORANGE, linestyle=":", label="zero-shot")
    score.set(xlabel="round", ylabel=f"held-out {metric} [%]", title=metric[:1].upper() + metric[1:])
    loss.set(xlabel="round", ylabel="held-out loss [nat]", title="Loss")
    score.legend()
    loss.legend()
    figure.supxlabel(caption(scenario, summary), fontsize=7, color=GREY)
    return figure


def _link(scenario: Scenario, totals: LinkTotals, summary: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(11, 3.7), layout="constrained")
    scatter, snr, error = figure.subplots(1, 3)
    heard = totals.heard
    _scatter(scatter, totals.true_mean[heard], totals.estimate[heard])
    gain = totals.columns["aligned_gain"]
    with np.errstate(divide="ignore", invalid="ignore"):  # an unbiased estimate of a small power can be negative
        received_db = 10 * np.log10(totals.columns["received_power"] / scenario.link.n0)
        aligned_db = 20 * np.log10(gain) - 10 * math.log10(scenario.link.n0)
    aligned_db = np.where(totals.columns["active"] > 0, aligned_db, np.nan)
    rounds = np.arange(len(gain))
    snr.plot(rounds, received_db, ".", markersize=2, color=BLUE, alpha=0.5, label="of the sum |v^H y|²/N0")
    snr.plot(rounds, aligned_db, ".", markersize=2, color=ORANGE, alpha=0.7, label="of one device at peak a²/N0")
    low = np.percentile(received_db[np.isfinite(received_db)], 1) if np.isfinite(received_db).any() else 0
    snr.set(xlabel="round", ylabel="received SNR [dB]", title="Received SNR", ylim=(low - 3, None))
    snr.legend(markerscale=5, fontsize=7)
    _errors(error, scenario, totals, heard)
    figure.supxlabel(caption(scenario, summary), fontsize=7, color=GREY)
    return figure


def _scatter(axes: Axes, true_mean: Any, estimate: Any) -> None:
    axes.plot(true_mean, estimate, ".", markersize=3, color=BLUE, alpha=0.4)
    if true_mean.size:
        # The scale is that of the payloads: a deep fade can throw an estimate far outside.
        limit = 1.1 * float(max(np.abs(true_mean).max(), np.percentile(np.abs(estimate), 99)))
        axes.plot([-limit, limit], [-limit, limit], color=GREY, linewidth=1)
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
        outside = int((np.abs(estimate) > limit).sum())
        if outside:
            axes.annotate(f"{outside} outside", (0.03, 0.92), xycoords="axes fraction", fontsize=7, color=GREY)
    axes.set(xlabel="what a perfect link returns", ylabel="estimate", title="What the server hears")


def _errors(axes: Axes, scenario: Scenario, totals: LinkTotals, heard: Any) -> None:
    """Errors in units of the receiver noise alone: N(0, 1) where nothing else disturbs, for the schemes that are linear."""
    link = scenario.link
    peak = {"analog": link.clip, "sign": 1.0}.get(link.scheme) if link.decision == "soft" or link.scheme == "analog" else None
    error = (totals.estimate - totals.true_mean)[heard]
    unit = 1.0 if peak is None else peak * math.sqrt(link.n0 / 2.0)
    if peak is not None:
        active = totals.columns["aligned_gain"] * totals.columns["active"]
        unit = unit / np.broadcast_to(active[:, None], heard.shape)[heard]
    if error.size:
        normalised = error / unit
        spread = float(np.percentile(np.abs(normalised), 99))
        spread = max(4.0, min(20.0, spread)) if peak is not None else max(spread, 1e-12)
        axes.hist(np.clip(normalised, -spread, spread), bins=41, density=True, color=BLUE, alpha=0.6, label="this run")
        if peak is not None:
            at = np.linspace(-spread, spread, 400)
            axes.plot(at, norm.pdf(at), color=ORANGE, label="receiver noise alone, N(0, 1)")
        axes.set_ylim(0, 1.25 * axes.get_ylim()[1])  # room for the legend above the curve
        axes.legend(fontsize=7, loc="upper right")
    label = (
        "error\n(outliers in the end bins)" if peak is None else "error / std of the receiver noise\n(outliers in the end bins)"
    )
    axes.set(xlabel=label, ylabel="density", title="Error of the estimate")
