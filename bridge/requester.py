"""The asking side of a wire protocol: one request under way, sent again until its reply comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import zmq
from zmq.utils.monitor import recv_monitor_message

from bridge.endpoints import parse_endpoint
from bridge.errors import BadReply, BridgeError, FrameError, ServerGone, ServerRefused
from bridge.keys import ClientKeys

__all__ = ["Decoded", "Partner", "Requester"]

HIGH_WATER_MARK = 16
HEARTBEAT_MS = 2_000
HEARTBEAT_TIMEOUT_MS = 6_000
# How often a waiting client looks whether the server's process lives and its key was taken.
LOOK_MS = 100

# NO_DETAIL is left out: a server that is killed in mid-handshake looks like that too, and may come back.
_HANDSHAKE_FAILED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL

MessageT = TypeVar("MessageT")
MessageT_co = TypeVar("MessageT_co", covariant=True)


class Decoded(Protocol[MessageT_co]):
    """A message and its sequence number."""

    @property
    def seq(self) -> int: ...  # noqa: D102

    @property
    def message(self) -> MessageT_co: ...  # noqa: D102


class Codec(Protocol[MessageT]):
    """Messages to parts and back."""

    def encode(self, seq: int, message: MessageT, /) -> Sequence[bytes | memoryview]: ...

    def decode(self, parts: Sequence[bytes], /) -> Decoded[MessageT]: ...


@dataclass(frozen=True, slots=True)
class Partner:
    """Who is asked, in the words of error messages: its noun, and how one is started."""

    noun: str
    start: str


class Requester(Generic[MessageT]):
    """A DEALER socket that asks one question at a time: the lazy pirate, with one sequence number for all attempts.

    For one thread, and not to be carried over a fork.

    Args:
        endpoint: the server's address.
        codec: of the protocol.
        partner: who is asked.
        max_bytes: the largest legal part of a message.
        timeout_s: how long to wait for an answer before asking again [s].
        attempts: how often to ask before giving up.
        alive: tells whether the server's process lives; with it a dead server is noticed at once.
        keys: this client's CURVE keys.
        context: a ZeroMQ context to share; needed for `inproc://`.
        on_silence: called with the number of attempts that got no answer, before the next one.

    Attributes:
        sendings: how often the last message was sent.

    Raises:
        BridgeError: the address or the numbers will not do.
    """

    def __init__(
        self,
        endpoint: str,
        codec: Codec[MessageT],
        partner: Partner,
        max_bytes: int,
        *,
        timeout_s: float,
        attempts: int,
        alive: Callable[[], bool] | None = None,
        keys: ClientKeys | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        on_silence: Callable[[int], None] | None = None,
    ) -> None:
        parsed = parse_endpoint(endpoint)
        if parsed.transport == "inproc" and context is None:
            raise BridgeError(f"{endpoint} lies in one ZeroMQ context; give the server's, as in context=server.context")
        if not timeout_s > 0 or attempts < 1:
            raise BridgeError("give a timeout_s above 0 and at least one attempt")
        self.endpoint = endpoint
        self._ipv6 = ":" in parsed.host
        self._codec, self._partner, self._max_bytes = codec, partner, max_bytes
        self._timeout_s, self._attempts, self._alive, self._keys = timeout_s, attempts, alive, keys
        self._on_silence = on_silence
        self._own_context = context is None
        self._context = context if context is not None else zmq.Context()
        self._seq = 0
        self.sendings = 0
        self._dealer: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def exchange(self, message: MessageT) -> MessageT:
        """Send a message until its reply comes, and return that.

        The socket is kept between attempts, so that the late reply of a busy server still counts.

        Raises:
            ServerGone: nobody answers.
            ServerRefused: the server refuses the key (code "key").
            BadReply: what came is no message of the protocol.
        """
        self._seq += 1
        seq = self._seq
        parts = self._codec.encode(seq, message)
        for attempt in range(self._attempts):
            if attempt and self._on_silence is not None:
                self._on_silence(attempt)
            self.sendings = attempt + 1
            self._send(parts)
            deadline = time.monotonic() + self._timeout_s
            while time.monotonic() < deadline:
                reply = self._receive(seq)
                if reply is not None:
                    return reply
        # What still waits in the socket would reach a later server as a question that nobody asks any more.
        self._disconnect()
        self._connect()
        raise ServerGone(
            f"no {self._partner.noun} answered at {self.endpoint} after {self._attempts} "
            f"attempt{'s' if self._attempts > 1 else ''} of {self._timeout_s:g} s; {self._partner.start}"
        )

    def close(self) -> None:
        """Let go of the socket."""
        self._disconnect()
        if self._own_context:
            self._context.term()

    def _send(self, parts: Sequence[bytes | memoryview]) -> None:
        for _ in range(2):
            if self._dealer is None:
                raise BridgeError(f"the client of the {self._partner.noun} is closed; make a new one")
            try:
                self._dealer.send_multipart(parts, zmq.NOBLOCK)
                return
            except zmq.Again:
                # An inproc server that went away, or a queue full of unanswered questions: begin anew.
                self._disconnect()
                self._connect()

    def _receive(self, seq: int) -> MessageT | None:
        """Return the reply to `seq` if that is what came, None for one to an earlier question."""
        assert self._dealer is not None
        try:
            parts = self._dealer.recv_multipart()
        except zmq.Again:
            self._look()
            return None
        try:
            frame = self._codec.decode(parts)
        except FrameError as error:
            if error.seq is not None and error.seq != seq:
                return None
            raise BadReply(f"the {self._partner.noun} at {self.endpoint} sent what is no reply: {error}") from None
        return frame.message if frame.seq == seq else None

    def _look(self) -> None:
        """While nothing comes: does the server's process live, and did it take the key?"""
        noun = self._partner.noun
        if self._alive is not None and not self._alive():
            raise ServerGone(f"the {noun} behind {self.endpoint} has ended")
        if self._monitor is None:
            return
        try:
            event = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
        except zmq.Again:
            return
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            raise ServerRefused(
                f"the {noun} at {self.endpoint} does not know this client's key; "
                "put its public .key file into the clients folder of the server's keys and restart the "
                "server",
                code="key",
            )
        # The monitor reports nothing else, so the two sides do not agree on using keys at all.
        if self._keys is None:
            sentence = f"the server at {self.endpoint} demands keys, or is no {noun}; give this client its keys"
        else:
            sentence = f"the server at {self.endpoint} does not use keys, or not the one in server.key; compare both sides"
        raise ServerRefused(sentence, code="key")

    def _connect(self) -> None:
        dealer: Any = self._context.socket(zmq.DEALER)
        self._dealer = dealer
        dealer.linger = 0
        # One wait for all: it ends by itself to look around, and a blocking receive is faster than polling
        # first.
        dealer.rcvtimeo = max(1, min(LOOK_MS, round(self._timeout_s * 1e3)))
        dealer.sndhwm = HIGH_WATER_MARK
        dealer.rcvhwm = HIGH_WATER_MARK
        dealer.maxmsgsize = self._max_bytes
        dealer.heartbeat_ivl = HEARTBEAT_MS
        dealer.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
        dealer.reconnect_ivl = 50
        dealer.reconnect_ivl_max = 1_000
        dealer.ipv6 = self._ipv6
        if self._keys is not None:
            self._keys.apply(dealer)
        self._monitor = None
        if not self.endpoint.startswith("inproc:"):
            self._monitor = dealer.get_monitor_socket(_HANDSHAKE_FAILED)
        dealer.connect(self.endpoint)

    def _disconnect(self) -> None:
        if self._dealer is None:
            return
        if self._monitor is not None:
            self._dealer.disable_monitor()
            self._monitor = None
        self._dealer.close(linger=0)
        self._dealer = None
