"""The air server: one ROUTER, many clients, a link for each session."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from importlib import metadata
from types import TracebackType
from typing import TYPE_CHECKING, Self

import zmq

from bridge.deposits.messages import Close, Closed, Collect, Deposit, Open, Opened, Receipt
from bridge.deposits.store import Boxes, UnknownBox
from bridge.endpoints import check_bind, parse_endpoint
from bridge.errors import BridgeError, ConfigRefused, FrameError, RequestRefused
from bridge.frames import FrameCodec, max_message_bytes
from bridge.keys import ServerKeys, start_authenticator
from bridge.links import LinkFactory, one_sentence, phy_link_factory
from bridge.listening import Listener, check_libzmq
from bridge.messages import (
    AggregateRequest,
    ErrorCode,
    ErrorReply,
    Hello,
    Limits,
    Message,
    Ping,
    Pong,
    Result,
    Welcome,
)
from bridge.sessions import SessionStore, plain_description

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator

    from bridge.streams.config import StreamConfig

__all__ = ["AirServer", "InprocAirServer", "check_libzmq"]

# How long the loop sleeps when nothing comes: the longest that stop() has to wait.
TICK_MS = 100

_log = logging.getLogger("pairzero.bridge")


class AirServer:
    """Serve links to any number of clients over `inproc://`, `ipc://` or `tcp://`.

    `bind()` claims the address in the caller's thread, so that its errors are raised there; `serve()` answers
    until `stop()`, which may be called from any thread or a signal handler. Messages are answered one by one,
    in the order in which ZeroMQ's fair queue hands them over. No message, however malformed, ends the loop.

    Args:
        bind: the address; port 0 takes a free one. Addresses that other machines can reach need `keys`.
        link_factory: makes a link of (configuration, seed), with `secret` of (configuration, seed, the link's secret);
            None: the physical layer's, imported by `bind()`.
        limits: the largest request taken.
        sessions: how many links stay open; the least recently used one is closed first.
        parts: the classes (`module:Class`) that a configuration may have the physical layer load.
        files: the files (soundings, recordings) that a configuration may name.
        stream: settings of the stream air, which no client can send.
        backend: what the physical layer's links compute with; see `phy_link_factory`.
        keys: demand CURVE keys and let in the clients on their allow-list only.
        secret: keys the noise of the links, for each session differently; None: the seed that clients send keys it.
        context: a ZeroMQ context to share, for `inproc://`.
    """

    def __init__(
        self,
        bind: str,
        link_factory: LinkFactory | None = None,
        *,
        limits: Limits | None = None,
        sessions: int = 32,
        parts: Iterable[str] = (),
        files: Iterable[str] = (),
        stream: StreamConfig | None = None,
        backend: str = "sionna",
        keys: ServerKeys | None = None,
        secret: bytes | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        check_libzmq()
        self._wanted = check_bind(parse_endpoint(bind), secured=keys is not None)
        if context is not None and keys is not None:
            raise BridgeError("a server with keys has a context of its own; leave `context` out")
        self._factory = link_factory
        self._limits = limits if limits is not None else Limits()
        self._capacity = sessions
        self._make_factory = partial(phy_link_factory, tuple(parts), files=tuple(files), stream=stream, backend=backend)
        self._keys = keys
        self._secret = secret
        self._shared_context = context
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._listener: Listener | None = None
        self._authenticator: ThreadAuthenticator | None = None
        self._endpoint = ""
        self._stopping = threading.Event()
        self._codec = FrameCodec(self._limits)
        self._store: SessionStore | None = None
        self._boxes = Boxes()
        self._version = _version()
        self.counters: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self.bind()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """The address as bound, with the port that port 0 became."""
        if not self._endpoint:
            raise BridgeError("the air server is not bound yet; call bind() first")
        return self._endpoint

    def bind(self) -> str:
        """Make ready and claim the address; return it as bound.

        Raises:
            EndpointError: the address is in use or not this machine's.
            BridgeError: the physical layer is not installed, or the server is bound already.
        """
        if self._listener is not None:
            raise BridgeError(f"the air server is already bound to {self._endpoint}")
        self._context = self._shared_context or zmq.Context()
        try:
            if self._keys is not None:
                self._authenticator = start_authenticator(self._context, self._keys)
            self._listener = Listener(self._context, self._wanted, max_message_bytes(self._limits), TICK_MS, self._keys)
            self._endpoint = self._listener.endpoint
            # After the claim: an address that is taken need not wait for the import.
            self._store = SessionStore(self._factory or self._make_factory(), self._capacity, self._secret)
        except BaseException:
            self.close()
            raise
        return self._endpoint

    def serve(self) -> None:
        """Answer until `stop()`, then let go of the address."""
        if self._listener is None:
            self.bind()
        assert self._listener is not None
        router = self._listener.router
        try:
            while not self._stopping.is_set():
                self._take(router)
        finally:
            self.close()

    def stop(self) -> None:
        """Ask `serve()` to return, after the request in hand."""
        self._stopping.set()

    def close(self) -> None:
        """Let go of the address; from the thread that serves, or where none does."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        if self._context is not None and self._context is not self._shared_context:
            self._context.term()
        self._context = None

    def _take(self, router: zmq.Socket[bytes]) -> None:
        try:
            # Bounded by RCVTIMEO: faster than polling first, and poll can promise what is no message.
            route, *parts = router.recv_multipart()
        except zmq.Again:
            return
        self._answer(router, route, parts)

    def _answer(self, router: zmq.Socket[bytes], route: bytes, parts: Sequence[bytes]) -> None:
        self.counters["received"] += 1
        try:
            seq, message = self._codec.decode(parts)
        except FrameError as error:
            self.counters["bad_frames"] += 1
            if error.seq is None:
                self.counters["dropped"] += 1
                return
            code: ErrorCode = "too_large" if error.code == "too_large" else "bad_frame"
            self._send(router, route, error.seq, ErrorReply(code=code, message=one_sentence(error)))
            return
        if isinstance(message, Welcome | Result | Pong | ErrorReply | Opened | Receipt | Closed):
            # Answering an answer could start an endless exchange.
            self.counters["dropped"] += 1
            return
        self._send(router, route, seq, self._reply(message, route + seq.to_bytes(8, "little")))

    def _reply(self, message: Hello | AggregateRequest | Ping | Open | Deposit | Close | Collect, asker: bytes) -> Message:
        assert self._store is not None
        if isinstance(message, Ping):
            return Pong()
        try:
            if isinstance(message, Hello):
                session, link = self._store.open(message.config, message.seed, message.nonce, asker)
                return Welcome(
                    session=session,
                    description=plain_description(link.description),
                    limits=self._limits,
                    server=self._version,
                )
            if isinstance(message, Deposit):
                return self._boxes.deposit(message)
            if isinstance(message, Close):
                return self._boxes.close(message)
            found = self._store.get(message.session)
            if found is None:
                return ErrorReply(code="unknown_session", message="this session is not open; say HELLO again")
            if isinstance(message, Open):
                return self._boxes.open(message, found.description)
            if isinstance(message, Collect):
                return self._boxes.collect(message, found.aggregate)
            result = found.aggregate(message.rounds, message.payloads, message.present)
            return Result(result.estimates, result.lost, result.diagnostics)
        except UnknownBox as error:
            return ErrorReply(code="unknown_session", message=one_sentence(error))
        except ConfigRefused as error:
            return ErrorReply(code="bad_config", message=one_sentence(error))
        except RequestRefused as error:
            return ErrorReply(code="bad_request", message=one_sentence(error))
        except Exception as error:  # whatever a link raises concerns its client, not the server
            self.counters["link_errors"] += 1
            _log.warning("a link failed: %s: %s", type(error).__name__, one_sentence(error))
            return ErrorReply(code="internal", message=one_sentence(error))

    def _send(self, router: zmq.Socket[bytes], route: bytes, seq: int, message: Message) -> None:
        try:
            parts = self._codec.encode(seq, message)
        except Exception as error:  # the link returned something that the protocol has no room for
            self.counters["link_errors"] += 1
            sentence = f"the link's result cannot be sent: {one_sentence(error)}"
            parts = self._codec.encode(seq, ErrorReply(code="internal", message=sentence[:1000]))
            message = ErrorReply(code="internal", message="")
        self.counters["errors" if isinstance(message, ErrorReply) else "replies"] += 1
        try:
            router.send_multipart([route, *parts], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            # EHOSTUNREACH: the client left. EAGAIN: it does not read. Either way it may ask again.
            self.counters["unsent"] += 1
            _log.info("a reply could not be delivered: %s", error.strerror)


class InprocAirServer:
    """An air server in a thread of this process, at `inproc://`: no second process, the same bits.

    Clients must use its `context`; `AirClient(server.endpoint, ..., context=server.context)`. Python's one
    interpreter lock is shared with the learner. Importing the physical layer imports `sionna.phy`, which
    reseeds torch's global generator (on Sionna 2.2): harmless here, where every draw has a key of its own,
    but not to code in the same process that draws from that generator.
    """

    def __init__(
        self,
        link_factory: LinkFactory | None = None,
        *,
        limits: Limits | None = None,
        sessions: int = 32,
        parts: Iterable[str] = (),
        secret: bytes | None = None,
    ) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._server = AirServer(
            f"inproc://pairzero-{os.getpid()}-{id(self):x}",
            link_factory,
            limits=limits,
            sessions=sessions,
            parts=parts,
            secret=secret,
            context=self.context,
        )
        self._thread = threading.Thread(target=self._server.serve, name="pairzero-air", daemon=True)

    @property
    def endpoint(self) -> str:
        """The address, valid in `context` only."""
        return self._server.endpoint

    @property
    def counters(self) -> Counter[str]:
        """What the server counted so far."""
        return self._server.counters

    def alive(self) -> bool:
        """Whether the server's thread runs."""
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        self._server.bind()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop the thread; close the clients first, or their next request finds nobody."""
        self._server.stop()
        if self._thread.ident is not None:
            self._thread.join()
        # destroy rather than term: a client that was left open must not hold the exit up
        self.context.destroy(linger=0)


def _version() -> str:
    try:
        return f"pairzero {metadata.version('pairzero')}"
    except metadata.PackageNotFoundError:
        return "pairzero (from a checkout)"
