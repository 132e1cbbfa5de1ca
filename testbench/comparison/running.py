"""Run one method in its folder, measuring held-out data and training seconds on the way."""

import math
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from learning.baselines.federation import FirstOrderFederation
from learning.baselines.uplinks import DigitalUplink
from learning.parameters import weights_sha256
from learning.uplink import Uplink
from testbench.comparison.folder import MethodFolder
from testbench.comparison.method import FirstOrder, Method, ZerothOrder
from testbench.memory import peak_rss_mib
from testbench.run_folder import Evaluation, RunFolder
from testbench.runner import Watcher, prepare, run_scenario
from testbench.uplinks import OpenUplink, open_uplink


class Stopwatch(Watcher):
    """Hands everything on to another watcher; records measurements with the training seconds up to them.

    Training seconds are those between rounds: measuring held-out data, loading and replaying are left out. Of a run that was
    cut off, rounds after the last measurement count with the mean of those before it.
    """

    def __init__(self, inner: Watcher, folder: MethodFolder, title: str) -> None:
        self._inner, self._folder, self._title = inner, folder, title
        self._seconds = 0.0
        self._mark = 0.0
        self._measured: set[int] = set()

    def say(self, text: str) -> None:
        """Only what is out of the ordinary: a comparison has many runs."""
        if text.startswith("warning:"):
            self._inner.say(f"{self._title}: {text}")

    def preparing(self, what: str, done: int, total: int) -> None:
        """Hand on."""
        self._inner.preparing(what, done, total)

    def started(self, label: str, done: int, total: int) -> None:
        """Begin to count, where an earlier run of this method ended."""
        track = [entry for entry in self._folder.track() if entry["round"] <= done]
        self._measured = {entry["round"] for entry in track}
        if track and track[-1]["round"]:
            last = track[-1]
            self._seconds = last["seconds"] * done / last["round"]
        self._inner.started(self._title, done, total)
        self._mark = time.perf_counter()

    def round(self, loss: float, received_snr_db: float | None) -> None:
        """One more round is committed."""
        now = time.perf_counter()
        self._seconds += now - self._mark
        self._inner.round(loss, received_snr_db)
        self._mark = time.perf_counter()

    def spent(self, epsilon: float) -> None:
        """Hand on."""
        self._inner.spent(epsilon)

    def evaluated(self, evaluation: Evaluation) -> None:
        """Record a measurement, unless it is an earlier run's."""
        if evaluation.round not in self._measured:
            self._measured.add(evaluation.round)
            entry = {"round": evaluation.round, "score": evaluation.score, "loss": evaluation.loss, "metric": evaluation.metric}
            self._folder.add({**entry, "seconds": self._seconds})
        self._inner.evaluated(evaluation)
        self._mark = time.perf_counter()

    def finished(self) -> None:
        """Hand on."""
        self._inner.finished()


def run_method(name: str, method: Method, folder: MethodFolder, watcher: Watcher) -> dict[str, Any]:
    """Run ``method`` to its end and mark its folder; a zeroth-order run that was cut off goes on from its journal."""
    stopwatch = Stopwatch(watcher, folder, method.title)
    facts = _zeroth(method, folder, stopwatch) if isinstance(method, ZerothOrder) else _first(method, folder, stopwatch)
    track = folder.track()
    facts = {
        "method": name,
        "title": method.title,
        "kind": "zeroth order" if isinstance(method, ZerothOrder) else "first order",
        "seed": method.scenario.seed,
        "devices": method.scenario.federation.devices,
        "rounds": track[-1]["round"],
        "metric": track[-1]["metric"],
        "score_zero_shot": track[0]["score"],
        "score_final": track[-1]["score"],
        "loss_zero_shot": track[0]["loss"],
        "loss_final": track[-1]["loss"],
        "seconds": track[-1]["seconds"],
        "costs": asdict(method.costs(facts["parameters"])),
        **facts,
        "notes": [*method.notes, *facts["notes"]],
        "track": track,
    }
    folder.finish(facts)
    return facts


def _zeroth(method: ZerothOrder, folder: MethodFolder, watcher: Stopwatch) -> dict[str, Any]:
    place = RunFolder(folder.path)
    resume = place.scenario.is_file()
    if not resume:
        folder.clear()
    uplink = None
    if method.uplink is not None:
        description: dict[str, int | float | str] = {
            "fidelity": "digital",
            "noise": "seed",
            "scheme": "digital, error-free",
            "payload_bits_per_scalar": method.bits,
        }
        uplink = OpenUplink(method.uplink, description, "in process, digital, error-free")
    summary = run_scenario(method.scenario, place, resume=resume, watcher=watcher, uplink=uplink).summary
    return {
        **{key: summary[key] for key in ("parameters", "weights_sha256", "lost_rounds", "nmse_db", "clipped_fraction")},
        "peak_rss_mib": summary["peak_rss_mib"],
        "notes": summary["notes"],
    }


def _first(method: FirstOrder, folder: MethodFolder, watcher: Stopwatch) -> dict[str, Any]:
    folder.clear()  # first-order weights are in no journal: a run that was cut off begins again
    scenario = method.scenario
    total, every = scenario.federation.rounds, scenario.evaluation.every
    data, build = prepare(scenario, watcher)
    objective = build()
    skipped = lost_blocks = 0
    clipped: list[float] = []
    with ExitStack() as stack:
        uplink: Uplink = DigitalUplink(scenario.baselines.entry_bits)
        if method.link is not None:
            air = scenario.model_copy(update={"link": method.link})
            uplink = stack.enter_context(open_uplink(air)).uplink
        federation = FirstOrderFederation(objective, data, scenario.federation, method.rule, uplink, method.blocks)

        def measure() -> bool:
            held_out = federation.evaluate()
            loss = held_out.loss if math.isfinite(held_out.loss) else None
            watcher.evaluated(Evaluation(federation.next_round, held_out.score, loss, held_out.metric, held_out.more))
            return loss is not None

        watcher.started("", 0, total)
        stack.callback(watcher.finished)
        measure()
        for record in federation.run(total):
            watcher.round(record.mean_loss, None)
            skipped += record.skipped
            lost_blocks += record.lost_blocks
            clipped.append(record.clipped_fraction)
            if _worth_measuring(federation.next_round, every, total) and not measure():
                watcher.say(
                    f"warning: the weights diverged by round {federation.next_round} (the held-out loss is not a number); "
                    "lower the method's learning rate under [baselines]"
                )
                break
    return {
        "parameters": federation.parameter_count,
        "weights_sha256": weights_sha256(objective.model),
        "skipped_rounds": skipped,
        "lost_blocks": lost_blocks,
        "clipped_fraction": sum(clipped) / len(clipped),
        "peak_rss_mib": peak_rss_mib(),
        "notes": list(objective.notes),
    }


def _worth_measuring(at: int, every: int, total: int) -> bool:
    """Every so often, at the end, and at powers of two: first-order methods do much in their first rounds."""
    return at % every == 0 or at == total or at & (at - 1) == 0
