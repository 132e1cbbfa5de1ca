"""The messages of the fleet protocol, as plain values.

Shapes: n scalars per device and round, R rounds. How they lie in bytes is `frames.py`'s business alone; docs/fleet.md is
the document of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = [
    "FLEET_VERSION",
    "MAX_DEVICES",
    "MAX_ROUND",
    "MAX_SCALARS",
    "Answer",
    "Deposited",
    "Done",
    "ErrorCode",
    "ErrorReply",
    "FleetMessage",
    "Goodbye",
    "Hello",
    "Join",
    "Joined",
    "Leave",
    "Next",
    "Proof",
    "Prove",
    "Receipt",
    "Rows",
    "Seated",
    "Slot",
    "Verdict",
    "Wait",
    "Welcome",
]

#: The newest version; a message names the version that its type came with: 2 for Seated and Deposited, 1 for all others.
FLEET_VERSION = 2

MAX_DEVICES = 10_000
MAX_ROUND = 2**62
#: Of a message: R n of ROWS, n of ANSWER. 8 MiB each buffer.
MAX_SCALARS = 2**20

ErrorCode = Literal["bad_frame", "unknown_session", "refused", "replaced", "too_large", "internal"]

_Text = Annotated[str, msgspec.Meta(max_length=1024)]
_Hex64 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
_Hex32 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$", max_length=32)]
_Number = Annotated[int, msgspec.Meta(ge=0, lt=MAX_DEVICES)]
_Round = Annotated[int, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Device: which run is this, and which place may I take? `number` None: any free one."""

    number: _Number | None
    instance: _Hex32
    software: _Text


class Welcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Coordinator: this run; `settings` (plain data) say what a device computes with. The place is held for `instance`."""

    run: _Hex64
    number: _Number
    settings: dict[str, Any]
    software: _Text


class Join(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Device: my model and data are ready, and I stand before round `standing`, after a journal that hashes to `history`."""

    number: _Number
    instance: _Hex32
    base_weights_sha256: _Hex64
    identity: dict[str, str]
    task_sha256: _Hex64 | None
    examples: _Count
    standing: _Round
    history: _Hex64


class Joined(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Coordinator: take part under this `session`; with `restart`, from the base weights."""

    session: _Hex64
    restart: bool


class Seated(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Coordinator, in place of Joined where scalars go to the air alone: deposit them there, showing `token`.

    `air` is the air server's address, and `server_key` its public CURVE key (None: it has none).
    """

    session: _Hex64
    restart: bool
    air: _Text
    server_key: Annotated[str, msgspec.Meta(min_length=40, max_length=40)] | None
    box: _Hex64
    generation: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    token: _Hex64


class Next(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Device: I stand before round `standing`; what next? Answered at once, or when there is something, or with WAIT.

    `measured`: the round's scalars are measured, and the weights displaced for them until the round is told.
    """

    session: _Hex64
    standing: _Round
    measured: bool


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Coordinator: measure round `round` along the directions of `seed`; the slot closes in `closes_in_s`."""

    round: _Round
    seed: _Round
    closes_in_s: float


class Wait(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Coordinator: nothing yet, ask again. `reason` is for a person."""

    reason: _Text


class Deposited(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Device: my scalars of `round` lie at the air server; or they do not, as a loss was not a number (not `finite`)."""

    session: _Hex64
    round: _Round
    finite: bool


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Coordinator: the answer counts (`taken`), or came too late."""

    taken: bool


class Prove(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Coordinator: show the hash of your weights before round `round`, where you stand."""

    round: _Round


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Device: the hash of my weights before round `round`."""

    session: _Hex64
    round: _Round
    weights_sha256: _Hex64


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Coordinator: the hash is the run's (`agree`), or the device has diverged and goes back to the base weights."""

    agree: bool


class Done(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Coordinator: the run is over after `rounds`."""

    rounds: _Round
    reason: _Text


class Leave(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Device: I go, for this reason."""

    number: _Number
    instance: _Hex32
    reason: _Text


class Goodbye(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Coordinator: noted."""


class ErrorReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Coordinator: no, and why, in one sentence."""

    code: ErrorCode
    message: _Text


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Device: what I measured in `round`.

    `payloads` float64 [n]; a scalar that is not a number says that a loss was none. `mean_loss` over `samples` evaluations
    of both sides (NaN where there are none or one is not a number), and the share of values clipped.
    """

    session: str
    round: int
    payloads: npt.NDArray[np.float64]
    mean_loss: float
    samples: int
    clipped_fraction: float


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Coordinator: rounds `first`, `first` + 1, ... as the journal has them.

    `seeds` int64 [R]; `estimates` float64 [R, n], NaN throughout a lost round and finite elsewhere; `learning_rates`
    float64 [R], finite and not negative.
    """

    first: int
    seeds: npt.NDArray[np.int64]
    estimates: npt.NDArray[np.float64]
    learning_rates: npt.NDArray[np.float64]


FleetMessage = (
    Hello
    | Welcome
    | Join
    | Joined
    | Next
    | Slot
    | Wait
    | Answer
    | Receipt
    | Rows
    | Prove
    | Proof
    | Verdict
    | Done
    | Leave
    | Goodbye
    | ErrorReply
    | Seated
    | Deposited
)
