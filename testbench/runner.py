"""Run a scenario: build the federation, go through its rounds, leave a complete run folder behind."""

import importlib.util
import math
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError
from learning.data import TaskData
from learning.federation import Federation
from learning.journal import Journal
from learning.objective import Objective
from learning.uplink import Uplink
from phy.effects import without_effect
from testbench.elsewhere import channel_remarks
from testbench.errors import RunFolderError
from testbench.memory import peak_rss_mib
from testbench.privacy.booking import book
from testbench.privacy.reporting import privacy_keys
from testbench.privacy.run_secret import RunSecret, run_secret
from testbench.privacy.secrecy import refuse_link, refuse_public_seed
from testbench.run_folder import Evaluation, RunFolder
from testbench.scenario import Scenario
from testbench.summary import LinkTotals, summarise
from testbench.uplinks import OpenUplink, noise_free, open_uplink, refuse_unsaid

if TYPE_CHECKING:
    from learning.privacy.guard import PrivacyGuard
    from testbench.fleet.coordinator import FleetHost
    from testbench.privacy.run_plan import RunPlan
    from testbench.tensorboard import Curves


class Watcher:
    """Who looks on while a scenario runs. This one is silent; the command line's draws progress bars."""

    def say(self, text: str) -> None:
        """A line worth reading."""

    def preparing(self, what: str, done: int, total: int) -> None:
        """A long preparation is under way."""

    def started(self, label: str, done: int, total: int) -> None:
        """A federation begins, or continues after ``done`` of ``total`` rounds."""

    def round(self, loss: float, received_snr_db: float | None) -> None:
        """One more round is committed."""

    def spent(self, epsilon: float) -> None:
        """So much privacy is spent, the round that comes next on the display included."""

    def evaluated(self, evaluation: Evaluation) -> None:
        """Held-out data was measured."""

    def finished(self) -> None:
        """The federation is through, or was cut off."""


@dataclass(frozen=True)
class RunResult:
    """A finished run: where it lies and its flat summary."""

    folder: RunFolder
    summary: dict[str, Any]


def run_scenario(
    scenario: Scenario,
    folder: RunFolder,
    *,
    resume: bool = False,
    watcher: Watcher | None = None,
    uplink: OpenUplink | None = None,
    figures: bool = True,
) -> RunResult:
    """Run ``scenario`` in ``folder`` and write its journal, summary and, with ``figures``, its figures and report.

    An ``uplink`` that is given takes the place of the scenario's.

    With ``resume``, a run that was cut off anywhere continues where its journal ends, to the same weights bit for bit.
    Raises the rooms' own errors, each one sentence; the journal then still holds every committed round.
    """
    if figures:
        from testbench.figures import draw_figures
        from testbench.report import write_report

    watcher = watcher or Watcher()
    began = time.perf_counter()
    if resume and not folder.path.is_dir():
        raise RunFolderError(f"there is no run folder {folder.path} to resume; leave out --resume to start one")
    with folder:
        _refuse_another_length(scenario, folder, resume)
        refuse_public_seed(scenario)
        folder.prepare(scenario, resume)
        hidden = run_secret(folder.path, scenario, folder.committed_rounds())
        data, build = prepare(scenario, watcher)
        plan = _plan(scenario, data, watcher)
        objective = build()
        notes = [*data.notes, *objective.notes, *ineffective(scenario), *channel_remarks(scenario)]
        notes += plan.notes if plan is not None else ()
        for note in notes:
            watcher.say(f"note: {note}")
        told = len(objective.notes)
        for sentence in plan.statement if plan is not None else ():
            watcher.say(f"privacy: {sentence}")
        planned = scenario if plan is None else scenario.model_copy(update={"link": plan.link})
        booking = book(scenario, folder, data, plan, hidden, resume, watcher.say)
        with (
            booking or nullcontext(),
            open_uplink(planned, hidden) if uplink is None else nullcontext(uplink) as opened,
            ExitStack() as stack,
        ):
            watcher.say(f"uplink: {opened.where}")
            refuse_link(scenario, opened.description, opened.where)
            if plan is not None:
                refuse_unsaid(opened)
            with Journal(folder.journal) as journal:
                guard = _guard(plan, scenario)
                host = _host(stack, scenario, watcher, hidden)
                own_secrets = None if hidden is None else hidden.devices(scenario.federation.devices)
                if host is None:
                    federation = Federation(
                        objective,
                        data,
                        scenario.federation,
                        scenario.zeroth_order,
                        opened.uplink,
                        journal,
                        guard,
                        device_secrets=own_secrets,
                    )
                else:
                    federation = host.federation(objective, data, opened, journal, guard)
                if booking is not None:
                    booking.watch(federation)
                for note in objective.notes[told:]:  # of texts that were too long, say: known once they are tokenised
                    watcher.say(f"note: {note}")
                    notes.append(note)
                resumed_from = len(journal)
                try:
                    evaluations = _go(federation, scenario, watcher, _label(scenario), folder)
                except BridgeError as error:
                    if guard is None or journal.intent(len(journal)) is None:
                        raise
                    raise BridgeError(
                        f"{error}; round {len(journal)} may have been on the air: a resumed run does not send it again, but "
                        "counts it as lost and charges it"
                    ) from error
            description = dict(opened.description)
            server_peak_mib = None if opened.server_pid is None else peak_rss_mib(opened.server_pid)
        with Journal(folder.journal, read_only=True) as journal:
            totals = LinkTotals.of(journal)
            privacy = privacy_keys(scenario, plan, journal, federation.stopped)
        if booking is not None:
            watcher.say(booking.settle(privacy, folder, federation.next_round, host is not None and host.own_data))
        unknown = "" if host is None else "data" if host.own_data else "batches" if hidden is not None else ""
        if scenario.evaluation.noise_free and unknown:
            notes.append(f"no noise-free reference: devices have {unknown} of their own, which this process does not have")
            watcher.say(f"note: {notes[-1]}")
            reference = []
        else:
            wanted = scenario.evaluation.noise_free
            reference = _noise_free(scenario, data, build, watcher, folder, own_secrets) if wanted else []
        if hidden is not None and (federation.stopped is not None or federation.next_round == scenario.federation.rounds):
            notes.append(hidden.destroy())
            watcher.say(notes[-1])
        summary = summarise(
            scenario,
            objective,
            federation,
            evaluations,
            reference,
            totals,
            description,
            time.perf_counter() - began,
            server_peak_mib,
            resumed_from,
            notes,
            privacy,
        )
        if summary["rounds"] and summary["lost_rounds"] > summary["rounds"] / 2:
            watcher.say(
                f"warning: {summary['lost_rounds']} of {summary['rounds']} rounds were lost: no device's channel passed "
                "link.power.threshold, nobody answered, or a payload was not a number"
            )
        folder.write_summary(summary)
        if figures:
            draw_figures(folder, scenario, evaluations, reference, summary)
            write_report(folder)
    return RunResult(folder, summary)


