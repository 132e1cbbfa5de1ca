"""The messages of deposits, version 2 of the air protocol, and the secrets that they rest on.

Shapes: K devices, n scalars per device and round. How they lie in bytes is `frames.py`'s business.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = [
    "DEPOSITS_VERSION",
    "Close",
    "Closed",
    "Collect",
    "Deposit",
    "DepositMessage",
    "Open",
    "Opened",
    "Receipt",
    "box_of",
    "token_of",
]

#: The version of the air protocol that these messages belong to.
DEPOSITS_VERSION = 2

Hex64 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Index = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Round = Annotated[int, msgspec.Meta(ge=0)]


def box_of(seal: str) -> str:
    """The name of the box of a `seal`, both 64 hexadecimal digits: SHA-256 of the text "box " and the seal."""
    return hashlib.sha256(b"box " + seal.encode("ascii")).hexdigest()


def token_of(seal: str, device: int, generation: int) -> str:
    """What a device shows to deposit: HMAC-SHA256 under the seal's 32 bytes of the text "DEVICE GENERATION", in hex."""
    return hmac.new(bytes.fromhex(seal), f"{device} {generation}".encode("ascii"), hashlib.sha256).hexdigest()


class Open(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Coordinator to server: take deposits of round `round` into the box of `seal`, for the link of `session`."""

    session: Hex64
    seal: Hex64
    round: Round
    devices: Count
    n: Count


class Opened(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Server to coordinator: the box that devices name."""

    box: Hex64


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Server to device: the deposit lies in the box (`taken`), or came after the round was closed."""

    taken: bool


class Close(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Coordinator to server: no more deposits of round `round`; whose are there?"""

    seal: Hex64
    round: Round


@dataclass(frozen=True, slots=True, eq=False)
class Closed:
    """Server to coordinator: `present` bool [K], whose deposits are there."""

    present: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Deposit:
    """Device to server: my scalars of `round`, `payload` float64 [n], finite.

    `generation` counts the processes that took the device's place one after the other.
    """

    box: str
    device: int
    generation: int
    token: str = field(repr=False)
    round: int
    payload: npt.NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Collect:
    """Coordinator to server: send the deposits of those `present` bool [K] over the link of `session`."""

    session: str
    seal: str = field(repr=False)
    round: int
    present: npt.NDArray[np.bool_]


DepositMessage = Open | Opened | Deposit | Receipt | Close | Closed | Collect
