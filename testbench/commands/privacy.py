"""``pairzero privacy``."""

from testbench.privacy.command import app

__all__ = ["app"]
