"""What the runs of a ledger spend together: which are on the same data, which are one release, which share their noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from learning.privacy.composition import Charge, Total, total_of
from testbench.privacy.ledger import Entry

__all__ = ["DataGroup", "groups_of", "in_words"]

Key = tuple[str | None, ...]

_OF = {
    "client_value": "all that one device sends",
    "record_replace_one": "one record, replaced by any other",
    "record_add_remove": "one record, present or not",
}


@dataclass(frozen=True)
class DataGroup:
    """All runs on the same data.

    :param entries: in the order in which they began
    :param releases: the same, those together that released the same numbers, which tell no more than one of them
    :param shared: pairs of runs that share their noise and send something else, also with a run on other data
    :param total: of all; its epsilon is infinite where noise is shared
    :param budget: the smallest that a run stated for all of them
    """

    entries: tuple[Entry, ...]
    releases: tuple[tuple[Entry, ...], ...]
    shared: tuple[tuple[Entry, Entry], ...]
    total: Total
    budget: float | None

    @property
    def task_sha256(self) -> str:
        """Names the group: the data of its first run."""
        return self.entries[0].task_sha256

    @property
    def passed(self) -> bool:
        """Whether the budget is passed."""
        return self.budget is not None and self.total.epsilon > self.budget

    @property
    def relations(self) -> set[str]:
        """What the runs are counted for."""
        return {one.relation for one in self.entries}


def groups_of(entries: Sequence[Entry], delta: float | None = None) -> list[DataGroup]:
    """The runs by data, each group with its total.

    :param delta: that totals are stated at; None: the sum of the runs' own
    :raises learning.privacy.errors.PrivacyError: a delta that the runs have spent themselves
    """
    keys = _release_keys(entries)
    releases = _joined(entries, keys)
    sharing: dict[str, list[list[Entry]]] = {}
    for release in releases:
        for noise in {entry.noise_sha256 for entry in release} - {None}:
            sharing.setdefault(str(noise), []).append(release)
    by_data = _joined(entries, [entry.labels | key for entry, key in zip(entries, keys, strict=True)])
    return [_group(members, releases, sharing, delta) for members in by_data]


def in_words(group: DataGroup, naming: dict[str, str] | None = None) -> str:
    """What a group has spent, in one sentence without a full stop; ``naming``: run folders to what they are called here."""
    count = len(group.entries)
    runs = "1 run" if count == 1 else f"{count} runs"
    if group.shared:
        one, other = ((naming or {}).get(entry.run, entry.run) for entry in group.shared[0])
        more = f" (and {len(group.shared) - 1} more such pairs)" if len(group.shared) > 1 else ""
        return (
            f"{runs} on these data, together private to nobody: {one} and {other} share their noise{more}, and their "
            "difference is free of it"
        )
    total = group.total
    reserved = sum(entry.state == "reserved" for entry in group.entries)
    held = f", of which {reserved} reserved and not ended" if reserved else ""
    if total.epsilon == math.inf:
        return f"{runs} on these data{held}, whose total says nothing: delta adds up to {total.delta:.3g}"
    return (
        f"{runs} on these data{held}: epsilon = {total.epsilon:.4g} at delta = {total.delta:.3g} together, of "
        f"{_OF[total.relation]}"
    )


def _group(
    entries: list[Entry], releases: list[list[Entry]], sharing: dict[str, list[list[Entry]]], delta: float | None
) -> DataGroup:
    inside = {id(entry) for entry in entries}
    own = [release for release in releases if id(release[0]) in inside]
    shared = []
    for noise in dict.fromkeys(entry.noise_sha256 for entry in entries if entry.noise_sha256 is not None):
        mine = [release[0] for release in sharing[noise] if id(release[0]) in inside]
        others = [release[0] for release in sharing[noise] if id(release[0]) not in inside]
        shared += [(mine[0], other) for other in mine[1:] or others[:1]]
    clients = {entry.split_sha256 for entry in entries if entry.relation == "client_value"}
    total = total_of([_largest(release) for release in own], delta, same_devices=len(clients) < 2)
    budgets = [entry.ledger_epsilon for entry in entries if entry.ledger_epsilon is not None]
    return DataGroup(
        tuple(entries),
        tuple(map(tuple, own)),
        tuple(shared),
        replace(total, epsilon=math.inf) if shared else total,
        min(budgets, default=None),
    )


def _largest(release: list[Entry]) -> Charge:
    """The charge of runs that released the same: of the one that went furthest."""
    return max((entry.charge for entry in release), key=lambda one: (one.epsilon, one.mu_squared or 0.0))


def _release_keys(entries: Sequence[Entry]) -> list[frozenset[Key]]:
    """For each run a key that it shares with those that released the same numbers, or will.

    Of runs that have ended their estimates tell. One that has not is taken for the same as another where everything that shapes
    what is sent is the same, the noise and the machine too: there a run has the same bits whenever it is made.
    """
    ended: dict[Key, Key] = {}
    for one in entries:
        if one.released_sha256 is not None:
            ended.setdefault(_made(one), ("released", one.released_sha256))
    found: list[frozenset[Key]] = []
    for at, one in enumerate(entries):
        if one.released_sha256 is not None:
            key: Key = ("released", one.released_sha256)
        elif one.noise_sha256 is None or one.machine_sha256 is None:
            key = ("alone", str(at))
        else:
            key = ended.get(_made(one), _made(one))
        found.append(frozenset({key}))
    return found


def _made(one: Entry) -> Key:
    """Everything that decides the bits of a run."""
    return (one.noise_sha256, one.content_sha256, one.machine_sha256)


def _joined(entries: Sequence[Entry], keys: Sequence[frozenset[Any]]) -> list[list[Entry]]:
    """The entries in groups, in which each has a key in common with another; all in their order."""
    parent = list(range(len(entries)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = at = parent[parent[at]]
        return at

    first: dict[Any, int] = {}
    for at, own in enumerate(keys):
        for key in own:
            one, other = sorted((root(at), root(first.setdefault(key, at))))
            parent[other] = one
    groups: dict[int, list[Entry]] = {}
    for at, entry in enumerate(entries):
        groups.setdefault(root(at), []).append(entry)
    return list(groups.values())
