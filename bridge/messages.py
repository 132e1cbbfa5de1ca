"""The messages of the air protocol, as plain values.

Shapes: B rounds, K devices, n scalars per device and round, D diagnostics. How they lie in bytes is
`frames.py`'s business alone; docs/protocol.md is the document of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from bridge.deposits.messages import DEPOSITS_VERSION, DepositMessage

__all__ = [
    "PROTOCOL_VERSION",
    "AggregateRequest",
    "ErrorCode",
    "ErrorReply",
    "Hello",
    "Limits",
    "Message",
    "Ping",
    "Pong",
    "Result",
    "Welcome",
]

#: The newest version; a message names the version that its type came with (those of this file: 1).
PROTOCOL_VERSION = DEPOSITS_VERSION

ErrorCode = Literal["bad_frame", "bad_config", "unknown_session", "bad_request", "too_large", "internal"]

_Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
_Text = Annotated[str, msgspec.Meta(max_length=1024)]
# msgpack itself ends at 2^64 - 1
Seed = Annotated[int, msgspec.Meta(ge=0)]
Nonce = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$", max_length=64)]
SessionId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The largest AGGREGATE that a peer takes.

    `rounds`, `devices` and `entries` bound B, K and n; `scalars` bounds the product B*K*n (8 bytes each).
    """

    rounds: _Count = 65_536
    devices: _Count = 4_096
    entries: _Count = 2**23
    scalars: _Count = 2**23

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not 1 <= value <= 2**31 - 1:
                raise ValueError(f"limit {name} is {value}; give a number from 1 to 2147483647")

    def meet(self, other: Limits) -> Limits:
        """Return the limits that both sides keep: the smaller of each."""
        return Limits(**{f: min(getattr(self, f), getattr(other, f)) for f in self.__struct_fields__})


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Client to server: open, or find again, the link of `config` (plain data) and `seed`.

    `nonce`, left out where empty, tells runs apart that have both in common: a server with a secret gives them different
    noise. Whoever has all three can ask for the same noise, so a client draws it at random and keeps it to itself.
    """

    config: dict[str, Any]
    seed: Seed
    nonce: Nonce = ""


class Welcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Server to client: the session is open; the same (config, seed, nonce) always gets the same `session`."""

    session: SessionId
    description: dict[str, int | float | str]
    limits: Limits
    server: _Text


class Ping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Client to server: are you there?"""


class Pong(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Server to client: yes."""


class ErrorReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Server to client: no, and why, in one sentence."""

    code: ErrorCode
    message: _Text


@dataclass(frozen=True, slots=True, eq=False)
class AggregateRequest:
    """Client to server: what would the air make of these payloads?

    `rounds` int64 [B], from 0 to 2^62; `payloads` float64 [B, K, n], finite; `present` bool [B, K] or None
    (all present).
    """

    session: str
    rounds: npt.NDArray[np.int64]
    payloads: npt.NDArray[np.float64]
    present: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Server to client: the estimates.

    `estimates` float64 [B, n], NaN throughout a lost round and finite elsewhere; `lost` bool [B]; each of the
    D `diagnostics` float64 [B], where NaN and infinity are allowed.
    """

    estimates: npt.NDArray[np.float64]
    lost: npt.NDArray[np.bool_]
    diagnostics: Mapping[str, npt.NDArray[np.float64]]


Message = Hello | Welcome | AggregateRequest | Result | Ping | Pong | ErrorReply | DepositMessage
