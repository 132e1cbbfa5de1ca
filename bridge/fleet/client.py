"""The device's side of the fleet protocol."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import zmq

from bridge.errors import BadReply, BridgeError, ServerRefused
from bridge.fleet.frames import MAX_MESSAGE_BYTES, FleetCodec
from bridge.fleet.messages import (
    Answer,
    Deposited,
    Done,
    ErrorReply,
    FleetMessage,
    Goodbye,
    Hello,
    Join,
    Joined,
    Leave,
    Next,
    Proof,
    Prove,
    Receipt,
    Rows,
    Seated,
    Slot,
    Verdict,
    Wait,
    Welcome,
)
from bridge.keys import ClientKeys
from bridge.requester import Partner, Requester

__all__ = ["FleetClient", "SessionLost"]

ReplyT = TypeVar("ReplyT", bound=FleetMessage)


class SessionLost(BridgeError):
    """The coordinator does not know the session, for instance since it was started anew: join again."""


class FleetClient:
    """A device's conversation with its coordinator; one thread, one request at a time.

    Args:
        endpoint: the coordinator's address.
        patience_s: how long to ask a coordinator that does not answer [s].
        keys: this device's CURVE keys.
        on_silence: called with the seconds without an answer, before asking again.
        timeout_s: how long to wait before asking again [s].
        software: name and version of this side.
        context: a ZeroMQ context to share.

    Every method raises:
        ServerGone: nobody answered for `patience_s`.
        ServerRefused: the coordinator refuses this device (codes "refused", "replaced") or its key ("key").
        SessionLost: see there.
        BadReply: the answer breaks the protocol.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        patience_s: float = 60.0,
        keys: ClientKeys | None = None,
        on_silence: Callable[[float], None] | None = None,
        timeout_s: float = 5.0,
        software: str = "",
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        if not patience_s > 0:
            raise BridgeError(f"patience must be above 0 s, not {patience_s:g}")
        self.endpoint = endpoint
        self.instance = secrets.token_hex(16)
        self._software = software
        timeout_s = min(timeout_s, patience_s)
        self._requester: Requester[FleetMessage] = Requester(
            endpoint,
            FleetCodec(),
            Partner("coordinator", f"start or resume one with `pairzero fleet serve SCENARIO --bind {endpoint}`"),
            MAX_MESSAGE_BYTES,
            timeout_s=timeout_s,
            attempts=max(1, round(patience_s / timeout_s)),
            keys=keys,
            context=context,
            on_silence=None if on_silence is None else lambda attempts: on_silence(attempts * timeout_s),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the socket."""
        self._requester.close()

    def hello(self, number: int | None) -> Welcome:
        """Ask for the run, and for a place in it."""
        return self._ask(Hello(number=number, instance=self.instance, software=self._software), Welcome)

    def join(
        self,
        number: int,
        *,
        base_weights_sha256: str,
        identity: Mapping[str, Any],
        task_sha256: str | None,
        examples: int,
        standing: int,
        history: str,
    ) -> Joined | Seated:
        """Take the place, ready to compute; `Seated` where scalars go to the air server alone."""
        message = Join(
            number=number,
            instance=self.instance,
            base_weights_sha256=base_weights_sha256,
            identity={str(name): str(value) for name, value in identity.items()},
            task_sha256=task_sha256,
            examples=examples,
            standing=standing,
            history=history,
        )
        reply = self._exchange(message)
        if not isinstance(reply, Joined | Seated):
            raise self._unfit(reply)
        return reply

    def next(self, session: str, standing: int, measured: bool) -> Rows | Slot | Prove | Wait | Done:
        """Ask what to do before round `standing`."""
        reply = self._exchange(Next(session=session, standing=standing, measured=measured))
        if not isinstance(reply, Rows | Slot | Prove | Wait | Done):
            raise self._unfit(reply)
        if isinstance(reply, Rows) and reply.first != standing:
            raise BadReply(f"the coordinator at {self.endpoint} sent rounds from {reply.first} on, not from {standing}")
        if isinstance(reply, Slot | Prove) and reply.round != standing:
            raise BadReply(f"the coordinator at {self.endpoint} asks for round {reply.round}, this device stands at {standing}")
        return reply

    def answer(
        self,
        session: str,
        round_index: int,
        payloads: npt.NDArray[np.float64],
        mean_loss: float,
        samples: int,
        clipped_fraction: float,
    ) -> bool:
        """Send a round's scalars [n]; whether they came in time."""
        return self._ask(Answer(session, round_index, payloads, mean_loss, samples, clipped_fraction), Receipt).taken

    def deposited(self, session: str, round_index: int, finite: bool) -> bool:
        """Say that a round's scalars lie at the air server, or that there are none to send; whether that was in time."""
        return self._ask(Deposited(session=session, round=round_index, finite=finite), Receipt).taken

    def prove(self, session: str, round_index: int, weights_sha256: str) -> bool:
        """Show the hash of the weights before a round; whether it is the run's."""
        return self._ask(Proof(session=session, round=round_index, weights_sha256=weights_sha256), Verdict).agree

    def leave(self, number: int, reason: str) -> None:
        """Say goodbye, and why."""
        self._ask(Leave(number=number, instance=self.instance, reason=reason[:1000]), Goodbye)

    def _ask(self, message: FleetMessage, kind: type[ReplyT]) -> ReplyT:
        reply = self._exchange(message)
        if not isinstance(reply, kind):
            raise self._unfit(reply)
        return reply

    def _exchange(self, message: FleetMessage) -> FleetMessage:
        reply = self._requester.exchange(message)
        if isinstance(reply, ErrorReply):
            if reply.code == "unknown_session":
                raise SessionLost(f"the coordinator at {self.endpoint} does not know this session: {reply.message}")
            raise ServerRefused(f"the coordinator at {self.endpoint} refuses: {reply.message}", code=reply.code)
        return reply

    def _unfit(self, reply: FleetMessage) -> BadReply:
        return BadReply(f"the coordinator at {self.endpoint} answered with a {type(reply).__name__}, which is no answer here")