def _host(stack: ExitStack, scenario: Scenario, watcher: Watcher, hidden: RunSecret | None) -> "FleetHost | None":
    """Whoever brings the devices together where they are processes of their own."""
    if not scenario.fleet.on:
        return None
    from testbench.fleet.coordinator import FleetHost

    return stack.enter_context(FleetHost(scenario, watcher.say, "" if hidden is None else hidden.tag))


def _refuse_another_length(scenario: Scenario, folder: RunFolder, resume: bool) -> None:
    """A plan of privacy is for its number of rounds: refused before the folder is touched."""
    if not (resume and scenario.privacy.on and folder.scenario.is_file() and folder.journal.is_file()):
        return
    before = folder.load_scenario().federation.rounds
    with Journal(folder.journal, read_only=True) as journal:
        if journal.has_sent and before != scenario.federation.rounds:
            raise RunFolderError(
                f"{folder.path} spreads its privacy over {before} rounds and cannot be continued for "
                f"{scenario.federation.rounds}; resume with federation.rounds={before}, or choose another --out"
            )


def _plan(scenario: Scenario, data: TaskData, watcher: Watcher) -> "RunPlan | None":
    """The privacy plan of the run, where privacy is claimed."""
    if not scenario.privacy.on:
        return None
    from learning.batches import shards
    from testbench.privacy.run_plan import plan_run

    counts = [len(shard) for shard in shards(data.strata, scenario.federation, data.files)]
    return plan_run(scenario, counts, lambda done, total: watcher.preparing("channels", done, total))


def _guard(plan: "RunPlan | None", scenario: Scenario) -> "PrivacyGuard | None":
    if plan is None:
        return None
    from testbench.privacy.run_plan import fresh_guard

    return fresh_guard(plan, scenario.seed)


def prepare(scenario: Scenario, watcher: Watcher) -> tuple[TaskData, Callable[[], Objective]]:
    """Load the task, set the number of threads, and return how to build the model (anew at each call)."""
    import torch

    from learning import models, tasks

    torch.set_num_threads(scenario.compute.threads)
    data = tasks.load(scenario.task)

    def build() -> Objective:
        return models.build(scenario.model, data, watcher.preparing)

    return data, build


def ineffective(scenario: Scenario) -> list[str]:
    """Sentences on settings that were chosen but change nothing beside the others."""
    link = scenario.link
    found = without_effect(link)
    if link.csi.age_s > 0 and not (link.csi.doppler_hz or link.channel.doppler_hz):
        found.append("the channel does not age under link.csi.age_s: set link.channel.doppler_hz or link.csi.doppler_hz")
    if scenario.evaluation.noise_free and ":" in link.scheme:
        found.append(f"the noise-free reference is the plain mean of the payloads, not the scheme {link.scheme}")
    if not scenario.privacy.on:
        found += [f"privacy.{name} has no effect without privacy.epsilon" for name in scenario.privacy.changed]
    if scenario.fleet.payloads == "air" and not scenario.fleet.on:
        found.append("fleet.payloads has no effect without fleet.bind")
    faults = scenario.federation.faults
    for name, idle in (
        ("late_rounds", faults.late_rounds != 1 and not faults.late_probability),
        ("wrong_seed_applies", faults.wrong_seed_applies and not faults.wrong_seed_probability),
        ("resync_every", faults.resync_every > 0 and not faults.drifts),
    ):
        if idle:
            found.append(f"federation.faults.{name} has no effect beside the other settings of federation.faults")
    return found


