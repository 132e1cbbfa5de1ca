"""Slots by count: what is sent returns, sample for sample, and a ledger says where a slot lies.

The stream has no borders of its own: GNU Radio cuts and joins messages as it likes. A slot is therefore found by counting.
All devices send the same number of samples per slot, zeros where they are silent, because a flowgraph adds its branches by
the number of samples that came through each. Only one slot is under way at a time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import zmq

from bridge.streams.config import StreamConfig
from bridge.streams.errors import FlowgraphGone, StreamBroken, StreamConfigError, StreamSilent
from bridge.streams.ports import ReceivePort, SendPort
from bridge.streams.tags import Tag

__all__ = ["Ledger", "StreamExchange"]

Samples = npt.NDArray[np.complex64]

PROBE_SAMPLES = 4096
# After the probe returned, excess samples would show within this time.
_SETTLE_S = 0.02
# A PUB forgets what it sends before it knows its subscribers, and the flowgraph's does not tell when it does.
_JOIN_S = 0.2
# How long to sleep at most before asking whether the flowgraph's process still lives.
_WATCH_S = 0.05


@dataclass
class Ledger:
    """Samples so far: `sent` per device (alike for all), `received` per antenna."""

    sent: int = 0
    received: list[int] = field(default_factory=list)
    slots: int = 0
    lost_slots: int = 0


class StreamExchange:
    """Sockets to one flowgraph, and the position in its stream.

    Args:
        config: the settings.
        send: an address per device.
        receive: an address per antenna.
        ended: returns why the flowgraph's process has ended, or None while it lives.
    """

    def __init__(
        self,
        config: StreamConfig,
        send: Sequence[str],
        receive: Sequence[str],
        ended: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._config = config
        self._ended = ended
        self.ledger = Ledger(received=[0] * len(receive))
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=2)
        self._senders: list[SendPort] = []
        self._receivers: list[ReceivePort] = []
        try:
            for address in send:
                self._senders.append(SendPort(self._context, config, address))
            for address in receive:
                self._receivers.append(ReceivePort(self._context, config, address))
        except BaseException:
            self.close()
            raise
        self._poller = zmq.Poller()
        for socket in self._sockets():
            self._poller.register(socket, zmq.POLLIN)

    @property
    def tags(self) -> list[Tag]:
        """The last tags that arrived, of all antennas."""
        return [tag for port in self._receivers for tag in port.tags]

    def probe(self, timeout_s: float) -> None:
        """Send zeros and wait until they are back: the flowgraph runs, and as many samples return as leave.

        Raises:
            StreamSilent: too few came back in time.
            StreamBroken: too many came back.
        """
        until = time.monotonic() + timeout_s
        withheld = self._config.withheld_samples
        if self._config.kind == "pub_sub":
            self._join(until)
            # What was published before its subscribers were known is gone: zeros, and the count starts after them.
            self.ledger.received = [self.ledger.sent - withheld] * len(self._receivers)
        count = PROBE_SAMPLES + withheld
        self._queue(np.zeros((len(self._senders), count), np.complex64))
        self._gather([None] * len(self._receivers), 0, self.ledger.sent - withheld, until)
        self._pause(_SETTLE_S)
        self._refuse_excess()

    def exchange(self, bursts: Samples, label: int = 0) -> Samples:
        """Send bursts [K, N] and return what comes back of them, [M, N].

        Raises:
            StreamSilent: it did not come back before the deadline; FlowgraphGone where the process has ended.
            StreamBroken: what came back is not what was agreed.
        """
        config = self._config
        until = time.monotonic() + config.deadline_s
        devices, count = bursts.shape
        if devices != len(self._senders):
            raise StreamConfigError(
                f"there are {len(self._senders)} addresses to send to and {devices} devices; give one per device"
            )
        lead = max(0, -config.latency_samples)
        tail = max(0, config.latency_samples + config.withheld_samples)
        slot = np.zeros((devices, lead + count + tail), np.complex64)
        np.multiply(bursts, np.float32(config.level), out=slot[:, lead : lead + count])
        begin = self.ledger.sent + lead
        first = begin + config.latency_samples
        self.ledger.slots += 1
        try:
            self._queue(slot, label)
            out = np.empty((len(self._receivers), count), np.complex64)
            self._gather(list(out), first, first + count, until)
        except (StreamSilent, StreamBroken):
            self.ledger.lost_slots += 1
            raise
        self._refuse_excess()
        if not np.isfinite(out.view(np.float32)).all():
            self.ledger.lost_slots += 1
            raise StreamBroken(
                f"slot {label} came back with samples that are not finite numbers; look for a division in the graph"
            )
        if config.level != 1.0:
            out *= np.float32(1.0 / config.level)
        return out

    def _queue(self, block: Samples, label: int = -1) -> None:
        # A tagged stream, as GNU Radio's radio sinks read it: the length of each burst, and ours: the slot's label.
        at = self.ledger.sent
        tagged = (Tag(at, "packet_len", block.shape[1]), Tag(at, "slot", label))
        tags = tagged if self._config.pass_tags else ()
        for port, row in zip(self._senders, block, strict=True):
            port.queue(row, tags)
        self.ledger.sent += block.shape[1]

    def _gather(self, out: list[Samples] | list[None], first: int, stop: int, until: float) -> None:
        """Receive up to the absolute index `stop`, keeping what lies from `first` on; send meanwhile."""
        received = self.ledger.received
        while True:
            moved = False
            for port in self._senders:
                moved |= port.service()
            for m, inlet in enumerate(self._receivers):
                if received[m] >= stop:
                    continue
                for samples in inlet.service(stop - received[m]):
                    self._keep(out[m], samples, received[m] - first)
                    received[m] += len(samples)
                    moved = True
            if min(received) >= stop and all(port.idle for port in self._senders):
                return
            if not moved:
                self._sleep(until, f"returned {min(received)} of the {stop} samples that were due")

    @staticmethod
    def _keep(out: Samples | None, samples: Samples, at: int) -> None:
        """Copy samples whose first has the index `at` of the slot to where they fall into it."""
        if out is None:
            return
        skip = max(0, -at)
        room = max(0, len(out) - max(at, 0))
        piece = samples[skip : skip + room]
        if len(piece):
            out[at + skip : at + skip + len(piece)] = piece

    def _refuse_excess(self) -> None:
        for port, received in zip(self._receivers, self.ledger.received, strict=True):
            if received > self.ledger.sent:
                raise StreamBroken(
                    f"{port.address}: {received} samples returned of {self.ledger.sent} sent; sample rates at both ends must "
                    "match, and nobody else may send there"
                )

    def _sleep(self, until: float, what: str) -> None:
        """Wait for any socket. Raises where the deadline has passed or the flowgraph has ended."""
        left = until - time.monotonic()
        why = self._ended()
        if why is not None:
            raise FlowgraphGone(why)
        if left <= 0:
            raise StreamSilent(f"the flowgraph {what} before the deadline; it hangs, loses samples, or changes their rate")
        for port in self._senders:
            self._poller.register(port.socket, zmq.POLLIN | zmq.POLLOUT if port.waits_for_room else zmq.POLLIN)
        self._poller.poll(math.ceil(1e3 * min(left, _WATCH_S)))

    def _join(self, until: float) -> None:
        """Publish zeros until every subscription, ours and the flowgraph's, has taken effect."""
        while not all(port.heard for port in self._senders) or min(self.ledger.received) == 0:
            if (why := self._ended()) is not None:
                raise FlowgraphGone(why)
            if time.monotonic() > until:
                raise StreamSilent("the flowgraph does not subscribe to what is published, or publishes nothing itself")
            if all(port.heard for port in self._senders):
                self._queue(np.zeros((len(self._senders), PROBE_SAMPLES), np.complex64))
            self._pause(_JOIN_S)
        self._pause(_JOIN_S)

    def _pause(self, duration_s: float) -> None:
        """Let `duration_s` pass while whatever arrives is counted."""
        until = time.monotonic() + duration_s
        while (left := until - time.monotonic()) > 0:
            self._poller.poll(math.ceil(1e3 * left))
            for port in self._senders:
                port.service()
            for m, inlet in enumerate(self._receivers):
                self.ledger.received[m] += sum(len(samples) for samples in inlet.service(0))

    def close(self) -> None:
        """Close all sockets at once."""
        for socket in self._sockets():
            socket.close(0)
        self._context.term()

    def _sockets(self) -> list[zmq.Socket[bytes]]:
        return [*(port.socket for port in self._senders), *(port.socket for port in self._receivers)]
