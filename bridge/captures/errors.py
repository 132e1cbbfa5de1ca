"""What a capture file can have wrong with it."""

from bridge.errors import BridgeError


class CaptureError(BridgeError):
    """A capture is missing, damaged, of another format, or does not fit the link that it is put to."""
