"""Slots by count: what is sent returns, sample for sample, and a ledger says where a slot lies; patterns prove the count.

The stream has no borders of its own: GNU Radio cuts and joins messages as it likes. A slot is therefore found by counting.
All devices send the same number of samples per slot, zeros where they are silent, because a flowgraph adds its branches by
the number of samples that came through each. Only one slot is under way at a time.

That a count still says where a branch is, is proved and not assumed: at the opening (:mod:`bridge.streams.opening`), every few
slots by patterns behind the slot, and whenever a slot is not a sum of what was sent (:mod:`bridge.streams.watch`).
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import zmq

from bridge.streams.config import StreamConfig
from bridge.streams.errors import FlowgraphGone, OutOfStep, StreamBroken, StreamConfigError, StreamSilent
from bridge.streams.opening import Proof, opened
from bridge.streams.ports import ReceivePort, SendPort
from bridge.streams.proof import Pattern, search
from bridge.streams.tags import Tag
from bridge.streams.watch import Watch

__all__ = ["Ledger", "StreamExchange"]

Samples = npt.NDArray[np.complex64]

# Zeros with which a publisher finds its subscribers.
_JOIN_SAMPLES = 4096
# After all returned that was due, excess samples would show within this time.
_SETTLE_S = 0.02
# Nothing for so long: the flowgraph keeps what is missing. GNU Radio's blocks may sleep for 100 ms and then for 250.
_QUIET_S = 0.4
# A block of GNU Radio with a vector of registers keeps what does not fill it until more follows.
_REGISTER = 8
# A pattern of a proof outside a slot may be late or early by so much.
_MARGIN = 256
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
        self.proof: Proof | None = None
        self._latency = self._withheld = 0
        self._watch: Watch
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

    def probe(self, timeout_s: float, *, fresh: bool = False, before: Proof | None = None) -> Proof:
        """Send patterns until they are back: the flowgraph runs, and where each branch is, is known; see `opened`.

        Args:
            timeout_s: the time for all of it [s].
            fresh: the flowgraph was started for this and can hold nothing of an earlier run.
            before: what was proved of the same flowgraph earlier in this run.

        Raises:
            StreamSilent: nothing came back in time.
            StreamBroken, StreamConfigError, OutOfStep: what came back does not fit; the sentence says what to change.
        """
        until = time.monotonic() + timeout_s
        if self._config.kind == "pub_sub":
            self._join(until)
        if not fresh:
            self._pause(_SETTLE_S)
        # What was published before its subscribers were known is gone, and what came unasked is of an earlier run.
        self.ledger.received = [self.ledger.sent] * len(self._receivers)
        found = self.proof = opened(self, self._config, until, fresh=fresh, before=before)
        self._latency, self._withheld = found.latency_samples, found.withheld_samples
        self._watch = Watch(found, self._config.level)
        return found

    @property
    def measured(self) -> dict[str, float]:
        """What was measured of the stream so far, by name."""
        return {} if self.proof is None else {**self.proof.summary(), "stream_n0": self._watch.n0}

    def exchange(self, bursts: Samples, label: int = 0) -> Samples:
        """Send bursts [K, N] and return what comes back of them, [M, N].

        Raises:
            StreamSilent: it did not come back before the deadline; FlowgraphGone where the process has ended.
            OutOfStep: it came back, but not every branch is where it was.
            StreamBroken: what came back is not what was agreed.
        """
        config = self._config
        until = time.monotonic() + config.deadline_s
        devices, count = bursts.shape
        if devices != len(self._senders):
            raise StreamConfigError(
                f"there are {len(self._senders)} addresses to send to and {devices} devices; give one per device"
            )
        if self.proof is None:
            self.probe(config.start_timeout_s)
        pattern = self._watch.due(count)
        proof = 0 if pattern is None else pattern.samples
        lead = max(0, -self._latency)
        tail = max(0, self._latency + self._withheld)
        slot = np.zeros((devices, _whole(lead + count + proof + tail)), np.complex64)
        np.multiply(bursts, np.float32(config.level), out=slot[:, lead : lead + count])
        if pattern is not None:
            slot[:, lead + count : lead + count + proof] = self._watch.block
        first = self.ledger.sent + lead + self._latency
        self.ledger.slots += 1
        try:
            self._queue(slot, label)
            for port in self._senders:
                port.service()
            self._watch.expect(slot[:, lead : lead + count])
            out = np.empty((len(self._receivers), count + proof), np.complex64)
            self._gather(list(out), first, first + count + proof, until)
            self._refuse_excess()
            if not np.isfinite(out.view(np.float32)).all():
                raise StreamBroken(
                    f"slot {label} came back with samples that are not finite numbers; look for a division in the graph"
                )
            if not self._watch.fits(slot[:, lead : lead + count], out[:, :count], out[:, count:], pattern):
                self.prove()
                self._watch.accept()
        except (StreamSilent, StreamBroken, OutOfStep):
            self.ledger.lost_slots += 1
            raise
        out = out[:, :count]
        if config.level != 1.0:
            out = out * np.float32(1.0 / config.level)
        return np.ascontiguousarray(out)

    def prove(self) -> None:
        """Send long patterns and compare where they return with where they did at the opening.

        Raises OutOfStep where a branch is elsewhere, and what `exchange` raises.
        """
        known = self.proof
        assert known is not None
        config = self._config
        until = time.monotonic() + config.deadline_s
        pattern = Pattern(len(self._senders), known.pattern_samples, _MARGIN, _MARGIN, secrets.randbits(62))
        lead, tail = max(0, -self._latency), max(0, self._latency + self._withheld)
        block = np.zeros((len(self._senders), _whole(lead + pattern.samples + tail)), np.complex64)
        block[:, lead : lead + pattern.samples] = pattern.block(config.level)
        first = self.ledger.sent + lead + self._latency
        self._queue(block)
        out = np.empty((len(self._receivers), pattern.samples), np.complex64)
        self._gather(list(out), first, first + pattern.samples, until)
        self._refuse_excess()
        for branch in known.branches:
            now = search(pattern, branch.device, branch.antenna, out[branch.antenna], config.level)
            if now is None:
                raise OutOfStep(
                    f"the pattern of device {branch.device} is no longer where it was; its branch lost or gained samples"
                )
            step = now.lag_samples + self._latency - branch.lag_samples
            if abs(step) > 1 + branch.spread_samples:
                raise OutOfStep(f"the branch of device {branch.device} {'gained' if step > 0 else 'lost'} {abs(step)} samples")

    @property
    def devices(self) -> int:
        """K, how many addresses are sent to."""
        return len(self._senders)

    @property
    def antennas(self) -> int:
        """M, how many addresses are received from."""
        return len(self._receivers)

    def trip(self, block: Samples, until: float, withheld: int | None) -> list[Samples]:
        """Send a block [K, N] and return all that comes until nothing more does, per antenna.

        Args:
            block: samples as they leave.
            until: when to give up, on the monotonic clock [s].
            withheld: how many samples may be missing; None: not known, so that only silence tells.

        Raises StreamSilent where nothing came at all.
        """
        self._queue(block)
        return self._heard_until_quiet(until, self.ledger.sent - (withheld or 0))

    def pad(self, counts: Sequence[int], until: float) -> int:
        """Send zeros, another number per device, outside of the count; return by how much more the flowgraph answered."""
        for port, count in zip(self._senders, counts, strict=True):
            if count:
                port.queue(np.zeros(count, np.complex64))
        tapes = self._heard_until_quiet(until, None)
        return min(len(tape) for tape in tapes)

    def settle(self) -> None:
        """Count what still comes, until a flowgraph that runs has had the time for all of it."""
        self._pause(_QUIET_S)

    def _heard_until_quiet(self, until: float, due: int | None) -> list[Samples]:
        tapes: list[list[Samples]] = [[] for _ in self._receivers]
        received = self.ledger.received
        last = time.monotonic()
        while True:
            moved = False
            for port in self._senders:
                moved |= port.service()
            for m, inlet in enumerate(self._receivers):
                for samples in inlet.service(max(1, (due or 0) - received[m])):
                    tapes[m].append(samples.copy())
                    received[m] += len(samples)
                    moved = True
            now = time.monotonic()
            if moved:
                last = now
                continue
            idle = all(port.idle for port in self._senders)
            if idle and due is not None and min(received) >= due and now - last > _SETTLE_S:
                break
            if idle and (due is None or all(tapes)) and now - last > _QUIET_S:
                break
            self._sleep(until, f"returned {sum(map(len, tapes[0]))} samples of the {self.ledger.sent} that were sent", 0.01)
        return [np.concatenate(tape) if tape else np.zeros(0, np.complex64) for tape in tapes]

    def _queue(self, block: Samples, label: int = -1) -> None:
        # A tagged stream, as GNU Radio's radio sinks read it: the length of each burst, and ours: the slot's label.
        for port, row in zip(self._senders, block, strict=True):
            tagged = (Tag(port.queued, "packet_len", block.shape[1]), Tag(port.queued, "slot", label))
            port.queue(row, tagged if self._config.pass_tags else ())
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
            if received > self.ledger.sent + max(0, -self._withheld):
                raise OutOfStep(
                    f"{port.address}: {received} samples returned of {self.ledger.sent} sent; a rest from before the opening "
                    "came late, or sample rates at both ends do not match, or somebody else sends there"
                )

    def _sleep(self, until: float, what: str, most_s: float = _WATCH_S) -> None:
        """Wait for any socket. Raises where the deadline has passed or the flowgraph has ended."""
        left = until - time.monotonic()
        why = self._ended()
        if why is not None:
            raise FlowgraphGone(why)
        if left <= 0:
            raise StreamSilent(f"the flowgraph {what} before the deadline; {self._guess()}")
        for port in self._senders:
            self._poller.register(port.socket, zmq.POLLIN | zmq.POLLOUT if port.waits_for_room else zmq.POLLIN)
        self._poller.poll(math.ceil(1e3 * min(left, most_s)))

    def _guess(self) -> str:
        """Why nothing comes, as far as it shows."""
        deaf = [port.address for port in self._senders if not port.asked]
        if deaf:
            return (
                f"nobody asked for samples at {deaf[0]}: no flowgraph connects there, or its REQ socket still waits for "
                "the answer to an earlier question, which it does for ever: restart the flowgraph"
            )
        full = [port.address for port in self._senders if port.waits_for_room]
        if full:
            return f"nobody takes samples at {full[0]}: no flowgraph runs that is connected there, or it hangs"
        return "it hangs, loses samples, or changes their rate"

    def _join(self, until: float) -> None:
        """Publish zeros until every subscription, ours and the flowgraph's, has taken effect."""
        while not all(port.heard for port in self._senders) or min(self.ledger.received) == 0:
            if (why := self._ended()) is not None:
                raise FlowgraphGone(why)
            if time.monotonic() > until:
                raise StreamSilent("the flowgraph does not subscribe to what is published, or publishes nothing itself")
            if all(port.heard for port in self._senders):
                self._queue(np.zeros((len(self._senders), _JOIN_SAMPLES), np.complex64))
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
        for port in self._senders:
            port.close()
        for inlet in self._receivers:
            inlet.socket.close(0)
        self._context.term()

    def _sockets(self) -> list[zmq.Socket[bytes]]:
        return [*(port.socket for port in self._senders), *(port.socket for port in self._receivers)]


def _whole(samples: int) -> int:
    return -(-samples // _REGISTER) * _REGISTER
