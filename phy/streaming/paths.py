"""A stream's channel: paths between transmitters and receivers, drawn as a link of the same settings draws them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phy.channel import Channel
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError
from phy.offsets import OffsetDraws

__all__ = ["MODELS", "Paths", "StreamChannel"]

MODELS = ("awgn", "rayleigh", "tdl")

Coefficients = Callable[[float, int, float], NDArray[np.complex64]]


@dataclass(frozen=True)
class Paths:
    """From J transmitters to M receivers.

    ``coefficients(start_s, steps, step_s)`` -> [M, J, P, T]: at ``steps`` instants, or one for good where ``doppler_hz`` is 0.
    ``delays_s`` [M, J, P]; ``drift`` [J]: relative rate at which a transmitter's stream is read, less 1: a clock that is fast
    by 1 ppm is read at 1e-6 more samples.
    """

    coefficients: Coefficients
    delays_s: NDArray[np.float64]
    drift: NDArray[np.float64]
    doppler_hz: float


class StreamChannel:
    """K devices and M antennas under ``channel``, ``offsets`` and ``clock`` of a link, for one endless burst.

    A stream is one round, the round 0 of a link of the same seed: laws are drawn once, and without Doppler the channel stands
    still. Nothing of this imports torch.

    :param config: the link; ``backend`` must be numpy
    :param seed: of every draw

    Raises :class:`phy.errors.PhyError` for a channel model that is not one of :data:`MODELS`.
    """

    def __init__(self, config: LinkConfig, seed: int, devices: int) -> None:
        if config.channel.model not in MODELS:
            raise PhyError(
                f"channel.model {config.channel.model!r} is made for bursts; a stream takes one of {', '.join(MODELS)}"
            )
        draws = KeyedDraws(seed)
        self.devices, self.antennas = devices, config.receive_antennas
        self.doppler_hz = 0.0 if config.channel.model == "awgn" else config.channel.doppler_hz
        self._channel = Channel(config, CachedDraws(draws))
        offsets = OffsetDraws(config, draws)
        drawn = offsets.draw(devices, 0, 1)
        self.timing_s, self.phase_rad, self.frequency_hz = drawn.timing_s[0], drawn.phase_rad[0], drawn.frequency_hz[0]
        self.sampling_ppm = offsets.sampling_ppm(devices, 0, 1)[0]
        _, delays_s = self._channel.paths(devices, 0, 1, self.antennas)
        self._delays_s = delays_s[0]  # [K, P]

    def uplink(self) -> Paths:
        """From all devices to all antennas, late by each device's timing offset."""
        delays_s = self._delays_s + self.timing_s[:, None]
        delays_s = np.broadcast_to(delays_s, (self.antennas, *delays_s.shape))
        return Paths(self._coefficients, delays_s, 1e-6 * self.sampling_ppm, self.doppler_hz)

    def downlink(self, device: int) -> Paths:
        """From all antennas to one device, by the same paths: what a device's own clock does to its transmitter, it undoes.

        Timing offsets are of the transmitter and do not come in.
        """

        def coefficients(start_s: float, steps: int, step_s: float) -> NDArray[np.complex64]:
            return self._coefficients(start_s, steps, step_s)[:, device][None]

        shape = (1, self.antennas, self._delays_s.shape[1])
        rate = 1.0 / (1.0 + 1e-6 * float(self.sampling_ppm[device])) - 1.0
        return Paths(
            coefficients, np.broadcast_to(self._delays_s[device], shape), np.full(self.antennas, rate), self.doppler_hz
        )

    def _coefficients(self, start_s: float, steps: int, step_s: float) -> NDArray[np.complex64]:
        """[M, K, P, T]."""
        moving = self.doppler_hz > 0
        a, _ = self._channel.paths(self.devices, 0, 1, self.antennas, steps if moving else 1, 1.0 / step_s, start_s)
        drawn: NDArray[np.complex64] = a[0]
        return drawn
