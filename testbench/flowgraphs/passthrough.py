"""One stream in, the same stream out: to see that sockets, rates and counts are right before anything else is tried.

python3 passthrough.py --uplink tcp://127.0.0.1:5501 --received tcp://127.0.0.1:5600
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a program: last on the path, so that GNU Radio's Python keeps its own packages
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from testbench.flowgraphs import ports


def main(words: list[str] | None = None) -> None:
    """Build the graph from arguments and run it."""
    options = ports.parser("Every --uplink goes to the --received of the same place, unchanged.").parse_args(words)
    if not options.uplink or len(options.uplink) != len(options.received):
        ports.refuse(f"give as many --uplink as --received, got {len(options.uplink)} and {len(options.received)}")

    from gnuradio import gr

    top = gr.top_block("pairzero pass-through")
    for address, there in zip(options.uplink, options.received, strict=True):
        blocks = [ports.source(options, address), ports.sink(options, there)]
        top.connect(*blocks)
        ports.quicken(*blocks)
    ports.run(top, options, latency_samples=0, withheld_samples=0)


if __name__ == "__main__":
    main()
