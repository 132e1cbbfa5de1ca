"""A tap on the receiver's antennas: everything that an adversary at the server can see of a link's rounds.

The chain is the link's own, from payload to antenna. What a run draws once and an adversary may know (fading, estimates,
offsets, hardware faults of transmitters) is drawn as the link draws it; what protects, receiver noise and artificial noise,
can be drawn anew, or left out to see the signal alone. The receiver's own hardware is left out: an adversary has a better one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phy.ambiguity import BurstPulse
from phy.backends import in_process
from phy.blocks import receiver, waveform_air
from phy.burst.transmitter import modulate
from phy.coherent import CoherentMode
from phy.config import LinkConfig
from phy.config_listener import ListenerConfig
from phy.discovery import find
from phy.draws import CachedDraws, KeyedDraws
from phy.faults import parse
from phy.listener import Listener, elsewhere
from phy.modes import Prepared
from phy.propagation import Propagation
from phy.symbol_carrier import SymbolCarrier
from phy.waveform_carrier import WaveformCarrier
from testbench.errors import TestbenchError

__all__ = ["NoiseControl", "Tap"]

Complexes = NDArray[np.complex64]

RECEIVER_NOISE, ARTIFICIAL_NOISE = "noise", "artnoise"
_PROTECTING = (RECEIVER_NOISE, ARTIFICIAL_NOISE)
# Noise of this many rounds is drawn at once: trials ask for a few rounds each, and a group of draws has 128.
_BLOCK_ROUNDS = 8192


@dataclass
class NoiseControl:
    """Which noise the next call sees.

    ``silent``: none. ``shift_rounds``: that of a round so much later. ``scale``: factor on receiver noise.
    """

    silent: bool = True
    shift_rounds: int = 0
    scale: float = 1.0


class _SteeredDraws(KeyedDraws):
    """A link's draws, of which receiver noise obeys a :class:`NoiseControl`."""

    def __init__(self, control: NoiseControl, seed: int, *keys: Any) -> None:
        super().__init__(seed, *keys)
        self._control = control

    def long_complex_normal(self, purpose: str, round_index: int, rows: int, count: int) -> Complexes:
        """CN(0, 1) of one round, [rows, count]; see :class:`phy.draws.KeyedDraws`."""
        if purpose != RECEIVER_NOISE:
            return super().long_complex_normal(purpose, round_index, rows, count)
        if self._control.silent:
            return np.zeros((rows, count), np.complex64)
        drawn = super().long_complex_normal(purpose, round_index + self._control.shift_rounds, rows, count)
        return drawn * np.float32(self._control.scale)


class _SteeredCache(CachedDraws):
    """The same for draws of many rounds at once, and for artificial noise."""

    def __init__(self, draws: KeyedDraws, control: NoiseControl, known: Sequence[int] = ()) -> None:
        super().__init__(draws)
        self._source = draws
        self._control = control
        self._known = list(known)
        self._blocks: dict[str, tuple[tuple[int, int, int], Complexes]] = {}

    def complex_normal(self, purpose: str, devices: int, first_round: int, rounds: int, per_round: int) -> Complexes:
        """CN(0, 1) of consecutive rounds, [rounds, per_round, devices]; see :class:`phy.draws.CachedDraws`."""
        if purpose not in _PROTECTING:
            return super().complex_normal(purpose, devices, first_round, rounds, per_round)
        if self._control.silent:
            return np.zeros((rounds, per_round, devices), np.complex64)
        drawn = self._block(purpose, devices, first_round + self._control.shift_rounds, rounds, per_round)
        if purpose == RECEIVER_NOISE:
            return drawn * np.float32(self._control.scale)
        if self._known:  # what the adversary knows it takes away
            drawn = drawn.copy()
            drawn[..., self._known] = 0
        return drawn

    def _block(self, purpose: str, devices: int, first: int, rounds: int, per_round: int) -> Complexes:
        start = first - first % _BLOCK_ROUNDS
        if first + rounds > start + _BLOCK_ROUNDS:
            return self._source.complex_normal(purpose, devices, first, rounds, per_round)
        key = (devices, start, per_round)
        kept = self._blocks.get(purpose)
        if kept is None or kept[0] != key:
            drawn = self._source.complex_normal(purpose, devices, start, _BLOCK_ROUNDS, per_round)
            kept = self._blocks[purpose] = (key, drawn)
        return kept[1][first - start : first - start + rounds]


