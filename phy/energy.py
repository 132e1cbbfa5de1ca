"""Energy detection: devices send energies with random phases, and the receiver adds up the energy that arrives.

No channel knowledge anywhere. Scalar i of device k has energies e_kt in [0, 1] on the tones t, sum_t e_kt <= 1. Each of the L
looks carries 1/L of them, with a random QPSK phase per round, scalar, look and device. For unit-mean channel gains

    E sum_{l,m} |z_ltm|^2 = M (S_t + L N0),   S_t = sum_k e_kt,

because the random phases make devices add in energy, even where the channel does not fade. The known noise energy is
subtracted, so that what a scheme decodes is an unbiased estimate of S_t. Whatever takes energy away (timing offsets, a
path loss) appears as a smaller S_t: nobody inverts it.

Phases and dither are bits of SplitMix64 [1] run in counter mode from the keyed word of a round and device, so that a scalar's
bits depend neither on how many scalars nor on how many looks there are.

[1] G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from phy.combining import squared_modulus
from phy.config import LinkConfig
from phy.draws import KeyedDraws
from phy.modes import Bools, Complexes, Floats, Prepared

# More than rounding to float32 can add to an energy, so that the peak is kept without exception; known to the receiver.
_AMPLITUDE_MARGIN = 1.0 - 2.0**-20
_ENERGY_MARGIN = _AMPLITUDE_MARGIN**2

_QPSK = np.array([1, 1j, -1, -1j], np.complex64)
_PHASES_PER_WORD = 32
_WORDS_PER_SCALAR = 32  # 32 words of 32 phases: the most looks that NoncoherentConfig allows
_BITS_PER_WORD = 64


class EnergyScheme(Protocol):
    """What a scheme of energy detection provides besides what every scheme does."""

    tones: int
    dithered: bool

    def energies(self, payloads: Floats, dither: Floats | None) -> Floats:
        """Energies [B, K, n, tones] of the payloads [B, K, n]; ``dither`` [B, n] of +-1 where the scheme is dithered."""
        ...

    def decode(self, received: Floats, heard: Floats, dither: Floats | None) -> Floats:
        """Estimated sums of energies [B, n, tones] and devices heard [B] to estimates [B, n]."""
        ...


class EnergyMode:
    """Turns payloads into coefficients with energies, and received energies into estimates.

    Looks and antennas are added with equal weight. ``prepare`` draws under the purposes ``tones`` and ``dither``.
    """

    def __init__(self, config: LinkConfig, draws: KeyedDraws, scheme: EnergyScheme) -> None:
        self.looks = config.noncoherent.looks
        self.resources = self.looks * scheme.tones
        self._n0 = config.n0
        self._draws = draws
        self._scheme = scheme

    def prepare(
        self,
        first: int,
        payloads: Floats,
        present: Bools | None,
        channel: Complexes | None = None,
    ) -> Prepared:
        """Coefficients of rounds first .. first+B-1 for payloads [B, K, n] and present [B, K]; the channel is not looked at.

        A round is lost where nobody is present.
        """
        del channel
        batch, devices, scalars = payloads.shape
        dither = keyed_dither(self._draws, first, batch, scalars) if self._scheme.dithered else None
        energies = self._scheme.energies(payloads, dither)
        amplitudes = np.sqrt(energies * (_ENERGY_MARGIN / self.looks)).astype(np.float32)
        if present is not None:
            amplitudes *= present[:, :, None, None]
        phases = keyed_phases(self._draws, first, batch, devices, scalars, self.looks)
        coefficients = (phases[..., :, None] * amplitudes[..., None, :]).reshape(batch, devices, scalars, self.resources)
        reference = np.ones((batch, devices), np.complex64)
        heard = np.full(batch, float(devices))
        if present is not None:
            reference *= present
            heard = present.sum(axis=1).astype(np.float64)
        return Prepared(
            coefficients=coefficients,
            energy=squared_modulus(coefficients).sum(axis=3),
            reference=reference,
            heard=heard,
            lost=heard == 0,
            amplitude=np.ones(batch),
            state=_State(dither),
        )

    def decide(self, prepared: Prepared, statistics: Complexes) -> Floats:
        """Estimates [B, n] from statistics [B, n, U, M]; NaN where the round is lost."""
        batch, scalars, _, antennas = statistics.shape
        state: Any = prepared.state
        energy = np.square(statistics.real.astype(np.float64)) + np.square(statistics.imag.astype(np.float64))
        # Summed along one contiguous axis: the order of additions is then the same for every batch.
        by_tone = energy.reshape(batch, scalars, self.looks, self._scheme.tones, antennas).transpose(0, 1, 3, 2, 4)
        total = np.ascontiguousarray(by_tone).reshape(batch, scalars, self._scheme.tones, -1).sum(axis=-1)
        received = (total / antennas - self.looks * self._n0) / _ENERGY_MARGIN
        estimates = self._scheme.decode(received, np.maximum(prepared.heard, 1.0), state.dither)
        estimates[prepared.lost] = np.nan
        return estimates


@dataclass(frozen=True)
class _State:
    dither: Floats | None


def keyed_phases(draws: KeyedDraws, first_round: int, rounds: int, devices: int, scalars: int, looks: int) -> Complexes:
    """Random QPSK phases 1, j, -1, -j. Shape [B, K, n, L]; purpose ``tones``."""
    seeds = draws.words("tones", devices, first_round, rounds, 1)[:, 0, :, None]
    look = np.arange(looks)
    words = -(-looks // _PHASES_PER_WORD)
    counters = (np.arange(scalars)[:, None] * _WORDS_PER_SCALAR + np.arange(words)).astype(np.uint64)
    mixed = _splitmix64(seeds, counters.reshape(-1)).reshape(rounds, devices, scalars, words)
    shifts = (2 * (look % _PHASES_PER_WORD)).astype(np.uint64)
    chosen = (mixed[..., look // _PHASES_PER_WORD] >> shifts) & np.uint64(3)
    return np.asarray(_QPSK[chosen])


def keyed_dither(draws: KeyedDraws, first_round: int, rounds: int, scalars: int) -> Floats:
    """Fair signs +-1 that all devices and the server share. Shape [B, n]; purpose ``dither``."""
    seeds = draws.words("dither", 1, first_round, rounds, 1)[:, 0]
    scalar = np.arange(scalars)
    mixed = _splitmix64(seeds, np.arange(-(-scalars // _BITS_PER_WORD)).astype(np.uint64))
    bits = (mixed[:, scalar // _BITS_PER_WORD] >> (scalar % _BITS_PER_WORD).astype(np.uint64)) & np.uint64(1)
    return np.asarray(1.0 - 2.0 * bits)


def _splitmix64(seeds: NDArray[np.uint64], counters: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Output number ``counters`` of SplitMix64 started at ``seeds``, element by element, modulo 2^64."""
    word = seeds + (counters + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(word ^ (word >> np.uint64(31)), np.uint64)
