"""What the channels of a run allow, and how loudly they let every device arrive: known beforehand, from the seed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig
from phy.config_listener import ListenerConfig
from phy.exposure import Exposer, Exposure

__all__ = ["Sounding", "round_sounder", "sound"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Sounding:
    """T rounds and K devices; see :class:`phy.exposure.Exposure`.

    :param caps: [T] largest aligned amplitude that power control allows without artificial noise; 0 where nobody transmits
    :param active: [T] devices that transmit
    :param limits: [T, K] amplitude at which each device may arrive
    :param energy: [T, K] energy over all antennas of what arrives, per unit of that amplitude squared
    :param axes: [T, K, R] what arrives on each real axis of each antenna; None where devices' waveforms do not coincide
    :param exact: whether everybody arrives exactly as meant
    """

    caps: Floats
    active: Floats
    limits: Floats
    energy: Floats
    axes: Floats | None
    exact: bool

    @cached_property
    def excess(self) -> Floats:
        """Loudest received amplitude per unit of the aligned one, 1 where nobody transmits. [T]."""
        loudest = np.sqrt(np.where(self.limits > 0, self.energy, 0.0).max(axis=1))
        return np.where(loudest > 0, loudest, 1.0)

    def of_round(self, index: int) -> "Sounding":
        """One round of it."""
        one = slice(index, index + 1)
        axes = None if self.axes is None else self.axes[one]
        return Sounding(self.caps[one], self.active[one], self.limits[one], self.energy[one], axes, self.exact)

    @classmethod
    def of(cls, seen: Exposure) -> "Sounding":
        """From an exposure."""
        return cls(seen.aligned, seen.active, seen.limits, seen.energy, seen.axes, seen.exact)


def sound(
    link: LinkConfig,
    seed: int,
    devices: int,
    rounds: int,
    progress: Callable[[int, int], None] | None = None,
    listener: ListenerConfig | None = None,
) -> Sounding:
    """The channels of rounds 0 .. rounds-1 with everybody present, to the server and to ``listener``."""
    exposer = Exposer(link, seed, listener)
    parts = []
    for block in exposer.blocks(rounds):
        parts.append(exposer.expose(int(block[0]), len(block), devices))
        if progress is not None:
            progress(int(block[-1]) + 1, rounds)
    axes = [part.axes for part in parts if part.axes is not None]
    return Sounding(
        caps=np.concatenate([part.aligned for part in parts]),
        active=np.concatenate([part.active for part in parts]),
        limits=np.concatenate([part.limits for part in parts]),
        energy=np.concatenate([part.energy for part in parts]),
        axes=np.concatenate(axes) if axes else None,
        exact=exposer.exact,
    )


def round_sounder(link: LinkConfig, seed: int, listener: ListenerConfig | None) -> Callable[[int, Bools], Sounding]:
    """A function of (round, present [K]): that one round where not everybody is on the air."""
    exposer = Exposer(link, seed, listener)
    return lambda index, present: Sounding.of(exposer.expose(index, 1, len(present), present[None]))
