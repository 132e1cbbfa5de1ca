"""The two kinds of socket of srsRAN's ZeroMQ radio, from the other side, so that either side may be restarted at will.

A transmitter binds a REP socket and answers each request of one byte with the samples that it has; a receiver connects a REQ
socket and asks. GNU Radio's REQ source asks with four bytes, the most samples that it takes. A plain REQ or REP is wedged
for good when the other side goes away between question and answer, which is why neither is used here as it comes.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import zmq
from zmq.utils.monitor import recv_monitor_message

from bridge.endpoints import clear_ipc_path, parse_endpoint
from bridge.streams.errors import StreamConfigError
from bridge.streams.tags import carries_header

__all__ = ["AskedPeer", "AskingPeer"]

Samples = npt.NDArray[np.complex64]

_ITEM_BYTES = 8
# srsRAN's receive buffers; longer replies are cut off there.
_LONGEST_REPLY = 614_400
_LARGEST_BYTES = 1 << 25
_REQUEST = b"\xff"
# After an empty answer, when to ask again.
_AGAIN_S = 0.0005
# A receiver that has come and asked nothing for so long may have asked somebody who is gone.
_NUDGE_S = 0.3
# libzmq numbers those who come to a ROUTER one after the other, from a random number on, in identities of a zero and 32 bits.
_NUMBERED = struct.Struct(">BI")
_NEWCOMERS = 8


def _set(socket: zmq.Socket[bytes]) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
    socket.setsockopt(zmq.MAXMSGSIZE, _LARGEST_BYTES)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)


def _first_number(context: zmq.Context[zmq.Socket[bytes]], router: zmq.Socket[bytes]) -> int:
    """The number that a ROUTER gave to its first peer, which is a socket of our own."""
    address = f"inproc://first-{id(router)}"
    router.bind(address)
    with context.socket(zmq.REQ) as first:
        first.setsockopt(zmq.LINGER, 0)
        first.connect(address)
        first.send(b"")
        router.poll(1000)
        who = router.recv_multipart(zmq.NOBLOCK)[0]
    router.unbind(address)
    return int(_NUMBERED.unpack(who)[1])


class AskedPeer:
    """Somebody's transmitter, which is asked for samples: REQ to its REP."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        self._context = context
        self.address = address
        self.bad_messages = 0
        self._said: set[str] = set()
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._connect()

    def _connect(self) -> None:
        self._socket = self._context.socket(zmq.REQ)
        _set(self._socket)
        # A question is put to who is there, and never kept for somebody who may come.
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._asked = False
        self._not_before = 0.0
        try:
            self._socket.connect(self.address)
        except zmq.ZMQError as error:
            self.close()
            raise StreamConfigError(f"{self.address} cannot be connected: {error.strerror}; name another") from None

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """What to wait on."""
        return [s for s in (self._socket, self._monitor) if s is not None]

    def watch(self) -> bool:
        """Whether a peer has come since the last call. One that went takes its unanswered question with it."""
        came = False
        while self._monitor is not None and self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            if event == zmq.EVENT_DISCONNECTED:
                self.close()
                self._connect()
                return came
            came |= event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        return came

    def take(self, *, ask: bool, say: Callable[[str], None]) -> Samples | None:
        """Return samples that have come, or None; ask for more where wanted."""
        assert self._socket is not None
        samples = None
        if self._asked:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return None
            self._asked = False
            samples = self._read([part.buffer for part in parts], say)
            if samples is None:
                self._not_before = time.monotonic() + _AGAIN_S
        if ask and not self._asked and (self._not_before == 0 or time.monotonic() >= self._not_before):
            try:
                self._socket.send(_REQUEST, zmq.NOBLOCK)
            except zmq.Again:
                return samples
            self._asked, self._not_before = True, 0.0
        return samples

    def _read(self, parts: list[memoryview], say: Callable[[str], None]) -> Samples | None:
        got = [part for part in parts if len(part)]
        if not got:
            return None
        fault = None
        if any(len(part) % _ITEM_BYTES for part in got):
            fault = f"a message of {sum(map(len, got))} bytes, which is no whole number of complex64 samples of 8 bytes"
        elif got[0][0] == 0xF0 and carries_header(got[0]):
            fault = "a tag header before its samples"
        if fault is not None:
            self._complain(f"{self.address} sent {fault}; set the sample type to complex float, and pass_tags off", say)
            return None
        samples = np.frombuffer(got[0] if len(got) == 1 else b"".join(got), np.complex64)
        flat = samples.view(np.float32)
        if not np.isfinite(np.dot(flat, flat)) and not np.isfinite(flat).all():
            self._complain(f"{self.address} sent samples that are not finite numbers; they count as silence", say)
            samples = np.where(np.isfinite(samples), samples, np.complex64(0))
        return samples

    def _complain(self, sentence: str, say: Callable[[str], None]) -> None:
        self.bad_messages += 1
        if sentence not in self._said and len(self._said) < 8:
            self._said.add(sentence)
            say(sentence)

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            if self._monitor is not None:
                self._socket.disable_monitor()
                self._monitor.close(0)
            self._socket.close(0)
        self._socket = self._monitor = None


