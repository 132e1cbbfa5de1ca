"""Fine-tuning runs with canaries, one or several: the one-run audit, and the attack of whoever knows a candidate record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning.privacy import gdp
from learning.privacy.audit.membership import BoundCheck, auc, auc_bound, check_bound
from learning.privacy.audit.one_run import OneRunBound, audit_one_run
from testbench.privacy.canaries import CanaryScores, check_scorable, plant, score
from testbench.privacy.design import Design, design
from testbench.privacy.tuning import InProcessAir, Tuned, tune
from testbench.privacy.worst_case import Exposed, exposure, score_exposed
from testbench.runner import Watcher, prepare
from testbench.scenario import Scenario, load

__all__ = [
    "EXPOSED_CANARIES",
    "CanaryRun",
    "Membership",
    "OneRun",
    "canary_run",
    "canary_scenario",
    "exposed_run",
    "exposed_scenario",
    "membership",
    "one_run",
]

Floats = NDArray[np.float64]

_GUESSED = (0.1, 0.25, 0.5)  # shares of the canaries for which the auditor guesses, fixed beforehand
_TARGETS = (0.01, 0.1, 0.5)

#: Few records that meet often, clipped one by one: a federation in which canaries can be heard at all.
_MET = (
    "federation.devices=2", "federation.batch_size=8", "federation.rounds=150", "task.train_examples=400",
    "zeroth_order.clip_scope=sample", "link.csi.estimator=perfect", "link.power.control=weakest", "link.snr_max_db=30",
    "privacy.epsilon=8", "privacy.delta=1e-5", "privacy.sensitivity=record_replace_one", "privacy.schedule=static",
    "evaluation.noise_free=false",
)  # fmt: skip


#: Every record in every batch, so that canaries can carry all that the claim reckons with, and many rounds for every coin.
_EXPOSED = (
    *_MET, "federation.batch_size=220", "federation.rounds=2000", "task.train_examples=440", "link.snr_max_db=40",
)  # fmt: skip

#: Canaries of the built-in one-run audit; the other 40 of its records are real.
EXPOSED_CANARIES = 400


def canary_scenario(quick: bool = False) -> Scenario:
    """The embedded model in a federation made for candidates: a promise of (8, 1e-5) for a record replaced."""
    return load("demo", [*_MET, *(["federation.rounds=60"] if quick else [])])


def exposed_scenario(quick: bool = False) -> Scenario:
    """The same promise where every record is in every batch."""
    few = ["federation.rounds=300", "federation.batch_size=60", "task.train_examples=120"]
    return load("demo", [*_EXPOSED, *(few if quick else [])])


@dataclass(frozen=True)
class CanaryRun:
    """One run: its plan, the run, and what it told of the coins."""

    design: Design
    run: Tuned
    scores: CanaryScores


def canary_run(scenario: Scenario, canaries: int, progress: Callable[[int, int], None] | None = None) -> CanaryRun:
    """Fine-tune with ``canaries`` canaries under the scenario's plan, and score them; told (rounds done, rounds in all).

    :raises TestbenchError: a scenario in which a record's share cannot be told, or which promises nothing
    """
    check_scorable(scenario)
    total = 2 * scenario.federation.rounds
    tell = progress or (lambda done, of: None)
    data, build = prepare(scenario, Watcher())
    planned = design(scenario, max(1, len(data.train) // scenario.federation.devices))
    planted = plant(data, canaries, scenario.seed)
    objective = build()
    air = InProcessAir.of(planned, scenario.seed)
    run = tune(scenario, planted.data, objective, air, progress=lambda done: tell(done, total))
    scores = score(scenario, planted, build(), run, progress=lambda done: tell(total // 2 + done, total))
    return CanaryRun(planned, run, scores)


def exposed_run(scenario: Scenario, canaries: int, progress: Callable[[int, int], None] | None = None) -> CanaryRun:
    """Fine-tune beside ``canaries`` worst-case canaries under the scenario's plan, and score them; told (rounds done, in all).

    :raises TestbenchError: a scenario in which a record's share cannot be told, or which promises nothing
    """
    check_scorable(scenario)
    rounds, step = scenario.federation.rounds, scenario.zeroth_order
    data, build = prepare(scenario, Watcher())
    planned = design(scenario, max(1, len(data.train) // scenario.federation.devices))
    chosen = exposure(len(data.train), canaries, rounds, scenario.seed)
    objective = Exposed(build(), chosen, step.mu, step.clip)
    air = InProcessAir.of(planned, scenario.seed)
    run = tune(scenario, data, objective, air, progress=None if progress is None else lambda done: progress(done, rounds))
    return CanaryRun(planned, run, score_exposed(scenario, data, chosen, run))


@dataclass(frozen=True)
class OneRun:
    """A one-run audit at ``delta``: lower bounds against what was claimed, and against a claim that knows the batches.

    All claims are of Gaussian mechanisms, so that they are held against the better of both bounds.
    """

    bound: OneRunBound
    delta: float
    claims: dict[str, float]
    appearances: float
    audible_mu: float

    @property
    def violated(self) -> list[str]:
        """Claims that the bound exceeds."""
        return [name for name, claimed in self.claims.items() if self.bound.epsilon > claimed]


def one_run(done: CanaryRun, confidence: float = 0.95) -> OneRun:
    """Guess the coins by the joint score; the claims are of every accountant, and of gdp for those rounds alone in which the
    most frequent canary was, which an observer of the batches may use.
    """
    planned, scores = done.design, done.scores
    count, delta = len(scores.joint), planned.settings.delta
    guesses = sorted({max(2, round(share * count)) for share in _GUESSED})
    bound = audit_one_run(scores.joint, scores.included, delta, guesses, confidence)
    claims = dict(planned.epsilon)
    claims["gdp, batches known"] = gdp.epsilon(scores.worst_mu(planned.mu), delta)
    return OneRun(bound, delta, claims, float(scores.appearances.mean()), float(np.median(scores.audible_mu)))


@dataclass(frozen=True)
class Membership:
    """The known-candidate attack over several runs.

    :param members: scores of candidates that were in; :param nonmembers: of those that were out; both pooled over the runs
    :param mu: largest of the runs' claims; :param mu_known: the same for an observer of the batches
    :param checks: points of the curve against the bound of ``mu``. Candidates of one run share its noise, so that the limits
        hold as stated where runs are many and candidates few; a violation is a reason to look, not a proof
    """

    runs: int
    members: Floats
    nonmembers: Floats
    mu: float
    mu_known: float
    checks: tuple[BoundCheck, ...]

    @property
    def auc(self) -> float:
        """Area under the measured curve."""
        return auc(self.members, self.nonmembers)

    @property
    def auc_allowed(self) -> float:
        """Largest area that the claim allows."""
        return auc_bound(self.mu)

    @property
    def violated(self) -> bool:
        """Whether any point lies above the bound beyond its limits."""
        return any(check.violated for check in self.checks)


def membership(done: list[CanaryRun]) -> Membership:
    """Pool S_x over runs. The curve of a pool obeys the bound: it is concave, and every candidate of every run obeys it.

    Scores are divided by their standard deviation under the model, which is public, so that candidates compare.
    """
    members, nonmembers = [], []
    for each in done:
        # The noise of S_x has a standard deviation proportional to the candidate's audible mu.
        scale = np.where(each.scores.audible_mu > 0, each.scores.audible_mu, 1.0)
        normal = each.scores.scores / scale
        members.append(normal[each.scores.included])
        nonmembers.append(normal[~each.scores.included])
    inside, outside = np.concatenate(members), np.concatenate(nonmembers)
    mu = max(each.design.release.total_mu for each in done)
    known = max(each.scores.worst_mu(each.design.mu) for each in done)
    return Membership(len(done), inside, outside, mu, known, check_bound(inside, outside, mu, _TARGETS))
