"""What the ledger holds of a run: from its plan before it begins, or from the folder that it left, with or without a ledger."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bridge.secrets import derive, read_secret
from learning.data import TaskData
from learning.journal import Journal
from learning.privacy import gdp
from learning.privacy.guard import EPSILON, MU, RAW
from testbench.errors import TestbenchError
from testbench.privacy.adversary import adversary
from testbench.privacy.energy_design import EnergyDesign
from testbench.privacy.ledger import NAME, Entry
from testbench.privacy.run_plan import RunPlan
from testbench.privacy.run_secret import FOLDER, RunSecret
from testbench.privacy.secrecy import randomness
from testbench.privacy.settings import ENERGY_SCHEMES
from testbench.run_folder import RunFolder
from testbench.scenario import Scenario

__all__ = ["entry_of_folder", "ledger_path", "planned_entry", "released_sha256"]

#: They change neither what is sent nor the noise.
_IDLE = ("name", "uplink", "evaluation", "baselines", "fleet", "compute")
_IDLE_PRIVACY = ("strict", "ledger", "ledger_epsilon")
_SHAPING = ("pairzero", "torch", "numpy")


def ledger_path(scenario: Scenario, folder: Path) -> Path | None:
    """The ledger of a run in ``folder``; None where it is switched off."""
    stated = scenario.privacy.ledger
    if stated == "none":
        return None
    return Path(os.path.abspath(folder)).parent / NAME if stated == "auto" else Path(stated)


def planned_entry(scenario: Scenario, folder: Path, data: TaskData, plan: RunPlan, hidden: RunSecret | None) -> Entry:
    """A run before its first round, with all that it may spend."""
    settings = plan.settings
    epsilon, square, extra, rate = plan.planned_epsilon, None, 0.0, None
    if settings.on_budget == "stop" and settings.epsilon is not None:
        epsilon = min(epsilon, settings.epsilon)
    if not isinstance(plan, EnergyDesign):
        extra, rate = plan.charging.extra_delta, plan.sampling_rate
        if rate is None:
            square = float(plan.squares.sum(axis=0).max())
            if settings.on_budget == "stop" and settings.accounting == "gdp" and settings.epsilon is not None:
                square = min(square, _square(settings.epsilon, settings.delta - extra))
    task = data.sha256()
    return Entry(
        run=os.path.abspath(folder),
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        state="reserved",
        task_sha256=task,
        records_sha256=_records_sha256(data),
        own_data=scenario.fleet.on,
        split_sha256=_split_sha256(scenario),
        relation=settings.sensitivity,
        adversary=adversary(scenario),
        accountant=settings.accounting,
        delta=settings.delta,
        extra_delta=extra,
        sampling_rate=rate,
        planned_epsilon=epsilon,
        planned_mu_squared=square,
        spent_epsilon=None,
        spent_mu_squared=None,
        rounds=0,
        randomness=randomness(scenario),
        noise_sha256=_noise_sha256(scenario, randomness(scenario), None if hidden is None else hidden.tag),
        content_sha256=_content_sha256(scenario, task),
        machine_sha256=_machine_sha256(scenario),
        released_sha256=None,
        ledger_epsilon=settings.ledger_epsilon,
    )


def entry_of_folder(folder: RunFolder) -> Entry | None:
    """A run as its folder tells of it, by whatever version it was made; None where it claims no privacy or sent nothing.

    One that never ended counts for its promise, or for what it has spent where that is more.
    """
    scenario = folder.load_scenario()
    settings = scenario.privacy
    if not settings.on or settings.epsilon is None:
        return None
    with Journal(folder.journal, read_only=True) as journal:
        meta, rows = journal.meta, list(journal.rows())
    summary = _summary(folder)
    spent = max((float(row.diagnostics.get(EPSILON) or 0.0) for row in rows), default=0.0)
    if not rows or "task_sha256" not in meta or (summary is not None and spent == 0.0):
        return None
    if settings.as_printed and summary is not None:
        spent = max(spent, float(summary.get("epsilon_gdp") or 0.0))
    # Gains beyond the bound of "tail" have a part of delta that a folder does not tell of: its epsilon holds as it is.
    plain = settings.amplification or settings.csi_gain == "tail" or scenario.link.scheme in ENERGY_SCHEMES
    keyed = _keyed(folder, scenario, summary)
    square = None if plain else _square_spent(scenario, summary, [float(row.diagnostics.get(MU) or 0.0) for row in rows])
    promised = None if plain else _square(settings.epsilon, settings.delta)
    ended = summary is not None and summary.get("rounds") == len(rows)
    return Entry(
        run=os.path.abspath(folder.path),
        began=datetime.fromtimestamp(folder.scenario.stat().st_mtime, UTC).isoformat(timespec="seconds"),
        state="spent" if ended else "reserved",
        task_sha256=str(meta["task_sha256"]),
        records_sha256=None,
        own_data=scenario.fleet.on,
        split_sha256=_split_sha256(scenario),
        relation=settings.sensitivity,
        adversary=str((summary or {}).get("adversary") or adversary(scenario)),
        accountant=settings.accounting,
        delta=settings.delta,
        extra_delta=0.0,
        sampling_rate=None if summary is None else summary.get("sampling_rate"),
        planned_epsilon=max(settings.epsilon, spent),
        planned_mu_squared=None if promised is None else max(promised, square or 0.0),
        spent_epsilon=spent,
        spent_mu_squared=square,
        rounds=len(rows),
        randomness=keyed,
        noise_sha256=_noise_sha256(scenario, keyed, _tag(folder)),
        content_sha256=_content_sha256(scenario, str(meta["task_sha256"])),
        machine_sha256=None,
        released_sha256=released_sha256(folder.journal) if ended else None,
        ledger_epsilon=settings.ledger_epsilon,
    )


def released_sha256(path: Path) -> str:
    """SHA-256 of what everybody was told in all rounds of a journal, and of what was received where that is something else."""
    digest = hashlib.sha256()
    with Journal(path, read_only=True) as journal:
        for row in journal.rows():
            raw = [value for name, value in sorted(row.diagnostics.items()) if name.startswith(RAW)]
            digest.update(json.dumps([row.round, row.estimates, raw]).encode())
    return digest.hexdigest()


def _square(epsilon: float, delta: float) -> float:
    """The mu^2 that such a promise allows, not less."""
    return gdp.mu(epsilon, delta) ** 2 * (1.0 + 1e-9)


def _square_spent(scenario: Scenario, summary: dict[str, Any] | None, mus: list[float]) -> float:
    """Sum of mu^2 of the most exposed device: as the summary has it, or not less, from what the journal says of rounds."""
    if summary is not None and summary.get("mu_squared") is not None:
        return float(summary["mu_squared"])
    found = math.fsum(mu * mu for mu in mus)
    return 2.0 * found if scenario.privacy.as_printed else found  # N0 is printed where the real axis has N0/2


def _records_sha256(data: TaskData) -> str:
    digest = hashlib.sha256()
    for text in sorted(repr((record, data.answers[label] if data.generates else label)) for record, label in data.train):
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()


def _split_sha256(scenario: Scenario) -> str:
    """Of who holds which records."""
    federation = scenario.federation
    how: list[Any] = [federation.devices, federation.split]
    if federation.split != "by_file":
        how.append(federation.seed)
    if federation.split == "dirichlet":
        how += [federation.dirichlet_alpha, federation.dirichlet_min_examples]
    return _sha256("split", how)


def _noise_sha256(scenario: Scenario, keyed: str, tag: str | None) -> str | None:
    """Fingerprint of what keys the noise; None where it is drawn anew each time, or nobody can tell what keyed it."""
    if keyed == "seed":
        return _sha256("seed", scenario.seed)
    return _sha256("secret", tag) if keyed == "secret" and tag is not None else None


def _content_sha256(scenario: Scenario, task_sha256: str) -> str:
    data = {key: value for key, value in scenario.plain().items() if key not in _IDLE}
    data["privacy"] = {key: value for key, value in data["privacy"].items() if key not in _IDLE_PRIVACY}
    return _sha256("content", [data, task_sha256])


def _machine_sha256(scenario: Scenario) -> str:
    versions = [_version(name) for name in _SHAPING]
    return _sha256("machine", [platform.node(), platform.machine(), scenario.compute.threads, versions])


def _sha256(what: str, value: Any) -> str:
    return hashlib.sha256(f"pairzero ledger {what} {json.dumps(value, sort_keys=True)}".encode()).hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _summary(folder: RunFolder) -> dict[str, Any] | None:
    """Of a run that ended."""
    if not folder.summary.is_file():
        return None
    try:
        return dict(json.loads(folder.summary.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise TestbenchError(f"{folder.summary} cannot be read ({error}); restore it from a copy, or delete it") from error


def _keyed(folder: RunFolder, scenario: Scenario, summary: dict[str, Any] | None) -> str:
    """What keyed a run's noise; where nothing says so, the seed, as in all versions that could not do otherwise."""
    if summary is not None:
        return str(summary.get("randomness") or "seed")
    if _tag(folder) is not None:
        return "secret"
    return "fresh" if randomness(scenario) == "fresh" else "seed"


def _tag(folder: RunFolder) -> str | None:
    """The public tag of a run with a secret, while it lasts and after."""
    place = folder.path / FOLDER
    if (place / "destroyed").is_file():
        left = (place / "destroyed").read_text(encoding="utf-8").split()
        return left[0] if left else None
    return derive(read_secret(place / "noise.key"), "pairzero run").hex() if (place / "noise.key").is_file() else None
