"""What a run has spent so far, and a filter that stops it before its budget is passed.

Without sampling the rounds are Gaussian mechanisms, and sum mu_t^2 <= mu^2 is a valid filter even where every mu_t is chosen
after seeing all earlier outputs (A. Smith, A. Thakurta, "Fully adaptive composition for Gaussian differential privacy", arXiv
2210.17520; A. Koskela, M. Tobaben, A. Honkela, "Individual privacy accounting with Gaussian differential privacy", arXiv
2209.15596). With sampling no such filter is used: the schedule is fixed in advance, and every round is charged what the
schedule says for it, so that a run may only be quieter than announced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from learning.privacy.accountants import AccountantLike, find
from learning.privacy.accountants._common import refuse
from learning.privacy.errors import PrivacyError, check_delta, check_epsilon
from learning.privacy.release import Release

__all__ = ["BudgetSpent", "Odometer"]

_FORMAT = 1
_SLACK = 1e-9  # by which a round may exceed its announced mu, for the rounding of those who compute it twice


class BudgetSpent(PrivacyError):
    """The next round would pass the budget; it was not recorded."""


class Odometer:
    """Epsilon spent so far at a fixed delta.

    :param delta: strictly between 0 and 1
    :param accountant: name of an accountant
    :param budget_epsilon: epsilon that must not be passed; None: only count
    :param schedule: needed where rounds are sampled, whose mu_t is then charged whatever is sent; without sampling every mu_t
        is free, and a schedule only says how many rounds there are at most and what their ``extra_delta`` is
    :param refresh_rounds: with sampling, epsilon is computed at multiples of this many rounds, and reported as at the next one
    :raises PrivacyError: an accountant that cannot certify the schedule, or bad delta, budget or refresh_rounds
    """

    unit = "privacy_mu"

    def __init__(
        self,
        delta: float,
        accountant: str = "gdp",
        budget_epsilon: float | None = None,
        *,
        schedule: Release | None = None,
        refresh_rounds: int = 500,
    ) -> None:
        check_delta(delta)
        if budget_epsilon is not None:
            check_epsilon(budget_epsilon)
        if refresh_rounds < 1:
            raise PrivacyError(f"refresh_rounds must be at least 1, got {refresh_rounds}")
        self._delta = delta
        self._name = accountant
        self._accountant: AccountantLike = find(accountant)()
        self._budget = budget_epsilon
        self._schedule = schedule
        self._refresh = refresh_rounds
        self._sampled = schedule is not None and schedule.sampled
        self._prefixes: dict[int, float] = {}
        self._last_round: int | None = None
        self._rounds = 0
        self._sum = 0.0
        if schedule is not None:
            refuse(self._accountant.supports(schedule))

    @property
    def rounds(self) -> int:
        """Rounds spent so far, silent ones included."""
        return self._rounds

    @property
    def epsilon(self) -> float:
        """Epsilon spent so far; with sampling as it will be at the next multiple of ``refresh_rounds``."""
        if self._rounds == 0:
            return 0.0
        if not self._sampled:
            return self._unsampled(self._sum)
        assert self._schedule is not None
        later = min(-(-self._rounds // self._refresh) * self._refresh, len(self._schedule.mu))
        if self._budget is not None:
            # Not past the last round that the filter lets through, lest the report exceed what can ever be spent.
            later = max(self._rounds, min(later, self._last_admitted()))
        return self._prefix(later)

    def would_exceed(self, mu_t: float) -> bool:
        """Whether one more round at ``mu_t`` would pass the budget; False without a budget.

        :raises PrivacyError: mu_t negative or undefined, or louder than the schedule says
        """
        charge = self._charge(mu_t)
        if self._budget is None:
            return False
        if self._sampled:
            return self._rounds + 1 > self._last_admitted()
        return self._unsampled(_add(self._sum, charge)) > self._budget

    def spend(self, mu_t: float) -> None:
        """Record one round.

        :raises BudgetSpent: it would pass the budget; nothing is recorded
        :raises PrivacyError: see ``would_exceed``
        """
        if self.would_exceed(mu_t):
            raise BudgetSpent(
                f"round {self._rounds + 1} at mu = {mu_t:g} would pass the budget of epsilon = {self._budget:g}; stop here, or "
                "send more quietly"
            )
        self._sum = _add(self._sum, self._charge(mu_t))
        self._rounds += 1

    def state(self) -> dict[str, Any]:
        """Everything spent so far, and what it was spent under, as plain data."""
        return {
            "format": _FORMAT,
            "accountant": self._name,
            "delta": self._delta,
            "budget_epsilon": self._budget,
            "sampling_rate": None if self._schedule is None else self._schedule.sampling_rate,
            "schedule_mu_squared": None if self._schedule is None else float(np.square(self._schedule.mu).sum()),
            "relation": None if self._schedule is None else self._schedule.relation,
            "rounds": self._rounds,
            "sum_mu_squared": self._sum,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned.

        :raises PrivacyError: it is malformed, or was spent under another delta, budget, accountant or schedule
        """
        mine = self.state()
        if set(state) != set(mine):
            raise PrivacyError("the odometer's state is malformed; it must be what Odometer.state returned")
        for key in mine:
            if key not in ("rounds", "sum_mu_squared") and state[key] != mine[key]:
                raise PrivacyError(f"the odometer's state has {key} = {state[key]!r}, this one {mine[key]!r}; they must agree")
        rounds, total = state["rounds"], state["sum_mu_squared"]
        if type(rounds) is not int or rounds < 0 or type(total) is not float or not total >= 0:
            raise PrivacyError("the odometer's state is malformed: rounds and sum_mu_squared must be numbers of at least 0")
        self._rounds, self._sum = rounds, total

    def _charge(self, mu_t: float) -> float:
        if not mu_t >= 0:
            raise PrivacyError(f"mu of a round must not be negative or undefined, got {mu_t}")
        if self._schedule is None:
            return float(mu_t)
        if self._rounds >= len(self._schedule.mu):
            raise PrivacyError(f"the schedule ends after {len(self._schedule.mu)} rounds; announce a longer one")
        if not self._sampled:
            return float(mu_t)
        announced = float(self._schedule.announced[self._rounds])
        if mu_t > announced * (1 + _SLACK):
            raise PrivacyError(
                f"round {self._rounds + 1} at mu = {mu_t:g} is louder than the {announced:g} that the schedule announces"
            )
        return announced * (1 + _SLACK)

    def _unsampled(self, total: float) -> float:
        mu = np.array([math.nextafter(math.sqrt(total), math.inf)])
        extra = 0.0 if self._schedule is None else self._schedule.extra_delta
        return self._accountant.epsilon(Release(mu, extra_delta=extra), self._delta)

    def _prefix(self, rounds: int) -> float:
        """Epsilon of the first ``rounds`` rounds of the schedule, kept."""
        if rounds not in self._prefixes:
            assert self._schedule is not None
            prefix = self._schedule.prefix(rounds).scaled(1 + _SLACK)
            self._prefixes[rounds] = self._accountant.epsilon(prefix, self._delta) if rounds else 0.0
        return self._prefixes[rounds]

    def _last_admitted(self) -> int:
        """The last round of the schedule that keeps the budget: bisection, once."""
        if self._last_round is None:
            assert self._schedule is not None
            assert self._budget is not None
            low, high = 0, len(self._schedule.mu) + 1
            if self._prefix(high - 1) <= self._budget:
                low = high - 1
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if self._prefix(middle) <= self._budget else (low, middle)
            self._last_round = low
        return self._last_round


def _add(total: float, mu: float) -> float:
    """total + mu^2, rounded up."""
    square = mu * mu
    return total if square == 0 and mu == 0 else math.nextafter(total + math.nextafter(square, math.inf), math.inf)
