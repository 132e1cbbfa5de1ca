"""``pairzero privacy ...``: plan a schedule, audit what is claimed, add up several runs, draw the figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairzero.commands import PathLike, Settings, _console, _loaded

if TYPE_CHECKING:
    from testbench.privacy.energy_attack import EnergyVerdict
    from testbench.privacy.phy_audit import AuditResult
    from testbench.privacy.plan import PlanReport
    from testbench.privacy.totals import DataGroup
    from testbench.privacy.verify import Verification
    from testbench.scenario import Scenario

__all__ = ["audit", "figure", "ledger", "plan", "verify"]


def plan(
    scenario: Scenario | PathLike | None = None,
    *,
    settings: Settings | None = None,
    epsilon: float | None = None,
    delta: float | None = None,
    rounds: int | None = None,
    clip: float | None = None,
    snr_max_db: float | None = None,
    devices: int | None = None,
    seed: int | None = None,
    scheme: str | None = None,
    sensitivity: str | None = None,
    batch: int | None = None,
    accounting: str | None = None,
    sampling_rate: float | None = None,
    signal_std: float | None = None,
    out: PathLike | None = None,
) -> PlanReport:
    """Amplitudes for an epsilon: schedules side by side, and what each costs by every accountant.

    :param scenario: None for an abstract link with the paper's constants
    :param out: also write tables and figures there
    :returns: a report whose ``rows`` have ``label``, ``mu`` per round, ``epsilons`` by accountant, and ``std`` of the estimate

    >>> report = plan(epsilon=5, delta=0.01, rounds=200)
    >>> ours = next(row for row in report.rows if row.label.startswith("solution"))
    >>> round(ours.epsilons["gdp"], 2) <= 5
    True
    """
    from testbench.privacy.plan import make_plan, scenario_of
    from testbench.privacy.plan_command import run_plan

    options = {
        "privacy.epsilon": epsilon, "privacy.delta": delta, "privacy.sensitivity": sensitivity,
        "privacy.accounting": accounting, "federation.rounds": rounds, "federation.devices": devices,
        "federation.batch_size": batch, "seed": seed, "zeroth_order.clip": clip, "link.snr_max_db": snr_max_db,
        "link.scheme": scheme,
    }  # fmt: skip
    planned, examples = scenario_of(_chosen(scenario, settings), options, sampling_rate)
    if out is None:
        return make_plan(planned, examples)
    return run_plan(_console(quiet=True), planned, examples, Path(out), signal_std)


def audit(
    scenario: Scenario | PathLike | None = None,
    *,
    settings: Settings | None = None,
    trials: int = 100_000,
    rounds: int = 8,
    claim: Mapping[str, float] | None = None,
    as_printed: bool = False,
    epsilon: float | None = None,
    delta: float | None = None,
    snr_max_db: float | None = None,
    devices: int | None = None,
    seed: int | None = None,
) -> AuditResult:
    """Attack what is claimed, on what the antennas receive. A claim that holds is not proved by it.

    :param claim: more claims to hold against the antennas: name -> epsilon
    :returns: ``verdicts``, each with ``name``, ``claimed_epsilon``, ``empirical_epsilon`` (a lower bound) and ``verdict``

    >>> result = audit(trials=2000, claim={"nothing leaks": 0.01})
    >>> next(v.verdict for v in result.verdicts if v.name == "nothing leaks")
    'violated'
    """
    from testbench.privacy.audit_command import audit_phy, phy_design
    from testbench.privacy.plan import scenario_of

    options = {
        "privacy.epsilon": epsilon, "privacy.delta": delta, "link.snr_max_db": snr_max_db, "federation.devices": devices,
        "seed": seed,
    }  # fmt: skip
    printed = {"privacy.as_printed": True, "privacy.accounting": "paper"} if as_printed else {}
    planned, examples = scenario_of(_chosen(scenario, settings), options | printed)
    short, design = phy_design(planned, rounds, examples)
    return audit_phy(short, design, trials, dict(claim or {}))


def verify(source: Scenario | PathLike, *, settings: Settings | None = None) -> Verification | EnergyVerdict:
    """Compute the privacy of every device from what the adversary receives, and hold the claim against it.

    :param source: a scenario (loaded, a file, or a shipped one), or the folder of a run
    :returns: ``devices``, each with ``computed_mu``, ``epsilon``, ``margin``; ``refuted``, those that have more than is claimed

    >>> result = verify("tight", settings={"federation.rounds": 20})
    >>> [device.refuted for device in result.devices]
    [False, False, False, False, False]
    """
    from testbench.privacy.verify_command import verify_run, verify_scenario

    if isinstance(source, (str, Path)) and (Path(source) / "journal.sqlite").is_file():
        return verify_run(Path(source))
    return verify_scenario(_loaded(source, settings))


def figure(name: str, out: PathLike, *, quick: bool = False) -> Path:
    """Draw figure ``name`` of the privacy figures into the folder ``out``; returns the PNG."""
    from testbench.privacy.figures import draw

    return draw(name, Path(out), quick=quick)


def ledger(*sources: PathLike, delta: float | None = None) -> list[DataGroup]:
    """What several runs on the same data spend together.

    :param sources: ledgers, run folders, or folders that hold either; none: ``runs/``
    :param delta: that totals are stated at; None: the sum of the runs' own
    :returns: for each data set its ``entries``, their ``total`` (``epsilon``, ``delta``, ``relation``; infinite where runs
        share their noise), the pairs that do (``shared``), and whether a ``budget`` is ``passed``

    >>> short = {"federation.rounds": 1, "uplink.transport": "inproc", "evaluation.noise_free": False, "privacy.epsilon": 5,
    ...          "privacy.delta": 0.01, "privacy.randomness": "secret", "link.csi.estimator": "perfect"}
    >>> from pairzero import run
    >>> _ = run("demo", "several/a", settings=short), run("demo", "several/b", settings=short)
    >>> [group] = ledger("several")
    >>> len(group.entries), group.shared, 5 < group.total.epsilon < 10
    (2, (), True)
    """
    from testbench.privacy.ledger_command import ledger_groups

    return ledger_groups([Path(source) for source in sources], delta)


def _chosen(scenario: Scenario | PathLike | None, settings: Settings | None) -> Scenario | None:
    return None if scenario is None else _loaded(scenario, settings)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from pairzero._found import command

        return command("privacy", name)
