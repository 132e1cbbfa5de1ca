"""What can go wrong between us and a flowgraph, each in one sentence."""

from __future__ import annotations

from bridge.errors import BridgeError

__all__ = ["FlowgraphGone", "OutOfStep", "StreamBroken", "StreamConfigError", "StreamError", "StreamSilent"]


class StreamError(BridgeError):
    """Base of what goes wrong with a sample stream."""


class StreamConfigError(StreamError):
    """The settings of a stream make no sense, are unsafe, or do not fit the link."""


class StreamBroken(StreamError):
    """What arrives is not the agreed stream of samples."""


class StreamSilent(StreamError):
    """Samples that are due did not arrive before the deadline."""


class FlowgraphGone(StreamSilent):
    """The flowgraph's process has ended."""


class OutOfStep(StreamError):
    """Samples came back, but a branch is no longer where it was: what was summed does not belong together."""
