"""The seam to whatever carries the devices' scalars: in process and noise-free, or a physical layer elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Aggregate", "Deposits", "NoiseFreeUplink", "Received", "Uplink", "is_repeatable"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Received(Protocol):
    """What an uplink answers; any object with these attributes will do."""

    @property
    def estimate(self) -> Floats:
        """float64[n]: the receiver's estimate of the mean payload."""

    @property
    def lost(self) -> bool:
        """Whether nothing usable was received; the estimate then means nothing."""

    @property
    def diagnostics(self) -> Mapping[str, float]:
        """Whatever the link reports about the round, by name."""


@dataclass(frozen=True)
class Aggregate:
    """The plain form of ``Received``."""

    estimate: Floats
    lost: bool = False
    diagnostics: Mapping[str, float] = field(default_factory=dict)


class Uplink(Protocol):
    """Carries one round's payloads to the server.

    One that answers a repeated round with the same bits says so by an attribute ``repeatable = True``; any other is taken for a
    radio, whose noise is new in every transmission (:func:`is_repeatable`).
    """

    def aggregate(self, round_index: int, payloads: Floats, present: Bools | None = None) -> Received:
        """The server's estimate of the mean over the devices that are present.

        :param payloads: float64[K, n], n scalars per device; those of an absent device are zero
        :param present: bool[K], who is on the air; None for everybody. Where nobody is, the round is lost
        """


def is_repeatable(uplink: Uplink) -> bool:
    """Whether a round that is sent a second time has the same bits, and so tells nobody more than the first time."""
    return getattr(uplink, "repeatable", False) is True


class Deposits(Protocol):
    """Carries scalars that the devices leave at the air themselves, round after round."""

    def open(self, round_index: int) -> None:
        """Have the deposits of a round taken from now on."""

    def close(self, round_index: int) -> Bools:
        """Have no more of them taken; whose are there, bool[K]."""

    def collect(self, round_index: int, present: Bools) -> Received:
        """The server's estimate of the mean over those ``present`` [K]; a round is collected once."""


class NoiseFreeUplink:
    """The ideal link, the "Perfect" baseline of pAirZero (arXiv 2604.12401).

    ``analog``: the mean of the payloads. ``sign``: every device sends +1 or -1 (+1 for zero), and the server takes the
    mean of the signs (``soft``) or the sign of their sum (``hard``; a tie moves nothing).
    """

    repeatable = True

    def __init__(self, scheme: Literal["analog", "sign"] = "analog", decision: Literal["soft", "hard"] = "soft") -> None:
        if scheme not in ("analog", "sign"):
            raise ValueError(f'no scheme is called "{scheme}"; the schemes are analog and sign')
        if decision not in ("soft", "hard"):
            raise ValueError(f'no decision is called "{decision}"; the decisions are soft and hard')
        self._scheme = scheme
        self._decision = decision

    def aggregate(self, round_index: int, payloads: Floats, present: Bools | None = None) -> Aggregate:
        """Mean, mean of signs or majority over the devices that are present, axis 0; lost where there are none."""
        heard = payloads if present is None else payloads[present]
        if not len(heard):
            return Aggregate(np.full(payloads.shape[1:], np.nan), lost=True)
        if self._scheme == "analog":
            return Aggregate(heard.mean(axis=0))
        votes = np.where(heard >= 0.0, 1.0, -1.0).mean(axis=0)
        return Aggregate(np.sign(votes) if self._decision == "hard" else votes)
