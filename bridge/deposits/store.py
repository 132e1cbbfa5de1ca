"""The boxes of a server: what was deposited in the open round of each, and what the air made of the round before.

Nothing here writes a deposit, or what follows from it, into a sentence.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bridge.deposits.messages import Close, Closed, Collect, Deposit, Open, Opened, Receipt, box_of, token_of
from bridge.errors import BridgeError, RequestRefused
from bridge.links import AirResult
from bridge.messages import Result

__all__ = ["BOXES", "PUBLIC_DIAGNOSTICS", "RESERVED_SCALARS", "Boxes", "UnknownBox"]

#: How many boxes stay open, and how many scalars they may hold together (8 bytes each); the one used least recently goes first.
BOXES = 32
RESERVED_SCALARS = 2**25
#: Diagnostics that follow from channels and presence alone. Every other one is kept back: it may follow from the deposits.
PUBLIC_DIAGNOSTICS = ("active", "truncated", "aligned_gain", "loudest_gain", "transmissions")

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Aggregate = Callable[[npt.NDArray[np.int64], Floats, Bools | None], AirResult]


class UnknownBox(BridgeError):
    """No box of this name is open; servers answer it with the code `unknown_session`."""


@dataclass
class _Box:
    seal: str
    devices: int
    n: int
    clip: float | None
    round: int
    deposits: dict[int, Floats] = field(default_factory=dict)
    generations: dict[int, int] = field(default_factory=dict)
    closed: bool = False
    asked: bytes | None = None  # who was asked for when the round was collected
    answer: Result | None = None

    @property
    def reserved(self) -> int:
        return self.devices * self.n

    def begin(self, round_index: int) -> None:
        self.round = round_index
        self.deposits, self.closed, self.asked, self.answer = {}, False, None, None


class Boxes:
    """At most `BOXES` open boxes of `RESERVED_SCALARS` in all."""

    def __init__(self) -> None:
        self._boxes: OrderedDict[str, _Box] = OrderedDict()

    def open(self, message: Open, description: Mapping[str, object]) -> Opened:
        """Take deposits of a round from now on, and drop those of earlier ones; asked again, nothing changes.

        Args:
            message: with the coordinator's seal.
            description: of the link, whose `clip` bounds what may be deposited.

        Raises:
            RequestRefused: the box is of another shape or further on, or needs more room than there is.
        """
        name = box_of(message.seal)
        box = self._boxes.get(name)
        if box is None:
            if message.devices * message.n > RESERVED_SCALARS:
                raise RequestRefused(f"a box holds {RESERVED_SCALARS} scalars at most, not {message.devices} times {message.n}")
            clip = description.get("clip")
            box = _Box(
                message.seal,
                message.devices,
                message.n,
                float(clip) if isinstance(clip, int | float) else None,
                message.round,
            )
            self._boxes[name] = box
            self._make_room()
        elif (box.devices, box.n) != (message.devices, message.n):
            raise RequestRefused(f"the box is for {box.devices} devices of {box.n} scalars; open another under another seal")
        elif message.round < box.round:
            raise RequestRefused(f"the box has come to round {box.round}; its rounds only go forwards")
        elif message.round > box.round:
            box.begin(message.round)
        self._boxes.move_to_end(name)
        return Opened(box=name)

    def deposit(self, message: Deposit) -> Receipt:
        """Take a device's scalars of the open round; the first counts, and the same ones may come again.

        Raises:
            UnknownBox: see there.
            RequestRefused: the token is not the device's, or it deposits what it may not.
        """
        box = self._box(message.box)
        device, payload = message.device, message.payload
        if device >= box.devices:
            raise RequestRefused(f"there is no device {device} in a box of {box.devices}")
        if not hmac.compare_digest(token_of(box.seal, device, message.generation), message.token):
            raise RequestRefused(f"the token is not that of device {device}; a device deposits for itself only")
        latest = box.generations.get(device, 0)
        if message.generation < latest:
            raise RequestRefused(f"another process took the place of device {device}, and deposits now")
        if message.round > box.round:
            raise RequestRefused(f"round {message.round} is not open for deposits; round {box.round} is")
        if payload.shape != (box.n,):
            raise RequestRefused(f"device {device} deposited {len(payload)} scalars instead of {box.n}")
        if box.clip is not None and not float(np.abs(payload).max()) <= box.clip:
            raise RequestRefused(f"a scalar of device {device} is over the clip of {box.clip:g}; clip before sending")
        if message.round < box.round:
            return Receipt(taken=False)
        known = box.deposits.get(device)
        same = known is not None and known.tobytes() == payload.tobytes()
        if box.closed:
            return Receipt(taken=same)
        if message.generation > latest:
            box.generations[device], known = message.generation, None  # what lies there is of a process that is gone
        if known is not None and not same:
            raise RequestRefused(f"device {device} has deposited other scalars in round {box.round}; the first ones count")
        box.deposits[device] = payload
        return Receipt(taken=True)

    def close(self, message: Close) -> Closed:
        """Take no more deposits of the round, and tell whose there are.

        Raises:
            UnknownBox: see there.
            RequestRefused: another round is open.
        """
        box = self._open_at(message.seal, message.round)
        box.closed = True
        present = np.zeros(box.devices, dtype=np.bool_)
        present[list(box.deposits)] = True
        return Closed(present)

    def collect(self, message: Collect, aggregate: Aggregate) -> Result:
        """Send the deposits of those present over the air, once: the same question gets the same answer, another none.

        Two answers of one round, with and without a device, would tell what it deposited.

        Raises:
            UnknownBox: see there.
            RequestRefused: it is not to be had.
        """
        box = self._open_at(message.seal, message.round)
        present = message.present
        if present.shape != (box.devices,):
            raise RequestRefused(f"the box is for {box.devices} devices, and {len(present)} were named")
        if not box.closed:
            raise RequestRefused(f"round {box.round} still takes deposits; close it first")
        if box.asked is not None and box.asked != present.tobytes():
            raise RequestRefused(f"round {box.round} was collected with other devices; a round is collected once")
        if box.answer is None:
            wanted = np.flatnonzero(present)
            lacking = [k for k in wanted.tolist() if k not in box.deposits]
            if lacking or not len(wanted):
                who = f"device {lacking[0]} has" if lacking else "those who were named have"
                raise RequestRefused(f"{who} no deposit in round {box.round}")
            box.asked = present.tobytes()
            box.answer = _answered(box, present, aggregate)
            box.deposits = {}
        return box.answer

    def _make_room(self) -> None:
        while len(self._boxes) > BOXES or sum(box.reserved for box in self._boxes.values()) > RESERVED_SCALARS:
            self._boxes.popitem(last=False)

    def _box(self, name: str) -> _Box:
        box = self._boxes.get(name)
        if box is None:
            raise UnknownBox("this box is not open; the coordinator opens it")
        self._boxes.move_to_end(name)
        return box

    def _open_at(self, seal: str, round_index: int) -> _Box:
        box = self._box(box_of(seal))
        if round_index != box.round:
            raise RequestRefused(f"round {round_index} is not the open one; round {box.round} is")
        return box


def _answered(box: _Box, present: Bools, aggregate: Aggregate) -> Result:
    payloads = np.zeros((1, box.devices, box.n))
    for device in np.flatnonzero(present).tolist():
        payloads[0, device] = box.deposits[device]
    try:
        # A link is asked about presence only where somebody is missing, as without deposits.
        found = aggregate(np.array([box.round], dtype=np.int64), payloads, None if present.all() else present[None])
    except Exception as error:
        # Its own words could show a scalar.
        raise RequestRefused(f"the link failed on the deposits of round {box.round} ({type(error).__name__})") from None
    shown = {name: found.diagnostics[name] for name in PUBLIC_DIAGNOSTICS if name in found.diagnostics}
    return Result(found.estimates, found.lost, shown)
