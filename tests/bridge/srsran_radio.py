"""A radio that speaks ZeroMQ as srsRAN's does: REP where it transmits, REQ where it receives, requests of one byte."""

from __future__ import annotations

import time

import numpy as np
import zmq

DTYPE = np.complex64


class Transmitter:
    """Answers each request with the samples that it has; never blocks."""

    def __init__(self, context: zmq.Context, address: str) -> None:
        self.socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(address)
        self.waiting = np.zeros(0, DTYPE)
        self.answered = 0
        self.most = 614_400
        self._owed = False

    def send(self, samples: np.ndarray) -> None:
        self.waiting = np.concatenate([self.waiting, samples.astype(DTYPE)])

    def work(self) -> None:
        if not self._owed and self.socket.poll(0):
            assert len(self.socket.recv()) == 1
            self._owed = True
        if self._owed and len(self.waiting):
            self.socket.send(self.waiting[: self.most].tobytes())
            self.answered += len(self.waiting[: self.most])
            self.waiting, self._owed = self.waiting[self.most :], False


class Receiver:
    """Asks, waits, and asks again: a plain REQ, with no way out of a lost answer."""

    def __init__(self, context: zmq.Context, address: str) -> None:
        self.socket = context.socket(zmq.REQ)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self.socket.connect(address)
        self.pieces: list[np.ndarray] = []
        self._asked = False

    @property
    def count(self) -> int:
        return sum(map(len, self.pieces))

    @property
    def samples(self) -> np.ndarray:
        return np.concatenate([np.zeros(0, DTYPE), *self.pieces])

    def work(self) -> None:
        if not self._asked:
            self.socket.send(b"\x00")
            self._asked = True
        if self.socket.poll(0):
            piece = np.frombuffer(self.socket.recv(), DTYPE)
            assert len(piece) <= 614_400
            self._asked = False
            if len(piece):
                self.pieces.append(piece)


def turn(*parts, until, broker=None, seconds: float = 10.0) -> None:
    """Let peers (and a broker in this thread) work until something holds."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "nothing came of it in time"
        for part in parts:
            part.work()
        if broker is not None and not broker.step():
            time.sleep(0.0002)


class LockStep:
    """A whole radio: sends a slot, receives a slot, in turn; it sends `lead` slots ahead of what it has received.

    `answer(i, heard)` makes the samples that it sends from those that it heard `lead` slots earlier, of which the first is
    number i of its own count; before it has heard anything it gets None and the (negative) number.
    """

    def __init__(self, context: zmq.Context, transmit: str, receive: str, slot: int, lead: int, answer) -> None:
        self._transmitter, self._receiver = Transmitter(context, transmit), Receiver(context, receive)
        self._slot, self._answer = slot, answer
        self._lead = lead * slot
        self.heard = np.zeros(0, DTYPE)
        self.sent = 0

    def work(self) -> None:
        self._receiver.work()
        self.heard = np.concatenate([self.heard, *self._receiver.pieces])
        self._receiver.pieces.clear()
        first = self.sent - self._lead
        if len(self._transmitter.waiting) == 0 and first + self._slot <= len(self.heard):
            heard = None if first < 0 else self.heard[first : first + self._slot]
            self._transmitter.send(self._answer(first, heard))
            self.sent += self._slot
        self._transmitter.work()

    def close(self) -> None:
        self._transmitter.socket.close(0)
        self._receiver.socket.close(0)
