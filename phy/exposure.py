"""How loudly each device arrives, and on which axes: the linear map from its symbols to everything that is received.

Without noise a coherent link is linear in a device's symbols, so that what an observer with all samples has of a round is a
Gaussian vector whose mean moves by R_k s_k. Its privacy follows from R_k and the noise alone
(:mod:`testbench.privacy.charging`); here R_k is had in closed form for thousands of rounds at once, per unit of the amplitude
l_k at which power control lets the device arrive:

- **flat channels**: one complex number per antenna, h_k / f_k, times the scalar's waveform, whose energy is 1;
- **several paths** p: energy sum_pp' conj(a_p) a_p' r(tau_p - tau_p') / |f_k|^2 at each antenna, r the waveform's
  autocorrelation (through Sionna's discrete-time channel, the same of its taps);
- **clocks** that run at (1 + e) times the nominal rate compress a burst, and its energy with it, by 1 / (1 + e);
- **several scalars** whose waveforms overlap have the Gram matrix W of :func:`symbol_gram` in place of the identity.

Timing, phase and carrier offsets turn and shift a response and leave its energy as it is: an observer has all samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phy.backends import in_process
from phy.config import LinkConfig
from phy.config_listener import ListenerConfig
from phy.draws import GROUP_ROUNDS, KeyedDraws
from phy.link import Link
from phy.modes import Bools, Complexes
from phy.offsets import OffsetDraws, Offsets
from phy.propagation import Propagation
from phy.waveform_airs._lags import Lags

__all__ = ["Exposer", "Exposure", "symbol_gram"]

Floats = NDArray[np.float64]

_BLOCK_ROUNDS = 8 * GROUP_ROUNDS


@dataclass(frozen=True)
class Exposure:
    """B rounds of K devices without noise, schedule or artificial noise; amplitudes in units of full scale at peak power.

    :param aligned: [B] amplitude that the receiver divides by; 0 where nobody transmits
    :param active: [B] devices that transmit
    :param limits: [B, K] amplitude at which a device may arrive by its power; 0 where it is silent
    :param energy: [B, K] energy of a unit symbol that was to arrive with amplitude 1, over all antennas of server and listener
    :param axes: [B, K, R] the same symbol on each real axis of each antenna, where the waveforms of all devices coincide; R = 1
        where all devices are exactly aligned on one axis. None where they do not coincide
    :param exact: whether all devices arrive exactly as they mean to: one antenna, known channel, no listener
    """

    aligned: Floats
    active: Floats
    limits: Floats
    energy: Floats
    axes: Floats | None
    exact: bool


class Exposer:
    """Exposures of any rounds of a link: a pure function of (configuration, seed, listener, rounds, who is present).

    :param listener: antennas beside the server's; None: the adversary has what the server has
    :raises phy.errors.PhyError: what the link and the listener raise
    """

    def __init__(self, config: LinkConfig, seed: int, listener: ListenerConfig | None = None) -> None:
        bare = _bare(config)
        self._config = config
        self._link = Link(bare, seed, listener=listener)
        self._mode, self._carrier, self._listener = self._link._mode, self._link._carrier, self._link._listener
        self._offsets = OffsetDraws(config, KeyedDraws(seed))
        self._propagation: Propagation = self._carrier._propagation
        self._pulse = self._carrier._pulse
        flat = self._propagation.channel.flat and (self._listener is None or self._listener.channel.flat)
        moves = config.channel.variation == "sample" and config.fidelity == "waveform" and config.channel.doppler_hz > 0
        offsets, clock = config.offsets, config.clock
        late = offsets.timing_s.on or offsets.timing_jitter_s.on or offsets.frequency_hz.on or clock.moves
        #: Whether all devices' waveforms coincide, up to a complex factor each.
        self.coincide = flat and not moves and not late and not (clock.sampling_ppm.on and config.fidelity == "waveform")
        self.exact = bool(self._carrier.exact) and self._listener is None
        self._discrete = config.fidelity == "waveform" and config.burst.air == "time_channel"

    def blocks(self, rounds: int) -> list[NDArray[np.int64]]:
        """Rounds 0 .. rounds-1 in blocks that are quick to work on."""
        return [np.arange(low, min(low + _BLOCK_ROUNDS, rounds)) for low in range(0, rounds, _BLOCK_ROUNDS)]

    def expose(self, first: int, rounds: int, devices: int, present: Bools | None = None) -> Exposure:
        """Rounds first .. first+B-1 with those present [B, K] (None: everybody)."""
        sounded = self._carrier.sounded(devices, first, rounds)
        silence = np.zeros((rounds, devices, 1))
        prepared = self._mode.prepare(first, silence, present, sounded)
        state = prepared.state
        gains = state.gains.astype(np.float64)
        level = state.weight.astype(np.float64) * gains
        sends = (level > 0) & ~prepared.lost[:, None]
        inverse = np.where(sends, np.conj(state.effective.astype(np.complex128)) / np.where(sends, gains, 1.0), 0.0)
        energy, axes = self._received(first, sounded, inverse, sends)
        return Exposure(
            aligned=np.where(prepared.lost, 0.0, prepared.amplitude),
            active=np.where(prepared.lost, 0.0, prepared.heard),
            limits=np.where(sends, level, 0.0),
            energy=energy,
            axes=axes,
            exact=self.exact,
        )

    def _received(
        self, first: int, sounded: Complexes, inverse: NDArray[np.complex128], sends: Bools
    ) -> tuple[Floats, Floats | None]:
        rounds, _, devices = sounded.shape
        energy, axes = np.zeros((rounds, devices)), []
        for place, (propagation, heard) in enumerate(self._places(first, sounded)):
            if place == 0 and self._carrier.exact and (self.coincide or not self._discrete):
                unit = sends[:, :, None].astype(np.complex128)  # as they mean to, to the last bit
            elif propagation.channel.flat and (self.coincide or not self._discrete):
                met = propagation.aged(heard, first).astype(np.complex128)
                unit = met.transpose(0, 2, 1) * inverse[:, :, None]
            else:
                if propagation.channel.flat:  # one path, as it is when the payload is on the air
                    a, tau = propagation.aged(heard, first)[..., None], np.zeros((rounds, devices, 1))
                else:
                    moving, tau = propagation.channel.paths(devices, first, rounds, heard.shape[1])
                    a = moving[..., 0]
                energy += self._echoes(propagation, a, tau, first) * np.square(np.abs(inverse))
                continue
            energy += np.square(np.abs(unit)).sum(axis=2)
            turned = self._turned(unit, first)
            axes += [turned.real] + ([turned.imag] if turned.imag.any() else [])
        if self._config.clock.sampling_ppm.on and self._config.fidelity == "waveform":
            energy = energy / (1.0 + 1e-6 * self._offsets.sampling_ppm(devices, first, rounds))
        return energy, np.concatenate(axes, axis=2) if self.coincide else None

    def _places(self, first: int, sounded: Complexes) -> list[tuple[Propagation, Complexes]]:
        found = [(self._propagation, sounded)]
        if self._listener is not None:
            there = self._listener.sounded(sounded.shape[2], first, sounded.shape[0])
            found.append((self._listener.propagation, there))
        return found

    def _turned(self, unit: NDArray[np.complex128], first: int) -> NDArray[np.complex128]:
        """Responses [B, K, M] with the devices' phase offsets."""
        if not self._offsets.on:
            return unit
        phase = self._offsets.draw(unit.shape[1], first, unit.shape[0]).phase_rad
        return np.asarray(unit * np.exp(1j * phase)[:, :, None])

    def _echoes(self, propagation: Propagation, a: Complexes, delays_s: Floats, first: int) -> Floats:
        """Energy [B, K] of a unit symbol over paths a [B, M, K, P] with delays [B, K, P], all antennas together."""
        rounds, devices, _ = delays_s.shape
        paths, tau = a.astype(np.complex128), np.asarray(delays_s, np.float64)
        offsets = self._offsets.draw(devices, first, rounds) if self._offsets.on else None
        if offsets is not None and offsets.frequency_hz.any():  # a path delays the transmitter's carrier as well
            paths = paths * np.exp(-2j * np.pi * offsets.frequency_hz[:, :, None] * tau)[:, None]
        if self._discrete:
            late = tau if offsets is None else tau + offsets.timing_s[:, :, None]
            return self._sampled(paths, late, Lags(self._config, propagation))
        if (tau == tau[:1, :1]).all():
            r = self._autocorrelation(tau[0, 0])
            return np.asarray(np.einsum("bmkp,pq,bmkq->bk", paths.conj(), r, paths, optimize=True).real)
        out = np.empty((rounds, devices))
        for b in range(rounds):
            for k in range(devices):
                r = self._autocorrelation(tau[b, k])
                out[b, k] = np.einsum("mp,pq,mq->", paths[b, :, k].conj(), r, paths[b, :, k]).real
        return out

    def _sampled(self, paths: NDArray[np.complex128], delays_s: Floats, lags: Lags) -> Floats:
        """The same through the taps sum_p a_p sinc(l - W tau_p) of Sionna's discrete-time channel."""
        rate_hz = self._config.burst.sample_rate_hz
        lag = np.arange(lags.first, lags.last + 1)
        spread = np.sinc(lag - rate_hz * delays_s[..., None])  # [B, K, P, L]
        taps = np.einsum("bmkp,bkpl->bmkl", paths, spread, optimize=True)
        r = self._autocorrelation(lag / rate_hz)
        return np.asarray(np.einsum("bmkl,lj,bmkj->bk", taps.conj(), r, taps, optimize=True).real)

    def _autocorrelation(self, delays_s: Floats) -> Floats:
        """Inner products [P, P] of the scalar's waveform with itself, delayed by each pair of delays."""
        apart = delays_s[None, :] - delays_s[:, None]
        zero = np.zeros_like(apart)
        return np.asarray(self._pulse.gain(Offsets(apart, zero, zero), 0.0).real)


