"""``pairzero privacy``: plan a schedule, audit what is claimed, draw the figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from testbench.scenario import Scenario

ENERGY_SCHEMES = ("fsk_mv", "reed", "ncairfl")

app = typer.Typer(help="Differential privacy of the uplink: plans, audits, figures.", no_args_is_help=True)

ScenarioName = Annotated[
    str | None, typer.Argument(metavar="[SCENARIO]", help="A scenario file, or a shipped one; none: an abstract link.")
]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Override a setting of the scenario: key=value.")]
Out = Annotated[Path | None, typer.Option("--out", help="Output folder. Default: a new one under runs/.")]
Epsilon = Annotated[float | None, typer.Option("--epsilon", help="Promised epsilon. Default: the scenario's, or 5.")]
Delta = Annotated[float | None, typer.Option("--delta", help="Its delta. Default: the scenario's, or 0.01 as the paper has.")]
Rounds = Annotated[int | None, typer.Option("--rounds", help="Rounds T.")]
Clip = Annotated[float | None, typer.Option("--clip", help="Clip gamma of a projected gradient.")]
SnrMax = Annotated[float | None, typer.Option("--snr-max-db", help="P E|h|^2 / N0, N0 of one complex sample.")]
Devices = Annotated[int | None, typer.Option("--devices", help="Devices K.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of channels and noise.")]
Accounting = Annotated[str | None, typer.Option("--accounting", help="paper | gdp | pld: who decides that epsilon is kept.")]
Quick = Annotated[bool, typer.Option("--quick", help="The same, small: a first look.")]


def _scenario(name: str | None, sets: list[str] | None) -> "Scenario | None":
    from testbench.errors import TestbenchError
    from testbench.scenario import load

    if name is None:
        if sets:
            raise TestbenchError("--set overrides a setting of a scenario; name one, or use the options of this command")
        return None
    return load(name, sets)


def _console() -> "Console":
    """Wide enough for the tables where there is no terminal that says how wide it is."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=120)


