"""Sign-pAirZero's device: the same engine, whose scalar goes out as one bit."""

from testbench.footprint.methods.engine import BACKWARDS, COPIES, FORWARDS, build

__all__ = ["BACKWARDS", "COPIES", "FORWARDS", "TITLE", "UPLINK_BITS", "build"]

TITLE, UPLINK_BITS = "Sign-pAirZero (this engine)", 1
