"""The uplink: K scalars in, one estimate out, for many rounds at once.

A link is a mode over a carrier (:mod:`phy.modes`): the mode turns payloads into what devices send and statistics into
estimates, the carrier is everything between, in closed form (``symbol``) or as oversampled bursts (``waveform``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from phy.allocator import keep_freed_memory
from phy.backends import versions
from phy.blocks import BlockReceiver
from phy.blocks import receiver as named_receiver
from phy.coherent import CoherentMode
from phy.config import LinkConfig
from phy.config_listener import ListenerConfig
from phy.discovery import make
from phy.draws import GROUP_ROUNDS, AllBut, CachedDraws, KeyedDraws
from phy.energy import EnergyMode
from phy.errors import BadPayload, PhyError, UnknownPart
from phy.interval_carrier import IntervalCarrier
from phy.modes import Prepared
from phy.orthogonal import OrthogonalMode
from phy.symbol_carrier import SymbolCarrier

if TYPE_CHECKING:
    from phy.burst.layout import BurstLayout
    from phy.listener import Listener
    from phy.waveform_airs import MakeAir

# Elements (devices x rounds x antennas) worked on at once: few enough for a core's cache, enough to outweigh 0.2 ms of calls.
_CHUNK_ELEMENTS = 131072

# Up to so many scalars have a diagnostic each; more are entries of a gradient, which nobody reads one by one.
_FEW_SCALARS = 64

# Rounds from here on serve as independent looks and innovations.
_LAST_ROUND = 1 << 48

# What protects a sum of amplitudes is noise. What protects energies is that nobody knows fades and phases either, while the
# dither is shared by devices and server.
_PROTECTING = frozenset({"noise", "artnoise"})
_PROTECTING_ENERGIES = AllBut("dither")


@dataclass(frozen=True)
class LinkResult:
    """What a link returns for B rounds of n scalars.

    ``estimates`` [B, n], NaN where lost; ``lost`` [B]: nobody transmitted, or the receiver found nothing to decide on;
    ``diagnostics``: name -> [B], where

    - ``true_mean``: what a perfect link would have returned for the first scalar; ``true_mean_1``, ``true_mean_2``, ... for
      the others, where there are at most 64,
    - ``active`` and ``truncated``: devices that transmitted, and that were silent though present,
    - ``aligned_gain``: amplitude a,
    - ``loudest_gain`` (coherent schemes): the largest amplitude, over devices and with all antennas, at which a full-scale
      symbol arrives: what a privacy claim must be charged for; above a where estimates err or several antennas listen,
    - ``power_mean``, ``power_peak``: mean over the devices present, and maximum, of |x_k|^2 / P,
    - ``received_power``: |v^H z|^2 without noise (mean over the n scalars), for energy schemes sum |z|^2.
    """

    estimates: NDArray[np.float64]
    lost: NDArray[np.bool_]
    diagnostics: dict[str, NDArray[np.float64]]


class Link:
    """A pure function of (configuration, seed, secret, rounds, payloads, present); holds caches but no state.

    :param config: the link
    :param seed: seed of every draw, 0 .. 2^64 - 1
    :param make_air: waveform fidelity: makes the air between transmitter and receiver, in place of the one that
        ``burst.air`` names; see :mod:`phy.waveform_airs`
    :param listener: somebody else's antennas, whose reception :meth:`observe` returns beside the server's
    :param secret: 0 .. 2^64 - 1; keys, in place of the seed, the draws that protect what is sent: receiver noise and artificial
        noise, and for schemes of energy detection all but the dither. None: whoever has the seed can draw them again
    """

    def __init__(
        self,
        config: LinkConfig,
        seed: int,
        make_air: "MakeAir | None" = None,
        *,
        secret: int | None = None,
        listener: ListenerConfig | None = None,
    ) -> None:
        if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
            raise BadPayload(f"the link's seed must be an integer in 0 .. 2^64 - 1, got {seed!r}")
        if secret is not None and (not isinstance(secret, int | np.integer) or not 0 <= secret < 2**64):
            raise BadPayload("the link's secret must be an integer in 0 .. 2^64 - 1")
        keep_freed_memory()
        self.config = config
        self.seed = seed
        if make_air is not None and config.fidelity != "waveform":
            raise PhyError('an air carries waveforms, and this link has fidelity "symbol"; set link.fidelity to waveform')
        self._scheme = make("schemes", config.scheme, config)
        self._detection: str = getattr(self._scheme, "detection", "coherent")
        self._secret = secret is not None
        draws = KeyedDraws(seed, secret, _PROTECTING_ENERGIES if self._detection == "energy" else _PROTECTING)
        cached = CachedDraws(draws)
        if self._detection != "coherent" and (config.power.caps is not None or config.power.adds_noise):
            raise PhyError(f"power.caps and power.artificial_noise are of coherent schemes, which {config.scheme!r} is not")
        receiver = named_receiver(config)
        self._cuts = bool(receiver.uses_intervals)
        self._block = receiver if isinstance(receiver, BlockReceiver) else None
        if (self._cuts or self._block) and self._detection != "coherent":
            raise PhyError(f"receiver {config.receiver!r} needs a coherent scheme, which {config.scheme!r} is not; use matched")
        if self._detection == "orthogonal":
            if config.fidelity == "waveform":
                raise PhyError(f'scheme {config.scheme!r} is a capacity, not a waveform; use fidelity "symbol"')
            self._orthogonal = OrthogonalMode(config, draws, self._scheme)
            self._symbols = SymbolCarrier(config, draws, cached, 1, 1)
            return
        self._mode = _mode(config, draws, cached, self._scheme)
        self._carrier = _carrier(config, draws, cached, self._mode, receiver if self._cuts else None, make_air)
        self._listener = _listener(config, seed, listener, self._mode)

    @property
    def keyed(self) -> bool:
        """Whether every draw is a function of the seed, so that a round that is sent twice has the same bits."""
        carrier = self._symbols if self._detection == "orthogonal" else self._carrier
        return bool(getattr(carrier, "keyed", True))

    @property
    def transmissions(self) -> int | None:
        """Slots that were handed to the air so far; None for a link whose air does not count, as in closed form."""
        return None if self._detection == "orthogonal" else getattr(self._carrier, "transmissions", None)

    def layout(self, devices: int, scalars: int) -> "BurstLayout":
        """Where what lies in the slot of this many devices and scalars; :class:`PhyError` for a link without waveforms."""
        if self.config.fidelity != "waveform":
            raise PhyError('a link of fidelity "symbol" has no slots; set link.fidelity to waveform')
        layout: BurstLayout = self._carrier.layout(devices, scalars)
        return layout

    @property
    def description(self) -> dict[str, int | float | str]:
        """Constants of the link that a summary states.

        ``noise``: ``seed`` (the receiver's noise is keyed by the public seed and can be drawn again), ``secret``, or ``fresh``
        (drawn anew on each transmission, by an air that does not say that it is ``keyed``). ``keyed_by``: what keys the draws
        of the link itself that protect, ``seed`` or ``secret``; with ``fresh`` noise artificial noise is still among them.
        """
        config = self.config
        coherent = self._detection == "coherent"
        pilots = coherent and isinstance(self._mode, CoherentMode) and self._mode.uses_pilots
        uses = getattr(self._scheme, "channel_uses", lambda devices: 1)
        return {
            "fidelity": config.fidelity,
            "scheme": config.scheme,
            "backend": config.backend,
            "backend_versions": versions(config.backend),
            "air": config.air or config.backend,
            "receiver": config.receiver,
            "look_fading": getattr(self._carrier, "look_fading", "none") if self._detection == "energy" else "none",
            "channel": config.channel.model,
            "csi": config.csi.estimator if coherent else "receiver" if self._detection == "orthogonal" else "none",
            "noise": self._noise,
            "keyed_by": "secret" if self._secret else "seed",
            "n0": config.n0,
            "snr_max_db": config.snr_max_db,
            "clip": config.clip,
            "receive_antennas": config.receive_antennas,
            "ageing_correlation": config.ageing_correlation,
            "uplink_symbols_per_scalar": uses(1),
            "uplink_symbols_per_further_device": uses(2) - uses(1),
            "payload_bits_per_scalar": int(self._scheme.payload_bits),
            "pilot_symbols_per_device": config.csi.pilot_symbols if pilots else 0,
        }

    @property
    def _noise(self) -> str:
        """The receiver's noise: keyed by the public ``seed`` or by a ``secret``, or drawn ``fresh`` on each transmission."""
        if self._detection != "orthogonal" and not getattr(self._carrier, "keyed", True):
            return "fresh"
        return "secret" if self._secret else "seed"

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
        resources = 1 if self._detection == "orthogonal" else self._mode.resources
        group = GROUP_ROUNDS * devices * max(self.config.receive_antennas, scalars * resources)
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

    def observe(
        self,
        rounds: NDArray[np.int64],
        payloads: NDArray[np.float64],
        present: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.complex64]:
        """Everything that the server receives in the rounds [B], before it decides, and then all that the listener receives.

        Shape [B, D]: all statistics of all antennas (symbol) or all samples (waveform), with noise of variance N0 each. Same
        arguments and errors as :meth:`aggregate`; :class:`phy.errors.PhyError` for a scheme or receiver without statistics.
        """
        rounds, payloads, present = self._checked(rounds, payloads, present)
        if self._detection == "orthogonal" or (self._cuts and self.config.fidelity == "symbol"):
            raise PhyError(f"scheme {self.config.scheme!r} with receiver {self.config.receiver!r} keeps no received statistics")
        parts = []
        for low, high in _runs(rounds, GROUP_ROUNDS):
            first, who = int(rounds[low]), None if present is None else present[low:high]
            self._check_clipped(payloads[low:high])
            sounded = self._carrier.sounded(payloads.shape[1], first, high - low)
            prepared = self._mode.prepare(first, payloads[low:high], who, sounded)
            seen = self._carrier.observed(first, prepared, sounded)
            if self._listener is not None:
                seen = np.concatenate((seen, self._listener.observed(first, prepared)), axis=1)
            parts.append(seen)
        return np.concatenate(parts)

    def _checked(
        self, rounds: NDArray[np.int64], payloads: NDArray[np.float64], present: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_] | None]:
        try:
            if np.asarray(rounds).dtype.kind not in "iu" or np.iscomplexobj(payloads):
                raise TypeError("round indices must be integers, and payloads real")
            rounds = np.ascontiguousarray(rounds, np.int64)
            payloads = np.ascontiguousarray(payloads, np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise BadPayload(
                f"rounds must be integers [rounds] and payloads numbers [rounds, devices, scalars]: {error}"
            ) from None
        if payloads.ndim != 3 or rounds.shape != payloads.shape[:1] or 0 in payloads.shape:
            raise BadPayload(
                f"payloads must be [rounds, devices, scalars] with one round index each, got {payloads.shape} "
                f"and {rounds.shape}"
            )
        if rounds.min() < 0 or rounds.max() >= _LAST_ROUND:
            raise BadPayload(f"round indices must lie in 0 .. 2^48 - 1, got {rounds.min()} .. {rounds.max()}")
        if present is not None:
            present = np.asarray(present)
            if present.dtype != np.bool_:
                raise BadPayload(f"present must be an array of true and false, got {present.dtype}")
            if present.shape != payloads.shape[:2]:
                raise BadPayload(f"present must have shape {payloads.shape[:2]}, got {present.shape}")
        return rounds, payloads, present

    def _check_clipped(self, payloads: NDArray[np.float64]) -> None:
        # One comparison refuses NaN as well: min and max propagate it.
        peak = max(-payloads.min(), payloads.max())
        if np.isnan(peak):
            raise BadPayload("a payload is not a number")
        if not peak <= self.config.clip:
            raise BadPayload(f"a payload of magnitude {peak} exceeds the clip {self.config.clip}; clip before sending")

    def _consecutive(self, first: int, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None) -> LinkResult:
        """Rounds first .. first+B-1 for payloads [B, K, n] and present [B, K]."""
        self._check_clipped(payloads)  # here, where they are read anyway
        if self._detection == "orthogonal":
            return self._in_turns(first, payloads, present)
        batch, devices, _ = payloads.shape
        sounded = self._carrier.sounded(devices, first, batch)
        prepared = self._mode.prepare(first, payloads, present, sounded)
        diagnostics: dict[str, NDArray[np.float64]] = {}
        lost = prepared.lost
        if self._cuts:
            cut = self._carrier.sums(first, prepared, sounded)
            lost, power, diagnostics = lost | cut.missed, cut.power, cut.diagnostics
            estimates = np.stack([self._mode.decode(prepared, column) for column in cut.sums.T], axis=1)
        else:
            carried = self._carrier.carry(first, prepared, sounded)
            lost = lost if carried.missed is None else lost | carried.missed
            power, diagnostics = carried.power, carried.diagnostics
            if self._block is None:
                estimates = self._mode.decide(prepared, carried.noisy)
            else:
                sums = self._block.sums(prepared, self._mode.combined(prepared, carried.noisy))
                estimates = np.stack([self._mode.decode(prepared, column) for column in sums.T], axis=1)
        aligned = np.where(prepared.lost, 0.0, prepared.amplitude)
        if self._detection == "coherent":
            # Where devices know the one coefficient that their symbols meet, nobody arrives above the aligned amplitude.
            loudest = aligned if self._carrier.exact else self._loudest(first, prepared, sounded)
            diagnostics = {**diagnostics, "loudest_gain": loudest}
        if lost.any():
            estimates[lost] = np.nan
        expected = np.full(batch, float(devices)) if present is None else present.sum(axis=1).astype(np.float64)
        power_mean, power_peak = _transmit_power(prepared)
        return LinkResult(
            estimates,
            lost,
            {
                **self._targets(payloads, present),
                "active": prepared.heard,
                "truncated": expected - prepared.heard,
                "aligned_gain": aligned,
                "power_mean": power_mean / np.maximum(expected, 1.0),
                "power_peak": power_peak,
                "received_power": power,
                **diagnostics,
            },
        )

    def _targets(self, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None) -> dict[str, NDArray[np.float64]]:
        """What a perfect link would have returned, scalar by scalar, for the few directions of a zeroth-order round."""
        scalars = payloads.shape[2] if payloads.shape[2] <= _FEW_SCALARS else 1
        return {"true_mean" + (f"_{i}" if i else ""): self._scheme.target(payloads[:, :, i], present) for i in range(scalars)}

    def _loudest(self, first: int, prepared: Prepared, sounded: NDArray[np.complex64]) -> NDArray[np.float64]:
        received = prepared.state.energy * self._carrier.energy(first, sounded)
        return np.asarray(np.sqrt(received.max(axis=1)), np.float64)

    def _in_turns(self, first: int, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None) -> LinkResult:
        """Rounds of a scheme whose devices take turns."""
        batch, devices, _ = payloads.shape
        channel, residual = self._symbols.met(devices, first, batch)
        done = self._orthogonal.exchange(first, payloads, present, channel, residual)
        return LinkResult(
            done.estimates,
            done.lost,
            {
                **self._targets(payloads, present),
                "active": done.heard,
                "truncated": done.truncated,
                "aligned_gain": np.ones(batch),
                "power_mean": done.power_mean,
                "power_peak": done.power_peak,
                "received_power": done.received_power,
            },
        )


def _mode(config: LinkConfig, draws: KeyedDraws, cached: CachedDraws, scheme: Any) -> Any:
    """The mode that the scheme asks for."""
    detection = getattr(scheme, "detection", "coherent")
    if detection == "coherent":
        return CoherentMode(config, cached, scheme)
    if detection == "energy":
        return EnergyMode(config, draws, scheme)
    raise UnknownPart(f"scheme {config.scheme!r} asks for detection {detection!r}; coherent, energy and orthogonal exist")


def _listener(config: LinkConfig, seed: int, listener: ListenerConfig | None, mode: Any) -> "Listener | None":
    if listener is None or listener.antennas == 0:
        return None
    from phy.listener import Listener  # few links have one

    return Listener(config, seed, listener, mode.resources, mode.looks)


def _carrier(
    config: LinkConfig, draws: KeyedDraws, cached: CachedDraws, mode: Any, receiver: Any, make_air: "MakeAir | None"
) -> Any:
    """The carrier of the link's fidelity; ``receiver`` is None for the plain matched filter."""
    if config.fidelity == "waveform":
        from phy.waveform_carrier import WaveformCarrier  # brings in torch, which a symbol link may do without

        return WaveformCarrier(config, draws, cached, mode.resources, mode.looks, receiver, make_air)
    if receiver is not None:
        return IntervalCarrier(config, draws, cached, receiver)
    return SymbolCarrier(config, draws, cached, mode.resources, mode.looks)


def _transmit_power(prepared: Prepared) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum over devices (mean over scalars), and maximum, of the energy of a scalar. Both [B]."""
    rounds, devices, scalars = prepared.energy.shape
    flat = prepared.energy.reshape(rounds, devices * scalars)
    return flat.sum(axis=1) / np.float64(scalars), flat.max(axis=1).astype(np.float64)


def _runs(rounds: NDArray[np.int64], width: int) -> Iterator[tuple[int, int]]:
    """Slices of consecutive round indices that cross no multiple of ``width``, a whole number of groups of draws."""
    if len(rounds) == 1:
        yield 0, 1
        return
    breaks = (np.diff(rounds) != 1) | (rounds[1:] % width == 0)
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(rounds)]
    yield from pairwise(edges)
