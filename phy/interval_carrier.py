"""Receivers that cut the received signal at every device's symbol edges (:mod:`phy.receivers`), at either fidelity.

At symbol fidelity the interval statistics are exact; timings and gains are those of the uplink pilots, taken as error-free
(the gain as it stands when the payload starts, after phase and carrier offset). At waveform fidelity the samples of the
slot are cut, with a rectangular pulse; timings and gains come from the burst's own per-device pilots, and where it has none
(``pilot_symbols = 0``) timings are the true ones and gains what channel inversion aims at.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phy.combining import multiply, project, squared_modulus
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError
from phy.misaligned import interval_count, observe
from phy.misaligned_samples import observe_samples
from phy.modes import Bools, Complexes, Floats, Prepared
from phy.offsets import OffsetDraws
from phy.propagation import Propagation


@dataclass(frozen=True)
class Sums:
    """Estimated sums of symbols [B, n]; ``missed`` [B]: the receiver gave none; ``power`` [B]: received, without noise;
    ``diagnostics``: name -> [B].
    """

    sums: Floats
    missed: Bools
    power: Floats
    diagnostics: dict[str, Floats] = field(default_factory=dict)


class IntervalCarrier:
    """Symbol fidelity: rectangles of duration T in flat fading, back to back or each in a guard of its own.

    Raises :class:`phy.errors.PhyError` where the link has several paths or another pulse.
    """

    def __init__(self, config: LinkConfig, draws: KeyedDraws, cached: CachedDraws, receiver: Any) -> None:
        if config.offsets.pulse != "rectangular":
            raise PhyError(f'receiver {config.receiver!r} cuts rectangles: offsets.pulse must be "rectangular"')
        self._config = config
        self._cached = cached
        self._receiver = receiver
        self._propagation = Propagation(config, cached, None)
        if not self._propagation.channel.flat:
            raise PhyError(f"receiver {config.receiver!r} knows one path per device: choose channel.model rayleigh or awgn")
        self._offsets = OffsetDraws(config, draws)

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

    def sums(self, first: int, prepared: Prepared, sounded: Complexes) -> Sums:
        """Estimates of sum_k s_k of rounds first .. first+B-1."""
        rounds, devices, scalars, _ = prepared.coefficients.shape
        symbols, precoder = prepared.state.symbols, prepared.state.precoder
        channel = self._propagation.aged(sounded, first)
        through = channel[:, 0] if prepared.vector is None else project(prepared.vector, channel)
        offsets = self._offsets.draw(devices, first, rounds)
        duration = self._config.offsets.symbol_duration_s
        gains = multiply(multiply(through, precoder), np.exp(1j * offsets.phase_rad).astype(np.complex64))
        guarded = self._config.offsets.spacing == "guarded"
        per, groups = (1, scalars) if guarded else (scalars, 1)
        count = interval_count(devices, per)
        noise = self._cached.complex_normal("noise", 1, first, rounds, groups * count)[..., 0]
        out = np.empty((rounds, scalars))
        for group in range(groups):
            part = slice(group * per, (group + 1) * per)
            age = self._config.csi.age_s + group * duration
            observation = observe(
                symbols[:, :, part].astype(np.float64),
                gains,
                offsets.timing_s,
                noise[:, group * count : (group + 1) * count],
                symbol_duration_s=duration,
                n0=self._config.n0,
                frequency_hz=offsets.frequency_hz,
                age_s=age,
            )
            known = multiply(gains, np.exp(2j * np.pi * offsets.frequency_hz * age).astype(np.complex64))
            estimate = self._receiver.estimate(observation, known, offsets.timing_s, prepared.amplitude, prepared.heard)
            out[:, part] = estimate.real
        power = squared_modulus(np.asarray((gains[:, :, None] * symbols).sum(axis=1), np.complex64)).mean(axis=1)
        return Sums(out, np.asarray(np.isnan(out).any(axis=1)), power.astype(np.float64))


def cut_slot(
    config: LinkConfig,
    receiver: Any,
    samples: Complexes,
    timing_s: Floats,
    gains: Complexes,
    prepared: Prepared,
    index: int,
    start_s: float,
    scalars: int,
) -> Floats:
    """Estimated sums [n] from combined samples [N] of round ``index`` of the batch, for known timings and gains [K]."""
    burst = config.burst
    observation = observe_samples(
        samples, burst.sample_rate_hz, timing_s, scalars=scalars, symbol_duration_s=burst.scalar_duration_s, start_s=start_s
    )
    one = slice(index, index + 1)
    estimate = receiver.estimate(observation, gains[None], timing_s[None], prepared.amplitude[one], prepared.heard[one])
    return np.asarray(estimate[0].real, np.float64)
