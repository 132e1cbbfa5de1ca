"""The answering side of a wire protocol: a ROUTER socket at a claimed address."""

from __future__ import annotations

import contextlib
from pathlib import Path

import zmq

from bridge.endpoints import Endpoint, clear_ipc_path
from bridge.errors import BridgeError, EndpointError
from bridge.keys import ServerKeys

__all__ = ["Listener", "check_libzmq"]

# Messages that wait, per peer and direction. Memory is bounded by peers x this x the largest message.
HIGH_WATER_MARK = 16
HEARTBEAT_MS = 2_000
HEARTBEAT_TIMEOUT_MS = 6_000
# How long replies under way may take to leave when the server ends.
LINGER_MS = 200


def check_libzmq() -> None:
    """Refuse a libzmq older than 4.3.3, which peers can crash or worse (CVE-2020-15166, CVE-2021-20236).

    Raises:
        BridgeError: it is older.
    """
    if zmq.zmq_version_info() < (4, 3, 3):
        raise BridgeError(f"libzmq {zmq.zmq_version()} has known holes; install pyzmq 27 or newer, which brings 4.3.5")


class Listener:
    """A bound ROUTER.

    Args:
        context: a ZeroMQ context; with `keys` it also needs an authenticator.
        wanted: the address, checked by `check_bind`; port 0 takes a free one.
        max_bytes: the largest legal part of a message.
        receive_timeout_ms: how long a receive waits.
        keys: demand CURVE keys.

    Attributes:
        router: the socket; for one thread.
        endpoint: the address as bound.

    Raises:
        EndpointError: the address is in use or not this machine's.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        wanted: Endpoint,
        max_bytes: int,
        receive_timeout_ms: int,
        keys: ServerKeys | None = None,
    ) -> None:
        self._wanted, self._inode = wanted, 0
        self.router: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        router = self.router
        try:
            router.linger = LINGER_MS
            router.rcvtimeo = receive_timeout_ms
            router.rcvhwm = HIGH_WATER_MARK
            router.sndhwm = HIGH_WATER_MARK
            router.maxmsgsize = max_bytes
            router.router_mandatory = True  # a lost reply is then counted, not silently dropped
            router.heartbeat_ivl = HEARTBEAT_MS
            router.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
            router.handshake_ivl = 5_000
            router.ipv6 = ":" in wanted.host
            if keys is not None:
                keys.apply(router)
            self.endpoint = self._claim(router, wanted)
        except BaseException:
            router.close(linger=0)
            raise

    def close(self) -> None:
        """Let go of the address."""
        if self._wanted.transport == "inproc":
            # Closing lets go of the name some time later; whoever binds it next may be faster.
            with contextlib.suppress(zmq.ZMQError):
                self.router.unbind(self.endpoint)
        # Replies under way have a moment to leave; a peer that is gone must not hold the exit up.
        self.router.close(linger=LINGER_MS)
        self._remove_ipc_path()

    def _claim(self, router: zmq.Socket[bytes], wanted: Endpoint) -> str:
        if wanted.transport == "ipc":
            clear_ipc_path(wanted)
        try:
            router.bind(str(wanted))
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                raise EndpointError(
                    f"{wanted} is in use; stop the server that listens there or choose another, "
                    "for instance tcp://127.0.0.1:0 for any free port"
                ) from None
            raise EndpointError(f"{wanted} cannot be bound: {error.strerror}; choose another address") from None
        if wanted.transport == "ipc":
            Path(wanted.name).chmod(0o600)
            self._inode = Path(wanted.name).stat().st_ino
        if wanted.transport == "tcp":
            return router.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()  # type: ignore[union-attr]
        return str(wanted)

    def _remove_ipc_path(self) -> None:
        """Remove the socket's file, which libzmq leaves behind, unless another server has taken its place."""
        if self._wanted.transport == "ipc":
            path = Path(self._wanted.name)
            with contextlib.suppress(OSError):
                if path.stat().st_ino == self._inode:
                    path.unlink()
