"""Both sides of a box: the coordinator, who has it filled and emptied, and a device, which deposits."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from bridge.client import AirAggregate, AirClient
from bridge.deposits.messages import Close, Closed, Collect, Deposit, Open, Opened, Receipt, box_of, token_of
from bridge.errors import BadReply, BridgeError, ServerRefused
from bridge.frames import FrameCodec, max_message_bytes
from bridge.keys import ClientKeys
from bridge.messages import ErrorReply, Limits, Message, Result
from bridge.requester import Partner, Requester

__all__ = ["Collecting", "Depositor", "NoBox"]

Bools = npt.NDArray[np.bool_]


class NoBox(BridgeError):
    """The air server has no such box, for instance since it was started anew: ask the coordinator what is next."""


class Collecting:
    """The coordinator's side: a box under a seal of its own, over an air client's socket; for one thread.

    Args:
        client: the client whose link a round goes over.
        devices: places K.
        n: scalars per device and round.

    Every method raises:
        BridgeError: as `AirClient` does.
    """

    def __init__(self, client: Callable[[int], AirClient], devices: int, n: int) -> None:
        self._client, self._devices, self._n = client, devices, n
        self._seal = secrets.token_hex(32)
        self.box = box_of(self._seal)

    def token(self, device: int, generation: int) -> str:
        """What the process that took the place of `device` as number `generation` shows to deposit."""
        return token_of(self._seal, device, generation)

    def open(self, round_index: int) -> None:
        """Have the server take deposits of a round, and drop those of earlier ones."""

        def message(session: str) -> Message:
            return Open(session=session, seal=self._seal, round=round_index, devices=self._devices, n=self._n)

        reply = self._client(round_index).ask(message, Opened)
        if reply.box != self.box:
            raise BadReply(f"the air server at {self._client(round_index).endpoint} opened another box than it was asked to")

    def close(self, round_index: int) -> Bools:
        """End the deposits of a round; whose are there [K]. Nobody's, where the server lost the box."""
        message = Close(seal=self._seal, round=round_index)
        try:
            present = self._client(round_index).ask(lambda session: message, Closed).present
        except ServerRefused as error:
            if error.code != "unknown_session":
                raise
            self.open(round_index)
            present = self._client(round_index).ask(lambda session: message, Closed).present
        if present.shape != (self._devices,):
            raise BadReply(f"the air server named the deposits of {len(present)} devices instead of {self._devices}")
        return present

    def collect(self, round_index: int, present: Bools) -> AirAggregate:
        """What the air makes of the deposits of those `present` [K] in a round that is closed."""

        def message(session: str) -> Message:
            return Collect(session, self._seal, round_index, present)

        found = self._client(round_index).ask(message, Result)
        if found.estimates.shape != (1, self._n):
            raise BadReply(f"the air server sent estimates of shape {found.estimates.shape} instead of {(1, self._n)}")
        diagnostics = {name: float(values[0]) for name, values in found.diagnostics.items()}
        return AirAggregate(found.estimates[0], bool(found.lost[0]), diagnostics)


class Depositor:
    """A device's side; one thread, one request at a time.

    Args:
        endpoint: the air server's address.
        keys: this device's CURVE keys, with the air server's public key.
        timeout_s: how long to wait before asking again [s].
        attempts: how often to ask; few, since the coordinator may know a new address.
    """

    def __init__(self, endpoint: str, *, keys: ClientKeys | None = None, timeout_s: float = 2.0, attempts: int = 2) -> None:
        self.endpoint = endpoint
        self._requester: Requester[Message] = Requester(
            endpoint,
            FrameCodec(Limits()),
            Partner("air server", "the scalars of the run go there, so it must be reached from here"),
            max_message_bytes(Limits()),
            timeout_s=timeout_s,
            attempts=attempts,
            keys=keys,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def deposit(self, deposit: Deposit) -> bool:
        """Leave scalars [n], all finite; whether they came in time.

        Raises:
            NoBox: see there.
            ServerGone: nobody answers.
            ServerRefused: the server refuses the deposit, or the key.
            BadReply: the answer breaks the protocol.
        """
        reply = self._requester.exchange(deposit)
        if isinstance(reply, Receipt):
            return reply.taken
        if not isinstance(reply, ErrorReply):
            raise BadReply(f"the air server at {self.endpoint} answered with a {type(reply).__name__}, which is no answer here")
        if reply.code == "unknown_session":
            raise NoBox(f"the air server at {self.endpoint} has no place for the deposit: {reply.message}")
        raise ServerRefused(f"the air server at {self.endpoint} refuses: {reply.message}", code=reply.code)

    def close(self) -> None:
        """Let go of the socket."""
        self._requester.close()
