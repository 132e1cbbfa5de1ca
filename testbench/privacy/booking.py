"""A run's place in its ledger, from before its first round until it has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from learning.data import TaskData
from learning.federation import Federation
from testbench.errors import LedgerError
from testbench.privacy.ledger import Entry, Ledger
from testbench.privacy.ledger_entry import ledger_path, planned_entry, released_sha256
from testbench.privacy.run_plan import RunPlan
from testbench.privacy.run_secret import RunSecret
from testbench.privacy.totals import DataGroup, groups_of, in_words
from testbench.run_folder import RunFolder
from testbench.scenario import Scenario

__all__ = ["Booking", "book"]


class Booking:
    """What a run has reserved; hold it (``with``) while the run lasts, and ``settle`` it at the end.

    One that ends with an exception before anything was sent leaves the ledger as it was; one that ends so later, or is killed,
    stays reserved, since it may be resumed.
    """

    def __init__(self, ledger: Ledger, number: int, entry: Entry, before: Entry | None, begun: bool) -> None:
        self._ledger, self._number, self._entry, self._before = ledger, number, entry, before
        self._begun = begun  # in an earlier invocation
        self._federation: Federation | None = None

    def watch(self, federation: Federation) -> None:
        """Know whose rounds are sent."""
        self._federation = federation

    def settle(self, privacy: Mapping[str, Any], folder: RunFolder, rounds: int, own_data: bool) -> str:
        """Replace what was reserved by what was spent; returns a line on what all runs on the data have.

        :param privacy: the run's keys of its summary
        :param own_data: whether a device has brought data of its own since it was resumed
        """
        began = self._entry.began if self._before is None else self._before.began
        entry = replace(
            self._entry,
            began=began,
            state="spent",
            own_data=own_data or (self._begun and (self._before or self._entry).own_data),
            spent_epsilon=privacy["epsilon_spent"],
            spent_mu_squared=privacy["mu_squared"],
            rounds=rounds,
            released_sha256=released_sha256(folder.journal),
        )
        try:
            if not (entry.spent_epsilon or entry.spent_mu_squared):
                self._ledger.release(self._number)
                return f"ledger: this run has spent nothing ({self._ledger.path})"
            rows = self._ledger.settle(self._number, entry)
        except LedgerError as error:
            return f"warning: the run stays reserved in its ledger: {error}"
        return f"ledger: {in_words(_group_of(rows[self._number], list(rows.values())))} ({self._ledger.path})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None or (self._federation is not None and self._federation.begun):
            return
        with suppress(LedgerError):  # there is an exception already
            if self._before is not None:
                self._ledger.settle(self._number, self._before)
            elif not self._begun:
                self._ledger.release(self._number)


def book(
    scenario: Scenario,
    folder: RunFolder,
    data: TaskData,
    plan: RunPlan | None,
    hidden: RunSecret | None,
    resume: bool,
    say: Callable[[str], None],
) -> Booking | None:
    """Reserve what a run plans to spend, in the ledger that its scenario names; None where there is none.

    :param resume: whether it may be a run that was cut off
    :raises LedgerError: it would pass ``privacy.ledger_epsilon``, or a ledger that was asked for cannot be used
    """
    path = None if plan is None else ledger_path(scenario, folder.path)
    if plan is None or path is None:
        return None
    ledger, entry, committed = Ledger(path), planned_entry(scenario, folder.path, data, plan, hidden), folder.committed_rounds()
    ended = committed >= scenario.federation.rounds

    partners: list[Entry] = []

    def check(entries: Sequence[Entry]) -> None:
        if not ended:
            group = _group_of(entries[-1], entries)
            partners.extend(_partners(entries[-1], group))
            _refuse(entries[-1], group, partners, ledger)

    try:
        number, before = ledger.reserve(entry, resumed=resume, ended=ended, check=check)
    except LedgerError as error:
        if scenario.privacy.ledger != "auto" or scenario.privacy.ledger_epsilon is not None:
            raise
        say(f"warning: what this run spends is added to no other: {error}")
        return None
    if partners:
        say(f"note: this run shares its noise with {partners[0].run}, so that the two together are private to nobody")
    return Booking(ledger, number, entry, before, committed > 0)


def _group_of(entry: Entry, entries: Sequence[Entry]) -> DataGroup:
    """The group of ``entry``, which is one of ``entries``."""
    return next(group for group in groups_of(entries) if any(one is entry for one in group.entries))


def _partners(entry: Entry, group: DataGroup) -> list[Entry]:
    """Runs that share the noise of ``entry`` and send something else."""
    return [one for pair in group.shared if any(one is entry for one in pair) for one in pair if one is not entry]


def _refuse(entry: Entry, group: DataGroup, partners: Sequence[Entry], ledger: Ledger) -> None:
    """Refuse a run whose own budget for all of its group would be passed."""
    budget = entry.ledger_epsilon
    if budget is None:
        return
    if partners:
        raise LedgerError(
            f"privacy.ledger_epsilon: this run would share its noise with {partners[0].run}, and the two together are private "
            f'to nobody; set privacy.randomness = "secret", or take another seed ({ledger.path})'
        )
    if group.shared:
        raise LedgerError(
            f"privacy.ledger_epsilon = {budget:g} is passed already: {in_words(group)}; take other data ({ledger.path})"
        )
    if group.total.epsilon > budget:
        raise LedgerError(
            f"privacy.ledger_epsilon = {budget:g} would be passed by this run: with it, {in_words(group)}; lower "
            f"privacy.epsilon, raise the budget, or take other data ({ledger.path})"
        )
