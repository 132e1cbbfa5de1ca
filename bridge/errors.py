"""What can go wrong on the bridge, one class for each thing a caller would handle differently."""

from __future__ import annotations

__all__ = [
    "BadReply",
    "BridgeError",
    "ConfigRefused",
    "EndpointError",
    "FrameError",
    "KeysError",
    "RequestRefused",
    "ServerGone",
    "ServerRefused",
]


class BridgeError(Exception):
    """Base of every error of the bridge; its text is one sentence meant for a person."""


class FrameError(BridgeError):
    """A message breaks the wire protocol.

    `code` is the protocol's error code for it. `seq` is the sequence number of the offending message when its
    prefix could be read (so that it can be answered), else None.
    """

    def __init__(self, sentence: str, *, code: str = "bad_frame", seq: int | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        self.seq = seq


class EndpointError(BridgeError):
    """An address is malformed, unsafe to listen on, or taken."""


class KeysError(BridgeError):
    """A file of a CURVE key or of a secret is missing, malformed, or readable by others."""


class ConfigRefused(BridgeError):
    """A link factory refuses its configuration; servers answer it with the code `bad_config`."""


class RequestRefused(BridgeError):
    """A link refuses these payloads; servers answer it with the code `bad_request`."""


class ServerGone(BridgeError):
    """No air server answers, or its process has ended."""


class ServerRefused(BridgeError):
    """The air server answered, and the answer is no; `code` is the protocol's error code."""

    def __init__(self, sentence: str, *, code: str) -> None:
        super().__init__(sentence)
        self.code = code


class BadReply(BridgeError):
    """The air server's answer breaks the protocol or does not fit the question."""
