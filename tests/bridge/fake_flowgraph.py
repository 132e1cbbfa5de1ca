"""A flowgraph in a few lines of pyzmq, that adds its inputs and can misbehave; speaks the contract of bridge.streams.flowgraph.

Usage: fake_flowgraph.py FAULT --uplink A ... --received B --kind push_pull
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time

import numpy as np
import zmq


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("fault")
    arguments.add_argument("--uplink", action="append", default=[])
    arguments.add_argument("--received", action="append", default=[])
    arguments.add_argument("--kind")
    options = arguments.parse_args()
    fault = options.fault
    context = zmq.Context()
    sources = []
    for address in options.uplink:
        sources.append(context.socket(zmq.PULL))
        sources[-1].connect(address)
    sink = context.socket(zmq.PUSH)
    sink.bind(options.received[0])
    print("a line that GNU Radio might write")
    print('READY {"rate_hz": %s}' % ("2e6" if fault == "rate" else "1e6"), flush=True)
    if fault != "hang":  # one that hangs does not even notice that it should end
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    for turn in range(10**9):
        total = sum(np.frombuffer(source.recv(), np.complex64) for source in sources)
        if fault == "half":
            total = total[::2]
        elif fault == "twice":
            total = np.repeat(total, 2)
        elif fault == "mute":
            continue
        elif turn == 0:  # the opening
            pass
        elif fault == "cut":
            sink.send(total.tobytes()[:-7])
            continue
        elif fault == "nan":
            total = total.copy()
            total[3] = np.nan
        elif fault == "lossy":
            total = total[:-1]
        elif fault == "tags":
            sink.send(b"\xf0\x5f\x01" + bytes(16) + total.tobytes())
            continue
        elif fault == "die" and turn == 2:
            print("no more sums", file=sys.stderr, flush=True)
            raise SystemExit(4)
        elif fault == "hang" and turn == 2:
            time.sleep(3600)
        sink.send(total.astype(np.complex64).tobytes())


if __name__ == "__main__":
    main()
