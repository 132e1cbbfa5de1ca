"""The coordinator's socket: one ROUTER in a thread of its own, which asks the desk what to answer."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

import zmq

from bridge.endpoints import check_bind, parse_endpoint
from bridge.errors import BridgeError, FrameError
from bridge.fleet.desk import Desk
from bridge.fleet.frames import MAX_MESSAGE_BYTES, FleetCodec
from bridge.fleet.messages import Answer as _Answer
from bridge.fleet.messages import Deposited, ErrorReply, FleetMessage, Hello, Join, Leave, Next, Proof
from bridge.keys import ServerKeys, start_authenticator
from bridge.links import one_sentence
from bridge.listening import Listener, check_libzmq

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zmq.auth.thread import ThreadAuthenticator

__all__ = ["HOLD_S", "FleetServer"]

# How long a device's question is kept before it is told to wait and ask again.
HOLD_S = 1.0
# How long the loop sleeps when nothing comes.
TICK_MS = 100

_REQUESTS = (Hello, Join, Next, _Answer, Deposited, Proof, Leave)

_log = logging.getLogger("pairzero.bridge")


class _Held(NamedTuple):
    seq: int
    message: Next
    since: float


class FleetServer:
    """Serve a desk at an address, from entering the `with` block to leaving it.

    Args:
        bind: `ipc:///PATH` or `tcp://ADDRESS:PORT`; port 0 takes a free one. Addresses that other machines can reach need
            `keys`.
        desk: who takes part, and what they are told.
        keys: demand CURVE keys and let in the clients on their allow-list only.

    Attributes:
        endpoint: the address as bound.
        counters: what came and went.

    Raises:
        BridgeError: the address or the keys will not do.
    """

    def __init__(self, bind: str, desk: Desk, *, keys: ServerKeys | None = None) -> None:
        check_libzmq()
        wanted = check_bind(parse_endpoint(bind), secured=keys is not None)
        self.counters: Counter[str] = Counter()
        self._desk = desk
        self._codec = FleetCodec()
        self._held: dict[bytes, _Held] = {}
        self._stopping = threading.Event()
        self._authenticator: ThreadAuthenticator | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._failure: BaseException | None = None
        try:
            if keys is not None:
                self._authenticator = start_authenticator(self._context, keys)
            self._listener = Listener(self._context, wanted, MAX_MESSAGE_BYTES, TICK_MS, keys)
        except BaseException:
            self._end_context()
            raise
        self.endpoint = self._listener.endpoint
        # The desk's other thread wakes the loop through a pair of sockets, the way ZeroMQ joins threads.
        self._bell: zmq.Socket[bytes] = self._context.socket(zmq.PAIR)
        self._heard: zmq.Socket[bytes] = self._context.socket(zmq.PAIR)
        self._heard.bind("inproc://changed")
        self._bell.connect("inproc://changed")
        self._bell.sndhwm = 1
        desk.changed = self._ring
        self._thread = threading.Thread(target=self._serve, name="pairzero-fleet", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering and let go of the address."""
        self._stopping.set()
        self._thread.join()
        self._desk.changed = lambda: None
        self._bell.close(linger=0)
        self._end_context()
        if self._failure is not None:
            raise BridgeError(f"the coordinator's socket failed: {one_sentence(self._failure)}") from self._failure

    def _end_context(self) -> None:
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        self._context.term()

    def _ring(self) -> None:
        try:
            self._bell.send(b"", zmq.NOBLOCK)
        except zmq.ZMQError:
            return  # it has been rung already

    def _serve(self) -> None:
        router = self._listener.router
        poller = zmq.Poller()
        poller.register(router, zmq.POLLIN)
        poller.register(self._heard, zmq.POLLIN)
        try:
            while not self._stopping.is_set():
                ready = dict(poller.poll(TICK_MS))
                if self._heard in ready:
                    while self._heard.poll(0):
                        self._heard.recv()
                if router in ready:
                    self._take(router)
                self._tend(router)
        except BaseException as error:
            self._failure = error
        finally:
            self._heard.close(linger=0)
            self._listener.close()

    def _take(self, router: zmq.Socket[bytes]) -> None:
        try:
            route, *parts = router.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        self.counters["received"] += 1
        seq, message = self._read(router, route, parts)
        if message is None:
            return
        answer = self._answer(message)
        if answer is None and isinstance(message, Next):
            self._held[route] = _Held(seq, message, time.monotonic())
        elif answer is not None:
            self._held.pop(route, None)
            self._send(router, route, seq, answer)

    def _read(self, router: zmq.Socket[bytes], route: bytes, parts: Sequence[bytes]) -> tuple[int, FleetMessage | None]:
        try:
            seq, message = self._codec.decode(parts)
        except FrameError as error:
            self.counters["bad_frames"] += 1
            if error.seq is not None:
                code = "too_large" if error.code == "too_large" else "bad_frame"
                self._send(router, route, error.seq, ErrorReply(code=code, message=one_sentence(error)))  # type: ignore[arg-type]
            return 0, None
        if not isinstance(message, _REQUESTS):
            # Answering an answer could start an endless exchange.
            self.counters["dropped"] += 1
            return seq, None
        return seq, message

    def _answer(self, message: FleetMessage) -> FleetMessage | None:
        try:
            return self._desk.reply(message)
        except Exception as error:  # a defect of ours must not end the run of the others
            self.counters["failures"] += 1
            _log.exception("a message could not be answered")
            return ErrorReply(code="internal", message=one_sentence(error))

    def _tend(self, router: zmq.Socket[bytes]) -> None:
        """Answer those who wait, where there is something to say now, or where they have waited long enough."""
        now = time.monotonic()
        for route, held in list(self._held.items()):
            answer = self._answer(held.message)
            if answer is None and now - held.since > HOLD_S:
                answer = self._desk.waiting()
            if answer is not None:
                del self._held[route]
                self._send(router, route, held.seq, answer)

    def _send(self, router: zmq.Socket[bytes], route: bytes, seq: int, message: FleetMessage) -> None:
        try:
            parts = self._codec.encode(seq, message)
        except FrameError as error:
            self.counters["failures"] += 1
            parts = self._codec.encode(seq, ErrorReply(code="internal", message=one_sentence(error)))
        try:
            router.send_multipart([route, *parts], zmq.NOBLOCK)
            self.counters["replies"] += 1
        except zmq.ZMQError as error:
            # The device left, or does not read. It may ask again.
            self.counters["unsent"] += 1
            _log.info("a reply could not be delivered: %s", error.strerror)
