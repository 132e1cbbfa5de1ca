"""The uplink at symbol fidelity: K scalars in, one estimate out, for many rounds at once.

One round, for device k with payload p_k (pAirZero, arXiv 2604.12401, section III; here with CSI error, offsets and
antennas): symbol s_k in [-1, 1]; channel estimate h_k'; combiner v and effective estimate f_k = v^H h_k'; transmit
x_k = (a / f_k) s_k with a chosen so that |x_k|^2 <= P = 1; received y = sum_k h_k q_k x_k + w, w ~ CN(0, N0 I); decision
variable Re(v^H y) / a, whose noise variance is N0 / (2 a^2); estimate from the scheme.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from phy.combining import combiner, multiply, project, squared_modulus
from phy.config import LinkConfig
from phy.discovery import find
from phy.draws import GROUP_ROUNDS, CachedDraws, KeyedDraws
from phy.errors import BadPayload
from phy.offsets import OffsetDraws

# Elements (devices x rounds x antennas) worked on at once: small enough to stay in a core's cache.
_CHUNK_ELEMENTS = 65536

# Amplitudes are shrunk by this, more than float32 rounding can add, so that the peak power is kept without exception. The
# receiver knows the shrunk amplitude, so that nothing is biased.
_POWER_MARGIN = np.float32(1.0 - 2.0**-20)


@dataclass(frozen=True)
class LinkResult:
    """What a link returns for B rounds of n scalars.

    ``estimates`` [B, n], NaN where lost; ``lost`` [B]: nobody transmitted; ``diagnostics``: name -> [B], where

    - ``true_mean``: what a perfect link would have returned (first scalar),
    - ``active`` and ``truncated``: devices that transmitted, and that were silent though present,
    - ``aligned_gain``: amplitude a,
    - ``power_mean``, ``power_peak``: mean over the devices present, and maximum, of |x_k|^2 / P,
    - ``received_power``: |v^H y|^2 without noise (mean over the n scalars).
    """

    estimates: NDArray[np.float64]
    lost: NDArray[np.bool_]
    diagnostics: dict[str, NDArray[np.float64]]


class Link:
    """A pure function of (configuration, seed, rounds, payloads, present); holds caches but no state.

    :param config: the link
    :param seed: seed of every draw, 0 .. 2^64 - 1
    """

    def __init__(self, config: LinkConfig, seed: int) -> None:
        if not 0 <= seed < 2**64:
            raise BadPayload(f"the link's seed must lie in 0 .. 2^64 - 1, got {seed}")
        self.config = config
        self.seed = seed
        draws = KeyedDraws(seed)
        self._cached = CachedDraws(draws)
        self._scheme = find("schemes", config.scheme)(config)
        self._csi = find("csi", config.csi.estimator)(config)
        self._power = find("power", config.power.control)(config)
        self._air = find("airs", config.air)(self._cached)
        self._offsets = OffsetDraws(config, draws) if config.offsets.any else None
        self._rho = np.float32(config.ageing_correlation)
        self._innovation = np.float32(np.sqrt(max(0.0, 1.0 - config.ageing_correlation**2)))
        self._noise_std = np.float32(np.sqrt(config.n0))

    @property
    def description(self) -> dict[str, int | float | str]:
        """Constants of the link that a summary states."""
        config = self.config
        return {
            "fidelity": "symbol",
            "scheme": config.scheme,
            "air": config.air,
            "csi": config.csi.estimator,
            "n0": config.n0,
            "snr_max_db": config.snr_max_db,
            "clip": config.clip,
            "receive_antennas": config.receive_antennas,
            "ageing_correlation": config.ageing_correlation,
            "uplink_symbols_per_scalar": 1,
            "payload_bits_per_scalar": int(self._scheme.payload_bits),
            "pilot_symbols_per_device": config.csi.pilot_symbols if self._csi.uses_pilots else 0,
        }

    def aggregate(
        self,
        rounds: NDArray[np.int64],
        payloads: NDArray[np.float64],
        present: NDArray[np.bool_] | None = None,
    ) -> LinkResult:
        """Send payloads [B, K, n] in the rounds [B] and estimate what the scheme computes of them.

        ``present`` [B, K] tells who takes part; None means everybody. Raises :class:`phy.errors.BadPayload` where a
        payload exceeds the clip, is not finite, or shapes do not fit.
        """
        rounds, payloads, present = self._checked(rounds, payloads, present)
        batch, devices, scalars = payloads.shape
        group = GROUP_ROUNDS * devices * self.config.receive_antennas
        slices = list(_runs(rounds, GROUP_ROUNDS * max(1, _CHUNK_ELEMENTS // group)))
        if len(slices) == 1:
            return self._consecutive(int(rounds[0]), payloads, present)
        estimates = np.empty((batch, scalars))
        lost = np.zeros(batch, np.bool_)
        diagnostics: dict[str, NDArray[np.float64]] = {}
        for low, high in slices:
            who = None if present is None else present[low:high]
            part = self._consecutive(int(rounds[low]), payloads[low:high], who)
            estimates[low:high] = part.estimates
            lost[low:high] = part.lost
            for name, values in part.diagnostics.items():
                diagnostics.setdefault(name, np.empty(batch))[low:high] = values
        return LinkResult(estimates, lost, diagnostics)

    def _checked(
        self, rounds: NDArray[np.int64], payloads: NDArray[np.float64], present: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_] | None]:
        rounds = np.asarray(rounds, np.int64)
        payloads = np.asarray(payloads, np.float64)
        if payloads.ndim != 3 or rounds.shape != payloads.shape[:1] or 0 in payloads.shape:
            raise BadPayload(
                f"payloads must be [rounds, devices, scalars] with one round index each, got {payloads.shape} "
                f"and {rounds.shape}"
            )
        if rounds.min() < 0:
            raise BadPayload(f"round indices must not be negative, got {rounds.min()}")
        # One comparison refuses NaN as well: min and max propagate it.
        peak = max(-payloads.min(), payloads.max())
        if not peak <= self.config.clip:
            raise BadPayload(f"a payload of magnitude {peak} exceeds the clip {self.config.clip}; clip before sending")
        if present is not None:
            present = np.asarray(present, np.bool_)
            if present.shape != payloads.shape[:2]:
                raise BadPayload(f"present must have shape {payloads.shape[:2]}, got {present.shape}")
        return rounds, payloads, present

    def _consecutive(self, first: int, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None) -> LinkResult:
        """Rounds first .. first+B-1 for payloads [B, K, n] and present [B, K]."""
        batch, devices, scalars = payloads.shape
        antennas = self.config.receive_antennas
        channel = self._air.fading(devices, first, batch, antennas)
        noise = None
        if self._csi.uses_pilots:
            noise = self._cached.complex_normal("pilot", devices, first, batch, antennas)
        estimate = self._csi.estimate(channel, noise)
        if self._innovation > 0:
            aged = self._cached.complex_normal("ageing", devices, first, batch, antennas)
            channel = self._rho * channel + self._innovation * aged

        vector, effective = None, estimate[:, 0]
        if antennas > 1:
            vector = np.conj(combiner(self.config.combiner, estimate, present))
            effective = project(vector, estimate)
        gains = squared_modulus(effective)
        active, amplitude = self._power.align(gains, present)
        amplitude = amplitude * _POWER_MARGIN

        # conj(f) / |f|^2 = 1 / f, with the real factor formed first.
        weight = amplitude[:, None] / gains
        if active is not None:
            weight *= active
            heard = active.sum(axis=1).astype(np.float64)
        else:
            heard = np.full(batch, float(devices))
        lost = amplitude == 0 if active is None else (heard == 0) | (amplitude == 0)
        precoder = np.conj(effective)
        precoder *= weight
        weight *= amplitude[:, None]  # now |precoder|^2 = a^2 / |f|^2
        turned = precoder
        if self._offsets is not None:
            turned = multiply(self._offsets.gains(devices, first, batch), precoder)

        thermal = self._cached.complex_normal("noise", 1, first, batch, scalars * antennas)
        thermal = (self._noise_std * thermal).reshape(batch, scalars, antennas)
        # A lost round has amplitude or count zero; its estimate becomes NaN below, without a warning on the way.
        any_lost = bool(lost.any())
        divisor = np.where(lost, np.float32(1), amplitude) if any_lost else amplitude
        counted = np.maximum(heard, 1.0) if any_lost else heard
        estimates = np.empty((batch, scalars))
        signal_power, power_sum, power_peak = (np.zeros(batch) for _ in range(3))
        for i in range(scalars):
            symbols = self._scheme.encode(payloads[:, :, i])
            clean = self._air.superpose(channel, turned * symbols)
            noisy = clean + thermal[:, i]
            if vector is None:
                statistic, heard_clean = noisy[:, 0], clean[:, 0]
            else:
                statistic, heard_clean = project(vector, noisy), project(vector, clean)
            estimates[:, i] = self._scheme.decode(statistic.real / divisor.astype(np.float64), counted)
            signal_power += squared_modulus(heard_clean)
            symbols *= symbols
            symbols *= weight
            power_sum += symbols.sum(axis=1)
            np.maximum(power_peak, symbols.max(axis=1), out=power_peak)
        if any_lost:
            estimates[lost] = np.nan
        numbers = float(devices) if present is None else np.maximum(present.sum(axis=1), 1)
        return LinkResult(
            estimates,
            lost,
            {
                "true_mean": self._scheme.target(payloads[:, :, 0], present),
                "active": heard,
                "truncated": (devices if present is None else present.sum(axis=1)) - heard,
                "aligned_gain": amplitude.astype(np.float64),
                "power_mean": power_sum / (scalars * numbers),
                "power_peak": power_peak,
                "received_power": signal_power / scalars,
            },
        )


def _runs(rounds: NDArray[np.int64], width: int) -> Iterator[tuple[int, int]]:
    """Slices of consecutive round indices that cross no multiple of ``width``, a whole number of groups of draws."""
    if len(rounds) == 1:
        yield 0, 1
        return
    breaks = (np.diff(rounds) != 1) | (rounds[1:] % width == 0)
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(rounds)]
    yield from pairwise(edges)
