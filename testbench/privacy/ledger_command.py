"""What ``pairzero privacy ledger`` does: the runs of ledgers and of folders in a table, with totals by data."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from testbench.errors import LedgerError, TestbenchError
from testbench.privacy.ledger import NAME, Entry, Ledger
from testbench.privacy.ledger_entry import entry_of_folder, ledger_path
from testbench.privacy.plan_command import say
from testbench.privacy.totals import DataGroup, groups_of, in_words
from testbench.run_folder import RunFolder

__all__ = ["ledger_groups", "run_ledger"]

DEFAULT = "runs"
_OF = {"client_value": "device", "record_replace_one": "record replaced", "record_add_remove": "record"}


def ledger_groups(sources: Sequence[str | Path], delta: float | None = None) -> list[DataGroup]:
    """The runs of all ``sources`` (ledgers, run folders, folders that hold either), grouped by data; none: those in ``runs/``.

    :param delta: that totals are stated at; None: the sum of the runs' own
    :raises TestbenchError: there is nothing of the kind, or it cannot be read
    :raises learning.privacy.errors.PrivacyError: a delta that the runs have spent themselves
    """
    if delta is not None and not 0 < delta < 1:
        raise TestbenchError(f"--delta is a probability between 0 and 1, got {delta:g}")
    ledgers: dict[Path, list[Entry]] = {}
    folders: dict[Path, None] = {}
    for source in sources or (DEFAULT,):
        files, runs = _within(Path(os.path.abspath(Path(source).expanduser())))
        ledgers |= {file: Ledger(file).entries() for file in files if file not in ledgers}
        folders |= dict.fromkeys(runs)
    entries = [entry for found in ledgers.values() for entry in found]
    booked = {entry.run for entry in entries}
    for folder in folders:
        if str(folder) not in booked:
            entries += _of_run(RunFolder.existing(folder), ledgers)
    if not entries:
        raise TestbenchError(
            f"no run in {', '.join(map(str, sources or (DEFAULT,)))} claims privacy and has sent anything; give a ledger, a "
            "run, or a folder that holds them"
        )
    return groups_of(entries, delta)


def run_ledger(console: Console, sources: Sequence[str], delta: float | None) -> list[DataGroup]:
    """Show the runs and their totals.

    :raises LedgerError: after all is shown, where runs share their noise, or a budget for all runs is passed
    """
    groups = ledger_groups(sources, delta)
    for group in groups:
        _show(console, group)
    say(
        console,
        "Data are known by a hash: parts of the same data, and records in other words, look like other data. A device stands "
        "for the same device in all runs that deal records alike. A run that has not ended counts for what it reserved.",
    )
    if any(entry.randomness == "seed" for group in groups for entry in group.entries):
        say(console, "Noise of a seed: the guarantee is that of the emulated system, and void for anyone who has the seed.")
    wrong = [_fault(group) for group in groups if group.shared or group.passed]
    if wrong:
        raise LedgerError("; ".join(wrong))
    return groups


def _within(place: Path) -> tuple[list[Path], list[Path]]:
    """(ledgers, run folders) that a source stands for."""
    if place.is_file():
        return [place], []
    if (place / "journal.sqlite").is_file():
        return [], [place]
    if not place.is_dir():
        raise TestbenchError(f"there is no {place}; give a ledger, a run, or a folder that holds them")
    runs = sorted(file.parent for file in place.rglob("journal.sqlite") if (file.parent / "scenario.toml").is_file())
    return sorted(place.rglob(NAME)), runs


def _of_run(folder: RunFolder, ledgers: dict[Path, list[Entry]]) -> list[Entry]:
    """A run's rows in its own ledger; where it has none there, what its folder tells."""
    own = ledger_path(folder.load_scenario(), folder.path)
    if own is not None and own.is_file():
        known = ledgers[own] if own in ledgers else Ledger(own).entries()
        if found := [entry for entry in known if entry.run == os.path.abspath(folder.path)]:
            return found
    told = entry_of_folder(folder)
    return [] if told is None else [told]


def _show(console: Console, group: DataGroup) -> None:
    naming = {entry.run: _short(entry.run) for entry in group.entries}
    say(console, f"data {group.task_sha256[:16]}" + (" and devices' own" if any(e.own_data for e in group.entries) else ""))
    table = Table(box=None, pad_edge=False)
    table.add_column("run", no_wrap=True)
    for heading in ("began (UTC)", "", "of", "ε", "δ", "μ", "by", "q", "noise"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in ("ε", "δ", "μ", "q") else "left")
    shared = {entry.noise_sha256 for pair in group.shared for entry in pair}
    for release in group.releases:
        for number, entry in enumerate(release):
            charge = entry.charge
            noise = entry.randomness if entry.noise_sha256 is None else f"{entry.randomness} {entry.noise_sha256[:6]}"
            table.add_row(
                escape(naming[entry.run]),
                entry.began[:16].replace("T", " "),
                "the same again" if number else entry.state,
                _OF[entry.relation],
                f"{charge.epsilon:.4g}",
                f"{charge.delta:.3g}",
                "" if charge.mu_squared is None else f"{math.sqrt(charge.mu_squared):.4g}",
                entry.accountant,
                "" if entry.sampling_rate is None else f"{entry.sampling_rate:.3g}",
                noise + (", shared" if entry.noise_sha256 in shared else ""),
            )
    console.print(table)
    say(console, f"total: {in_words(group, naming)}")
    if "client_value" in group.relations and group.total.relation != "client_value":
        why = "some runs protect single records" if len(group.relations) > 1 else "runs deal records to devices in other ways"
        say(console, f"no total of all that one device sends: {why}")
    against = sorted({entry.adversary for entry in group.entries})
    if len(against) == 1:
        say(console, f"against: {against[0]}")
    else:
        say(console, f"against: who is in each run no stronger than it states ({len(against)} adversaries)")
    if group.budget is not None:
        say(console, f"budget: epsilon = {group.budget:g} (privacy.ledger_epsilon)" + (", passed" if group.passed else ""))
    say(console, "")


def _fault(group: DataGroup) -> str:
    if group.shared:
        return f"data {group.task_sha256[:16]}: {in_words(group, {e.run: _short(e.run) for e in group.entries})}"
    return (
        f"data {group.task_sha256[:16]}: epsilon = {group.total.epsilon:.4g} passes privacy.ledger_epsilon = {group.budget:g}"
    )


def _short(path: str) -> str:
    near = os.path.relpath(path)
    return near if len(near) < len(path) else path
