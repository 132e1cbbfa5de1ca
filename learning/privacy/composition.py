"""What several runs on the same data release together.

Runs whose noise is independent compose: unsampled Gaussian ones to one Gaussian mechanism, mu^2 = sum mu_i^2, which is exact
for a device that is the most exposed of each and an upper bound for all others; whatever else by basic composition, in which
epsilons and deltas add (C. Dwork, A. Roth, "The algorithmic foundations of differential privacy", 2014, Theorem 3.16). Both
hold where a later run depends on the outputs of earlier ones.

A total is of one neighbouring relation. All values of a device cover each of its records, not the other way round, and a record
that is replaced is one that is removed and one that is added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from learning.privacy import gdp
from learning.privacy.errors import PrivacyError
from learning.privacy.sensitivity import Relation

__all__ = ["Charge", "Total", "common_relation", "total_of"]


@dataclass(frozen=True)
class Charge:
    """What one run costs.

    :param relation: the neighbouring relation that it is counted for
    :param epsilon: at ``delta``, by the run's own accountant; :param delta: of its promise
    :param mu_squared: sum of mu_t^2 of the most exposed device where the release is Gaussian and not sampled, else None
    :param extra_delta: part of ``delta``, the probability of channels for which ``mu_squared`` does not hold
    """

    relation: Relation
    epsilon: float
    delta: float
    mu_squared: float | None = None
    extra_delta: float = 0.0

    def replaced(self) -> Charge:
        """A record added or removed, as one that is replaced: twice the change, by group privacy."""
        if self.mu_squared is not None:
            return replace(self, relation="record_replace_one", mu_squared=4.0 * self.mu_squared)
        delta = self.delta * (1.0 + math.exp(min(self.epsilon, 700.0)))
        return replace(self, relation="record_replace_one", epsilon=2.0 * self.epsilon, delta=delta)


@dataclass(frozen=True)
class Total:
    """What runs cost together.

    :param relation: what the total is of
    :param epsilon: at ``delta``; infinite where nothing is left of the guarantees
    :param mu: of the runs that compose as Gaussian mechanisms
    """

    relation: Relation
    epsilon: float
    delta: float
    mu: float


def common_relation(relations: Iterable[Relation], *, same_devices: bool = True) -> Relation:
    """The strongest relation that runs under all of these cover.

    :param same_devices: whether a device holds the same data in each of them; a client is the same client only then
    """
    found = set(relations)
    if found == {"client_value"}:
        return "client_value" if same_devices else "record_replace_one"
    return "record_replace_one" if "record_replace_one" in found else "record_add_remove"


def total_of(charges: Sequence[Charge], delta: float | None = None, *, same_devices: bool = True) -> Total:
    """The total of runs whose noise is independent.

    :param delta: that the total is stated at; None: the sum of the runs' own
    :raises PrivacyError: no runs, or a delta that is not above what other than Gaussian runs have spent of it
    """
    if not charges:
        raise PrivacyError("there are no runs to add up")
    relation = common_relation((one.relation for one in charges), same_devices=same_devices)
    if relation == "record_replace_one":
        charges = [one.replaced() if one.relation == "record_add_remove" else one for one in charges]
    plain = [one for one in charges if one.mu_squared is None]
    extra = [one.extra_delta for one in charges if one.mu_squared is not None]
    squares = [one.mu_squared for one in charges if one.mu_squared]
    at = math.fsum(one.delta for one in charges) if delta is None else delta
    epsilon = math.fsum(one.epsilon for one in plain)
    mu = gdp.compose(math.nextafter(math.sqrt(square), math.inf) for square in squares) if squares else 0.0
    spent = [*(one.delta for one in plain), *extra]
    left = math.fsum([at, *(-part for part in spent)])
    if at >= 1.0:  # says nothing any more
        return Total(relation, math.inf, at, mu)
    if delta is not None and (left < 0 or (mu > 0 and left <= 0)):
        raise PrivacyError(
            f"the runs have spent {math.fsum(spent):g} of delta themselves; state their total at more, not at {delta:g}"
        )
    if mu > 0:
        epsilon += gdp.epsilon(mu, math.nextafter(left, 0.0))
    return Total(relation, epsilon, at, mu)
