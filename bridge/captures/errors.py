"""What a capture file can have wrong with it."""

from bridge.errors import BridgeError


def first_line(error: BaseException) -> str:
    """What another package says is wrong, in one line."""
    return str(error).strip().partition("\n")[0][:160] or type(error).__name__


class CaptureError(BridgeError):
    """A capture is missing, damaged, of another format, or does not fit the link that it is put to."""
