"""What every flowgraph here shares: its arguments, its ZeroMQ blocks with delays of a millisecond, and how it runs.

Runs under GNU Radio's own Python; needs nothing but GNU Radio and numpy. GNU Radio is imported inside functions, so that the
rest can be used and tested without it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import Any

KINDS = ("push_pull", "pub_sub", "req_rep", "srsran")
# With the defaults (100 ms, 250 ms, 64 KiB) a burst may wait for 100 ms after it has arrived. Milliseconds, twice, and items.
_TIMEOUT, _IDLE, _BUFFER_ITEMS = 10, 1, 131072


def parser(text: str) -> argparse.ArgumentParser:
    """Arguments that the stream air gives to every flowgraph, and its sample rate."""
    arguments = argparse.ArgumentParser(description=text)
    arguments.add_argument("--uplink", action="append", default=[], metavar="ADDRESS", help="a device's samples come from here")
    arguments.add_argument("--received", action="append", default=[], metavar="ADDRESS", help="received samples go there")
    arguments.add_argument("--kind", choices=KINDS, default="push_pull", help="how the sockets speak")
    arguments.add_argument("--key", default="", help="pub_sub: key in front of messages")
    arguments.add_argument("--pass-tags", action="store_true", help="messages carry tag headers")
    arguments.add_argument(
        "--insecure", action="store_true", help="allow addresses that other machines reach: nobody is asked for a key there"
    )
    arguments.add_argument("--rate", type=float, default=1e6, metavar="HZ", help="samples per second")
    return arguments


def local(options: argparse.Namespace, address: str) -> str:
    """The address, if only this machine reaches it or ``--insecure`` was said; else end with a sentence."""
    host = address.partition("://")[2].rpartition(":")[0]
    if address.startswith("ipc://") or host in ("127.0.0.1", "localhost", "[::1]") or options.insecure:
        return address
    refuse(
        f"{address} can be reached from other machines, and GNU Radio's sockets ask nobody for a key; use ipc:// or "
        "tcp://127.0.0.1, or say --insecure"
    )
    return address


def source(options: argparse.Namespace, address: str) -> Any:
    """A block whose output is the stream that arrives from ``address``; it connects."""
    from gnuradio import gr, zeromq

    shape = (gr.sizeof_gr_complex, 1, local(options, address), _TIMEOUT, options.pass_tags)
    if options.kind == "push_pull":
        block = zeromq.pull_source(*shape, -1)
    elif options.kind == "pub_sub":
        block = zeromq.sub_source(*shape, 0, options.key)
    else:
        block = zeromq.req_source(*shape, -1)
    block.set_min_output_buffer(_BUFFER_ITEMS)
    return block


def sink(options: argparse.Namespace, address: str) -> Any:
    """A block that sends its input to ``address``, which it binds."""
    from gnuradio import gr, zeromq

    shape = (gr.sizeof_gr_complex, 1, local(options, address), _TIMEOUT, options.pass_tags)
    if options.kind == "push_pull":
        return zeromq.push_sink(*shape, -1)
    if options.kind == "pub_sub":
        return zeromq.pub_sink(*shape, 0, options.key)
    return zeromq.rep_sink(*shape, -1)


def quicken(*blocks: Any) -> None:
    """Let blocks that found nothing to do look again after a millisecond and not after 250."""
    for block in blocks:
        block.set_blkd_input_timer_value(_IDLE)


def run(top: Any, options: argparse.Namespace, **facts: object) -> None:
    """Start, say READY with the rate and ``facts`` about the graph, and stop when standard input closes."""
    top.start()
    print("READY", json.dumps({"rate_hz": options.rate, **facts}), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.read()
    top.stop()
    top.wait()


def refuse(sentence: str) -> None:
    """End with one sentence."""
    print(sentence, file=sys.stderr)
    raise SystemExit(2)
