"""What programs for radios share: their arguments, and their clocks set to one time zero.

Runs under GNU Radio's own Python. Slots are told apart by the tag ``packet_len`` that the stream air puts on each of them with
``pass_tags``; they start at instants of the radios' own clocks, so that what returns is exactly what was on the air with them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

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