def _label(scenario: Scenario) -> str:
    return "noise-free" if scenario.uplink.transport == "none" else "over the air"


def _go(
    federation: Federation, scenario: Scenario, watcher: Watcher, label: str, folder: RunFolder, tensorboard: bool = True
) -> list[Evaluation]:
    """All remaining rounds, measuring held-out data before the first, every so often, and after the last."""
    total = scenario.federation.rounds
    with ExitStack() as stack:
        done = len(federation.journal)
        if done > total:
            raise RunFolderError(f"the journal holds {done} rounds, more than the {total} asked for; raise federation.rounds")
        watcher.started(label, done, total)
        stack.callback(watcher.finished)
        evaluations = folder.evaluations(upto=done)
        measured = {e.round for e in evaluations}

        def measure() -> None:
            if federation.next_round in measured:
                return
            held_out = federation.evaluate()
            loss = held_out.loss if math.isfinite(held_out.loss) else None
            evaluation = Evaluation(federation.next_round, held_out.score, loss, held_out.metric, held_out.more)
            evaluations.append(evaluation)
            measured.add(evaluation.round)
            folder.add_evaluation(evaluation)
            watcher.evaluated(evaluation)
            if curves is not None:
                curves.evaluated(evaluation.round, evaluation.scores, evaluation.loss)

        curves: Curves | None = None
        if 0 not in measured:
            measure()  # of the base weights, before the journal is replayed
        if done:
            watcher.say(f"replaying {done} rounds from the journal")
            federation.resume(lambda at, of: watcher.preparing("replay", at, of))
            if evaluations:
                watcher.evaluated(evaluations[-1])
        n0 = scenario.link.n0
        curves = _curves(scenario, folder, done) if tensorboard else None
        if curves is not None:
            stack.callback(curves.close)
            for evaluation in evaluations:
                curves.evaluated(evaluation.round, evaluation.scores, evaluation.loss)
        spoilt = 0
        for record in federation.run():
            power = record.diagnostics.get("received_power")
            snr_db = None if power is None or power <= 0 else 10.0 * math.log10(power / n0)
            if "epsilon_spent" in record.diagnostics:
                watcher.spent(record.diagnostics["epsilon_spent"])
            watcher.round(record.mean_loss, snr_db)
            if curves is not None:
                curves.round(record.round, record.mean_loss, record.estimate, record.diagnostics)
            if "nonfinite_payloads" in record.diagnostics:
                spoilt += 1
                if spoilt == 1:
                    watcher.say(f"warning: {label}, the loss of round {record.round} is not a number; every device skips it")
            if federation.next_round % scenario.evaluation.every == 0:
                measure()
                if evaluations[-1].loss is None:
                    break
        measure()
    if federation.stopped is not None:
        watcher.say(
            f"the privacy budget stops the run before round {federation.stopped} of {total}: it would pass epsilon = "
            f"{scenario.privacy.epsilon:g} at delta = {scenario.privacy.delta:g}"
        )
    if evaluations[-1].loss is None:
        watcher.say(
            f"warning: {label}, the weights diverged by round {evaluations[-1].round} (the held-out loss is not a number); "
            "lower zeroth_order.learning_rate or raise link.snr_max_db"
        )
    return evaluations


def _curves(scenario: Scenario, folder: RunFolder, done: int) -> "Curves | None":
    wanted = scenario.evaluation.tensorboard
    if not wanted:
        return None
    if wanted == "where_installed" and importlib.util.find_spec("tensorboard") is None:
        return None
    from testbench.tensorboard import Curves

    return Curves(folder.path / "tensorboard", done)


def _noise_free(
    scenario: Scenario,
    data: TaskData,
    build: Callable[[], Objective],
    watcher: Watcher,
    folder: RunFolder,
    device_secrets: list[bytes] | None,
) -> list[Evaluation]:
    """The same devices, batches, directions and faults over a link without fading and noise, resumable like the run."""
    uplink: Uplink = noise_free(scenario).uplink
    within = folder.reference()
    with Journal(within.journal) as journal:
        known = within.evaluations(upto=len(journal))
        if known and (known[-1].round == scenario.federation.rounds == len(journal) or known[-1].loss is None):
            return known
        federation = Federation(
            build(),
            data,
            scenario.federation,
            scenario.zeroth_order,
            uplink,
            journal,
            device_secrets=device_secrets,
        )
        return _go(federation, scenario, watcher, "noise-free", within, tensorboard=False)
