"""What a run claimed, from its folder: also one whose plan an earlier version made by other rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning.journal import Journal, JournalRow
from learning.privacy.guard import EPSILON, MU, present_in
from testbench.errors import TestbenchError
from testbench.privacy.design import Design, design
from testbench.privacy.guarding import plan_sha256
from testbench.run_folder import RunFolder
from testbench.scenario import Scenario, build

__all__ = ["PastClaim", "past_claim"]

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class PastClaim:
    """A run that was.

    :param scenario: its own, with an adversary that is stated; :param design: the plan that it followed
    :param epsilon: what it says that it spent; :param sent: rounds that were on the air
    :param absent: round -> who was present, where not everybody was
    :param notes: what had to be assumed
    """

    scenario: Scenario
    design: Design
    epsilon: float
    sent: NDArray[np.int64]
    absent: dict[int, Bools]
    notes: tuple[str, ...]


def past_claim(folder: RunFolder, scenario: Scenario, counts: list[int]) -> PastClaim:
    """Read a run's journal.

    :raises TestbenchError: nothing was sent, or what was sent cannot be told any more
    """
    with Journal(folder.journal, read_only=True) as journal:
        rows, meta = list(journal.rows()), journal.meta
    sent = [row for row in rows if row.diagnostics.get(MU)]
    if not sent:
        raise TestbenchError(f"{folder.path} has sent nothing yet; verify its scenario, {folder.scenario}")
    stated, notes = _stated(scenario)
    planned = design(stated, counts)
    if plan_sha256(planned) != meta.get("privacy_plan_sha256"):
        planned = _as_sent(folder, planned, rows)
        notes.append(
            "the run was planned by other rules than today's; its amplitudes are read from its journal, and computed is what "
            "they really gave away"
        )
    devices = scenario.federation.devices
    partly = {row.round: present_in(row.diagnostics, devices) for row in sent}
    return PastClaim(
        scenario=stated,
        design=planned,
        epsilon=max(float(row.diagnostics.get(EPSILON) or 0.0) for row in sent),
        sent=np.array([row.round for row in sent], np.int64),
        absent={index: present for index, present in partly.items() if not present.all()},
        notes=tuple(notes),
    )


def _stated(scenario: Scenario) -> tuple[Scenario, list[str]]:
    """The scenario with antennas that have channels: earlier versions took a number of them for so much more SNR."""
    count = scenario.privacy.adversary_antennas
    if count == 1:
        return scenario, []
    data: dict[str, Any] = scenario.plain()
    data["privacy"] |= {"adversary_antennas": 1, "csi_gain": "realised"}
    data["privacy"]["adversary"] = {"antennas": count - 1, "channel": "same"}
    note = (
        f"privacy.adversary_antennas = {count} did not say where they are: taken for the server's and {count - 1} more over "
        "channels like its own, drawn anew"
    )
    return build(data, "the run's scenario"), [note]


def _as_sent(folder: RunFolder, planned: Design, rows: list[JournalRow]) -> Design:
    """``planned`` with the amplitudes that the journal holds, and the artificial noise that follows from the summary."""
    amplitudes = np.zeros(len(planned.amplitudes))
    for row in rows:
        amplitudes[row.round] = float(row.diagnostics.get("aligned_gain") or 0.0) if row.diagnostics.get(MU) else 0.0
    noise = np.zeros(len(amplitudes))
    if planned.settings.noise_source != "receiver":
        level = _level(folder)
        if level > 0 and planned.settings.schedule not in ("static", "full_power"):
            raise TestbenchError(
                f"{folder.path} was planned by other rules than today's, and its journal does not hold the artificial noise of "
                "its rounds; run its scenario anew"
            )
        noise[:] = level
    power = planned.link.power.model_copy(
        update={"caps": tuple(amplitudes.tolist()), "artificial_noise": tuple(noise.tolist()) if noise.any() else 0.0}
    )
    return replace(
        planned,
        link=planned.link.model_copy(update={"power": power}),
        amplitudes=amplitudes,
        artificial_noise=noise,
        squares=planned.charging.squares(amplitudes, noise),
    )


def _level(folder: RunFolder) -> float:
    import json

    try:
        return float(json.loads(folder.summary.read_text(encoding="utf-8")).get("artificial_noise") or 0.0)
    except (OSError, ValueError) as error:
        raise TestbenchError(f"{folder.summary} cannot be read, and with it the run's artificial noise: {error}") from error
