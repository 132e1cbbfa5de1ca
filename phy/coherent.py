"""Coherent aggregation: devices pre-invert their channels so that symbols add up with one common gain.

One round, for device k with payload p_k (pAirZero, arXiv 2604.12401, section III; here with CSI error and antennas): symbol
s_k in [-1, 1]; channel estimate h_k'; combiner v and effective estimate f_k = v^H h_k'; transmit x_k = (a_k / f_k) s_k with
|x_k|^2 <= P = 1, where a_k is the common amplitude a, or less where a power control lets weak devices fall short of it; the
decision variable Re(v^H y) / a, whose noise variance is N0 / (2 a^2).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phy.combining import combiner, project, squared_modulus
from phy.config import LinkConfig
from phy.discovery import make
from phy.draws import CachedDraws
from phy.errors import PhyError
from phy.modes import Bools, Complexes, Floats, Prepared

# Amplitudes are shrunk by this, more than float32 rounding can add, so that the peak power is kept without exception. The
# receiver knows the shrunk amplitude, so that nothing is biased.
_POWER_MARGIN = np.float32(1.0 - 2.0**-20)


class Sent(NamedTuple):
    """What the parts of coherent links ask of :class:`phy.modes.Prepared` beside what all share.

    ``counted`` [B]: devices heard, at least 1; ``symbols`` [B, K, n]; the precoder as two factors, the ``effective`` estimate
    f [B, K], of which it takes the conjugate, and the real ``weight`` [B, K], level / |f|^2; ``gains`` [B, K], |f|^2;
    ``received`` [B, K]: amplitude at which a full-scale symbol is to arrive, None where no preamble is sent.
    """

    counted: Floats
    symbols: NDArray[np.float32]
    effective: Complexes
    weight: NDArray[np.float32]
    gains: NDArray[np.float32]
    received: NDArray[np.float32] | None

    @property
    def precoder(self) -> Complexes:
        """What devices multiply their symbols with. [B, K]."""
        return np.asarray(np.conj(self.effective * self.weight))

    @property
    def energy(self) -> NDArray[np.float32]:
        """|precoder|^2 [B, K], from real factors."""
        return np.asarray(np.square(self.weight) * self.gains)


class CoherentMode:
    """Channel estimation, combining, power control and the aligned sum.

    :param scheme: ``encode`` and ``decode`` of the scalars
    """

    resources = 1
    looks = 1

    def __init__(self, config: LinkConfig, cached: CachedDraws, scheme: Any) -> None:
        self._rule = config.combiner
        self._cached = cached
        self._scheme = scheme
        self._csi = make("csi", config.csi.estimator, config)
        self._power = make("power", config.power.control, config)
        levels = np.atleast_1d(np.asarray(config.power.artificial_noise, np.float64))
        self._has_preamble = config.fidelity == "waveform"
        self._artificial = levels.astype(np.float32) if config.power.adds_noise else None
        # Artificial noise has its share of the power: the mean square of a full-scale symbol with it keeps to the peak.
        self._margin = np.asarray(_POWER_MARGIN / np.sqrt(1.0 + np.square(levels)), np.float32)
        caps = config.power.caps
        self._caps = None if caps is None else _rounded_down(np.asarray(caps))

    @property
    def uses_pilots(self) -> bool:
        """Whether the channel is estimated from pilots."""
        return bool(self._csi.uses_pilots)

    def prepare(self, first: int, payloads: Floats, present: Bools | None, channel: Complexes) -> Prepared:
        """Coefficients [B, K, n, 1] for payloads [B, K, n], present [B, K] and the channel [B, M, K] at the pilot."""
        batch, antennas, devices = channel.shape
        noise = None
        if self._csi.uses_pilots:
            noise = self._cached.complex_normal("pilot", devices, first, batch, antennas)
        estimate = self._csi.estimate(channel, noise)
        vector, effective = None, estimate[:, 0]
        if antennas > 1:
            vector = np.conj(combiner(self._rule, estimate, present))
            effective = project(vector, estimate)
        gains = squared_modulus(effective)
        if hasattr(self._power, "levels"):
            active, level, amplitude = self._power.levels(gains, present)
        else:
            active, amplitude = self._power.align(gains, present)
            level = amplitude[:, None]
        margin = self._of_rounds("artificial_noise", self._margin, first, batch)
        amplitude = amplitude * margin
        level = level * margin[:, None]
        if self._caps is not None:
            caps = self._of_rounds("caps", self._caps, first, batch)
            amplitude, level = np.minimum(amplitude, caps), np.minimum(level, caps[:, None])

        # conj(f) / |f|^2 = 1 / f, with the real factor formed first.
        weight = level / _safe(gains)
        if active is None:
            heard = np.full(batch, float(devices))
            lost = amplitude == 0
        else:
            weight *= active
            heard = active.sum(axis=1).astype(np.float64)
            lost = (heard == 0) | (amplitude == 0)
        symbols = self._scheme.encode(payloads)
        if self._artificial is not None:
            drawn = self._cached.complex_normal("artnoise", devices, first, batch, symbols.shape[2])
            scale = self._of_rounds("artificial_noise", self._artificial, first, batch) * np.float32(np.sqrt(2.0))
            symbols = symbols + scale[:, None, None] * drawn.real.transpose(0, 2, 1)
        scaled = weight[:, :, None] * symbols
        coefficients = effective[:, :, None] * scaled
        np.conj(coefficients, out=coefficients)
        energy = np.square(scaled, out=scaled)
        energy *= gains[:, :, None]
        # A lost round has amplitude or count zero: its estimate is thrown away, but must not warn on the way.
        if lost.any():
            amplitude = np.where(lost, np.float32(1), amplitude)
            heard_safe = np.maximum(heard, 1.0)
        else:
            heard_safe = heard
        reference, received = np.empty((0, devices), np.complex64), None
        if self._has_preamble:
            reference = self._reference(effective, gains, active)
            received = np.broadcast_to(level, gains.shape) if active is None else level * active
        state = Sent(heard_safe, symbols, effective, weight, gains, received)
        shared = (reference, heard, lost, amplitude.astype(np.float64), vector)
        return Prepared(coefficients[..., None], energy, *shared, state)

    @staticmethod
    def _reference(effective: Complexes, gains: NDArray[np.float32], active: Bools | None) -> Complexes:
        unit = 1.0 / np.sqrt(_safe(gains))
        if active is not None:
            unit *= active
        return np.asarray(np.conj(effective * unit), np.complex64)

    def _of_rounds(self, name: str, values: NDArray[np.float32], first: int, rounds: int) -> NDArray[np.float32]:
        """Values of rounds first .. first+B-1, or one for all. [B], or [1]."""
        if len(values) == 1 and name != "caps":
            return values
        if first + rounds > len(values):
            raise PhyError(
                f"power.{name} has {len(values)} rounds and round {first + rounds - 1} was asked for; make the schedule longer"
            )
        return values[first : first + rounds]

    def decide(self, prepared: Prepared, statistics: Complexes) -> Floats:
        """Statistics [B, n, 1, M] to estimates [B, n]."""
        out = np.empty((statistics.shape[0], statistics.shape[1]))
        combined = self.combined(prepared, statistics)
        for i in range(out.shape[1]):
            out[:, i] = self.decode(prepared, combined[:, i].real / prepared.amplitude)
        return out

    def combined(self, prepared: Prepared, statistics: Complexes) -> Complexes:
        """v^H y [B, n] of statistics [B, n, 1, M]: what a receiver divides by the amplitude."""
        if prepared.vector is None:
            return statistics[:, :, 0, 0]
        each = [project(prepared.vector, statistics[:, i, 0, :]) for i in range(statistics.shape[1])]
        return np.stack(each, axis=1)

    def decode(self, prepared: Prepared, symbol_sum: Floats) -> Floats:
        """Estimated sums of symbols [B] to estimates [B]."""
        assert prepared.state is not None
        decoded: Floats = self._scheme.decode(symbol_sum, prepared.state.counted)
        return decoded


def _rounded_down(values: Floats) -> NDArray[np.float32]:
    """The nearest float32 that is not larger: a cap that privacy rests on must not grow by rounding."""
    near = values.astype(np.float32)
    return np.asarray(np.where(near > values, np.nextafter(near, np.float32(0)), near), np.float32)


def _safe(gains: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gains to divide by: a channel of exactly zero, as measured ones may be, carries nothing whatever is sent."""
    return gains if gains.all() else np.where(gains > 0, gains, np.float32(1))
