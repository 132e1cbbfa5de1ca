"""A broker between radios that speak srsRAN's ZeroMQ: asks every transmitter, answers every receiver, with an air between.

The samples of a direction go on as soon as every transmitter of it has some and every receiver has room: in step, as fast as
the slowest. One that holds up the others for longer than `stall_s` counts as away: a transmitter as silence, a receiver's
samples are dropped. Both are counted and said, and it is served again the moment that it is back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import zmq

from bridge.streams.peers import AskedPeer, AskingPeer

__all__ = ["Air", "Broker", "Radio", "StreamCounts"]

Samples = npt.NDArray[np.complex64]

_LOG = logging.getLogger(__name__)
# Samples at once, and that may wait on either side of an air: enough to be fast, few enough to stay in a cache.
PIECE_SAMPLES = 16384
_WAITING_SAMPLES = 2 * PIECE_SAMPLES
# More than this is no pipeline that ran empty, but a time in which devices went on by themselves.
_LONGEST_GAP = 1 << 20
# How long to sleep at most where nothing arrives.
_WATCH_MS = 20


class Air(Protocol):
    """J streams in, M streams out; `phy.streaming.air.StreamingAir`."""

    @property
    def produced(self) -> int: ...  # noqa: D102

    def push(self, transmitter: int, samples: Samples) -> None: ...  # noqa: D102

    def silence(self, transmitter: int, count: int) -> None: ...  # noqa: D102

    def pushed(self, transmitter: int) -> int: ...  # noqa: D102

    def ready(self, transmitter: int) -> int: ...  # noqa: D102

    def missing(self, transmitter: int, count: int) -> int: ...  # noqa: D102

    def take(self, count: int) -> Samples: ...  # noqa: D102

    def skip(self, count: int) -> None: ...  # noqa: D102


@dataclass
class StreamCounts:
    """What happened to one stream, in samples but for the last two."""

    passed: int = 0
    silence: int = 0  # put in place of what did not come, or came late
    late: int = 0  # came after silence had stood for them, and were dropped
    dropped: int = 0  # not taken by a receiver that was away
    joined: int = 0  # how often a peer came
    stalls: int = 0


@dataclass
class Radio:
    """One radio: the transmitters that it lets itself be asked at, and the receivers that ask."""

    name: str
    transmit: Sequence[str]
    receive: Sequence[str]


@dataclass
class _Source:
    """A transmitter, and where in which air its samples go."""

    name: str
    peer: AskedPeer
    into: list[tuple[Air, int]]
    away: bool = False
    fresh: bool = False  # came, and its radio's receiver has not come since
    step: _Sink | None = None  # the receiver of the same radio, once both have come: sample i of both belong together
    taken: int = 0  # samples since it came
    counts: StreamCounts = field(default_factory=StreamCounts)


@dataclass
class _Sink:
    """A receiver, and the sample number of the next that it gets."""

    name: str
    peer: AskingPeer
    away: bool = False
    fresh: bool = False
    begin: int = 0  # samples with a lower number are not for it
    zero: int | None = None  # the number, in the air, of the first sample since it came; later by what was dropped
    counts: StreamCounts = field(default_factory=StreamCounts)


@dataclass
class _Direction:
    """An air with its ends."""

    air: Air
    sources: list[_Source]
    sinks: list[_Sink]
    lead: Callable[[], int] | None = None  # how many samples the receivers' own radio has sent, who pace it with nobody else
    since: float | None = None  # since when it has been held up
    paced: tuple[float, int] | None = None  # when its last receiver went away, and at which sample


@dataclass
class _Station:
    """The radio in the middle, where it sends and receives."""

    sources: list[_Source]
    sinks: list[_Sink]
    uplink: Air
    here: set[str] = field(default_factory=set)  # those of its ends that have come since it began anew
    origin: int = 0  # the number, in the way down, of its first sample since


class Broker:
    """Sockets, two directions, and a loop. Use it from one thread; `stop` may be called from any.

    Args:
        devices: K radios that talk to the station.
        station: the radio in the middle; its receivers hear the sum of all devices.
        uplink: the air from K devices to the station's receivers.
        downlinks: an air from the station's transmitters to each device that receives; None where it does not.
        rate_hz: samples per second, at which transmitters are read while nobody listens.
        stall_s: how long a peer may hold up the others.
        say: takes a sentence for the person who watches.

    Raises:
        StreamConfigError: an address cannot be had.
    """

    def __init__(
        self,
        devices: Sequence[Radio],
        station: Radio,
        uplink: Air | None,
        downlinks: Sequence[Air | None],
        *,
        rate_hz: float,
        stall_s: float = 0.5,
        say: Callable[[str], None] = _LOG.warning,
    ) -> None:
        self._stall_s, self._rate_hz = stall_s, rate_hz
        self._say = say
        self._going = True
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._sources: list[_Source] = []
        self._sinks: list[_Sink] = []
        self._directions: list[_Direction] = []
        self._radios: list[tuple[_Source, _Sink]] = []
        self._station: _Station | None = None
        try:
            self._open(devices, station, uplink, downlinks)
        except BaseException:
            self.close()
            raise
        self._poller = zmq.Poller()
        self._registered: dict[Any, int] = {}

    def _open(self, devices: Sequence[Radio], station: Radio, uplink: Air | None, downlinks: Sequence[Air | None]) -> None:
        up = [self._transmitters(radio) for radio in devices]
        down = self._transmitters(station)
        if uplink is not None:
            sources = [source for some in up for source in some]
            for j, source in enumerate(sources):
                source.into.append((uplink, j))
            direction = _Direction(uplink, sources, self._receivers(station))
            self._directions.append(direction)
            if down and any(air is not None for air in downlinks):
                direction.lead = lambda: down[0].into[0][0].pushed(0)
                self._station = _Station(down, direction.sinks, uplink)
        for radio, sent, air in zip(devices, up, downlinks, strict=True):
            if air is None:
                continue
            heard = self._receivers(radio)
            for m, source in enumerate(down):
                source.into.append((air, m))
            self._directions.append(_Direction(air, down, heard))
            if len(sent) == len(heard) == 1:
                self._radios.append((sent[0], heard[0]))

    def _transmitters(self, radio: Radio) -> list[_Source]:
        made = [
            _Source(f"{radio.name}'s transmitter{_number(m, radio.transmit)}", AskedPeer(self._context, address), [])
            for m, address in enumerate(radio.transmit)
        ]
        self._sources += made
        return made

    def _receivers(self, radio: Radio) -> list[_Sink]:
        made = [
            _Sink(f"{radio.name}'s receiver{_number(m, radio.receive)}", AskingPeer(self._context, address))
            for m, address in enumerate(radio.receive)
        ]
        self._sinks += made
        return made

    @property
    def _ends(self) -> list[_Source | _Sink]:
        return [*self._sources, *self._sinks]

    @property
    def counts(self) -> dict[str, StreamCounts]:
        """What happened so far, by the name of the stream's end."""
        return {end.name: end.counts for end in self._ends}

    def stop(self) -> None:
        """Let `run` return soon."""
        self._going = False

    def run(self, *, seconds: float | None = None, every_s: float = 0.0, report: Callable[[], None] | None = None) -> None:
        """Serve until `stop`, or for so many seconds; call `report` every so often."""
        until = None if seconds is None else time.monotonic() + seconds
        due = time.monotonic() + every_s
        while self._going and (until is None or time.monotonic() < until):
            if not self.step():
                self._wait()
            if report is not None and time.monotonic() >= due:
                report()
                due += every_s

    def step(self) -> bool:
        """Do what can be done now. Returns whether anything moved."""
        moved = False
        for sink in self._sinks:
            moved |= self._answer(sink)
        for source in self._sources:
            moved |= self._ask(source)
        for sent, heard in self._radios:
            if sent.fresh and heard.fresh:
                sent.fresh = heard.fresh = False
                sent.step = heard
        for direction in self._directions:
            moved |= self._advance(direction)
        for sink in self._sinks:
            moved |= self._answer(sink)
        return moved

    def close(self) -> None:
        """Close every socket."""
        for end in self._ends:
            end.peer.close()
        self._context.destroy(linger=0)

    def _wait(self) -> None:
        """Sleep until a socket has something."""
        sockets = {s for end in self._ends for s in end.peer.sockets}
        for gone in set(self._registered) - sockets:
            self._poller.unregister(gone)
            del self._registered[gone]
        for new in sockets - set(self._registered):
            self._poller.register(new, zmq.POLLIN)
            self._registered[new] = zmq.POLLIN
        self._poller.poll(_WATCH_MS)

    def _ask(self, source: _Source) -> bool:
        """Take samples of a transmitter, as long as its airs have room for them."""
        peer = source.peer
        samples = None
        came = peer.watch()
        if source.into:
            room = _WAITING_SAMPLES - max(air.ready(j) for air, j in source.into)
            samples = peer.take(ask=room > 0, say=self._say)
        # Who sent these had come before: only now is it certain to have been told.
        if peer.watch() or came:
            source.counts.joined += 1
            source.taken, source.fresh, source.step = 0, True, None
            source.away = False  # who has just come is waited for
            self._join_station(source)
            self._say(f"{source.name} at {peer.address} is here")
        if samples is None:
            return False
        self._place(source, samples)
        return True

    def _place(self, source: _Source, samples: Samples) -> None:
        """Put samples where they belong: a radio's sent sample i keeps step with its received sample i, whenever it began."""
        late = 0
        air, j = source.into[0]
        if source.step is not None and source.step.zero is not None:
            due = source.step.zero + source.taken
            end = air.pushed(j)
            if due > end:
                for each, i in source.into:
                    each.silence(i, due - end)
                source.counts.silence += due - end
            late = min(len(samples), end - due) if due < end else 0
        source.taken += len(samples)
        source.counts.late += late
        source.counts.passed += len(samples) - late
        if source.away:
            # Also where they are late: only who is waited for can catch up.
            source.away = False
            self._say(f"{source.name} sends again")
        if late < len(samples):
            for each, i in source.into:
                each.push(i, samples[late:])

    def _join_station(self, end: _Source | _Sink) -> None:
        """A station that has come anew counts from 0: what it hears first belongs to the first sample that it sends."""
        if self._station is None or not any(end is each for each in (*self._station.sources, *self._station.sinks)):
            return
        station = self._station
        if end.name in station.here:
            station.here.clear()
        if not station.here:
            air, m = station.sources[0].into[0]
            station.origin = air.pushed(m)
        station.here.add(end.name)
        if isinstance(end, _Sink):
            end.begin = station.origin
            early = station.origin - (station.uplink.produced - end.peer.waiting)
            end.counts.dropped += end.peer.drop(max(0, early))
            if 0 < -early < _LONGEST_GAP:  # the first went to the one that was here before
                end.peer.queue(np.zeros(-early, np.complex64), first=True)
                end.counts.silence += -early

    def _advance(self, direction: _Direction) -> bool:
        """Produce what can be produced."""
        air = direction.air
        present = {j: s for j, s in enumerate(direction.sources) if not s.away}
        ready = {j: air.ready(j) for j in present}
        taking = [s for s in direction.sinks if not s.away]
        rooms = [max(0, _WAITING_SAMPLES - s.peer.waiting) for s in taking]
        ahead = max(0, direction.lead() - air.produced) if direction.lead is not None else 0
        # Somebody sets the pace: the transmitters, or where there are none, the radio that listens by what it sends itself.
        count = min([PIECE_SAMPLES, *(ready.values() if present else [ahead]), *rooms, self._unheard(direction)])
        if count > 0:
            self._produce(direction, count)
            direction.since = None
            return True
        full = [s for s, room in zip(taking, rooms, strict=True) if room == 0]
        empty = [s for j, s in present.items() if ready[j] == 0]
        waits = len(empty) < len(present) or (ahead > 0 and any(s.peer.waiting == 0 and s.peer.asked for s in taking))
        if not (waits and (empty or full)):
            direction.since = None
        elif direction.since is None:
            direction.since = time.monotonic()
        elif time.monotonic() - direction.since >= self._stall_s:
            direction.since = None
            self._give_up(empty, full)
        return False

    def _unheard(self, direction: _Direction) -> int:
        """How many samples may go on to nobody: as time passes, where all that share the transmitters have no receiver."""
        if any(not s.away for d in self._directions if d.sources is direction.sources for s in d.sinks):
            direction.paced = None
            return PIECE_SAMPLES
        now = time.monotonic()
        if direction.paced is None:
            direction.paced = (now, direction.air.produced)
        began, first = direction.paced
        return max(0, first + int((now - began) * self._rate_hz) - direction.air.produced)

    @staticmethod
    def _produce(direction: _Direction, count: int) -> None:
        air = direction.air
        for j, source in enumerate(direction.sources):
            if source.away:
                lacking = air.missing(j, count)
                air.silence(j, lacking)
                source.counts.silence += lacking
        first = air.produced
        for sink in direction.sinks:
            if sink.away:
                sink.counts.dropped += count
                if sink.zero is not None:
                    sink.zero += count
            elif sink.zero is None:
                sink.zero = first
        if all(sink.away for sink in direction.sinks):
            air.skip(count)
            return
        for sink, row in zip(direction.sinks, air.take(count), strict=True):
            if not sink.away:
                early = min(count, max(0, sink.begin - first))
                sink.counts.dropped += early
                if early < count:
                    sink.peer.queue(row[early:])

    def _give_up(self, empty: list[_Source], full: list[_Sink]) -> None:
        """Wait no longer for those who hold up others that could go on."""
        for source in empty:
            source.away = True
            source.counts.stalls += 1
            self._say(f"{source.name} at {source.peer.address} sends nothing; it counts as silence until it does")
        for sink in full:
            sink.away = True
            sink.counts.stalls += 1
            # What waits goes too, so that what a radio sends after its return is early, and never late.
            lost = sink.peer.drop(sink.peer.waiting)
            sink.counts.dropped += lost
            if sink.zero is not None:
                sink.zero += lost
            self._say(f"{sink.name} at {sink.peer.address} asks for nothing; its samples are dropped until it does")

    def _answer(self, sink: _Sink) -> bool:
        """Give a receiver that asked what there is for it."""
        peer = sink.peer
        if peer.watch():
            sink.counts.joined += 1
            if any(sink is heard for _, heard in self._radios):
                # A radio that also sends begins here and now, so that what it sends is early, and never late.
                sink.counts.dropped += peer.drop(sink.peer.waiting)
            sink.fresh, sink.zero = True, None
            for source, heard in self._radios:
                if heard is sink:
                    source.step = None
            self._join_station(sink)
            self._say(f"{sink.name} at {peer.address} is here")
        if peer.asked and sink.away:
            sink.away = False
            self._say(f"{sink.name} asks again")
        sent = peer.give()
        sink.counts.passed += sent
        return sent > 0


def _number(index: int, among: Sequence[str]) -> str:
    return f" {index}" if len(among) > 1 else ""
