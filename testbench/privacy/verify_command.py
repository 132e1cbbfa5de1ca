"""What ``pairzero privacy verify`` does: the claim of a scenario or of a run against what is computed, device by device."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from learning.batches import shards
from testbench.errors import TestbenchError
from testbench.privacy.design import design
from testbench.privacy.energy_attack import EnergyVerdict, attack_energies
from testbench.privacy.energy_design import energy_design
from testbench.privacy.past_claim import past_claim
from testbench.privacy.plan import scenario_of
from testbench.privacy.plan_command import bars, say
from testbench.privacy.plan_figures import write_csv
from testbench.privacy.settings import ENERGY_SCHEMES
from testbench.privacy.verify import Verification, verify
from testbench.run_folder import RunFolder
from testbench.scenario import Scenario, load

__all__ = ["run_verify", "verify_run", "verify_scenario"]

_SHOWN = 12  # devices of the table; the others are in the CSV
_TRIALS = 20_000


def run_verify(console: Console, source: str, overrides: list[str] | None, out: Path | None) -> Verification | EnergyVerdict:
    """Verify a scenario (a file, or the name of one that ships) or the folder of a run, and show it.

    :raises TestbenchError: what is refuted, in one sentence; or settings for a run, which has its own
    """
    began = time.monotonic()
    folder = Path(source)
    if (folder / "journal.sqlite").is_file():
        if overrides:
            raise TestbenchError(f"{source} is a run, whose settings are what they were; leave out --set")
        found = verify_run(folder, console)
    else:
        found = verify_scenario(load(source, overrides), console)
    if isinstance(found, EnergyVerdict):
        _show_attack(console, found)
        if found.refuted:
            raise TestbenchError(found.sentence)
        return found
    _show(console, found, out)
    say(console, f"took      {time.monotonic() - began:.1f} s")
    if found.refuted:
        raise TestbenchError(found.sentence)
    return found


def verify_scenario(scenario: Scenario, console: Console | None = None) -> Verification | EnergyVerdict:
    """Verify the claim that a scenario plans for; one that promises nothing is held to the paper's (5, 0.01)."""
    asked, examples = scenario_of(scenario, {})
    counts = _counts(asked) if asked.privacy.amplification else [examples] * asked.federation.devices
    if asked.link.scheme in ENERGY_SCHEMES:
        return attack_energies(asked, energy_design(asked, counts), _TRIALS)
    quiet = console or Console(quiet=True)
    with bars(quiet, "channels") as progress:
        planned = design(asked, counts, progress)
    with bars(quiet, "rounds computed") as progress:
        return verify(asked, planned, progress=progress)


def _counts(scenario: Scenario) -> list[int]:
    """Training examples of every device, on which the rate of sampling depends."""
    from learning import tasks

    data = tasks.load(scenario.task)
    return [len(shard) for shard in shards(data.strata, scenario.federation, data.files)]


def verify_run(path: Path, console: Console | None = None) -> Verification | EnergyVerdict:
    """Verify what the run in the folder ``path`` says that it spent.

    :raises TestbenchError: no run, one that claims nothing or sent nothing, or one whose plan cannot be told any more
    """
    folder, console = RunFolder.existing(path), console or Console(quiet=True)
    scenario = folder.load_scenario()
    if not scenario.privacy.on:
        raise TestbenchError(f"{folder.path} claims no privacy; verify a run with privacy.epsilon, or a scenario")
    counts = _counts(scenario)
    if scenario.link.scheme in ENERGY_SCHEMES:
        return attack_energies(scenario, energy_design(scenario, counts), _TRIALS)
    past = past_claim(folder, scenario, counts)
    for note in past.notes:
        say(console, f"note: {note}")
    with bars(console, "rounds computed") as progress:
        return verify(past.scenario, past.design, claimed=past.epsilon, sent=past.sent, absent=past.absent, progress=progress)


def _show(console: Console, found: Verification, out: Path | None) -> None:
    say(console, f"Claimed: epsilon = {found.epsilon:.4g} at delta = {found.delta:g}, over {found.rounds} rounds")
    table = Table(box=None, pad_edge=False)
    for heading in ("device", "claimed ε", "computed ε", "margin", "μ charged", "μ computed", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    order = sorted(found.devices, key=lambda one: (-one.epsilon, one.device))
    for one in sorted(order[:_SHOWN], key=lambda one: one.device):
        table.add_row(
            str(one.device), f"{found.epsilon:.4g}", f"{one.epsilon:.4g}", f"{one.margin:+.3g}", f"{one.charged_mu:.4g}",
            f"{one.computed_mu:.4g}", "refuted" if one.refuted else "holds",
        )  # fmt: skip
    console.print(table)
    if len(order) > _SHOWN:
        say(console, f"the {_SHOWN} most exposed of {len(order)} devices")
    how = (
        "every round computed"
        if found.computed >= found.rounds
        else f"{found.computed} of {found.rounds} rounds computed, the most exposed among them, the rest scaled by those; "
        "silent rounds need none"
    )
    say(console, f"from what the adversary's antennas receive of every device, without noise ({found.through}); {how}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        rows = [
            [one.device, found.epsilon, one.epsilon, one.margin, one.charged_mu, one.computed_mu, int(one.refuted)]
            for one in found.devices
        ]
        header = ["device", "claimed_epsilon", "computed_epsilon", "margin", "charged_mu", "computed_mu", "refuted"]
        write_csv(out / "verify.csv", header, rows)
        say(console, f"results   {out / 'verify.csv'}")


def _show_attack(console: Console, found: EnergyVerdict) -> None:
    say(
        console,
        f"Claimed: epsilon = {found.epsilon:.4g} for {found.rounds} rounds; an attack on {found.trials} of them in either "
        f"world shows at least {found.at_least:.4g} (confidence {found.confidence:g}); energy per antenna of a device at full "
        f"scale {found.energy:.4g} +- {found.energy_error:.2g}, reckoned with {found.energy_claimed:.4g}: "
        + ("refuted" if found.refuted else "not refuted, which is no proof"),
    )
