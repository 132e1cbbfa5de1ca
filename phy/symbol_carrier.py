"""The symbol carrier: every decision variable in closed form, one complex number per scalar, resource and antenna.

    z[m] = sum_k h_k[m] q_k c_k + w[m],   w ~ CN(0, N0),

with h the channel when the payload is on the air, q the residual gain of the pulse under timing, phase and frequency offsets. A
channel of several paths p is folded into one coefficient, sum_p a_p q(tau + tau_p). Where scalars are sent back to back
(``spacing = contiguous``), a late device also leaks into its neighbours' windows.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phy.blocks import BlockAir, CheckedAir, symbol_air
from phy.combining import multiply, project, squared_modulus
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError
from phy.modes import Carried, Complexes, Floats, Prepared
from phy.offsets import OffsetDraws, Offsets, RectangularPulse
from phy.propagation import Propagation


class SymbolCarrier:
    """Fading, offsets, superposition and noise, for many rounds at once.

    :param resources: U = looks * tones
    :param propagation: the channel, in place of the one that ``config`` describes
    """

    def __init__(
        self,
        config: LinkConfig,
        draws: KeyedDraws,
        cached: CachedDraws,
        resources: int,
        looks: int,
        propagation: Propagation | None = None,
    ) -> None:
        self._config = config
        self._cached = cached
        self._air = symbol_air(config, cached)
        # Ours, and blocks, whose generators are seeded by round; a user's part may add noise of its own.
        self.keyed = not isinstance(self._air, CheckedAir) or self._air.keyed
        drawn = OffsetDraws(config, draws)
        self._offsets = drawn if drawn.on else None
        self._tones, self._looks = resources // looks, looks
        self._pulse = make_pulse(config, self._tones)
        self._propagation = propagation or Propagation(config, cached, self._pulse)
        self._flat = self._propagation.channel.flat
        self._noise_std = np.float32(np.sqrt(config.n0))

    @property
    def look_fading(self) -> str:
        """How the looks of a scalar fade."""
        return self._propagation.look_fading

    @property
    def exact(self) -> bool:
        """Whether devices know the one channel coefficient that the payload meets."""
        config = self._config
        return self._propagation.still and config.csi.estimator == "perfect" and config.receive_antennas == 1

    def energy(self, first: int, sounded: Complexes) -> NDArray[np.float32]:
        """Channel energy [B, K] over all antennas that the payload meets."""
        return self._propagation.energy(sounded, first)

    def sounded(self, devices: int, first: int, rounds: int) -> Complexes:
        """Channel [B, M, K] at the time of the pilots."""
        return self._propagation.sounded(devices, first, rounds)

    def observed(self, first: int, prepared: Prepared, sounded: Complexes) -> Complexes:
        """Every statistic of every antenna of rounds first .. first+B-1. Shape [B, n U M]."""
        return self.carry(first, prepared, sounded).noisy.reshape(len(sounded), -1)

    def met(self, devices: int, first: int, rounds: int) -> tuple[Complexes, Complexes | None]:
        """Channel [B, M, K] that a scalar sent alone meets, and its residual gain [B, K] (None: 1)."""
        offsets = None if self._offsets is None else self._offsets.draw(devices, first, rounds)
        age = self._config.csi.age_s
        if not self._flat:
            zero = np.zeros((rounds, devices))
            return self._propagation.folded(first, offsets or Offsets(zero, zero, zero), 0.0, age), None
        channel = self._propagation.aged(self.sounded(devices, first, rounds), first)
        return channel, None if offsets is None else self._pulse.gain(offsets, age).astype(np.complex64)

    def carry(self, first: int, prepared: Prepared, sounded: Complexes) -> Carried:
        """Statistics of rounds first .. first+B-1 for coefficients [B, K, n, U] and the channel [B, M, K] at the pilots."""
        rounds, devices, scalars, resources = prepared.coefficients.shape
        antennas = sounded.shape[1]
        if isinstance(self._air, BlockAir):
            self._air.begin(first)
        thermal = self._cached.complex_normal("noise", 1, first, rounds, scalars * resources * antennas)
        own = hasattr(self._air, "add_noise")
        noisy = np.zeros_like(thermal) if own else self._noise_std * thermal
        noisy = noisy.reshape(rounds, scalars, resources, antennas)
        offsets = None if self._offsets is None else self._offsets.draw(devices, first, rounds)
        power = np.zeros(rounds)
        for look in range(self._looks):
            channel = self._look_channel(look, sounded, first)
            for clean, scalar, resource in self._heard(look, channel, prepared, offsets, first):
                noisy[:, scalar, resource] += clean
                power += _received(prepared, clean)
        if own:
            noisy = self._air.add_noise(noisy, thermal.reshape(noisy.shape), self._config.n0)
        return Carried(noisy, power / scalars, None, {})

    def _look_channel(self, look: int, sounded: Complexes, first: int) -> Complexes:
        if not self._flat:
            return sounded  # folded anew with the offsets, in _heard
        if look == 0 or self._propagation.look_fading == "block":
            return self._propagation.aged(sounded, first)
        return self._propagation.other_look(look, sounded.shape[2], first, sounded.shape[0])

    def _heard(self, look: int, channel: Complexes, prepared: Prepared, offsets: Offsets | None, first: int) -> Any:
        """Noise-free statistics [B, M], each with its scalar and resource."""
        coefficients = prepared.coefficients
        rounds, devices, scalars, _ = coefficients.shape
        start = look * self._tones
        if offsets is None and self._flat:
            for i in range(scalars):
                for tone in range(self._tones):
                    yield self._air.superpose(channel, coefficients[:, :, i, start + tone]), i, start + tone
            return
        if offsets is None:
            zero = np.zeros((rounds, devices))
            offsets = Offsets(zero, zero, zero)
        if self._config.offsets.spacing == "contiguous" and scalars > 1:
            if self._tones * self._looks > 1 or not self._flat or not isinstance(self._pulse, RectangularPulse):
                raise PhyError(
                    'offsets.spacing "contiguous" is in closed form for coherent schemes, flat channels and rectangular '
                    'pulses; use fidelity "waveform", or spacing "guarded"'
                )
            stream = self._contiguous(channel, coefficients[:, :, :, 0], offsets)
            for i in range(scalars):
                yield stream[:, i], i, 0
            return
        for i in range(scalars):
            age = self._config.csi.age_s + (i * self._looks + look) * self._pulse.duration_s
            for filtered in range(self._tones):
                clean = np.zeros((rounds, channel.shape[1]), np.complex64)
                for sent in range(self._tones):
                    signals = coefficients[:, :, i, start + sent]
                    if self._flat:
                        gain = self._pulse.gain(offsets, age, sent, filtered).astype(np.complex64)
                        clean += self._air.superpose(channel, multiply(gain, signals))
                    else:
                        elapsed = (i * self._looks + look) * self._pulse.duration_s
                        folded = self._propagation.folded(first, offsets, elapsed, age, sent, filtered)
                        clean += self._air.superpose(folded, np.ascontiguousarray(signals))
                yield clean, i, start + filtered

    def _contiguous(self, channel: Complexes, coefficients: Complexes, offsets: Offsets) -> Complexes:
        """Scalars back to back as rectangles: [B, n, M]. A device late by (m + d) T fills the first d of window l with scalar
        l - m - 1, and the rest with l - m.
        """
        rounds, devices, scalars = coefficients.shape
        duration = self._pulse.duration_s
        whole = np.floor(offsets.timing_s / duration)
        part_s = offsets.timing_s - whole * duration
        shift = whole.astype(np.int64)
        zero = np.zeros_like(part_s)
        age = self._config.csi.age_s
        # The two overlaps as residual gains: the later scalar starts at part_s, the earlier one ends there.
        late = Offsets(part_s, zero, offsets.frequency_hz)
        early = Offsets(part_s - duration, zero, offsets.frequency_hz)
        factors = [self._pulse.gain(late, age), self._pulse.gain(early, age)]
        out = np.zeros((rounds, scalars, channel.shape[1]), np.complex64)
        index = np.arange(scalars)
        for k in range(devices):
            turn = np.exp(
                1j * (offsets.phase_rad[:, k, None] + 2.0 * np.pi * duration * offsets.frequency_hz[:, k, None] * index)
            )
            signal = np.zeros((rounds, scalars), np.complex128)
            for lag, factor in enumerate(factors):
                source = index - shift[:, k, None] - lag
                inside = (source >= 0) & (source < scalars)
                taken = np.take_along_axis(coefficients[:, k], np.clip(source, 0, scalars - 1), axis=1)
                signal += np.where(inside, taken, 0) * factor[:, k, None]
            signal = (signal * turn).astype(np.complex64)
            for m in range(channel.shape[1]):
                out[:, :, m] += multiply(channel[:, m, k, None], signal)
        return out


def make_pulse(config: LinkConfig, tones: int) -> Any:
    """The pulse whose residual gains the symbol carrier uses."""
    if config.offsets.pulse == "burst":
        from phy.ambiguity import BurstPulse  # only this choice needs the waveform's modules

        return BurstPulse(config.burst, tones)
    return RectangularPulse(config.offsets.symbol_duration_s, tones)


def _received(prepared: Prepared, clean: Complexes) -> Floats:
    """Power [B] of clean statistics [B, M], combined where the mode combines amplitudes."""
    if prepared.vector is not None:
        clean = project(prepared.vector, clean)[:, None]
    power = squared_modulus(clean)
    return np.asarray(power[:, 0] if power.shape[1] == 1 else power.sum(axis=1), np.float64)
