"""Entry point of the command: an interrupt while Python still imports is no traceback either."""

import sys


def main() -> None:
    """Run ``pairzero``."""
    try:
        from testbench.cli import main as run

        run()
    except KeyboardInterrupt:
        print("pairzero: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