@app.command()
def plan(
    scenario: ScenarioName = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    rounds: Rounds = None,
    clip: Clip = None,
    snr_max_db: SnrMax = None,
    devices: Devices = None,
    seed: Seed = None,
    scheme: Annotated[str | None, typer.Option("--scheme", help="analog | sign | fsk_mv | reed | ncairfl.")] = None,
    sensitivity: Annotated[
        str | None, typer.Option("--sensitivity", help="client_value | record_replace_one | record_add_remove.")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Fixed batch size b, for sensitivities of records.")] = None,
    accounting: Accounting = None,
    sampling_rate: Annotated[
        float | None, typer.Option("--sampling-rate", help="Poisson rate q; needs record_add_remove and accounting pld.")
    ] = None,
    directions: Annotated[
        int | None, typer.Option("--directions", help="Directions a round, clipped jointly and charged once.")
    ] = None,
    contraction: Annotated[float | None, typer.Option("--contraction", help="A of the convergence bound.")] = None,
    adversary_advantage_db: Annotated[
        float | None, typer.Option("--adversary-advantage-db", help="How much more SNR than the server it has.")
    ] = None,
    adversary_antennas: Annotated[
        int | None, typer.Option("--adversary-antennas", help="Antennas of its own, over channels like those to the server.")
    ] = None,
    signal_std: Annotated[
        float | None, typer.Option("--signal-std", help="Standard deviation of the mean payload, for better estimates.")
    ] = None,
    sets: Sets = None,
    out: Out = None,
) -> None:
    """Plan amplitudes for an epsilon: schedules side by side, what each costs by every accountant, and its noise."""
    from testbench.privacy.plan import scenario_of
    from testbench.privacy.plan_command import run_plan

    base = _scenario(scenario, sets)
    if scheme in ENERGY_SCHEMES or (scheme is None and base is not None and base.link.scheme in ENERGY_SCHEMES):
        _plan_energy(base, scheme, snr_max_db, rounds, epsilon, delta, adversary_advantage_db, adversary_antennas)
        return
    planned, examples = scenario_of(
        base,
        {
            "privacy.epsilon": epsilon, "privacy.delta": delta, "privacy.sensitivity": sensitivity,
            "privacy.accounting": accounting, "privacy.contraction": contraction,
            "privacy.adversary_advantage_db": adversary_advantage_db, "privacy.adversary.antennas": adversary_antennas,
            "federation.rounds": rounds, "federation.devices": devices, "federation.batch_size": batch, "seed": seed,
            "zeroth_order.clip": clip, "zeroth_order.directions": directions, "link.snr_max_db": snr_max_db,
            "link.scheme": scheme,
        },
        sampling_rate,
    )  # fmt: skip
    run_plan(_console(), planned, examples, out, signal_std)


def _plan_energy(
    base: "Scenario | None",
    scheme: str | None,
    snr_max_db: float | None,
    rounds: int | None,
    epsilon: float | None,
    delta: float | None,
    advantage_db: float | None,
    antennas: int | None,
) -> None:
    """Schemes of energy detection have nothing to schedule: only what rounds cost."""
    from learning.privacy.errors import check_delta, check_epsilon
    from testbench.privacy.energy_plan import show_energy_plan
    from testbench.scenario import build

    data = {} if base is None else base.plain()
    link = data.setdefault("link", {})
    link.update({k: v for k, v in (("scheme", scheme), ("snr_max_db", snr_max_db)) if v is not None})
    planned = build(data, "privacy plan")
    target, at = 5.0 if epsilon is None else epsilon, 0.01 if delta is None else delta
    check_epsilon(target)
    check_delta(at)
    count = rounds or (8000 if base is None else planned.federation.rounds)
    show_energy_plan(_console(), planned, count, target, at, advantage_db or 0.0, antennas or 0)


@app.command()
def audit(
    scenario: ScenarioName = None,
    phy: Annotated[bool, typer.Option("--phy", help="Two worlds at the antennas (the default).")] = False,
    one_run: Annotated[bool, typer.Option("--one-run", help="Worst-case canaries in one fine-tuning run.")] = False,
    membership: Annotated[bool, typer.Option("--membership", help="Known candidates over several fine-tuning runs.")] = False,
    trials: Annotated[
        int | None, typer.Option("--trials", help="Trials at the antennas. Default: 100 000; quick 10 000.")
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", help="Rounds of a trial, which spend the whole epsilon.")] = 8,
    canaries: Annotated[
        int | None,
        typer.Option("--canaries", help="Canaries. Default: as many as show the claim (one run; 80 in a scenario), 200."),
    ] = None,
    runs: Annotated[int | None, typer.Option("--runs", help="Runs of the membership attack. Default: 20; quick 4.")] = None,
    claim: Annotated[
        list[str] | None, typer.Option("--claim", help="One more claim to hold against the antennas: NAME=EPSILON.")
    ] = None,
    as_printed: Annotated[bool, typer.Option("--as-printed", help="Plan and claim by the paper's printed formulas.")] = False,
    epsilon: Epsilon = None,
    delta: Delta = None,
    snr_max_db: SnrMax = None,
    devices: Devices = None,
    seed: Seed = None,
    sets: Sets = None,
    quick: Quick = False,
    out: Out = None,
) -> None:
    """Attack what is claimed; exit code 1 where more is found than was claimed. A claim that holds is not proved by it."""
    from testbench.errors import TestbenchError
    from testbench.privacy.audit_command import run_membership, run_one_run_audit, run_phy_audit
    from testbench.privacy.membership_run import canary_scenario, exposed_canaries, exposed_scenario
    from testbench.privacy.plan import scenario_of
    from testbench.privacy.plan_command import default_folder, say

    chosen = _scenario(scenario, sets)
    options = {
        "privacy.epsilon": epsilon, "privacy.delta": delta, "link.snr_max_db": snr_max_db, "federation.devices": devices,
        "seed": seed,
    }  # fmt: skip
    claims = _claims(claim or [])
    folder = out or default_folder("audit")
    console = _console()
    violated: list[str] = []
    printed = {"privacy.as_printed": True, "privacy.accounting": "paper"} if as_printed else {}
    if phy or not (one_run or membership):
        planned, examples = scenario_of(chosen, options | printed)
        many = trials if trials is not None else 10_000 if quick else 100_000
        violated += run_phy_audit(console, planned, examples, rounds, many, claims, folder)
    if one_run:
        if chosen is None:
            # What is no number of devices is refused with the rest of the scenario.
            many_devices = {"devices": devices} if devices and devices > 0 else {}
            count = canaries or exposed_canaries(epsilon or 8.0, delta or 1e-5, quick, **many_devices)
            planned, _ = scenario_of(exposed_scenario(count, quick, **many_devices), options | printed)
        else:
            count = canaries or 80
            planned, _ = scenario_of(chosen, options | printed)
        violated += run_one_run_audit(console, planned, count, folder)
    if membership:
        planned, _ = scenario_of(canary_scenario(quick) if chosen is None else chosen, options)
        violated += run_membership(console, planned, canaries or 200, runs or (4 if quick else 20), folder)
    say(console, f"results   {folder}")
    if violated:
        raise TestbenchError("the audit found more than claimed: " + "; ".join(violated))


@app.command()
def verify(
    source: Annotated[
        str, typer.Argument(metavar="SCENARIO|RUN", help="A scenario (a file, or a shipped one), or the folder of a run.")
    ],
    sets: Sets = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write verify.csv into this folder.")] = None,
) -> None:
    """Compute every device's true privacy from what the adversary receives; exit code 1 where one has more than is claimed."""
    from testbench.privacy.verify_command import run_verify

    run_verify(_console(), source, sets, out)


@app.command()
def ledger(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE|FOLDER|RUN ...]", help="Ledgers, runs, or folders that hold them. Default: runs/."),
    ] = None,
    delta: Annotated[
        float | None, typer.Option("--delta", help="State totals at this delta. Default: the sum of the runs' own.")
    ] = None,
) -> None:
    """What several runs on the same data spend together; exit code 1 where runs share noise, or pass a budget for all."""
    from testbench.privacy.ledger_command import run_ledger

    run_ledger(_console(), sources or [], delta)


def _claims(stated: list[str]) -> dict[str, float]:
    from testbench.errors import TestbenchError

    found = {}
    for text in stated:
        name, equals, value = text.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip() or not found[name.strip()] >= 0:
            raise TestbenchError(f"--claim {text!r} must read NAME=EPSILON, for example --claim mine=2.5")
    return found


@app.command()
def figure(
    name: Annotated[str, typer.Argument(help="F2 ablation, F3 schedules, F4 accuracy against epsilon, or F10 audit.")],
    quick: Quick = False,
    out: Out = None,
) -> None:
    """Draw a figure (PNG, PDF) with its numbers beside it (CSV), on the embedded model."""
    from testbench.privacy.figures import draw
    from testbench.privacy.plan_command import bars, default_folder, say

    folder = out or default_folder("figure")
    console = _console()
    with bars(console, name.upper()) as tell:
        path = draw(name, folder, quick=quick, tell=lambda what, done, total: tell(done, total))
    say(console, f"figure    {path}, with PDF and CSV beside it")