class AskingPeer:
    """Somebody's receiver, which asks for samples: bound, and answering its REQ."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        self.address = address
        self.waiting = 0  # samples queued
        self._pieces: deque[Samples] = deque()
        self._envelope: list[bytes] | None = None
        self._limit = 0
        self._came = False
        self._nudge_at: float | None = None
        # A ROUTER answers whom it chooses, also one who asked somebody that is gone: an empty answer sets that one free.
        self._socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        _set(self._socket)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._monitor: zmq.Socket[bytes] | None = None
        try:
            self._last = _first_number(context, self._socket)
            self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
            endpoint = parse_endpoint(address)
            if endpoint.transport == "ipc":
                clear_ipc_path(endpoint)
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise StreamConfigError(f"{address} cannot be bound: {error.strerror}; stop who uses it, or name another") from None
        except BaseException:
            self.close()
            raise

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """What to wait on."""
        return [self._socket] if self._monitor is None else [self._socket, self._monitor]

    def watch(self) -> bool:
        """Take the next question, where none is open. Returns whether it is of somebody new."""
        while self._monitor is not None and self._monitor.poll(0):
            recv_monitor_message(self._monitor)
            self._nudge_at = time.monotonic() + _NUDGE_S
        if self._nudge_at is not None and time.monotonic() >= self._nudge_at:
            self._nudge_at = None
            for ahead in range(1, _NEWCOMERS + 1):
                with suppress(zmq.ZMQError):
                    self._socket.send_multipart([_NUMBERED.pack(0, (self._last + ahead) % (1 << 32)), b"", b""], zmq.NOBLOCK)
        self._listen()
        came, self._came = self._came, False
        return came

    def queue(self, samples: Samples, *, first: bool = False) -> None:
        """Add contiguous samples, which the caller must not change any more, behind or before what waits."""
        if first:
            self._pieces.appendleft(samples)
        else:
            self._pieces.append(samples)
        self.waiting += len(samples)

    def drop(self, count: int) -> int:
        """Forget the first ``count`` of those that wait; return how many that was."""
        lost = min(count, self.waiting)
        self.waiting -= lost
        left = lost
        while left:
            piece = self._pieces.popleft()
            if left < len(piece):
                self._pieces.appendleft(piece[left:])
            left -= min(left, len(piece))
        return lost

    @property
    def asked(self) -> bool:
        """Whether a question is open."""
        return self._envelope is not None

    def _listen(self) -> None:
        """Take the next question, where none is open."""
        if self._envelope is not None:
            return
        try:
            parts = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        who, body = parts[0], parts[-1]
        if len(who) == _NUMBERED.size:
            number = int(_NUMBERED.unpack(who)[1])
            if 0 < (number - self._last) % (1 << 32) < 1 << 31:
                self._last, self._came = number, True
        self._envelope = parts[:-1]
        # Four bytes are a limit in samples; fewer, as srsRAN sends, ask for all there is.
        self._limit = min(_LONGEST_REPLY, struct.unpack_from("=I", body)[0] or 1) if len(body) >= 4 else _LONGEST_REPLY

    def give(self) -> int:
        """Answer an open question with what waits; return how many samples that was."""
        if self._envelope is None or not self._pieces:
            return 0
        pieces, count = [], 0
        while self._pieces and count < self._limit:
            piece = self._pieces.popleft()
            part = piece[: self._limit - count]
            if len(part) < len(piece):
                self._pieces.appendleft(piece[len(part) :])
            pieces.append(part)
            count += len(part)
        body = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        try:
            self._socket.send_multipart([*self._envelope, body.data.cast("B")], zmq.NOBLOCK, copy=False)
        except zmq.ZMQError:  # it went after it had asked
            self._pieces.appendleft(body)
            self._envelope = None
            return 0
        self._envelope = None
        self.waiting -= count
        return count

    def close(self) -> None:
        """Close the socket."""
        if self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close(0)
            self._monitor = None
        self._socket.close(0)
