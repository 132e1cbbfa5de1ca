"""`bridge.serve` with fake links, so that a test need not wait for the physical layer; run as a script."""

from __future__ import annotations

import argparse
import sys
import time

from bridge.serve import serve
from tests.bridge.fakes import fake_factory


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode")
    parser.add_argument("--bind")
    parser.add_argument("--exit-with-parent", action="store_true")
    parser.add_argument("--key-dir")
    given = parser.parse_args()
    if given.mode == "die":
        print("first line\nthe mast is down", file=sys.stderr)
        sys.exit(3)
    if given.mode == "babble":
        print("no READY line", flush=True)
    if given.mode == "hang":
        time.sleep(600)
    serve(given.bind, key_dir=given.key_dir, link_factory=fake_factory, exit_with_parent=given.exit_with_parent)


if __name__ == "__main__":
    main()
