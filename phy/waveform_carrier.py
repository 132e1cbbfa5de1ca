"""The waveform carrier: every round is a slot of oversampled samples that the receiver must find and filter.

Transmitter and receiver (:mod:`phy.burst`) are the same for every air; an air takes device bursts and returns samples
(:mod:`phy.waveform_airs`). Rounds are worked on one by one, so that an estimate has the same bits alone and in a batch.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phy.ambiguity import BurstPulse
from phy.blocks import waveform_air
from phy.burst.detection import PilotEstimates, pilot_estimates
from phy.burst.layout import BurstLayout
from phy.burst.measuring import common_phase, noise_variance
from phy.burst.receiver import Reception, receive
from phy.burst.transmitter import modulate
from phy.coherent import Sent
from phy.combining import project, squared_modulus
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError
from phy.interval_carrier import Sums, cut_slot
from phy.modes import Bools, Carried, Complexes, Floats, Prepared
from phy.offsets import OffsetDraws
from phy.propagation import Propagation
from phy.waveform_airs import Air, MakeAir, says_keyed

_FOUND = ("preamble_metric", "timing_s", "frequency_hz", "n0_measured", "phase_rad", "level_db", "snr_measured_db")


class WaveformCarrier:
    """Bursts through an air. Raises :class:`phy.errors.PhyError` where offsets reach beyond the guard.

    :param resources: U = looks * tones
    :param make_air: makes the air; None: the one that ``burst.air`` names
    :ivar keyed: whether the air says that every draw is a function of the seed
    :ivar transmissions: slots that were handed to the air so far
    """

    def __init__(
        self,
        config: LinkConfig,
        draws: KeyedDraws,
        cached: CachedDraws,
        resources: int,
        looks: int,
        receiver: Any = None,
        make_air: MakeAir | None = None,
    ) -> None:
        burst = config.burst
        if receiver is not None and (burst.pulse != "rect" or burst.payload == "spread" or burst.synchronisation != "slot"):
            raise PhyError(
                f"receiver {config.receiver!r} cuts rectangles on the slot clock: set burst.pulse = rect, burst.payload = "
                "repeated and burst.synchronisation = slot"
            )
        # Gains and timings that were estimated open directions in which least squares explodes: symbols get their prior.
        estimated = receiver is not None and burst.pilot_symbols > 0 and hasattr(receiver, "with_prior")
        self._receiver = receiver.with_prior() if estimated else receiver
        self._offsets = OffsetDraws(config, draws)
        self._config = config
        self._tones, self._looks = resources // looks, looks
        self._propagation = Propagation(config, cached, BurstPulse(config.burst, self._tones))
        make_air = make_air or waveform_air
        self._air: Air = make_air(config, draws, cached, self._propagation)
        self.transmissions = 0
        self._layout: BurstLayout | None = None
        self._bound_s = self._offsets.bound_s
        self._refuse_beyond_guard(0.0)

    def _refuse_beyond_guard(self, path_s: float, slot_s: float = 0.0) -> None:
        drift_s = 1e-6 * self._config.clock.sampling_ppm.bound * slot_s
        reach, guard = self._bound_s + path_s + drift_s, self._config.burst.guard_s
        if reach > guard:
            least = math.ceil(reach / self._config.burst.symbol_duration_s)
            raise PhyError(
                f"timing offsets of up to {self._bound_s + drift_s:.3g} s and path delays of up to {path_s:.3g} s reach beyond "
                f"the guard of {guard:.3g} s; lengthen burst.guard_symbols to at least {least}"
            )

    def layout(self, devices: int, scalars: int) -> BurstLayout:
        """The burst of this many devices and scalars; the last one is kept."""
        kept = self._layout
        if kept is None or (kept.devices, kept.scalars) != (devices, scalars):
            kept = BurstLayout(self._config.burst, devices, scalars, self._tones, self._looks)
            slot_s = kept.slot_samples / self._config.burst.sample_rate_hz
            self._refuse_beyond_guard(self._propagation.channel.max_delay_s(devices), slot_s)
            self._layout = kept
        return kept

    @property
    def keyed(self) -> bool:
        """Whether the air says that its noise is keyed, so that a round sent twice is received alike."""
        return says_keyed(self._air)

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
        """Channel [B, M, K] at the time of the pilots, through the payload's matched filter."""
        self._refuse_beyond_guard(self._propagation.channel.max_delay_s(devices))
        return self._propagation.sounded(devices, first, rounds)

    def carry(self, first: int, prepared: Prepared, sounded: Complexes) -> Carried:
        """Statistics of rounds first .. first+B-1 for coefficients [B, K, n, U] and the channel [B, M, K] at the pilots.

        Diagnostics: ``preamble_metric`` (NaN where the air lost the slot), and ``timing_s`` and ``frequency_hz``, the common
        offsets that the receiver found and removed (NaN where it found none, zero where it trusts the slot clock);
        ``n0_measured``, the noise in the guards; of coherent schemes, by their preamble, ``phase_rad``, the common phase that
        was removed (0 where none stood out), ``level_db``, the power at which the preamble arrived over that which channel and
        precoders promise, and ``snr_measured_db``, which stands beside ``snr_max_db``: level over noise; where noise is
        fresh, ``transmissions``, how often the round was handed to the air. An air that measures its path (``measured``:
        name -> number) adds what it says; with a measured noise power ``stream_n0``, also ``stream_power``, the received power
        less that noise and not the configured one.
        """
        rounds, devices, scalars, resources = prepared.coefficients.shape
        antennas = sounded.shape[1]
        layout = self.layout(devices, scalars)
        noisy = np.zeros((rounds, scalars, resources, antennas), np.complex64)
        power = np.zeros(rounds)
        missed = np.zeros(rounds, np.bool_)
        found: dict[str, Floats] = {name: np.full(rounds, np.nan) for name in _FOUND}
        sent = np.zeros(rounds)
        n0 = self._config.n0
        for i in range(rounds):
            if prepared.lost[i]:
                continue
            before = self.transmissions
            samples = self._slot(layout, first, prepared, sounded, i)
            sent[i] = self.transmissions - before
            if samples is None:
                missed[i] = True
                continue
            measured = getattr(self._air, "measured", {})
            for name, value in measured.items():
                found.setdefault(name, np.full(rounds, np.nan))[i] = value
            reception = receive(layout, samples, n0)
            found["preamble_metric"][i] = reception.metric
            missed[i] = not reception.found
            if not reception.found:
                continue
            found["timing_s"][i] = reception.timing_samples / self._config.burst.sample_rate_hz
            found["frequency_hz"][i] = reception.frequency_hz
            for name, value in self._measured(layout, samples, reception, prepared, i).items():
                found[name][i] = value
            turn = found["phase_rad"][i]
            noisy[i] = reception.statistics * np.complex64(np.exp(-1j * turn)) if turn else reception.statistics
            vector = None if prepared.vector is None else prepared.vector[i : i + 1]
            power[i] = _unbiased_power(noisy[i], vector, n0)
            if "stream_n0" in measured:
                unbiased = _unbiased_power(noisy[i], vector, measured["stream_n0"])
                found.setdefault("stream_power", np.full(rounds, np.nan))[i] = unbiased
        return Carried(noisy, power, missed, found if self.keyed else {**found, "transmissions": sent})

    def _measured(
        self, layout: BurstLayout, samples: Complexes, reception: Reception, prepared: Prepared, index: int
    ) -> dict[str, float]:
        """What a slot that was found says of noise, level and common phase."""
        n0 = noise_variance(layout, samples, reception.timing_samples)
        measured = {"n0_measured": n0, "phase_rad": 0.0}
        if not isinstance(prepared.state, Sent) or np.isnan(reception.instant_samples):
            return measured
        vector = None if prepared.vector is None else prepared.vector[index]
        measured["phase_rad"] = common_phase(layout, reception, vector, self._config.n0 if np.isnan(n0) else n0)
        promised = abs((prepared.state.effective[index] * prepared.reference[index]).sum())
        arrived = abs((reception.gains * (1.0 if vector is None else vector)).sum())
        if promised > 0 and arrived > 0:
            measured["level_db"] = 20.0 * math.log10(arrived / promised)
            if n0 > 0:
                measured["snr_measured_db"] = measured["level_db"] - 10.0 * math.log10(n0)
        return measured

    def _slot(self, layout: BurstLayout, first: int, prepared: Prepared, sounded: Complexes, index: int) -> Complexes | None:
        """Received samples [M, N] of one round of the batch; None where the air lost them."""
        bursts = modulate(layout, prepared.coefficients[index], prepared.reference[index])
        self.transmissions += 1
        received = self._air.transmit(bursts, first + index, sounded[index], layout.reference_sample)
        if received is None:
            return None
        expected = (sounded.shape[1], layout.slot_samples)
        if (
            getattr(received, "shape", None) != expected
            or received.dtype != np.complex64
            or not np.isfinite(received.view(np.float32)).all()
        ):
            raise PhyError(
                f"the air {self._config.burst.air!r} must return finite complex64 samples of shape {expected}, got "
                f"{getattr(received, 'dtype', type(received).__name__)} of shape {getattr(received, 'shape', ())}"
            )
        return received

    def observed(self, first: int, prepared: Prepared, sounded: Complexes) -> Complexes:
        """Every sample of every antenna of rounds first .. first+B-1. Shape [B, M N]; zero in rounds without a burst."""
        rounds, devices, scalars, _ = prepared.coefficients.shape
        layout = self.layout(devices, scalars)
        out = np.zeros((rounds, sounded.shape[1], layout.slot_samples), np.complex64)
        for i in np.flatnonzero(~prepared.lost):
            samples = self._slot(layout, first, prepared, sounded, int(i))
            if samples is not None:
                out[i] = samples
        return out.reshape(rounds, -1)

    def sums(self, first: int, prepared: Prepared, sounded: Complexes) -> Sums:
        """Sums of symbols by a receiver that cuts the samples at every device's symbol edges; see ``phy.interval_carrier``."""
        rounds, devices, scalars, _ = prepared.coefficients.shape
        layout = self.layout(devices, scalars)
        out = np.full((rounds, scalars), np.nan)
        power, sent, quiet = np.zeros(rounds), np.zeros(rounds), np.full(rounds, np.nan)
        true_s = self._offsets.draw(devices, first, rounds).timing_s
        for i in range(rounds):
            if prepared.lost[i]:
                continue
            before = self.transmissions
            samples = self._slot(layout, first, prepared, sounded, i)
            sent[i] = self.transmissions - before
            if samples is None:
                continue
            sending = prepared.reference[i] != 0
            quiet[i] = noise_variance(layout, samples, 0.0)
            combined = samples[0] if prepared.vector is None else (prepared.vector[i][:, None] * samples).sum(axis=0)
            timing, gains = self._known(layout, samples, prepared, i, true_s[i], sending)
            if timing is None:
                continue
            start_s = layout.payload.start / layout.config.sample_rate_hz
            out[i] = cut_slot(self._config, self._receiver, combined, timing, gains, prepared, i, start_s, scalars)
            inner = combined[layout.payload.first : layout.payload.stop]
            per_sample = float(squared_modulus(inner).mean()) - self._config.n0
            power[i] = per_sample * layout.block_samples
        measured = {"n0_measured": quiet}
        return Sums(out, np.isnan(out).any(axis=1), power, measured if self.keyed else {**measured, "transmissions": sent})

    def _known(
        self, layout: BurstLayout, samples: Complexes, prepared: Prepared, index: int, true_s: Floats, sending: Bools
    ) -> tuple[Floats | None, Complexes]:
        """Timings and received gains [K] as the receiver has them; None where a sending device's pilots were not found."""
        if not layout.pilots:
            return true_s, prepared.state.received[index].astype(np.complex64)
        pilots = pilot_estimates(layout, samples)
        if not pilots.found[sending].any():
            return None, prepared.reference[index]
        sending = sending & pilots.found  # who was not found is too weak to be modelled
        vector = np.ones(1) if prepared.vector is None else prepared.vector[index]
        # The pilots went out with the reference, the payload with the precoder; carry the phase on to the payload.
        elapsed = (layout.reference_sample - pilots.instants_samples) / layout.config.sample_rate_hz
        turns = np.where(self._significant(layout, pilots), pilots.frequency_hz * elapsed, 0.0)
        turned = (pilots.gains * vector).sum(axis=1) * np.exp(2j * np.pi * turns)
        ratio = np.where(sending, np.abs(prepared.state.effective[index] * prepared.state.weight[index]), 0.0)
        gains = np.where(sending, np.where(sending, turned, 0.0) * ratio, 0.0).astype(np.complex64)
        return np.where(sending, pilots.timing_s, 0.0), gains

    def _significant(self, layout: BurstLayout, pilots: PilotEstimates) -> Bools:
        """Whose carrier offset stands out of its estimate's error, and may be carried on from the pilots to the payload. [K].

        Three times the Cramer-Rao bound of one tone in W samples, f_s sqrt(6 / (E / N0)) / (2 pi W).
        """
        known = layout.pilot_waveform.samples
        energy = np.square(np.abs(pilots.gains)).sum(axis=1) * np.square(np.abs(known)).sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            spread_hz = layout.config.sample_rate_hz * np.sqrt(6.0 * self._config.n0 / energy) / (2.0 * np.pi * known.size)
            return np.asarray(np.abs(pilots.frequency_hz) > 3.0 * spread_hz)


def _unbiased_power(statistics: Complexes, vector: Complexes | None, n0: float) -> float:
    """Mean over scalars of the combined power of [n, U, M] statistics, less that of the noise."""
    if vector is not None:
        every = np.broadcast_to(vector, (len(statistics), vector.shape[1]))
        statistics = project(every, statistics[:, 0])[:, None, None]
    noise = n0 * statistics.shape[1] * statistics.shape[2]
    return float(np.square(np.abs(statistics)).sum() / len(statistics) - noise)
