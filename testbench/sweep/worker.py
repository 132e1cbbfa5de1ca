"""Evaluate one point: plain data in, plain data out, in whatever process. The only place where a sweep meets link and learner.

Nothing but JSON-like data goes in and comes out, and the function is named, not sent: whoever carries it (a process pool, Dask)
needs to know no class of ours.
"""

import math
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from testbench.scenario import Scenario, build

__all__ = ["evaluate", "link_refusal"]

# Weights of the progress bar: a round of a scalar at symbol fidelity is 1.
ROUND_WEIGHT = 1.0
TRAINING_WEIGHT = 30_000.0
WAVEFORM_WEIGHT = 300.0

_NOT_COLUMNS = ("notes", "versions", "name", "seed")
# Threads of one Dask worker take turns: learner and link are measured alone in their process.
_ALONE = threading.Lock()


def evaluate(task: dict[str, Any]) -> dict[str, Any]:
    """Measure a point.

    ``task``: ``id``, ``measure`` (run or link), ``scenario`` (plain data), ``measurement`` (of a link), ``folder`` (where a run
    is kept, or None), ``ledger`` (of runs that are not kept) and ``figures``. Returns ``id`` with ``values`` (name -> number,
    text or None), ``took_s``, ``pid`` and ``version``; or with ``error``, a sentence, so that other points go on.
    """
    with _ALONE:
        began = time.perf_counter()
        about = {"id": task["id"], "pid": os.getpid(), "version": own_version()}
        try:
            if task.get("version") not in (None, about["version"]):
                raise RuntimeError(f"the worker runs pairzero {about['version']} and the sweep is of {task['version']}")
            scenario = build(task["scenario"], "the point")
            values = _link(scenario, task["measurement"]) if task["measure"] == "link" else _run(scenario, task)
        except Exception as error:
            return {**about, "error": " ".join(str(error).split()) or type(error).__name__}
        return {**about, "values": values, "took_s": time.perf_counter() - began}


def own_version() -> str:
    """The version of pairzero that is installed here."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pairzero")
    except PackageNotFoundError:
        return "unknown"


def link_refusal(scenario: Scenario) -> str | None:
    """Why a scenario's link cannot be measured without learning; None where it can."""
    if scenario.uplink.transport == "none":
        return 'measure "link" needs a link, and uplink.transport is "none"; take measure "run"'
    if scenario.privacy.on:
        return 'measure "link" knows no privacy plan; leave out privacy.epsilon, or take measure "run"'
    if scenario.federation.faults.miss_probability:
        return 'measure "link" knows no federation.faults.miss_probability; take measure "run"'
    return None


def _link(scenario: Scenario, measurement: dict[str, Any]) -> dict[str, Any]:
    """Errors of the estimate, as a stress test measures them: NMSE, wrong signs and lost rounds with their bands."""
    import numpy as np

    from phy.accounting import channel_uses
    from testbench.stress.axes import ProtocolFaults
    from testbench.stress.evaluate import measure
    from testbench.stress.metrics import summarise
    from testbench.stress.plan import PayloadLaw
    from testbench.stress.points import Point, Unit, is_static

    link, faults, rounds = scenario.link, scenario.federation.faults, int(measurement["rounds"])
    plain = link.model_dump(mode="json")
    sessions = min(int(measurement["static_sessions" if is_static(plain) else "sessions"]), rounds)
    point = Point(
        id="point", group="sweep", contestant="", label="", axis="", value=math.nan, unit="", preset="",
        entries=int(measurement["entries"]), rounds=rounds, sessions=sessions, batches=sessions,
        devices=scenario.federation.devices, seed=scenario.seed,
        payload=PayloadLaw(sigma=measurement["sigma"], correlation=measurement["correlation"]),
        faults=ProtocolFaults(
            late_probability=faults.late_probability, late_rounds=faults.late_rounds,
            lost_broadcast_probability=faults.lost_broadcast_probability, resync_every=faults.resync_every,
            wrong_seed_probability=faults.wrong_seed_probability,
        ),
        link=plain,
    )  # fmt: skip
    _one_thread()
    measured = measure(Unit("point", point, 0, -(-rounds // point.session_rounds()), 1.0))
    values = summarise(measured.batches, np.asarray(measured.errors), point.entries)
    uses = channel_uses(link, point.devices, point.entries)
    return {
        **{name: _plain(value) for name, value in values.items()},
        "participation": _plain(sum(batch["active"] for batch in measured.batches) / (rounds * point.devices)),
        "devices": point.devices,
        "n0": link.n0,
        "clip": link.clip,
        "payload_symbols_per_round": uses["payload"],
        "pilot_symbols_per_round": uses["pilots"],
        "overhead_symbols_per_round": uses["preamble"] + uses["guard"],
    }


def _run(scenario: Scenario, task: dict[str, Any]) -> dict[str, Any]:
    """A whole learning run, continued where a killed one left off; the scalars of its summary."""
    from testbench.run_folder import RunFolder
    from testbench.runner import run_scenario

    kept = task.get("folder")
    if not kept and scenario.privacy.ledger == "auto":  # the folder above is nobody's
        place = task.get("ledger")
        ledger = place if place and Path(place).parent.is_dir() else "none"  # a worker elsewhere may not see it
        scenario = scenario.model_copy(update={"privacy": scenario.privacy.model_copy(update={"ledger": ledger})})
    path = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="pairzero-point-"))
    try:
        folder = RunFolder(path)
        resume = folder.scenario.is_file() and folder.journal.is_file()
        summary = run_scenario(scenario, folder, resume=resume, figures=bool(task.get("figures"))).summary
    finally:
        if not kept:
            shutil.rmtree(path, ignore_errors=True)
    return {name: _plain(value) for name, value in summary.items() if name not in _NOT_COLUMNS}


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _plain(value: Any) -> Any:
    """Numbers that are none become None; JSON and tables have no other word for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
