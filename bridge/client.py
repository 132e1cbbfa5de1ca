"""The client of an air server: the learner's uplink over ZeroMQ."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import zmq
from zmq.utils.monitor import recv_monitor_message

from bridge.endpoints import parse_endpoint
from bridge.errors import BadReply, BridgeError, FrameError, ServerGone, ServerRefused
from bridge.frames import FrameCodec, max_message_bytes
from bridge.keys import ClientKeys
from bridge.messages import AggregateRequest, ErrorReply, Hello, Limits, Message, Ping, Pong, Result, Welcome

__all__ = ["AirAggregate", "AirClient", "AirRounds"]

HIGH_WATER_MARK = 16
HEARTBEAT_MS = 2_000
HEARTBEAT_TIMEOUT_MS = 6_000
# How often a waiting client looks whether the server's process lives and its key was taken.
LOOK_MS = 100
# How often in a row the server may have forgotten the session before the client gives up.
REOPENINGS = 3
# Rounds of the first message of a long batch; later ones are sized by how fast the answers come.
FIRST_ROUNDS = 64

# NO_DETAIL is left out: a server that is killed in mid-handshake looks like that too, and may come back.
_HANDSHAKE_FAILED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL


@dataclass(frozen=True, slots=True, eq=False)
class AirAggregate:
    """One round: `estimate` float64 [n] (NaN where lost), whether it was `lost`, and its diagnostics."""

    estimate: npt.NDArray[np.float64]
    lost: bool
    diagnostics: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class AirRounds:
    """B rounds: `estimates` float64 [B, n], `lost` bool [B], each diagnostic float64 [B]."""

    estimates: npt.NDArray[np.float64]
    lost: npt.NDArray[np.bool_]
    diagnostics: Mapping[str, npt.NDArray[np.float64]]


class AirClient:
    """A link behind an air server; for one thread, and not to be carried over a fork.

    The link is a pure function of its request. So a request that got lost is simply sent again, a reply that
    comes twice is dropped, and a server that was started anew is told the configuration again; none of it
    changes a bit.

    Args:
        endpoint: the server's address.
        config: the link's configuration, as plain data.
        seed: the seed of all its draws, from 0 to 2^64 - 1.
        timeout_s: how long to wait for an answer before asking again [s].
        attempts: how often to ask before giving up.
        alive: tells whether the server's process lives; with it a dead server is noticed at once.
        keys: this client's CURVE keys.
        context: a ZeroMQ context to share; needed for `inproc://`.

    Raises:
        ServerGone: nobody answers.
        ServerRefused: the server refuses the configuration or the key (code "key").
        BadReply: the answer breaks the protocol.
    """

    def __init__(
        self,
        endpoint: str,
        config: Mapping[str, Any],
        seed: int,
        *,
        timeout_s: float = 5.0,
        attempts: int = 3,
        alive: Callable[[], bool] | None = None,
        keys: ClientKeys | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        parsed = parse_endpoint(endpoint)
        if parsed.transport == "inproc" and context is None:
            raise BridgeError(f"{endpoint} lies in one ZeroMQ context; give the server's, as in context=server.context")
        if not timeout_s > 0 or attempts < 1:
            raise BridgeError("give a timeout_s above 0 and at least one attempt")
        self.endpoint = endpoint
        self._ipv6 = ":" in parsed.host
        self._timeout_s, self._attempts, self._alive, self._keys = timeout_s, attempts, alive, keys
        self._hello = Hello(config=dict(config), seed=seed)
        self._own_context = context is None
        self._context = context if context is not None else zmq.Context()
        self._codec = FrameCodec(Limits())
        self._seq = 0
        self._rounds_per_message = FIRST_ROUNDS
        self._welcome: Welcome | None = None
        self._dealer: zmq.Socket[bytes] | None = None
        try:
            self._connect()
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def description(self) -> Mapping[str, int | float | str]:
        """What the link says of itself."""
        return self._opened.description

    @property
    def limits(self) -> Limits:
        """The largest request that fits one message to this server."""
        return self._codec.limits

    def aggregate(self, round_index: int, payloads: npt.ArrayLike, present: npt.ArrayLike | None = None) -> AirAggregate:
        """Send payloads [K, n] over the air in one round; devices that are not `present` [K] stay silent.

        Raises:
            BridgeError: as the class says; `ServerRefused` also where the link cannot take these payloads.
        """
        batch = np.asarray(payloads, dtype=np.float64)
        if batch.ndim != 2:
            raise BridgeError(f"payloads have shape {batch.shape}; give [devices, entries]")
        who = None if present is None else np.asarray(present, dtype=np.bool_)
        if who is not None and who.shape != batch.shape[:1]:
            raise BridgeError(f"present has shape {who.shape} for payloads {batch.shape}; give one entry per device")
        result = self._ask(np.array([round_index], dtype=np.int64), batch[None], None if who is None else who[None])
        diagnostics = {name: float(values[0]) for name, values in result.diagnostics.items()}
        return AirAggregate(result.estimates[0], bool(result.lost[0]), diagnostics)

    def aggregate_rounds(
        self, rounds: npt.ArrayLike, payloads: npt.ArrayLike, present: npt.ArrayLike | None = None
    ) -> AirRounds:
        """Send payloads [B, K, n] of the rounds [B]; devices that are not `present` [B, K] stay silent.

        What is too large for one message, or takes the server long, goes in several; the numbers are the
        same.

        Raises:
            BridgeError: as the class says; `ServerRefused` also where the link cannot take these payloads.
        """
        index = np.asarray(rounds)
        if not np.issubdtype(index.dtype, np.integer) and index.size:
            raise BridgeError(f"rounds are {index.dtype}; give whole numbers")
        values = np.asarray(payloads, dtype=np.float64)
        who = None if present is None else np.asarray(present, dtype=np.bool_)
        if values.ndim != 3 or index.shape != values.shape[:1] or (who is not None and who.shape != values.shape[:2]):
            raise BridgeError(
                f"rounds {index.shape}, payloads {values.shape} and present "
                f"{None if who is None else who.shape} "
                "do not fit together; give [B], [B, K, n] and [B, K]"
            )
        batch, devices, n = values.shape
        if batch == 0:
            return AirRounds(np.empty((0, n)), np.empty(0, dtype=np.bool_), {})
        most = max(1, min(self.limits.rounds, self.limits.scalars // max(1, devices * n)))
        pieces: list[Result] = []
        start = 0
        while start < batch:
            stop = min(batch, start + min(most, self._rounds_per_message))
            began = time.monotonic()
            part = None if who is None else who[start:stop]
            pieces.append(self._ask(index[start:stop].astype(np.int64), values[start:stop], part))
            self._pace(stop - start, time.monotonic() - began)
            start = stop
        if any(piece.diagnostics.keys() != pieces[0].diagnostics.keys() for piece in pieces):
            raise BadReply(f"the air server at {self.endpoint} changed its diagnostics within one batch")
        return AirRounds(
            np.concatenate([piece.estimates for piece in pieces]),
            np.concatenate([piece.lost for piece in pieces]),
            {name: np.concatenate([piece.diagnostics[name] for piece in pieces]) for name in pieces[0].diagnostics},
        )

    def ping(self) -> float:
        """Return the round-trip time of an empty message [s]."""
        began = time.perf_counter()
        reply = self._exchange(Ping())
        if not isinstance(reply, Pong):
            raise self._unfit(reply)
        return time.perf_counter() - began

    def close(self) -> None:
        """Let go of the socket; the server keeps the session for whoever asks for it next."""
        self._disconnect()
        if self._own_context:
            self._context.term()

    @property
    def _opened(self) -> Welcome:
        if self._welcome is None:
            raise BridgeError("the air client is closed; make a new one")
        return self._welcome

    def _open(self) -> None:
        reply = self._exchange(self._hello)
        if not isinstance(reply, Welcome):
            raise self._unfit(reply)
        before = self._welcome
        if before is not None and repr(before.description) != repr(reply.description):
            # Other numbers from here on would look like part of the same run.
            raise BadReply(
                f"the air server at {self.endpoint} came back with another link "
                f"({_differences(before, reply)}); start the run anew"
            )
        self._welcome = reply
        self._codec.limits = Limits().meet(reply.limits)

    def _ask(
        self,
        rounds: npt.NDArray[np.int64],
        payloads: npt.NDArray[np.float64],
        present: npt.NDArray[np.bool_] | None,
    ) -> Result:
        for _ in range(1 + REOPENINGS):
            reply = self._exchange(AggregateRequest(self._opened.session, rounds, payloads, present))
            if isinstance(reply, Result):
                if reply.estimates.shape != (len(rounds), payloads.shape[2]):
                    raise BadReply(
                        f"the air server at {self.endpoint} sent estimates of shape {reply.estimates.shape} "
                        f"for payloads of shape {payloads.shape}"
                    )
                return reply
            if not (isinstance(reply, ErrorReply) and reply.code == "unknown_session"):
                raise self._unfit(reply)
            self._open()
        raise ServerRefused(
            f"the air server at {self.endpoint} forgets this session as soon as it is opened; start it with room for more",
            code="unknown_session",
        )

    def _exchange(self, message: Message) -> Message:
        """Send a message until its reply comes: the lazy pirate, with one sequence number for all attempts.

        The socket is kept between attempts, so that the late reply of a busy server still counts.
        """
        self._seq += 1
        seq = self._seq
        parts = self._codec.encode(seq, message)
        for _ in range(self._attempts):
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
            f"no air server answered at {self.endpoint} after {self._attempts} attempt{'s' if self._attempts > 1 else ''} of "
            f"{self._timeout_s:g} s; "
            f"start one with `pairzero air serve --bind {self.endpoint}`"
        )

    def _send(self, parts: list[bytes | memoryview]) -> None:
        for _ in range(2):
            if self._dealer is None:
                raise BridgeError("the air client is closed; make a new one")
            try:
                self._dealer.send_multipart(parts, zmq.NOBLOCK)
                return
            except zmq.Again:
                # An inproc server that went away, or a queue full of unanswered questions: begin anew.
                self._disconnect()
                self._connect()

    def _receive(self, seq: int) -> Message | None:
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
            raise BadReply(f"the air server at {self.endpoint} sent what is no reply: {error}") from None
        return frame.message if frame.seq == seq else None

    def _look(self) -> None:
        """While nothing comes: does the server's process live, and did it take the key?"""
        if self._alive is not None and not self._alive():
            raise ServerGone(f"the air server behind {self.endpoint} has ended")
        if self._monitor is None:
            return
        try:
            event = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
        except zmq.Again:
            return
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            raise ServerRefused(
                f"the air server at {self.endpoint} does not know this client's key; "
                "put its public .key file into the clients folder of the server's keys and restart the "
                "server",
                code="key",
            )
        # The monitor reports nothing else, so the two sides do not agree on using keys at all.
        if self._keys is None:
            sentence = f"the server at {self.endpoint} demands keys, or is no air server; give this client its keys"
        else:
            sentence = f"the server at {self.endpoint} does not use keys, or not the one in server.key; compare both sides"
        raise ServerRefused(sentence, code="key")

    def _connect(self) -> None:
        dealer = self._context.socket(zmq.DEALER)
        self._dealer = dealer
        dealer.linger = 0
        # One wait for all: it ends by itself to look around, and a blocking receive is faster than polling
        # first.
        dealer.rcvtimeo = max(1, min(LOOK_MS, round(self._timeout_s * 1e3)))
        dealer.sndhwm = HIGH_WATER_MARK
        dealer.rcvhwm = HIGH_WATER_MARK
        dealer.maxmsgsize = max_message_bytes(Limits())
        dealer.heartbeat_ivl = HEARTBEAT_MS
        dealer.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
        dealer.reconnect_ivl = 50
        dealer.reconnect_ivl_max = 1_000
        dealer.ipv6 = self._ipv6
        if self._keys is not None:
            self._keys.apply(dealer)
        self._monitor: zmq.Socket[bytes] | None = None
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

    def _pace(self, rounds: int, took_s: float) -> None:
        """Size the next message so that its answer takes a quarter of the timeout, in powers of two."""
        if took_s * 2 * self._rounds_per_message <= rounds * self._timeout_s / 4:
            self._rounds_per_message = min(2 * self._rounds_per_message, 2**20)
        elif took_s > self._timeout_s / 2:
            self._rounds_per_message = max(1, self._rounds_per_message // 2)

    def _unfit(self, reply: Message) -> BridgeError:
        if isinstance(reply, ErrorReply):
            return ServerRefused(f"the air server at {self.endpoint} refuses: {reply.message}", code=reply.code)
        return BadReply(f"the air server at {self.endpoint} answered with a {type(reply).__name__}, which is no answer here")


def _differences(before: Welcome, after: Welcome) -> str:
    names = sorted(before.description.keys() | after.description.keys())
    changed = [
        f"{name}: {before.description.get(name, 'unset')} became {after.description.get(name, 'unset')}"
        for name in names
        if repr(before.description.get(name)) != repr(after.description.get(name))
    ]
    return "; ".join(changed[:5]) or "in another order"
