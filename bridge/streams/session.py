"""A stream that survives its flowgraph: started when first needed, watched, restarted after a lost slot."""

from __future__ import annotations

import logging
import time
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bridge.endpoints import PrivateEndpoint
from bridge.streams.config import WHERE_TO, StreamConfig
from bridge.streams.errors import OutOfStep, StreamConfigError, StreamError, StreamSilent
from bridge.streams.exchange import Ledger, StreamExchange
from bridge.streams.flowgraph import Flowgraph
from bridge.streams.opening import Proof

__all__ = ["StreamSession"]

Samples = npt.NDArray[np.complex64]


class _Opened:
    """What must be closed."""

    def __init__(self) -> None:
        self.exchange: StreamExchange | None = None
        self.flowgraph: Flowgraph | None = None
        self.private: PrivateEndpoint | None = None

    def close(self, *, at_once: bool = False) -> None:
        exchange, flowgraph, private = self.exchange, self.flowgraph, self.private
        self.exchange = self.flowgraph = self.private = None
        if flowgraph is not None:
            flowgraph.kill() if at_once else flowgraph.close()
        if exchange is not None:
            exchange.close()
        if private is not None:
            private.close()


class StreamSession:
    """Slots through a flowgraph, with its start, its end and its recovery. For one thread.

    Args:
        config: the settings.
        antennas: M, how many streams return.
        rate_hz: the link's sample rate [samples/s].
    """

    def __init__(self, config: StreamConfig, *, antennas: int = 1, rate_hz: float | None = None) -> None:
        self.config = config
        if not config.on:
            raise StreamConfigError(f"the stream leads nowhere: {WHERE_TO}")
        if config.receive and len(config.receive) != antennas:
            raise StreamConfigError(f"{len(config.receive)} addresses return samples for {antennas} antennas; give one each")
        self._antennas, self._rate_hz = antennas, rate_hz
        self._opened = _Opened()
        self._devices = 0
        self._lost_in_a_row = 0
        self._answered = False
        self._proof: Proof | None = None
        self.restarts = 0
        self.lost_slots = 0
        self._log = logging.getLogger("pairzero.stream")
        self._finalize = weakref.finalize(self, self._opened.close)

    @property
    def ledger(self) -> Ledger | None:
        """Of the stream as it is now; a restart begins a new one."""
        return None if self._opened.exchange is None else self._opened.exchange.ledger

    @property
    def proof(self) -> Proof | None:
        """What the last opening measured of each branch."""
        return self._proof

    @property
    def measured(self) -> dict[str, float]:
        """What was measured of the stream as it is now, by name; empty before it was opened."""
        return {} if self._opened.exchange is None else self._opened.exchange.measured

    def open(self, devices: int) -> Proof:
        """Open the stream and prove it, where that is not done; return what was measured.

        Raises StreamError.
        """
        if self._opened.exchange is None or self._devices != devices:
            try:
                self._open(devices)
            except BaseException:
                self._close(at_once=True)
                raise
        assert self._proof is not None
        return self._proof

    @property
    def flowgraph(self) -> Flowgraph | None:
        """The flowgraph's process, if we started it and it is open."""
        return self._opened.flowgraph

    def slot(self, bursts: Samples, label: int = 0) -> Samples | None:
        """Send bursts [K, N] and return [M, N]; None where the slot is lost.

        A flowgraph that has ended or hangs, or whose branches are out of step, is noticed here, reported to the log, and
        restarted with the next slot.

        Raises:
            StreamError: it cannot be started, `give_up_after` slots in a row were lost, or what returns is not the agreed
                stream of samples. The next call starts anew.
        """
        try:
            exchange = self._opened.exchange
            if exchange is None or self._devices != len(bursts):
                exchange = self._open(len(bursts))
            received = exchange.exchange(bursts, label)
        except (StreamSilent, OutOfStep) as error:
            words = self._last_words()
            self._close(at_once=True)
            if not self._answered:
                raise StreamError(f"the flowgraph never answered: {error}{words}") from None
            self._lost_in_a_row += 1
            self.lost_slots += 1
            self.restarts += 1
            if self._lost_in_a_row >= self.config.give_up_after:
                count, self._lost_in_a_row = self._lost_in_a_row, 0
                raise StreamError(f"{count} slots in a row were lost: {error}{words}") from None
            self._log.warning("slot %d is lost and the stream starts anew: %s%s", label, error, words)
            return None
        except BaseException:
            self._close(at_once=True)
            raise
        self._lost_in_a_row = 0
        return received

    def _open(self, devices: int) -> StreamExchange:
        self._close()
        config, opened = self.config, self._opened
        send, receive = config.send, config.receive
        if send and len(send) != devices:
            raise StreamConfigError(f"there are {len(send)} addresses to send to and {devices} devices; give one per device")
        if not send:
            opened.private = PrivateEndpoint()
            folder: Path = opened.private.folder
            send = tuple(f"ipc://{folder}/up{k}" for k in range(devices))
            receive = tuple(f"ipc://{folder}/down{m}" for m in range(self._antennas))
        # The time for both, the program's start and the first samples.
        until = time.monotonic() + config.start_timeout_s
        if config.command:
            opened.flowgraph = Flowgraph(
                [*config.command, *self._arguments(send, receive)],
                start_timeout_s=config.start_timeout_s,
                rate_hz=self._rate_hz,
            )
            config = _as_stated(config, opened.flowgraph)
        ended = (lambda: None) if opened.flowgraph is None else opened.flowgraph.ended
        opened.exchange = StreamExchange(config, send, receive, ended)
        self._devices = devices
        fresh = opened.flowgraph is not None
        # A fresh one has the delays that it had; they are compared where it is another's, which runs on.
        before = self._proof if self._proof is not None and len(self._proof.branches) == devices else None
        self._proof = opened.exchange.probe(max(0.1, until - time.monotonic()), fresh=fresh, before=before)
        self._answered = True
        return opened.exchange

    def _arguments(self, send: tuple[str, ...], receive: tuple[str, ...]) -> list[str]:
        words = [word for address in send for word in ("--uplink", address)]
        words += [word for address in receive for word in ("--received", address)]
        if self.config.key:
            words += ["--key", self.config.key]
        if self.config.insecure:
            words += ["--insecure"]
        return [*words, "--kind", self.config.kind, *(["--pass-tags"] if self.config.pass_tags else [])]

    def _last_words(self) -> str:
        words = "" if self._opened.flowgraph is None else self._opened.flowgraph.last_words()
        return f"; the flowgraph said: {words}" if words else ""

    def _close(self, *, at_once: bool = False) -> None:
        self._opened.close(at_once=at_once)

    def close(self) -> None:
        """Stop the flowgraph that was started and close all sockets."""
        self._finalize()


def _as_stated(config: StreamConfig, flowgraph: Flowgraph) -> StreamConfig:
    """The settings with the delay that the flowgraph says it has."""
    stated = {
        name: flowgraph.ready[name]
        for name in ("latency_samples", "withheld_samples")
        if isinstance(flowgraph.ready.get(name), int)
    }
    return StreamConfig.of({**config.model_dump(), **stated}, "what the flowgraph states")
