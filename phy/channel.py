"""The channel between each device and the server: a model by name, with antenna correlation, times placement.

Energy convention: E sum_p |a_p|^2 = 1 for every model; a placement multiplies it by the device's mean gain.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phy.backends import own_models, require
from phy.channels._profile import refuse_negative
from phy.config import LinkConfig
from phy.discovery import find
from phy.draws import CachedDraws
from phy.errors import PhyError
from phy.foreign import Guarded, guarded
from phy.placement import amplitudes


class Channel:
    """A pure function of (configuration, draws, device, antenna, time); holds caches but no state.

    For the models of this package device 3 of 10 has the channel of device 3 of 20, and a batch of rounds that of single
    rounds, bit for bit; for a user's Sionna model the latter alone.

    :param config: the link
    :param draws: keyed source of every draw
    """

    def __init__(self, config: LinkConfig, draws: CachedDraws) -> None:
        self._model = config.channel.model
        self._foreign = ":" in self._model or self._model.startswith("sionna_")
        self._part = _part(config, draws)
        self._placement = config.channel.placement
        self._draws = draws
        self._placed = config.channel.placement.law != "none"
        self._kept = amplitudes(config.channel.placement, draws, 1)  # refuses what cannot be placed
        self._sampled = config.channel.variation == "sample"
        self._still = config.channel.doppler_hz == 0 and not self._foreign

    @property
    def flat(self) -> bool:
        """Whether there is one path of zero delay that stands still over a burst."""
        return bool(self._part.flat)

    @property
    def moves(self) -> bool:
        """Whether coefficients change within a burst, and are to be evaluated at each of its samples."""
        return self._sampled and not self._still

    def gains(
        self, devices: int, first_round: int, rounds: int, antennas: int, earlier_s: float = 0.0
    ) -> NDArray[np.complex64]:
        """Coefficients [B, M, K] of a flat channel, ``earlier_s`` before consecutive rounds; the caller must not write to them.

        Without Doppler a channel stands still over its round, whatever ``earlier_s``. Raises :class:`phy.errors.PhyError`
        where the channel is not flat.
        """
        if not self._part.flat:
            raise PhyError(
                f"channel.model {self._model!r} is not one path that stands still over a burst and has no single gain; ask for "
                "its paths, or choose rayleigh or awgn"
            )
        out: NDArray[np.complex64] = self._part.gains(devices, first_round, rounds, antennas, earlier_s)
        if self._foreign:
            self._check(out, (rounds, antennas, devices))
        if self._placed:
            out = out * self._amplitudes(devices)
        return out

    def paths(
        self,
        devices: int,
        first_round: int,
        rounds: int,
        antennas: int,
        num_time_steps: int = 1,
        sampling_frequency_hz: float = 1.0,
        start_s: float = 0.0,
    ) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
        """Coefficients a [B, M, K, P, T], complex64, and delays [B, K, P] in seconds, float64, of consecutive rounds.

        Step i of round r is at the time r round_duration_s + start_s + i / sampling_frequency_hz. Raises
        :class:`phy.errors.PhyError` where a model returns negative delays or, a user's, what is not finite.
        """
        a: NDArray[np.complex64]
        a, tau_s = self._part.paths(devices, first_round, rounds, antennas, num_time_steps, sampling_frequency_hz, start_s)
        if self._foreign:
            self._check(a, (rounds, antennas, devices, tau_s.shape[-1], num_time_steps))
            refuse_negative(f"delays [s] of channel model {self._model!r}", tau_s)
        if self._placed:
            a = a * self._amplitudes(devices)[:, None, None]
        return a, tau_s

    def max_delay_s(self, devices: int) -> float:
        """Largest path delay."""
        return float(self._part.max_delay_s(devices))

    def _amplitudes(self, devices: int) -> NDArray[np.float32]:
        if len(self._kept) != devices:
            self._kept = amplitudes(self._placement, self._draws, devices)
        return self._kept

    def _check(self, a: NDArray[np.complex64], shape: tuple[int, ...]) -> None:
        if a.shape != shape:
            raise PhyError(f"channel model {self._model!r} must return coefficients of shape {shape}, got {a.shape}")
        if not np.isfinite(a).all():
            raise PhyError(f"channel model {self._model!r} returned a coefficient that is not finite")


def _part(config: LinkConfig, draws: CachedDraws) -> Any:
    """The part that ``channel.model`` names; a Sionna channel model is wrapped."""
    found = find("channels", config.channel.model)
    if ":" not in config.channel.model:
        if config.channel.model == "rayleigh" and config.backend == "tensorflow" and config.channel.doppler_hz == 0:
            require("tensorflow")
            from phy.channels._tensorflow_model import FedRayleigh

            return found(config, FedRayleigh(draws))
        return found(config, draws)
    label = f"channel.model {config.channel.model!r}"
    if hasattr(found, "paths"):
        return Guarded(label, guarded(label, found)(config, draws))
    if not callable(found):
        raise PhyError(f"{label} is neither a part nor a Sionna ChannelModel")
    # Sionna takes seconds to import, and reseeds torch's global generator: only where it is asked for.
    return own_models(config).SionnaModel(found, config, draws)