def symbol_gram(config: LinkConfig, scalars: int) -> Floats:
    """Inner products W [n, n] of the waveforms of a round's n scalars; the identity at symbol fidelity.

    Truncated pulses of a small roll-off are not orthogonal to their neighbours a symbol away.
    """
    if config.fidelity == "symbol" or scalars == 1:
        return np.eye(scalars)
    from phy.burst.layout import BurstLayout
    from phy.burst.transmitter import modulate

    layout = BurstLayout(config.burst, 1, scalars)
    waves = np.empty((scalars, layout.slot_samples), np.complex128)
    for i in range(scalars):
        unit = np.zeros((1, scalars, 1), np.complex64)
        unit[0, i] = 1.0
        waves[i] = modulate(layout, unit, np.zeros(1, np.complex64))[0]
    return np.asarray((waves.conj() @ waves.T).real)


def _bare(config: LinkConfig) -> LinkConfig:
    """The link at symbol fidelity, whose channels and power control are those of the waveform, without a privacy plan."""
    power = config.power.model_copy(update={"caps": None, "artificial_noise": 0.0})
    offsets = config.offsets
    if config.fidelity == "waveform":  # paths are sounded through the pulse of the burst
        offsets = offsets.model_copy(update={"pulse": "burst", "spacing": "guarded"})
    changes = {"fidelity": "symbol", "power": power, "offsets": offsets, "impairments": {}, "receiver": "matched"}
    return in_process(config.model_copy(update={**changes, "air": "numpy"}))
