"""``pairzero sdr``."""

from testbench.sdr.command import sdr as app

__all__ = ["app"]
