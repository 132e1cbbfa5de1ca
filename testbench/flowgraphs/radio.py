"""What programs for radios share: when each slot is on the air, its time stamp, and its samples cut out of what is received.

Runs under GNU Radio's own Python. Slots are told apart by the tag ``packet_len`` that the stream air puts on each of them with
``pass_tags``; they start at instants of the radios' own clocks, so that what returns is exactly what was on the air with them.
"""

from __future__ import annotations

import argparse
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from testbench.flowgraphs import ports

Zero = Callable[[], object]


def parser(text: str, of: str) -> argparse.ArgumentParser:
    """Arguments of every program for radios; ``of``: whose arguments name a radio."""
    arguments = ports.parser(text)
    arguments.add_argument("--transmitter", action="append", default=[], metavar="ARGS", help=f"{of} arguments, per --uplink")
    arguments.add_argument("--receiver", default="", metavar="ARGS", help=f"{of} arguments; default: the first one found")
    arguments.add_argument("--frequency", type=float, default=2.45e9, metavar="HZ", help="carrier")
    arguments.add_argument("--tx-gain", type=float, default=0.0, metavar="DB", help="of the transmitters")
    arguments.add_argument("--rx-gain", type=float, default=20.0, metavar="DB", help="of the receiver")
    arguments.add_argument("--clock", choices=("internal", "external"), default="internal", help="10 MHz and PPS")
    arguments.add_argument("--margin", type=float, default=0.02, metavar="S", help="from hearing of a slot to sending it")
    return arguments


def parse(arguments: argparse.ArgumentParser, words: list[str] | None) -> argparse.Namespace:
    """Options that fit together; ends with a sentence where they do not."""
    options = arguments.parse_args(words)
    if not options.uplink or len(options.received) != 1 or len(options.transmitter) != len(options.uplink):
        ports.refuse("give --uplink and --transmitter once per device, and --received once")
    if not options.pass_tags:
        ports.refuse("timed bursts need to know where slots start: set pass_tags = true in the stream's settings")
    if len(options.uplink) > 1 and options.clock == "internal":
        ports.refuse("several transmitters are on time only with common 10 MHz and PPS: --clock external")
    if options.rate != round(options.rate):
        ports.refuse(f"--rate must be a whole number of samples per second, got {options.rate}")
    return options


# An edge of a PPS comes within a second; what is set right after one takes effect at the next, for all radios alike.
_EDGE_S, _SETTLED_S = 1.3, 1.2


def align(zero_now: Sequence[Zero], zero_at_edge: Sequence[Zero], last_edge: Callable[[], float], external: bool) -> None:
    """Set the clocks of all radios to zero: at the same edge of their common PPS, or of a single one, now.

    :param zero_now: per radio, sets its time at once
    :param zero_at_edge: per radio, sets its time at the next edge
    :param last_edge: the first radio's time at the last edge [s]
    """
    if not external:
        for zero in zero_now:
            zero()
        time.sleep(0.1)
        return
    before, until = last_edge(), time.monotonic() + _EDGE_S
    while last_edge() == before:
        if time.monotonic() > until:
            refuse_pps()
            return
        time.sleep(0.01)
    for zero in zero_at_edge:
        zero()
    time.sleep(_SETTLED_S)


def refuse_pps() -> None:
    """End with what is missing."""
    ports.refuse("no PPS arrives at the first radio: connect PPS and 10 MHz, or use one radio and --clock internal")


class Timetable:
    """When each slot is on the air, in samples since time zero of the radios. Shared by all of them.

    :param now: the radios' time [s]
    :param rate_hz: samples per second
    :param margin_s: time from hearing of a slot to sending it
    """

    def __init__(self, now: Any, rate_hz: float, margin_s: float) -> None:
        self._now, self._rate_hz, self._margin_s = now, rate_hz, margin_s
        self._slots: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def start(self, number: int, length: int) -> int:
        """First sample of slot ``number``, set by whoever asks first; slots follow each other and never overlap."""
        with self._lock:
            if number == len(self._slots):
                soonest = math.ceil((self._now() + self._margin_s) * self._rate_hz)
                free = sum(self._slots[-1]) if self._slots else 0
                self._slots.append((max(soonest, free), length))
            return self._slots[number][0]

    def cut(self, first: int, count: int, taken: int) -> tuple[int, int, int]:
        """Of samples ``first`` .. ``first + count - 1``: how many to skip, then how many to pass, and the slots done by then.

        ``taken``: slots done before. Looks no further than the end of one slot.
        """
        with self._lock:
            if taken >= len(self._slots):
                return count, 0, taken
            begin, length = self._slots[taken]
        skip = min(max(0, begin - first), count)
        stop = begin + length
        passed = max(0, min(first + count, stop) - (first + skip))
        return skip, passed, taken + (first + skip + passed == stop)


def stamped(timetable: Timetable, rate_hz: float) -> Any:
    """A block that tells the radio sink when each packet starts."""
    import pmt  # type: ignore[import-not-found]
    from gnuradio import gr

    class Stamp(gr.sync_block):  # type: ignore[misc]
        """Adds ``tx_time`` to every ``packet_len``."""

        def __init__(self) -> None:
            gr.sync_block.__init__(self, "tx_time", [np.complex64], [np.complex64])
            self._number = 0

        def work(self, input_items: Any, output_items: Any) -> int:
            """Pass samples on."""
            count = len(output_items[0])
            output_items[0][:] = input_items[0][:count]
            for tag in self.get_tags_in_window(0, 0, count, pmt.intern("packet_len")):
                at = timetable.start(self._number, pmt.to_long(tag.value))
                self._number += 1
                whole, part = divmod(at, round(rate_hz))
                stamp = pmt.make_tuple(pmt.from_uint64(int(whole)), pmt.from_double(part / rate_hz))
                self.add_item_tag(0, tag.offset, pmt.intern("tx_time"), stamp)
            return count

    return Stamp()


def gated(timetable: Timetable, rate_hz: float) -> Any:
    """A block that passes the samples received during slots, and no others."""
    import pmt
    from gnuradio import gr

    class Gate(gr.basic_block):  # type: ignore[misc]
        """Reads ``rx_time``; drops what lies between slots."""

        def __init__(self) -> None:
            gr.basic_block.__init__(self, "slots", [np.complex64], [np.complex64])
            self.set_tag_propagation_policy(gr.TPP_DONT)
            self._zero: int | None = None  # the sample number, since time zero, of the stream's first one
            self._taken = 0

        def general_work(self, input_items: Any, output_items: Any) -> int:
            """Skip, then pass."""
            have, room = len(input_items[0]), len(output_items[0])
            for tag in self.get_tags_in_window(0, 0, have, pmt.intern("rx_time")):
                whole = pmt.to_uint64(pmt.tuple_ref(tag.value, 0))
                part = pmt.to_double(pmt.tuple_ref(tag.value, 1))
                self._zero = int(whole * round(rate_hz) + round(part * rate_hz)) - tag.offset
            if self._zero is None:
                self.consume(0, have)
                return 0
            first = self._zero + self.nitems_read(0)
            skip, passed, _ = timetable.cut(first, have, self._taken)
            passed = min(passed, room)
            output_items[0][:passed] = input_items[0][skip : skip + passed]
            self._taken = timetable.cut(first, skip + passed, self._taken)[2]
            self.consume(0, skip + passed)
            return passed

    return Gate()
