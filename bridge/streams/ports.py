"""Sockets that carry samples: one per device to send, one per antenna to receive.

A port never blocks: `service` does what can be done at once. Sockets belong to the thread that made them.
"""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from collections.abc import Iterator
from itertools import takewhile

import numpy as np
import numpy.typing as npt
import zmq

from bridge.endpoints import clear_ipc_path, parse_endpoint
from bridge.streams.config import Kind, StreamConfig
from bridge.streams.errors import StreamBroken, StreamConfigError
from bridge.streams.tags import Tag, carries_header, decode_header, encode_header

__all__ = ["ITEM_BYTES", "ReceivePort", "SendPort"]

Samples = npt.NDArray[np.complex64]

ITEM_BYTES = 8
# A message is at most this long: what we send is cut, what we receive is refused.
LARGEST_ITEMS = 1 << 22
LARGEST_BYTES = LARGEST_ITEMS * ITEM_BYTES + (1 << 20)  # with a header of tags
# srsRAN's receive buffers; longer replies are truncated there.
SRSRAN_ITEMS = 614_400
# Below this a copy is cheaper than keeping track of who still reads.
_COPIED_BYTES = 1 << 17
# How long an answer to the last question may take to leave.
_FAREWELL_MS = 100
# Messages taken from one socket before others have their turn.
_TURN = 64

_SEND: dict[Kind, int] = {"push_pull": zmq.PUSH, "pub_sub": zmq.XPUB, "req_rep": zmq.REP, "srsran": zmq.REP}
_RECEIVE: dict[Kind, int] = {"push_pull": zmq.PULL, "pub_sub": zmq.SUB, "req_rep": zmq.REQ, "srsran": zmq.REQ}


def _open(context: zmq.Context[zmq.Socket[bytes]], kind: int, address: str, bind: bool) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, 10)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 100)
    socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_BYTES)
    # Back-pressure comes from counting slots; libzmq's own limit of 1000 messages would make PUB lose samples.
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    try:
        if bind:
            endpoint = parse_endpoint(address)
            if endpoint.transport == "ipc":
                clear_ipc_path(endpoint)
            socket.bind(address)
        else:
            socket.connect(address)
    except zmq.ZMQError as error:
        socket.close(0)
        verb = "bound" if bind else "connected"
        raise StreamConfigError(f"{address} cannot be {verb}: {error.strerror}; stop who uses it, or name another") from None
    except BaseException:
        socket.close(0)
        raise
    return socket


