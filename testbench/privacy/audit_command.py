"""What ``pairzero privacy audit`` does: claims held against attacks, tables, and a failure where more leaks than claimed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from phy.config import LinkConfig
from testbench.errors import TestbenchError
from testbench.privacy.audit_figures import draw_roc
from testbench.privacy.design import Design, design
from testbench.privacy.membership_run import CanaryRun, Membership, OneRun, canary_run, exposed_run, membership, one_run
from testbench.privacy.phy_audit import AuditResult, Worlds, phy_audit
from testbench.privacy.plan_command import bars, say
from testbench.privacy.plan_figures import write_csv
from testbench.scenario import Scenario

__all__ = ["audit_phy", "phy_design", "run_membership", "run_one_run_audit", "run_phy_audit", "worlds_of"]

_FEWEST_TRIALS = 8
_NOISELESS_DB = 60.0  # a receiver that is so much better stands for one without noise


def phy_design(scenario: Scenario, rounds: int, examples: int) -> tuple[Scenario, Design]:
    """The plan of ``scenario`` for ``rounds`` rounds that spend its whole epsilon, without amplification by sampling.

    Few loud rounds are as private as many quiet ones and quicker to audit. An attack at the antennas is on what is sent, so
    that sampling of records, which happens before, is left out.
    """
    changes: dict[str, Any] = {"amplification": False}
    if scenario.privacy.amplification:
        changes["accounting"] = "gdp"
    federation = scenario.federation.model_copy(update={"rounds": rounds})
    privacy = scenario.privacy.model_copy(update=changes)
    short = scenario.model_copy(update={"federation": federation, "privacy": privacy})
    return short, design(short, examples)


def audit_phy(
    scenario: Scenario,
    planned: Design,
    trials: int,
    claims: dict[str, float],
    progress: Callable[[int, int], None] | None = None,
) -> AuditResult:
    """Hold the plan's epsilon by every accountant, and ``claims``, against the worst pair of worlds at the antennas.

    The pair differs by the sensitivity that the plan is for: +-1 in units of full scale, +-1/b, or 1/b and nothing. What is
    attacked is what the scenario's adversary receives.
    """
    settings = planned.settings
    held = dict(planned.epsilon)
    if settings.as_printed:
        held[f"{settings.accounting}, as printed"] = planned.planned_epsilon
    return phy_audit(
        _quick_air(planned.link),
        scenario.seed,
        scenario.federation.rounds,
        trials,
        settings.delta,
        held | claims,
        worlds=worlds_of(scenario, planned),
        advantage_db=settings.adversary_advantage_db + (_NOISELESS_DB if settings.noise_source == "artificial" else 0.0),
        listener=planned.listener,
        progress=None if progress is None else lambda done: progress(done, trials),
    )


def worlds_of(scenario: Scenario, planned: Design) -> Worlds:
    """The pair of worlds that differs by the sensitivity of a plan."""
    several, sensitivity = planned.directions, planned.sensitivity
    change = sensitivity.ratio if several.joint else sensitivity.ratio / math.sqrt(several.count)
    removed = sensitivity.relation == "record_add_remove" and sensitivity.payload != "sign"
    return Worlds(
        devices=scenario.federation.devices,
        first=change if removed else change / 2.0,
        second=0.0 if removed else -change / 2.0,
        directions=several.count,
        joint=several.joint,
        colluders=scenario.privacy.adversary.colluders,
    )


def _quick_air(link: LinkConfig) -> LinkConfig:
    """The same channels through the engine with the least overhead per call, where either will do."""
    return link.model_copy(update={"air": "numpy"}) if link.air is None and link.fidelity == "symbol" else link


def run_phy_audit(
    console: Console, scenario: Scenario, examples: int, rounds: int, trials: int, claims: dict[str, float], folder: Path
) -> list[str]:
    """Audit, print, write; returns sentences on what is violated."""
    if trials < _FEWEST_TRIALS or rounds < 1:
        raise TestbenchError(f"an audit needs at least 1 round and {_FEWEST_TRIALS} trials, got {rounds} and {trials}")
    began = time.monotonic()
    short, planned = phy_design(scenario, rounds, examples)
    with bars(console, "trials at the antennas") as progress:
        result = audit_phy(short, planned, trials, claims, progress)
    say(console, f"Audit at the antennas: {result.trials} trials of {result.rounds} rounds, {result.fidelity} fidelity")
    table = Table(box=None, pad_edge=False)
    for heading in ("claim", "epsilon", "at least (measured)", "verdict"):
        table.add_column(heading, justify="left" if heading in ("claim", "verdict") else "right", no_wrap=True)
    for verdict in result.verdicts:
        table.add_row(verdict.name, f"{verdict.claimed_epsilon:.4g}", f"{verdict.empirical_epsilon:.4g}", verdict.verdict)
    console.print(table)
    for sentence in planned.statement:
        say(console, f"claimed: {sentence}")
    for note in planned.notes:
        say(console, f"note: {note}")
    say(
        console,
        f"at delta = {result.delta:g} with confidence {result.confidence:g}; device {result.device} of {result.devices}; "
        f"{result.observed} complex numbers seen per trial; mu at least {result.mu_lower:.4g} (by its noise-free signal "
        f"{result.signal_mu:.4g}); so many trials could show at most epsilon {result.epsilon_reach:.4g}; "
        f"{time.monotonic() - began:.1f} s",
    )
    if scenario.privacy.amplification:
        say(console, "sampling: held against the rounds without amplification, whose batches the attacker knows")
    folder.mkdir(parents=True, exist_ok=True)
    rows = [[v.name, v.claimed_epsilon, v.empirical_epsilon, v.verdict] for v in result.verdicts]
    write_csv(folder / "audit-phy.csv", ["claim", "claimed_epsilon", "empirical_lower_bound", "verdict"], rows)
    (folder / "audit-phy.json").write_text(json.dumps(_finite(result.as_dict()), indent=2) + "\n", encoding="utf-8")
    return [
        f'the claim "{v.name}" of epsilon = {v.claimed_epsilon:.4g}, where at least {v.empirical_epsilon:.4g} leaks at the '
        f"antennas ({result.fidelity} fidelity, device {result.device}, {result.rounds} rounds)"
        for v in result.verdicts
        if v.verdict == "violated"
    ]


def run_one_run_audit(console: Console, scenario: Scenario, canaries: int, folder: Path) -> list[str]:
    """The one-run audit; returns sentences on what is violated."""
    folder.mkdir(parents=True, exist_ok=True)
    with bars(console, "one run") as progress:
        done = exposed_run(scenario, canaries, progress)
    return _show_one_run(console, one_run(done), done, folder)


def run_membership(console: Console, scenario: Scenario, canaries: int, runs: int, folder: Path) -> list[str]:
    """The known-candidate attack over several runs; returns sentences on what is violated."""
    folder.mkdir(parents=True, exist_ok=True)
    done: list[CanaryRun] = []
    for index in range(runs):
        with bars(console, f"run {index + 1} of {runs}") as progress:
            federation = scenario.federation.model_copy(update={"seed": scenario.seed + index})
            seeded = scenario.model_copy(update={"seed": scenario.seed + index, "federation": federation})
            done.append(canary_run(seeded, canaries, progress))
    return _show_membership(console, membership(done), folder, _caption(scenario, canaries, runs))


def _caption(scenario: Scenario, canaries: int, runs: int) -> str:
    f, p = scenario.federation, scenario.privacy
    return (
        f"{runs} runs of {f.rounds} rounds, {canaries} candidates each, K = {f.devices}, b = {f.batch_size}, SNR_max = "
        f"{scenario.link.snr_max_db:g} dB (N0 per complex sample); {p.sensitivity}, {p.schedule}, epsilon = {p.epsilon:g} at "
        f"delta = {p.delta:g}; the attacker knows all but the candidates' labels, batches included"
    )


def _show_one_run(console: Console, result: OneRun, done: CanaryRun, folder: Path) -> list[str]:
    say(
        console,
        f"One-run audit: {result.bound.canaries} canaries in {done.design.release.mu.size} rounds; limits that hold jointly "
        f"with confidence {result.confidence:g} at delta = {result.delta:g}",
    )
    limits = Table(box=None, pad_edge=False)
    for heading in ("analysis", "epsilon at least", "assumes", "evidence"):
        limits.add_column(heading, justify="right" if heading == "epsilon at least" else "left", no_wrap=heading == "analysis")
    for each in result.analyses:
        limits.add_row(each.name, f"{each.epsilon:.4g}" + ("" if each.held else " *"), each.assumption, each.evidence)
    console.print(limits)
    say(console, "* shown beside the others, with the same confidence by itself; no claim is held against it")
    table = Table(box=None, pad_edge=False)
    for heading in ("claim", "epsilon", "at least (measured)", "verdict"):
        table.add_column(heading, justify="left" if heading in ("claim", "verdict") else "right", no_wrap=True)
    rows = []
    for name, claimed in result.claims.items():
        verdict = "violated" if result.epsilon > claimed else "holds"
        rows.append([name, claimed, result.epsilon, verdict])
        table.add_row(name, f"{claimed:.4g}", f"{result.epsilon:.4g}", verdict)
    console.print(table)
    for sentence in _remarks(result, done):
        say(console, sentence)
    write_csv(folder / "audit-one-run.csv", ["claim", "claimed_epsilon", "empirical_lower_bound", "verdict"], rows)
    write_csv(
        folder / "audit-one-run-limits.csv",
        ["analysis", "epsilon_lower_bound", "assumption", "evidence", "held_against_claims"],
        [list(asdict(each).values()) for each in result.analyses],
    )
    return [
        f'the claim "{name}" of epsilon = {result.claims[name]:.4g}, where a run with {result.bound.canaries} canaries shows '
        f"at least {result.epsilon:.4g}"
        for name in result.violated
    ]


def _remarks(result: OneRun, done: CanaryRun) -> list[str]:
    known = result.known
    found = []
    if known is not None:
        left = known.residual
        found.append(
            f"heard at the antennas: canaries {known.gain:.4g} times as loud as claimed, noise {left.level:.4g} "
            f"({left.level_lower:.4g} .. {left.level_upper:.4g}) of what is stated; p-values that noise is Gaussian of one "
            f"strength {left.gaussian:.2g}, white {left.white:.2g}, alike in loud and quiet rounds {left.even:.2g}"
        )
    found.append(
        f"each canary was in {result.appearances:.1f} of {done.design.release.mu.size} rounds on average, where a claim "
        f"reckons with all; mu that it carried: median {result.audible_mu:.3g}; held-out accuracy "
        f"{100 * done.run.accuracy[-1]:.1f} %"
    )
    return found


def _show_membership(console: Console, result: Membership, folder: Path, caption: str) -> list[str]:
    say(console, f"Known-candidate attack over {result.runs} runs")
    table = Table(box=None, pad_edge=False)
    for heading in ("FPR", "TPR", "TPR at least", "TPR allowed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for check in result.checks:
        table.add_row(f"{check.fpr:.3f}", f"{check.tpr:.3f}", f"{check.tpr_lower:.3f}", f"{check.bound:.3f}")
    console.print(table)
    say(
        console,
        f"AUC {result.auc:.3f}, allowed {result.auc_allowed:.3f} (mu = {result.mu:.3g}; whoever knows the batches: mu = "
        f"{result.mu_known:.3g}); {caption}",
    )
    draw_roc(result, folder, caption)
    write_csv(
        folder / "audit-membership.csv",
        ["fpr", "tpr", "fpr_upper", "tpr_lower", "tpr_allowed"],
        [list(asdict(check).values()) for check in result.checks],
    )
    return [
        f"the membership bound of mu = {result.mu:.4g}: a true positive rate of at least {check.tpr_lower:.3f} where "
        f"{check.bound:.3f} is allowed"
        for check in result.checks
        if check.violated
    ]


def _finite(value: Any) -> Any:
    """JSON has no infinity."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
