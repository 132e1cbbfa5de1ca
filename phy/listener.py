"""A listener: somebody else's antennas, which hear what the devices send over channels of their own.

Transmitters, waveforms and offsets are the link's; the channels to these antennas and their receiver noise are keyed apart from
everything else, so that a listener changes no bit of what the server receives.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phy.blocks import waveform_air
from phy.channel import Channel
from phy.channels._uniform import uniform
from phy.config import LinkConfig
from phy.config_listener import ListenerConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError
from phy.modes import Complexes, Prepared
from phy.placement import distances_m
from phy.propagation import Propagation
from phy.symbol_carrier import SymbolCarrier, make_pulse

Floats = NDArray[np.float64]

# What lies between a device and these antennas; everything else is the link's own draw.
_OWN = frozenset(("fading", "tdl", "losphase", "jakes", "jakesang", "model", "noise"))
_NEAREST_M = 1.0  # nobody's antenna is nearer to a device


def elsewhere(seed: int) -> tuple[int, frozenset[str]]:
    """(key, purposes): of a link's draws those that are of another place, and what keys them there."""
    return int(KeyedDraws(seed).words("listener", 1, 0, 1, 1)[0, 0, 0]), _OWN


class Listener:
    """What arrives at the antennas of ``listener`` of the bursts of a link with this ``config`` and ``seed``.

    :param resources: U, :param looks: L, of the link's mode
    :param draws: in place of those that follow from ``seed`` and :func:`elsewhere`, with a cache on them
    :raises phy.errors.PhyError: a channel that is not stated, a file that cannot be read or is of other shape, or a correlation
        with a channel of several paths
    """

    def __init__(
        self,
        config: LinkConfig,
        seed: int,
        listener: ListenerConfig,
        resources: int = 1,
        looks: int = 1,
        draws: tuple[KeyedDraws, CachedDraws] | None = None,
    ) -> None:
        if listener.antennas < 1 or listener.channel == "none":
            raise PhyError(f"a listener with {listener.antennas} antennas needs a channel to them: same, rayleigh or given")
        self._antennas = listener.antennas
        if listener.channel == "same" and config.channel.file is not None:
            raise PhyError(
                'a measured channel cannot be drawn anew for a listener; give its own by channel "given", or take "rayleigh"'
            )
        model = "rayleigh" if listener.channel == "rayleigh" else config.channel.model
        channel = config.channel.model_copy(update={"model": model, "antenna_correlation": listener.antenna_correlation})
        here = config.model_copy(
            update={
                "receive_antennas": listener.antennas,
                "channel": channel,
                "impairments": _sent(config),
                "receiver": "matched",
                "csi": config.csi.model_copy(update={"doppler_hz": 0.0}),  # it hears the channel as it is, not as it was
            }
        )
        keyed, cached = draws or _draws(seed)
        there = _Channel(config, here, cached, CachedDraws(KeyedDraws(seed)), listener)
        self.channel = there
        self._waveform = config.fidelity == "waveform"
        if self._waveform:
            from phy.ambiguity import BurstPulse
            from phy.waveform_carrier import WaveformCarrier

            self.propagation = Propagation(here, cached, BurstPulse(here.burst, resources // looks), there)

            def make_air(made: LinkConfig, drawn: KeyedDraws, kept: CachedDraws, own: Propagation) -> Any:
                del own
                return waveform_air(made, drawn, kept, self.propagation)

            self._carrier: Any = WaveformCarrier(here, keyed, cached, resources, looks, None, make_air)
        else:
            self.propagation = Propagation(here, cached, make_pulse(here, resources // looks), there)
            self._carrier = SymbolCarrier(here, keyed, cached, resources, looks, self.propagation)

    def observed(self, first: int, prepared: Prepared) -> Complexes:
        """Everything that these antennas receive in rounds first .. first+B-1, with noise of variance N0. [B, D]."""
        rounds, devices = prepared.coefficients.shape[:2]
        sounded = self.sounded(devices, first, rounds)
        seen: Complexes = self._carrier.observed(first, replace(prepared, vector=None), sounded)
        return seen

    def sounded(self, devices: int, first: int, rounds: int) -> Complexes:
        """The channel [B, M, K] to these antennas, through the payload's matched filter where it has several paths."""
        return self.propagation.sounded(devices, first, rounds)


def _draws(seed: int) -> tuple[KeyedDraws, CachedDraws]:
    draws = KeyedDraws(seed, *elsewhere(seed))
    return draws, CachedDraws(draws)


def _sent(config: LinkConfig) -> dict[str, Any]:
    """Hardware faults of the transmitters alone: an adversary has a better receiver."""
    from phy.faults import parse

    return {
        fault.name: config.impairments[fault.name] for fault in parse(config.impairments) if fault.part.stage == "transmitter"
    }


class _Channel(Channel):
    """The channel to a listener: the model's draws at another place, at another distance, correlated, or given by a file."""

    def __init__(
        self, link: LinkConfig, here: LinkConfig, cached: CachedDraws, home: CachedDraws, listener: ListenerConfig
    ) -> None:
        super().__init__(here, cached)
        self._listener, self._link = listener, link
        self._home = home
        self._rho = np.float32(listener.correlation)
        self._first = Channel(link, home) if listener.correlation > 0 else None
        if self._first is not None and not (self._first.flat and self._part.flat):
            raise PhyError("a listener's correlation is of flat channels; leave it out, or choose rayleigh or awgn")
        if listener.channel == "given":
            self._part = _Given(str(listener.file), listener.antennas)
            self._placed = False

    def gains(
        self, devices: int, first_round: int, rounds: int, antennas: int, earlier_s: float = 0.0
    ) -> NDArray[np.complex64]:
        """See :meth:`phy.channel.Channel.gains`."""
        if self._first is None:
            return super().gains(devices, first_round, rounds, antennas, earlier_s)
        own = self._part.gains(devices, first_round, rounds, antennas, earlier_s)
        # The small-scale fade at the server's first antenna, without the path loss to it.
        server = self._first._part.gains(devices, first_round, rounds, self._link.receive_antennas, earlier_s)[:, :1]
        mixed = self._rho * server + np.float32(np.sqrt(1.0 - float(self._rho) ** 2)) * own
        return np.asarray(mixed * self._amplitudes(devices) if self._placed else mixed, np.complex64)

    @property
    def _placed(self) -> bool:
        return self._is_placed or self._listener.distance_m is not None

    @_placed.setter
    def _placed(self, value: bool) -> None:
        self._is_placed = value

    def _amplitudes(self, devices: int) -> NDArray[np.float32]:
        """Amplitude of each device's mean gain, by its distance from these antennas. [K]."""
        distance_m = self._listener.distance_m
        if distance_m is None:
            return super()._amplitudes(devices)
        placement = self._link.channel.placement
        radius = distances_m(placement, self._home, devices)
        angle = 2.0 * np.pi * uniform(self._home, "angle", devices, 0, 1)[0]
        apart = np.sqrt(np.square(radius) + distance_m**2 - 2.0 * radius * distance_m * np.cos(angle))
        return np.asarray(
            np.power(np.maximum(apart, _NEAREST_M) / placement.reference_m, -placement.exponent / 2.0), np.float32
        )


class _Given:
    """Coefficients from a file; flat."""

    flat = True

    def __init__(self, file: str, antennas: int) -> None:
        self._file = file
        try:
            found = np.load(Path(file), allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise PhyError(f"a listener's channels {file} cannot be read: {error}; write them with numpy.save") from None
        if not isinstance(found, np.ndarray) or found.ndim != 3 or not np.iscomplexobj(found) or found.shape[1] != antennas:
            raise PhyError(
                f"{file} must hold complex coefficients [rounds, {antennas} antennas, devices], got "
                f"{getattr(found, 'dtype', type(found).__name__)} of shape {getattr(found, 'shape', ())}"
            )
        if not np.isfinite(found).all():
            raise PhyError(f"{file} holds a coefficient that is not finite")
        self._found = found.astype(np.complex64)

    def gains(
        self, devices: int, first_round: int, rounds: int, antennas: int, earlier_s: float = 0.0
    ) -> NDArray[np.complex64]:
        """Coefficients [B, M, K]; one round stands for all."""
        del antennas, earlier_s
        known, _, most = self._found.shape
        if devices > most:
            raise PhyError(f"{self._file} holds channels of {most} devices, and {devices} transmit")
        if known == 1:
            return np.repeat(self._found[:, :, :devices], rounds, axis=0)
        if first_round + rounds > known:
            raise PhyError(f"{self._file} holds {known} rounds, and round {first_round + rounds - 1} was asked for")
        return self._found[first_round : first_round + rounds, :, :devices]

    def paths(
        self,
        devices: int,
        first_round: int,
        rounds: int,
        antennas: int,
        num_time_steps: int = 1,
        sampling_frequency_hz: float = 1.0,
        start_s: float = 0.0,
    ) -> tuple[NDArray[np.complex64], Floats]:
        """Coefficients [B, M, K, 1, T] and zero delays [B, K, 1]."""
        del sampling_frequency_hz, start_s
        gains = self.gains(devices, first_round, rounds, antennas)[..., None, None]
        return np.repeat(gains, num_time_steps, axis=-1), np.zeros((rounds, devices, 1))

    def max_delay_s(self, devices: int) -> float:
        """Zero."""
        del devices
        return 0.0