class SendPort:
    """The samples of one device on their way out."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], config: StreamConfig, address: str) -> None:
        self._kind = config.kind
        self._tagged = config.pass_tags
        self._key = config.key.encode()
        self.address = address
        self.socket = _open(context, _SEND[config.kind], address, config.send_bind)
        self._pending: deque[Samples] = deque()
        self._tags: deque[Tag] = deque()
        self._owed: int | None = None
        self.heard = config.kind != "pub_sub"  # whether somebody listens, as far as it can be known
        self.sent = 0  # samples handed to ZeroMQ
        self.queued = 0  # samples taken, whether they left or not
        self.asked = config.kind not in ("req_rep", "srsran")  # whether somebody asked, where samples leave when asked for

    @property
    def idle(self) -> bool:
        """Whether everything that was queued has left."""
        return not self._pending

    @property
    def waits_for_room(self) -> bool:
        """Whether the socket, and not a request, is what holds samples back."""
        return bool(self._pending) and self._kind == "push_pull"

    def queue(self, samples: Samples, tags: tuple[Tag, ...] = ()) -> None:
        """Add contiguous samples, which the caller must not change any more, and tags at absolute offsets."""
        limit = SRSRAN_ITEMS if self._kind == "srsran" else LARGEST_ITEMS
        self._pending.extend(samples[first : first + limit] for first in range(0, len(samples), limit))
        self._tags.extend(tags)
        self.queued += len(samples)

    def service(self) -> bool:
        """Send what can be sent now. Returns whether anything moved."""
        if self._kind == "push_pull":
            return self._push()
        if self._kind == "pub_sub":
            return self._publish()
        return self._reply()

    def close(self) -> None:
        """Close the socket. Who waits for samples is told that there are none, and will ask whoever opens the address next.

        A REQ socket whose question was answered by nobody never asks again.
        """
        linger_ms = 0
        if self._kind in ("req_rep", "srsran"):
            with contextlib.suppress(zmq.ZMQError):
                if self._owed is None:
                    self.socket.recv(zmq.NOBLOCK)
                self.socket.send(encode_header(self.sent) if self._tagged else b"", zmq.NOBLOCK)
                linger_ms = _FAREWELL_MS
        self.socket.close(linger_ms)

    def _push(self) -> bool:
        moved = False
        while self._pending:
            try:
                message = self._message(self._pending[0])
                self.socket.send(message, zmq.NOBLOCK, copy=len(message) < _COPIED_BYTES)
            except zmq.Again:
                break
            self._count(self._pending.popleft())
            moved = True
        return moved

    def _publish(self) -> bool:
        moved = False
        while self.socket.poll(0):
            word = self.socket.recv(zmq.NOBLOCK)
            if word[:1] == b"\x01" and self._key.startswith(word[1:]):
                self.heard = True
            moved = True
        while self._pending and self.heard:
            message = self._message(self._pending[0])
            self.socket.send_multipart([self._key, message] if self._key else [message], copy=False)
            self._count(self._pending.popleft())
            moved = True
        return moved

    def _reply(self) -> bool:
        moved = False
        if self._owed is None:
            try:
                request = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return False
            # Four bytes are a limit in items; fewer, as srsRAN sends, ask for all there is.
            self._owed = (
                struct.unpack_from("=I", request)[0] if len(request) >= 4 and self._kind == "req_rep" else LARGEST_ITEMS
            )
            moved = self.asked = True
        if self._pending:
            first = self._pending.popleft()
            part, rest = first[: self._owed], first[self._owed :]
            if len(rest):
                self._pending.appendleft(rest)
            self.socket.send(self._message(part), copy=False)
            self._count(part)
            self._owed = None
            moved = True
        return moved

    def _message(self, samples: Samples) -> memoryview | bytes:
        if not self._tagged:
            return samples.data.cast("B")
        # They are dropped once the message has left: without a peer, or with a full queue, it is made again.
        due = list(takewhile(lambda tag: tag.offset < self.sent + len(samples), self._tags))
        return encode_header(self.sent, due) + samples.tobytes()

    def _count(self, samples: Samples) -> None:
        self.sent += len(samples)
        while self._tags and self._tags[0].offset < self.sent:
            self._tags.popleft()


class ReceivePort:
    """The samples of one antenna on their way in."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], config: StreamConfig, address: str) -> None:
        self._kind = config.kind
        self._tagged = config.pass_tags
        self._key = config.key.encode()
        self.address = address
        self.socket = _open(context, _RECEIVE[config.kind], address, config.receive_bind)
        if config.kind == "pub_sub":
            self.socket.setsockopt(zmq.SUBSCRIBE, self._key)
        self._asked = False
        self._base: int | None = None
        # Where parts need not be told from messages, each is read into the same memory, which stays in the processor's cache:
        # 32 KiB messages pass twice as fast. It is as long as the longest message; what is never touched costs nothing.
        self._plain = config.kind in ("push_pull", "pub_sub") and not config.pass_tags and not config.key
        self._memory = np.empty(LARGEST_BYTES if self._plain else 0, np.uint8).data
        self.received = 0  # samples taken from ZeroMQ
        self.tags: deque[Tag] = deque(maxlen=1024)

    def service(self, wanted: int) -> Iterator[Samples]:
        """Yield what has arrived, to be copied before the next is taken.

        Where the other side waits to be asked, ask for `wanted` samples.

        Raises:
            StreamBroken: a message is not what was agreed.
        """
        if self._plain:
            yield from self._service_plain()
            return
        for _ in range(_TURN):
            if self._kind in ("req_rep", "srsran") and not self._asked:
                if wanted <= 0:
                    break
                request = b"\xff" if self._kind == "srsran" else struct.pack("=I", min(wanted, LARGEST_ITEMS))
                try:
                    self.socket.send(request, zmq.NOBLOCK)
                except zmq.Again:
                    break
                self._asked = True
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._asked = False
            for samples in self._samples([memoryview(part) for part in parts]):
                self.received += len(samples)
                wanted -= len(samples)
                yield samples

    def _service_plain(self) -> Iterator[Samples]:
        receive, memory = self.socket.recv_into, self._memory
        for _ in range(_TURN):
            try:
                size = receive(memory, flags=zmq.NOBLOCK)
            except zmq.Again:
                return
            if size > len(memory):
                raise StreamBroken(f"{self.address}: a message of {size} bytes is longer than the {len(memory)} that are taken")
            if size:
                samples = self._part(memory[:size])
                self.received += len(samples)
                yield samples

    def _samples(self, parts: list[memoryview]) -> list[Samples]:
        if self._key:
            if len(parts) < 2 or bytes(parts[0]) != self._key:
                raise StreamBroken(f"{self.address}: a message does not begin with the agreed key {self._key.decode()!r}")
            parts = parts[1:]
        if self._tagged:
            parts[0] = self._after_header(parts[0])
        return [self._part(part) for part in parts if len(part)]

    def _part(self, part: memoryview) -> Samples:
        # A header of 19 bytes and tags is rarely a multiple of a sample, but may be.
        if not self._tagged and part[0] == 0xF0 and bytes(part[:3]) == b"\xf0\x5f\x01" and carries_header(part):
            raise StreamBroken(f"{self.address}: a message carries a tag header; set pass_tags alike at both ends")
        if len(part) % ITEM_BYTES:
            raise StreamBroken(
                f"{self.address}: a message of {len(part)} bytes is no whole number of complex64 samples of {ITEM_BYTES} "
                "bytes; set the item type and pass_tags alike at both ends"
            )
        return np.frombuffer(part, np.complex64)

    def _after_header(self, part: memoryview) -> memoryview:
        header = decode_header(part)
        self._base = header.offset - self.received if self._base is None else self._base
        missing = header.offset - self._base - self.received
        if missing:
            raise StreamBroken(f"{self.address}: the sender counts {missing:+d} samples against what arrived; some were lost")
        self.tags.extend(header.tags)
        return part[header.size :]
