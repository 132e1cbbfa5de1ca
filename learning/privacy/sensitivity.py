"""How far one change of the data can move what a device sends in a round, and what the change is, in words.

Clipping bounds every sample's projected gradient by ``clip``; a device sends their sum over a fixed batch size b, which the
power limit bounds by ``clip`` too. The power constraint always uses the peak, ``clip``; privacy uses the sensitivity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from learning.privacy.errors import PrivacyError

__all__ = ["Payload", "Relation", "Sensitivity", "delta_warning"]

Relation = Literal["client_value", "record_replace_one", "record_add_remove"]
Payload = Literal["analog", "sign"]

_STATEMENTS: dict[Relation, str] = {
    "client_value": "neighbouring runs differ in the values that one device sends, each replaced by any other admissible value",
    "record_replace_one": "neighbouring data sets differ in one record of one device, replaced by any other record",
    "record_add_remove": "neighbouring data sets differ in one record of one device, which one of them lacks",
}


@dataclass(frozen=True)
class Sensitivity:
    """Largest change of one device's value in one round between neighbours.

    :param relation: ``client_value`` (2 clip), ``record_replace_one`` (2 clip / b) or ``record_add_remove`` (clip / b)
    :param clip: bound of a projected gradient, > 0
    :param batch: the fixed number b that the sum over the samples is divided by, never the realised size of a batch; for
        records of analog payloads only
    :param payload: ``analog``, or ``sign``: one record can flip a sign, so the change is 2 (in votes) whatever b
    :param directions: n values of a device and round; their change is measured in Euclidean norm, as noise of one strength on
        each of them asks for, and is charged once
    :param joint: whether the n values (or each sample's) are clipped jointly to a norm of ``clip``, which makes their change
        that of a single value; values that are clipped one by one change by sqrt(n) times as much, and votes always do
    :raises PrivacyError: clip or batch not positive, batch missing, or batch given where nothing may be divided by it
    """

    relation: Relation
    clip: float
    batch: int | None = None
    payload: Payload = "analog"
    directions: int = 1
    joint: bool = False

    def __post_init__(self) -> None:
        if self.relation not in _STATEMENTS:
            raise PrivacyError(f"there is no neighbouring relation {self.relation!r}; choose one of {', '.join(_STATEMENTS)}")
        if self.payload not in get_args(Payload):
            raise PrivacyError(f"there is no payload {self.payload!r}; choose analog or sign")
        if not (self.clip > 0 and math.isfinite(self.clip)):
            raise PrivacyError(f"clip must be positive and finite, got {self.clip}; without clipping one change is unbounded")
        if self.directions < 1:
            raise PrivacyError(f"directions must be at least 1, got {self.directions}")
        if self.batch is not None and self.batch < 1:
            raise PrivacyError(f"batch must be at least 1, got {self.batch}")
        if self.payload == "sign":
            if self.batch is not None:
                raise PrivacyError(
                    "one record can flip a sign, so its sensitivity is 2 and is not divided by b; leave batch out"
                )
        elif self.relation == "client_value":
            if self.batch is not None:
                raise PrivacyError("the sensitivity of a client value is 2 clip and is not divided by b; leave batch out")
        elif self.batch is None:
            raise PrivacyError(f"{self.relation} divides by the fixed batch size; give batch")

    @property
    def delta(self) -> float:
        """The largest change in Euclidean norm, in units of the payload (analog) or in votes of +-1 (sign)."""
        if self.payload == "sign":
            return 2.0 * self._spread
        factor = 1.0 if self.relation == "record_add_remove" else 2.0
        return factor * self.clip * self._spread / (self.batch or 1)

    @property
    def _spread(self) -> float:
        return 1.0 if self.joint and self.payload == "analog" else math.sqrt(self.directions)

    @property
    def ratio(self) -> float:
        """The largest change over full scale (``clip``, or 1 for votes): mu_t is this times a_t / sigma_t."""
        return self.delta if self.payload == "sign" else self.delta / self.clip

    @property
    def statement(self) -> str:
        """The neighbouring relation and the sensitivity in one sentence."""
        n, many = self.directions, self.directions > 1
        root = "" if self._spread == 1.0 else f" sqrt({n})"
        what = f"the {n} values of a round change, in Euclidean norm," if many else "a value changes"
        if self.payload == "sign":
            votes = f"the device's {n} votes of a round change, in Euclidean norm," if many else "the device's vote changes"
            change = f"{votes} by at most 2{root}, whatever the batch size"
        elif self.relation == "client_value":
            change = f"{what} by at most 2 clip{root} = {self.delta:g}"
        elif self.relation == "record_replace_one":
            change = f"{what} by at most 2 clip{root} / b = {self.delta:g}"
        else:
            sums = f"the {n} values of a round, sums over the fixed b = {self.batch}, change, in Euclidean norm,"
            what = sums if many else f"a value, a sum over the fixed b = {self.batch}, changes"
            change = f"{what} by at most clip{root} / b = {self.delta:g}"
        return f"{_STATEMENTS[self.relation]}; {change}"


def delta_warning(delta: float, records: int) -> str | None:
    """One sentence where delta exceeds 1/n, which would allow to publish a whole record now and then; else None."""
    if records < 1:
        raise PrivacyError(f"the number of records must be at least 1, got {records}")
    if delta <= 1 / records:
        return None
    return (
        f"delta = {delta:g} exceeds 1/n = {1 / records:g} for n = {records} records: a mechanism that publishes one record at "
        "random would pass; report a smaller delta as well"
    )