class Tap:
    """Rounds 0 .. T-1 of a coherent link of K devices and n scalars per round, seen at the adversary's antennas.

    At symbol fidelity what is seen is the decision statistic of every antenna, the projection of the samples on the scalar's
    own pulse: with timing offsets or several paths some of a device's energy lies beside it, which only waveform fidelity
    shows. At waveform fidelity it is every sample of the slot.

    :param control: steered by the caller between calls
    :param listener: antennas of the adversary's own, beside the server's
    :param known: devices whose artificial noise it knows
    :raises testbench.errors.TestbenchError: the scheme is not coherent, or symbol fidelity has no statistics to look at
    """

    def __init__(
        self,
        config: LinkConfig,
        seed: int,
        rounds: int,
        devices: int,
        control: NoiseControl,
        *,
        scalars: int = 1,
        listener: ListenerConfig | None = None,
        known: Sequence[int] = (),
    ) -> None:
        scheme = find("schemes", config.scheme)(config)
        detection = getattr(scheme, "detection", "coherent")
        if detection != "coherent":
            raise TestbenchError(
                f"the audit at the antennas is for coherent schemes, and {config.scheme!r} is of kind {detection!r}; choose "
                "analog or sign"
            )
        if config.fidelity == "symbol" and receiver(config).uses_intervals:
            raise TestbenchError(
                f"receiver {config.receiver!r} hides its samples at symbol fidelity; audit it at fidelity waveform, or choose "
                "receiver matched"
            )
        transmitters = {fault.name for fault in parse(config.impairments) if fault.part.stage == "transmitter"}
        faults = {name: settings for name, settings in config.impairments.items() if name in transmitters}
        config = in_process(config.model_copy(update={"impairments": faults}))
        draws = _SteeredDraws(control, seed)
        cached = _SteeredCache(draws, control, known)
        self.rounds, self.devices, self.scalars = rounds, devices, scalars
        self._config = config
        self._mode = CoherentMode(config, cached, scheme)
        self._samples = config.fidelity == "waveform"
        if self._samples:
            self._bursts = WaveformCarrier(config, draws, cached, 1, 1)
            propagation = Propagation(config, cached, BurstPulse(config.burst, 1))
            self._air = waveform_air(config, draws, cached, propagation)
            self._sounded = self._bursts.sounded(devices, 0, rounds)
        else:
            self._symbols = SymbolCarrier(config, draws, cached, 1, 1)
            self._sounded = self._symbols.sounded(devices, 0, rounds)
        self._listener: Listener | None = None
        if listener is not None:
            there = _SteeredDraws(control, seed, *elsewhere(seed))
            self._listener = Listener(config, seed, listener, draws=(there, _SteeredCache(there, control)))

    def send(self, payloads: NDArray[np.float64]) -> Prepared:
        """What the devices send for payloads [T, K] or [T, K, n], artificial noise included as the control says."""
        values = payloads[:, :, None] if payloads.ndim == 2 else payloads
        return self._mode.prepare(0, values, None, self._sounded)

    def look(self, sent: Prepared) -> Complexes:
        """What arrives of it, with receiver noise as the control says: [T, D], D complex numbers a round."""
        seen = self._at_the_server(sent)
        if self._listener is None:
            return seen
        return np.concatenate((seen, self._listener.observed(0, sent)), axis=1)

    def _at_the_server(self, sent: Prepared) -> Complexes:
        if not self._samples:
            return self._symbols.carry(0, sent, self._sounded).noisy.reshape(self.rounds, -1)
        layout = self._bursts.layout(self.devices, self.scalars)
        slots = []
        for t in range(self.rounds):
            bursts = modulate(layout, sent.coefficients[t], sent.reference[t])
            samples = self._air.transmit(bursts, t, self._sounded[t], layout.reference_sample)
            if samples is None:
                raise TestbenchError(f"the air lost the slot of round {t}; an audit looks at every round: run it again")
            slots.append(samples.reshape(-1))
        return np.stack(slots)

    def decide(self, sent: Prepared, seen: Complexes) -> NDArray[np.float64]:
        """The link's own estimates [T] from statistics seen at symbol fidelity: what ties the tap to the link it listens to."""
        return np.asarray(self._mode.decide(sent, seen.reshape(self.rounds, 1, 1, -1))[:, 0])
