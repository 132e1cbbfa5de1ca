"""The air as a flowgraph: device bursts leave through sockets, and what returns is what the receiver hears.

The settings (:class:`bridge.streams.config.StreamConfig`) are the scenario's section ``[stream]``, or what an air server was
started with (``--stream``). They name a program to start, so they never come with the configuration that a client sends.

Transmitter and receiver are those of every air. Unlike the emulated one, a stream is not a pure function: its noise is new in
every transmission, so that an air server sends each round of a session once (:mod:`bridge.once`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bridge.streams.config import StreamConfig
from bridge.streams.errors import StreamConfigError, StreamError
from bridge.streams.session import StreamSession

if TYPE_CHECKING:
    from phy.config import LinkConfig

__all__ = ["STREAM_AIR", "Part"]

Samples = npt.NDArray[np.complex64]

# What `burst.air` says of it.
STREAM_AIR = "bridge.stream_air:Part"


class Part:
    """One slot at a time: bursts [K, N] in, samples [M, N] out; None for a lost slot.

    Args:
        config: the link; what it asks of the air beyond flat gains and noise is the flowgraph's to play.
        draws: unused: a flowgraph draws its own noise.
        cached: unused.
        propagation: the channel, shared with the sounding that transmitters rely on.
        stream: the settings.

    Raises:
        PhyError: there are no settings, or they do not fit the link; in `transmit`, what
            :meth:`bridge.streams.session.StreamSession.slot` raises.
    """

    def __init__(
        self, config: LinkConfig, draws: Any, cached: Any, propagation: Any, stream: StreamConfig | None = None
    ) -> None:
        from phy.errors import PhyError

        del draws, cached
        self._error = PhyError
        self._propagation = propagation
        try:
            if stream is None:
                raise StreamConfigError(
                    "the stream air has no settings; add a section [stream] to the scenario, or start the air server with "
                    "--stream"
                )
            self._stream = stream
            _refuse(config, self._stream, bool(propagation.channel.flat))
            self.session = StreamSession(self._stream, antennas=config.receive_antennas, rate_hz=config.burst.sample_rate_hz)
        except StreamError as error:
            raise PhyError(str(error)) from None

    def transmit(self, bursts: Samples, round_index: int, sounded: Samples, reference_sample: int) -> Samples | None:
        """Received samples [M, N] of one slot for device bursts [K, N] and the channel [M, K] that sounding saw."""
        del reference_sample
        if self._stream.gains == "sender":
            gains = self._propagation.aged(sounded[None], round_index)[0]
            bursts = (gains[0][:, None] * bursts).astype(np.complex64)
        try:
            return self.session.slot(bursts, round_index)
        except StreamError as error:
            raise self._error(f"round {round_index}: {error}") from None

    @property
    def measured(self) -> dict[str, float]:
        """What was measured of the stream as it is now: see :attr:`bridge.streams.session.StreamSession.measured`."""
        return self.session.measured

    def close(self) -> None:
        """Stop the flowgraph and close the sockets; also done when the link is dropped."""
        self.session.close()


def _refuse(config: LinkConfig, stream: StreamConfig, flat: bool) -> None:
    """Refuse what the link asks for and nobody would play, which a result must not claim."""
    if config.offsets.any or config.clock.moves or config.clock.sampling_ppm.on:
        raise StreamConfigError(
            "the stream air plays no link.offsets and no link.clock; give delays and carrier offsets to the flowgraph"
        )
    if config.impairments:
        raise StreamConfigError(
            f"the stream air plays no link.impairments.{next(iter(config.impairments))}; leave it to the flowgraph"
        )
    if stream.gains == "sender" and config.receive_antennas > 1:
        raise StreamConfigError(
            'gains = "sender" multiplies each device by one number and serves one antenna; set receive_antennas = 1, or '
            'gains = "flowgraph"'
        )
    if stream.gains == "sender" and not flat:
        raise StreamConfigError(
            f'gains = "sender" plays flat channels, and channel.model {config.channel.model!r} has paths; set '
            'gains = "flowgraph" and give the paths to the flowgraph'
        )
