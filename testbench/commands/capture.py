"""``pairzero capture``."""

from testbench.captures.command import app

__all__ = ["app"]
