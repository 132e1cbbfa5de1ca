"""The client of an air server: the learner's uplink over ZeroMQ."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import zmq

from bridge.errors import BadReply, BridgeError, ServerGone, ServerRefused
from bridge.frames import FrameCodec, max_message_bytes
from bridge.keys import ClientKeys
from bridge.messages import AggregateRequest, ErrorReply, Hello, Limits, Message, Ping, Pong, Result, Welcome
from bridge.once import repeats
from bridge.requester import Partner, Requester

__all__ = ["AirAggregate", "AirClient", "AirRounds"]

ReplyT = TypeVar("ReplyT", bound=Message)

# How often in a row the server may have forgotten the session before the client gives up.
REOPENINGS = 3
# Rounds of the first message of a long batch; later ones are sized by how fast the answers come.
FIRST_ROUNDS = 64


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
    changes a bit. Where the link says that its noise is fresh, the server sees to it that a repeated request is not
    transmitted twice; after a restart it cannot, and a request that was under way is given up.

    Args:
        endpoint: the server's address.
        config: the link's configuration, as plain data.
        seed: the seed of its draws, from 0 to 2^64 - 1.
        nonce: 64 random hexadecimal digits, kept to oneself, that tell this run from others of the same link and seed: a
            server with a secret gives those other noise; empty: none.
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
        nonce: str = "",
        timeout_s: float = 5.0,
        attempts: int = 3,
        alive: Callable[[], bool] | None = None,
        keys: ClientKeys | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._timeout_s = timeout_s
        self._hello = Hello(config=dict(config), seed=seed, nonce=nonce)
        self._codec = FrameCodec(Limits())
        self._rounds_per_message = FIRST_ROUNDS
        self._welcome: Welcome | None = None
        self._requester: Requester[Message] = Requester(
            endpoint,
            self._codec,
            Partner("air server", f"start one with `pairzero air serve --bind {endpoint}`"),
            max_message_bytes(Limits()),
            timeout_s=timeout_s,
            attempts=attempts,
            alive=alive,
            keys=keys,
            context=context,
        )
        try:
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
    def repeatable(self) -> bool:
        """Whether the link says that a round which is sent twice has the same bits."""
        return repeats(self.description) is True

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
        reply = self._requester.exchange(Ping())
        if not isinstance(reply, Pong):
            raise self._unfit(reply)
        return time.perf_counter() - began

    def close(self) -> None:
        """Let go of the socket; the server keeps the session for whoever asks for it next."""
        self._requester.close()

    @property
    def _opened(self) -> Welcome:
        if self._welcome is None:
            raise BridgeError("the air client is closed; make a new one")
        return self._welcome

    def _open(self) -> None:
        reply = self._requester.exchange(self._hello)
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
        reply = self.ask(lambda session: AggregateRequest(session, rounds, payloads, present), Result)
        if reply.estimates.shape != (len(rounds), payloads.shape[2]):
            raise BadReply(
                f"the air server at {self.endpoint} sent estimates of shape {reply.estimates.shape} "
                f"for payloads of shape {payloads.shape}"
            )
        return reply

    def ask(self, make: Callable[[str], Message], kind: type[ReplyT]) -> ReplyT:
        """Send the message that `make` makes of the session's id until a reply of `kind` comes, opening it again if forgotten.

        Raises:
            BridgeError: as the class says.
        """
        for _ in range(1 + REOPENINGS):
            reply = self._requester.exchange(make(self._opened.session))
            if isinstance(reply, kind):
                return reply
            if not (isinstance(reply, ErrorReply) and reply.code == "unknown_session"):
                raise self._unfit(reply)
            if self._requester.sendings > 1 and repeats(self.description) is False:
                # Whoever forgot the session got a repetition; the first sending may have gone out before that.
                raise ServerGone(
                    f"the air server at {self.endpoint} lost this session, started anew perhaps, while a request was "
                    "under way; its round may have been on the air, where every transmission counts, and is not sent again"
                )
            self._open()
        raise ServerRefused(
            f"the air server at {self.endpoint} forgets this session as soon as it is opened; start it with room for more",
            code="unknown_session",
        )

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
