"""Fine-tuning runs with canaries, one or several: the one-run audit, and the attack of whoever knows a candidate record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning.privacy import gdp
from learning.privacy.audit.bounds import gaussian_epsilon
from learning.privacy.audit.known_coins import FEWEST_ROUNDS, KnownCoinsBound, audit_known_coins, canaries_needed
from learning.privacy.audit.membership import BoundCheck, auc, auc_bound, check_bound
from learning.privacy.audit.one_run import OneRunBound, audit_one_run
from learning.privacy.audit.ordered import count_surest, ordered_mu_lower_bound
from learning.privacy.errors import PrivacyError
from testbench.errors import TestbenchError
from testbench.privacy.canaries import CanaryScores, check_scorable, plant, score
from testbench.privacy.design import Design, design
from testbench.privacy.tuning import InProcessAir, Tuned, tune
from testbench.privacy.worst_case import Aligned, Exposed, crowd, exposure, score_exposed
from testbench.runner import Watcher, prepare
from testbench.scenario import Scenario, load

__all__ = [
    "CanaryRun",
    "Membership",
    "OneRun",
    "canary_run",
    "canary_scenario",
    "exposed_canaries",
    "exposed_run",
    "exposed_scenario",
    "membership",
    "one_run",
]

Floats = NDArray[np.float64]

_GUESSED = (0.1, 0.25, 0.5)  # shares of the canaries for which the auditor guesses, fixed beforehand
_TARGETS = (0.01, 0.1, 0.5)
CONFIDENCE = 0.95

#: Few records that meet often, clipped one by one: a federation in which canaries can be heard at all.
_MET = (
    "federation.devices=2", "federation.batch_size=8", "federation.rounds=150", "task.train_examples=400",
    "zeroth_order.clip_scope=sample", "link.csi.estimator=perfect", "link.power.control=weakest", "link.snr_max_db=30",
    "privacy.epsilon=8", "privacy.delta=1e-5", "privacy.sensitivity=record_replace_one", "privacy.schedule=static",
    "evaluation.noise_free=false",
)  # fmt: skip


#: Of the one-run audit: real records that learn, devices, rounds, and how much of a claim it is to show in nearly every run.
_REAL, _DEVICES, _ROUNDS, _QUICK_ROUNDS = 40, 10, 1000, 300
_SHARE, _QUICK_SHARE, _POWER = 0.8, 0.5, 0.99
_MOST = 60_000

#: Forward passes are of the real records alone, and so all of them fit into one.
_EXPOSED = (
    *_MET, f"task.train_examples={_REAL}", "federation.rows_per_forward=100000",
    "link.snr_max_db=80",
)  # fmt: skip

#: Of the probability of error. Known coins show so much that an honest claim, which they nearly reach, is refuted in just as
#: many runs; both analyses of guesses share the rest.
_KNOWN_SHARE = 0.4


def canary_scenario(quick: bool = False) -> Scenario:
    """The embedded model in a federation made for candidates: a promise of (8, 1e-5) for a record replaced."""
    return load("demo", [*_MET, *(["federation.rounds=60"] if quick else [])])


def exposed_canaries(epsilon: float = 8.0, delta: float = 1e-5, quick: bool = False, devices: int = _DEVICES) -> int:
    """Canaries that the built-in one-run audit needs to show most of a claim (0.8 of epsilon; quick: half of it), and a few
    more, so that devices hold equally many records. At most 60 000.

    :raises learning.privacy.errors.PrivacyError: an epsilon or delta that is none
    """
    rounds, share = (_QUICK_ROUNDS, _QUICK_SHARE) if quick else (_ROUNDS, _SHARE)
    confidence = 1.0 - (1.0 - CONFIDENCE) * _KNOWN_SHARE
    mu = gdp.mu(epsilon, delta)
    try:
        needed = canaries_needed(mu, delta, rounds, share, confidence, _POWER)
    except PrivacyError:  # so little is promised that no number of them shows it
        needed = _MOST
    return -(-(min(needed, _MOST) + _REAL) // devices) * devices - _REAL


def exposed_scenario(canaries: int, quick: bool = False, devices: int = _DEVICES) -> Scenario:
    """A promise of (8, 1e-5) where every one of so many canaries, and of 40 real records, is in every batch."""
    records = canaries + _REAL if canaries > _REAL else _REAL
    federation = {
        "devices": devices,
        "batch_size": max(1, records // devices),
        "rounds": _QUICK_ROUNDS if quick else _ROUNDS,
    }
    return load("demo", [*_EXPOSED, *(f"federation.{name}={value}" for name, value in federation.items())])


@dataclass(frozen=True)
class CanaryRun:
    """One run: its plan, the run, what it told of the coins, and what it is held against where the coins are known."""

    design: Design
    run: Tuned
    scores: CanaryScores
    aligned: Aligned | None = None


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


def exposed_run(
    scenario: Scenario,
    canaries: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    planned: Design | None = None,
) -> CanaryRun:
    """Fine-tune beside ``canaries`` worst-case canaries, and score them.

    A task of fewer records than that has a blank one added for every canary.

    :param progress: told (rounds done, in all); :param planned: the plan to run and to hold it against; None: the scenario's
    :raises TestbenchError: a scenario in which a record's share cannot be told, or which promises nothing
    """
    check_scorable(scenario)
    rounds, step = scenario.federation.rounds, scenario.zeroth_order
    data, build = prepare(scenario, Watcher())
    data = crowd(data, canaries)
    held = len(data.train) // scenario.federation.devices
    if held < scenario.federation.batch_size:
        raise TestbenchError(
            f"a device holds {held} records and fills its batch of {scenario.federation.batch_size} by repeating some, where "
            "canaries cannot be told apart; lower federation.batch_size"
        )
    planned = planned or design(scenario, held)
    chosen = exposure(len(data.train), canaries, rounds, scenario.seed)
    objective = Exposed(build(), chosen, step.mu, step.clip)
    air = InProcessAir.of(planned, scenario.seed)
    run = tune(scenario, data, objective, air, progress=None if progress is None else lambda done: progress(done, rounds))
    scores, aligned = score_exposed(scenario, data, planned, chosen, objective, air, run)
    return CanaryRun(planned, run, scores, aligned)


@dataclass(frozen=True)
class Analysis:
    """One lower limit on epsilon: by ``name``, under ``assumption``, from ``evidence``; ``held`` against claims or not."""

    name: str
    epsilon: float
    assumption: str
    evidence: str
    held: bool = True


@dataclass(frozen=True)
class OneRun:
    """A one-run audit at ``delta``: lower limits that hold jointly, against what was claimed, batches known or not.

    All claims are of Gaussian mechanisms over linear links, so that they are held against the best of the limits.

    :param bound: from guesses; :param known: from known coins, None where the run was not listened to
    :param surest: from the surest guesses, which no claim is held against; :param surest_mu: what it says of mu
    """

    bound: OneRunBound
    surest: str
    surest_mu: float
    known: KnownCoinsBound | None
    confidence: float
    delta: float
    claims: dict[str, float]
    appearances: float
    audible_mu: float

    @property
    def analyses(self) -> tuple[Analysis, ...]:
        """Every limit with what it assumes, the least first."""
        bound, known = self.bound, self.known
        found = [
            Analysis(
                "guesses, any mechanism", bound.epsilon_any, "none",
                f"{bound.correct} of {bound.guesses} guesses right",
            ),
            Analysis(
                "guesses, Gaussian claim", bound.epsilon_gaussian, "what is claimed is mu-Gaussian privacy",
                f"{bound.gaussian_correct} of {bound.gaussian_guesses} guesses right",
            ),
            Analysis(
                "surest guesses", gaussian_epsilon(self.surest_mu, self.delta),
                "the same, and canaries no louder together than alone", self.surest, held=False,
            ),
        ]  # fmt: skip
        if known is not None:
            evidence = f"mu measured {known.estimate:.4g}, at least {known.mu:.4g}"
            if not known.residual.sound:
                evidence = "void: what is left beside the canaries is not noise of the stated shape"
            assumed = "linear link, Gaussian noise of any strength"
            found.append(Analysis("known coins", gaussian_epsilon(known.mu, self.delta), assumed, evidence))
        return tuple(found)

    @property
    def epsilon(self) -> float:
        """The best of the limits that claims are held against."""
        return max(each.epsilon for each in self.analyses if each.held)

    @property
    def violated(self) -> list[str]:
        """Claims that the best limit exceeds."""
        return [name for name, claimed in self.claims.items() if self.epsilon > claimed]


def one_run(done: CanaryRun, confidence: float = CONFIDENCE) -> OneRun:
    """Guess the coins by the joint score, and hold known ones against what was received.

    The claims are of every accountant, of the printed formulas where the plan is theirs, and of gdp for those rounds alone in
    which the most frequent canary was, which an observer of the batches may use.
    """
    planned, scores, aligned = done.design, done.scores, done.aligned
    count, delta = len(scores.joint), planned.settings.delta
    guesses = sorted({max(2, round(share * count)) for share in _GUESSED})
    listened = aligned is not None and len(aligned.observed) >= FEWEST_ROUNDS
    error = 1.0 - confidence
    bound = audit_one_run(
        scores.joint, scores.included, delta, guesses, 1.0 - error * (1.0 - _KNOWN_SHARE if listened else 1.0)
    )
    known = None
    if aligned is not None and listened:
        known = audit_known_coins(aligned.observed, aligned.expected, aligned.unit_mu, 1.0 - error * _KNOWN_SHARE)
    tried = [*guesses, count]
    right = [count_surest(scores.joint, scores.included, r) for r in tried]
    sure = [ordered_mu_lower_bound(count, r, v, 1.0 - error / len(tried)) for r, v in zip(tried, right, strict=True)]
    best = int(np.argmax(sure))
    claims = dict(planned.epsilon)
    if planned.settings.as_printed:
        claims[f"{planned.settings.accounting}, as printed"] = planned.planned_epsilon
    claims["gdp, batches known"] = gdp.epsilon(scores.worst_mu(planned.mu), delta)
    appearances, audible = float(scores.appearances.mean()), float(np.median(scores.audible_mu))
    surest = f"{right[best]} of {tried[best]} guesses right"
    return OneRun(bound, surest, sure[best], known, confidence, delta, claims, appearances, audible)


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
