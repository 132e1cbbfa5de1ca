"""What the channels of a run allow, and how loudly they let a device arrive: known beforehand, as they follow from the seed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phy.backends import in_process
from phy.config import LinkConfig
from phy.link import Link

__all__ = ["Sounding", "round_gains", "sound"]

Floats = NDArray[np.float64]

_BLOCK_ROUNDS = 1024
_WHISPER = 1e-8  # an amplitude below everybody's limit, so that power control plays no part


@dataclass(frozen=True)
class Sounding:
    """Each float64[T].

    :param caps: largest aligned amplitude that power control allows without artificial noise; 0 where nobody transmits
    :param excess: largest received amplitude of a device, over all antennas, per unit of the aligned one; 1 where every gain is
        known and there is one antenna
    :param active: devices that transmit
    """

    caps: Floats
    excess: Floats
    active: Floats


def sound(
    link: LinkConfig, seed: int, devices: int, rounds: int, progress: Callable[[int, int], None] | None = None
) -> Sounding:
    """The channels of rounds 0 .. rounds-1 with everybody present, from the link itself at symbol fidelity."""
    free, quiet = (Link(_bare(link, cap, rounds), seed) for cap in (None, _WHISPER))
    caps, excess, active = np.empty(rounds), np.empty(rounds), np.empty(rounds)
    for first in range(0, rounds, _BLOCK_ROUNDS):
        block = np.arange(first, min(first + _BLOCK_ROUNDS, rounds))
        silence = np.zeros((len(block), devices, 1))
        heard = free.aggregate(block, silence).diagnostics
        caps[block], active[block] = heard["aligned_gain"], heard["active"]
        excess[block] = _excess(quiet.aggregate(block, silence).diagnostics)
        if progress is not None:
            progress(int(block[-1]) + 1, rounds)
    return Sounding(caps, excess, active)


def round_gains(link: LinkConfig, seed: int, rounds: int) -> Callable[[int, NDArray[np.bool_]], float]:
    """A function of (round, present [K]): the excess of that round where not everybody is on the air."""
    quiet = Link(_bare(link, _WHISPER, rounds), seed)

    def excess(index: int, present: NDArray[np.bool_]) -> float:
        silence = np.zeros((1, len(present), 1))
        return float(_excess(quiet.aggregate(np.array([index]), silence, present[None]).diagnostics)[0])

    return excess


def _bare(link: LinkConfig, cap: float | None, rounds: int) -> LinkConfig:
    """The link at symbol fidelity, whose channels and power control are those of the waveform, without artificial noise."""
    caps = None if cap is None else (cap,) * rounds
    power = link.power.model_copy(update={"caps": caps, "artificial_noise": 0.0})
    offsets = link.offsets
    if link.fidelity == "waveform":  # paths are sounded through the pulse of the burst
        offsets = offsets.model_copy(update={"pulse": "burst", "spacing": "guarded"})
    changes = {"fidelity": "symbol", "power": power, "offsets": offsets, "impairments": {}, "receiver": "matched"}
    return in_process(link.model_copy(update={**changes, "air": "numpy"}))


def _excess(heard: dict[str, Floats]) -> Floats:
    """Loudest over aligned amplitude; 1 where nobody transmits."""
    aligned, loudest = heard["aligned_gain"], heard["loudest_gain"]
    return np.divide(loudest, aligned, out=np.ones_like(aligned), where=aligned > 0)
