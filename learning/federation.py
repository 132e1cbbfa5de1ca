"""Federated zeroth-order fine-tuning: the rounds of one run, from measured scalars to moved weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from learning.batches import batch, poisson, shards
from learning.config import FederationConfig, ZerothOrderConfig
from learning.data import TaskData
from learning.directions import directions_of
from learning.drift import Displacement
from learning.errors import RoundError
from learning.faults import Faults, Plan
from learning.journal import Journal
from learning.keys import Key
from learning.objective import Objective, metrics_of
from learning.parameters import trainable
from learning.passes import update
from learning.privacy.errors import CostlierThanPlanned
from learning.replay import replay
from learning.uplink import Uplink, is_repeatable
from learning.zeroth_order import Projections, SampleLosses, ZerothOrderStep

if TYPE_CHECKING:
    from learning.privacy.guard import PrivacyGuard

__all__ = ["Evaluation", "Federation", "RoundRecord"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RoundRecord:
    """A committed and applied round.

    :ivar payloads: float64[K, n], the clipped scalars that the devices sent; zero for those that were silent
    :ivar present: bool[K], who sent; everybody, but for faults
    :ivar payload_mean: mean of what was sent along the first direction (NaN where nobody sent); what a perfect link delivers
        is the link's own affair (votes, for signs)
    :ivar estimates: [n], what the link delivered, post-processed where a guard does so; None in a lost round
    :ivar mean_loss: mean training loss of the round's batches
    :ivar clipped_fraction: share of values that were clipped
    :ivar diagnostics: the link's own report, and that of the faults where there are any
    """

    round: int
    mean_loss: float
    payloads: Floats
    present: Bools
    payload_mean: float
    estimates: tuple[float, ...] | None
    lost: bool
    clipped_fraction: float
    diagnostics: Mapping[str, float]

    @property
    def estimate(self) -> float | None:
        """The estimate of a round of one direction, the mean of several."""
        return None if self.estimates is None else sum(self.estimates) / len(self.estimates)


@dataclass(frozen=True)
class Evaluation:
    """Mean score and loss over the held-out examples.

    :ivar metric: what the score is: accuracy, or f1 where answers are generated, or a user's own
    :ivar more: other scores by name, such as exact_match beside f1
    """

    score: float
    loss: float
    examples: int
    metric: str = "accuracy"
    more: Mapping[str, float] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """The score, for readers of classification tasks only."""
        return self.score


def numbered(name: str, values: Sequence[float]) -> dict[str, float]:
    """``name``, ``name_1``, ``name_2``, ...: a diagnostic that exists for every direction."""
    return {name if j == 0 else f"{name}_{j}": value for j, value in enumerate(values)}


class Federation:
    """K devices in one process, an uplink, and a journal.

    A new journal is begun; an existing one must be of the same run, and ``resume`` must bring the weights up to it
    before ``run`` continues. ``objective.model`` must hold the base weights.

    The model holds the reference weights, those of the journal, which all devices share. Under faults of the protocol
    (docs/faults.md) a device that has drifted is measured by itself, at its own weights, and the reference restored.

    A journal replays to the same bits on any machine. New rounds have the same bits as those of an uninterrupted run on the
    same machine with the same number of torch threads: the last bits of a loss depend on both.

    :param guard: of the run's privacy: it may stop the run before a round, and process estimates (docs/privacy.md)
    :param device_secrets: a secret for each device, which keys its batches; None: the seed keys them
    :ivar stopped: the round before which the guard stopped the run; None while it goes on
    :raises JournalError: the journal is of another run
    """

    def __init__(
        self,
        objective: Objective,
        data: TaskData,
        config: FederationConfig,
        zo_config: ZerothOrderConfig,
        uplink: Uplink,
        journal: Journal,
        guard: PrivacyGuard | None = None,
        *,
        device_secrets: Sequence[bytes] | None = None,
    ) -> None:
        if device_secrets is not None and len(device_secrets) != config.devices:
            raise RoundError(f"{config.devices} devices need as many secrets, got {len(device_secrets)}")
        self.objective = objective
        self.config = config
        self.journal = journal
        self.next_round = 0
        self.stopped: int | None = None
        self._guard = guard
        self._keys: Sequence[Key] = device_secrets or [config.seed] * config.devices
        self._uplink = uplink
        self._zo = zo_config
        self._broken: int | None = None
        self._resumed = 0
        objective.model.eval()  # dropout would make L+ and L- losses of two different networks
        weights = trainable(objective.model)
        self.parameter_count = sum(len(vector) for vector in weights)
        self._weights = weights
        self._step = self._step_along(config.seed)
        self._faults = Faults(config.faults, zo_config, config.seed, config.devices) if config.faults.any else None
        self._displacement = Displacement(weights, zo_config.perturbation) if config.faults.drifts else None
        self._shards = shards(data.strata, config, data.files)
        self._train = objective.prepare(data.train)
        self._validation = objective.prepare(data.validation)
        self._validation_count = len(data.validation)
        journal.begin(self._description(data))

    def _description(self, data: TaskData) -> dict[str, Any]:
        return {
            "base_weights_sha256": self.objective.base_weights_sha256,
            "parameter_count": self.parameter_count,
            "task_sha256": data.sha256(),
            **self.objective.identity,
            **self._zo.description(),
            **self.config.description(),
            **({} if self._guard is None else self._guard.identity),
        }

    def resume(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Bring the base weights up to the journal; returns the next round."""
        self.next_round = replay(self.objective.model, self.journal, progress=progress, start=self.next_round)
        if self._faults is not None:
            self._faults.rebuild(self.journal)
        if self._guard is not None:
            self._guard.rebuild(self.journal, self.config.devices)
        self._resumed = self.next_round
        return self.next_round

    @property
    def begun(self) -> bool:
        """Whether a round has begun since this was made or resumed, and may have been sent."""
        return self._broken is not None or self.next_round > self._resumed

    def run(self, rounds: int | None = None) -> Iterator[RoundRecord]:
        """Run ``rounds`` more rounds (up to ``config.rounds`` in all by default), yielding each when it is applied.

        Ends early, with ``stopped`` set, before a round that would pass the privacy budget.
        """
        more = max(0, self.config.rounds - self.next_round) if rounds is None else rounds
        for _ in range(more):
            self._require_whole()
            plan = None if self._faults is None else self._faults.plan(self.next_round)
            if not self._admits(self._present(plan)):
                return
            self._broken = self.next_round
            record = self._round(self.next_round, plan)
            self._broken = None
            self.next_round += 1
            yield record

    def evaluate(self, progress: Callable[[int, int], None] | None = None) -> Evaluation:
        """Score and loss on the held-out examples under the present weights; ``progress`` gets (done, in all)."""
        self._require_whole()
        names = metrics_of(self.objective)
        losses, scores = 0.0, np.zeros(len(names))
        for indices in self._chunks(np.arange(self._validation_count)):
            with torch.inference_mode():
                loss, found = self.objective.assess(self._validation, indices)
            losses += float(loss.double().sum())
            scores += np.asarray(found, dtype=np.float64).reshape(len(indices), -1).sum(axis=0)
            if progress is not None:
                progress(int(indices[-1]) + 1, self._validation_count)
        means = dict(zip(names, (scores / self._validation_count).tolist(), strict=True))
        score = means.pop(names[0])
        return Evaluation(score, losses / self._validation_count, self._validation_count, names[0], means)

    def _admits(self, present: Bools) -> bool:
        """Whether the next round may be sent, or was perhaps sent before; sets ``stopped`` where it may not."""
        if self._guard is None or self._may_have_been_sent or self._guard.admits(self.next_round, present):
            return True
        self.stopped = self.next_round
        return False

    @property
    def _may_have_been_sent(self) -> bool:
        """Whether the run was cut off after the next round was about to be sent, over an air that does not repeat itself."""
        return self._guard is not None and self.journal.intent(self.next_round) is not None

    def _present(self, plan: Plan | None) -> Bools:
        return np.ones(self.config.devices, dtype=np.bool_) if plan is None else plan.present

    def _round(self, index: int, plan: Plan | None) -> RoundRecord:
        rate = self._zo.rate(index, self.config.rounds)
        measured, distance = self._measure(index, plan)
        sent, present = measured.payloads if plan is None else plan.on_air(measured.payloads), self._present(plan)
        estimates, diagnostics = self._send(index, sent, present, rate)
        if plan is not None:
            diagnostics.update(plan.report(measured.payloads, estimates, distance))
        means = sent[present].mean(axis=0).tolist() if present.any() else [math.nan] * self._zo.directions
        own = {"loss": measured.mean_loss, "clipped_fraction": measured.clipped_fraction, **numbered("payload_mean", means)}
        written_rate = None if self._zo.constant_rate else rate
        self.journal.append(index, self.config.seed, estimates, {**own, **diagnostics}, written_rate)
        self._step.tell(index, estimates, rate)
        if self._faults is not None and plan is not None:
            self._faults.commit(plan, measured.payloads, estimates, rate)
        return RoundRecord(
            round=index,
            mean_loss=measured.mean_loss,
            payloads=sent,
            present=present,
            payload_mean=means[0],
            estimates=estimates,
            lost=estimates is None,
            clipped_fraction=measured.clipped_fraction,
            diagnostics=diagnostics,
        )

    def _measure(self, index: int, plan: Plan | None) -> tuple[Projections, float]:
        """Every device's scalar, and the largest drift; the weights are left at the reference w - mu z."""
        size, devices = self.config.batch_size, range(self.config.devices)
        draw = poisson if self.config.sampling == "poisson" else batch
        batches = [draw(self._keys[device], index, device, self._shards[device], size) for device in devices]
        if plan is None or not plan.apart:
            return self._step.ask(index, lambda: self._losses_of(batches)), 0.0
        apart, distance = self._measure_apart(index, plan, batches)
        together = [device for device in devices if device not in apart]
        side = 0

        def losses() -> SampleLosses:
            nonlocal side
            shared = iter(self._losses_of([batches[device] for device in together]))
            found = [apart[device][side] if device in apart else next(shared) for device in devices]
            side += 1
            return found

        return self._step.ask(index, losses), distance

    def _measure_apart(
        self, index: int, plan: Plan, batches: Sequence[Indices]
    ) -> tuple[dict[int, list[npt.NDArray[np.float32]]], float]:
        """(device -> its losses on both sides, largest drift) of the devices with other weights or another seed."""
        reference = [vector.flat.clone() for vector in self._weights]
        apart: dict[int, list[npt.NDArray[np.float32]]] = {}
        distance = 0.0
        for device in plan.apart:
            sides = apart[device] = []

            def losses(sides: list[npt.NDArray[np.float32]] = sides, rows: Indices = batches[device]) -> SampleLosses:
                sides.append(self._losses(rows))
                return sides[-1:]

            terms = plan.terms.get(device, ())
            if terms and self._displacement is not None:
                distance = max(distance, self._displacement.add(terms))
            seed = plan.wrong_seeds.get(device)
            (self._step if seed is None else self._step_along(seed)).ask(index, losses)
            for vector, values in zip(self._weights, reference, strict=True):
                vector.flat.copy_(values)
        return apart, distance

    def _step_along(self, seed: int) -> ZerothOrderStep:
        divisor = self.config.batch_size if self.config.sampling == "poisson" else None
        directions = directions_of(self._weights, seed, self._zo.perturbation)
        return ZerothOrderStep(directions, self._zo, divisor=divisor, bounded=self._guard is not None)

    def _send(self, index: int, sent: Floats, present: Bools, rate: float) -> tuple[tuple[float, ...] | None, dict[str, float]]:
        if self._guard is not None and (cost := self.journal.intent(index)) is not None:
            # Sent again, it would be heard twice, each time with other noise. So it is lost, and paid for as if it was heard.
            return None, self._guard.forfeit(index, cost)
        if not np.isfinite(sent).all():  # a device with no number to send spoils the sum: nobody moves
            return None, {"nonfinite_payloads": float((~np.isfinite(sent)).sum())}
        if not present.any():
            return self._settled(index, None, None)
        # An uplink is asked about presence only where somebody is missing, so that one that cannot tell will do without faults.
        who = () if present.all() else (present,)
        if self._guard is not None and not is_repeatable(self._uplink):
            self.journal.intend(index, self._guard.bound)
        answer = self._uplink.aggregate(index, sent, *who)
        diagnostics = {str(name): float(value) for name, value in answer.diagnostics.items()}
        if answer.lost:
            return self._settled(index, None, diagnostics)
        wanted = (self._zo.directions,)
        if np.shape(answer.estimate) != wanted:
            raise RoundError(f"the uplink answered {np.shape(answer.estimate)} estimates in round {index} instead of {wanted}")
        received = tuple(float(value) for value in answer.estimate)
        whole = all(math.isfinite(value) for value in received)
        estimates, diagnostics = self._settled(index, received if whole else None, diagnostics)
        if estimates is None or not update(self._zo.mu, rate, estimates, self._zo.directions).finite:
            return None, diagnostics
        return estimates, diagnostics

    def _settled(
        self, index: int, estimates: tuple[float, ...] | None, diagnostics: dict[str, float] | None
    ) -> tuple[tuple[float, ...] | None, dict[str, float]]:
        """The estimates to apply, and the link's diagnostics with the guard's."""
        if self._guard is None:
            return estimates, diagnostics or {}
        try:
            applied, notes = self._guard.settle(index, estimates, diagnostics)
        except CostlierThanPlanned as error:
            if self.journal.intent(index) is not None:  # whoever resumes must know what it cost
                self.journal.intend(index, error.cost)
            raise
        return applied, {**(diagnostics or {}), **notes}

    def _losses_of(self, batches: Sequence[Indices]) -> SampleLosses:
        """The losses of several devices' batches under the weights as they stand, evaluated together."""
        if not batches:
            return []
        if self.config.rows_per_forward <= self.config.batch_size:
            # The last bits of a loss depend on the rows that share its forward pass: apart, as on a device of its own.
            return [self._losses(rows) for rows in batches]
        losses = self._losses(np.concatenate(batches))
        return np.split(losses, np.cumsum([len(rows) for rows in batches])[:-1])

    def _losses(self, rows: Indices) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            parts = [self.objective.losses(self._train, chunk).float().cpu() for chunk in self._chunks(rows)]
        if not parts:
            return np.zeros(0, dtype=np.float32)
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)

    def _chunks(self, rows: Indices) -> Iterator[Indices]:
        for start in range(0, len(rows), self.config.rows_per_forward):
            yield rows[start : start + self.config.rows_per_forward]

    def _require_whole(self) -> None:
        if self._broken is not None:
            raise RoundError(
                f"round {self._broken} was cut off half way and the weights are perturbed; build the federation again and "
                "resume from its journal"
            )
        if self.next_round != len(self.journal):
            raise RoundError(
                f"{self.journal.path} holds {len(self.journal)} rounds and the weights stand at {self.next_round}; resume first"
            )
