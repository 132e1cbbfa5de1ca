"""What a run of energy detection has spent so far, and a filter that stops it before its budget is passed.

Every round that is sent is charged the worst pair of variances (:class:`learning.privacy.energy.EnergyRound`), whatever was
sent before and whatever the payload is. That cost is fixed before the run, so the rounds compose like fixed ones although
payloads are adaptive, and the number of rounds within the budget is known beforehand; a Renyi filter (V. Feldman, T. Zrnic,
arXiv 2008.11193), charged the same cost in each round, stops at the same round.
"""

from __future__ import annotations

from learning.privacy.energy import EnergyRound
from learning.privacy.errors import PrivacyError, check_delta, check_epsilon
from learning.privacy.odometer import BudgetSpent

__all__ = ["EnergyOdometer"]


class EnergyOdometer:
    """Epsilon spent so far at a fixed delta; a cost is 1 for a round that was sent and 0 for one that was not.

    :param one: what one round reveals at worst
    :param delta: strictly between 0 and 1
    :param rounds: most rounds that the run can have
    :param budget_epsilon: epsilon that must not be passed; None: only count
    :param refresh_rounds: epsilon is computed at multiples of this many rounds, and reported as at the next one
    :raises PrivacyError: bad delta, budget or numbers of rounds
    """

    unit = "privacy_rounds"

    def __init__(
        self, one: EnergyRound, delta: float, rounds: int, budget_epsilon: float | None = None, *, refresh_rounds: int = 1
    ) -> None:
        check_delta(delta)
        if budget_epsilon is not None:
            check_epsilon(budget_epsilon)
        if rounds < 1 or refresh_rounds < 1:
            raise PrivacyError(f"an odometer needs at least one round and refresh_rounds of at least 1, got {rounds}")
        self._one, self._delta, self._most = one, delta, rounds
        self._refresh = refresh_rounds
        self._budget = budget_epsilon
        self._known: dict[int, float] = {0: 0.0}
        self._rounds = 0
        self._sent = 0
        #: Rounds that may be sent within the budget.
        self.admitted = rounds if budget_epsilon is None else self._within(budget_epsilon)

    @property
    def rounds(self) -> int:
        """Rounds so far, sent or not."""
        return self._rounds

    @property
    def epsilon(self) -> float:
        """Epsilon spent so far, as it will be at the next multiple of ``refresh_rounds``, or at the last round admitted."""
        later = -(-self._sent // self._refresh) * self._refresh
        return self.after(max(self._sent, min(later, self.admitted)))

    def after(self, sent: int) -> float:
        """Epsilon of ``sent`` rounds."""
        if sent not in self._known:
            self._known[sent] = self._one.epsilon(sent, self._delta)
        return self._known[sent]

    def would_exceed(self, cost: float) -> bool:
        """Whether one more round of this cost would pass the budget; False without a budget.

        :raises PrivacyError: a cost other than 0 or 1, or more rounds than announced
        """
        if cost not in (0.0, 1.0):
            raise PrivacyError(f"a round of energy detection costs 1 where it is sent and 0 where not, got {cost}")
        if self._rounds >= self._most:
            raise PrivacyError(f"the odometer ends after {self._most} rounds; announce a longer run")
        return self._budget is not None and self._sent + int(cost) > self.admitted

    def spend(self, cost: float) -> None:
        """Record one round.

        :raises BudgetSpent: it would pass the budget; nothing is recorded
        :raises PrivacyError: see ``would_exceed``
        """
        if self.would_exceed(cost):
            raise BudgetSpent(
                f"round {self._rounds + 1} would pass the budget of epsilon = {self._budget:g}, which {self.admitted} rounds "
                "spend; stop here"
            )
        self._rounds += 1
        self._sent += int(cost)

    def _within(self, budget: float) -> int:
        low, high = 0, self._most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.after(middle) <= budget else (low, middle - 1)
        return low
