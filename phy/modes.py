"""How a scheme uses the air: what devices send, and what the server makes of what it hears.

A link is a *mode* (coherent, energy, or orthogonal, chosen by the scheme's ``detection``) over a *carrier* (symbol or
waveform). Both fidelities share the mode; both modes share the carriers.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Complexes = NDArray[np.complex64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Prepared:
    """What K devices send in B rounds of n scalars, each on U resources.

    ``coefficients`` [B, K, n, U]: transmit coefficient on each resource; ``energy`` [B, K, n]: sum over U of |c|^2, at most 1
    (peak power; artificial noise has its share on average);
    ``reference`` [B, K]: coefficient of preamble and pilots, of modulus 1 (full power), 0 where silent;
    no rows where nothing but statistics is sent (symbol fidelity of coherent schemes);
    ``heard`` [B]: devices that transmit; ``lost`` [B]: nobody does; ``amplitude`` [B]: aligned gain a, 1 where there is none;
    ``vector`` [B, M]: conjugate of the combiner, None for one antenna or where antennas are combined by energy;
    ``state``: private to the mode.
    """

    coefficients: Complexes
    energy: NDArray[np.float32]
    reference: Complexes
    heard: Floats
    lost: Bools
    amplitude: Floats
    vector: Complexes | None = None
    state: Any = None


class Mode(Protocol):
    """Payloads to coefficients, and statistics to estimates."""

    @property
    def resources(self) -> int:
        """Resources U per scalar; resource = look * tones + tone."""

    @property
    def looks(self) -> int:
        """Repetitions L of a scalar."""

    def prepare(self, first: int, payloads: Floats, present: Bools | None, channel: Complexes) -> Prepared:
        """Coefficients of rounds first .. first+B-1 for payloads [B, K, n], present [B, K], channel [B, M, K] at the pilot."""

    def decide(self, prepared: Prepared, statistics: Complexes) -> Floats:
        """Statistics [B, n, U, M] to estimates [B, n]; whatever it says of a lost round is not used."""


@dataclass(frozen=True)
class Carried:
    """What a carrier delivers: ``noisy`` [B, n, U, M] statistics; ``power`` [B]: mean over n of |v^H z|^2 (or
    sum |z|^2 where there is no vector and several antennas or resources) without noise, or an unbiased estimate of it;
    ``missed`` [B]: no burst was found, None where that cannot happen; ``diagnostics``: name -> [B].
    """

    noisy: Complexes
    power: Floats
    missed: Bools | None
    diagnostics: dict[str, Floats]


class Carrier(Protocol):
    """Everything between what devices send and the statistics that a mode decides on."""

    def sounded(self, devices: int, first: int, rounds: int) -> Complexes:
        """Channel [B, M, K] of rounds first .. first+B-1 when pilots are sent, seen through the payload's matched filter."""

    def carry(self, first: int, prepared: Prepared, sounded: Complexes) -> Carried:
        """Statistics for coefficients [B, K, n, U] and the sounded channel [B, M, K]."""
