"""Airs at the seam between transmitter and receiver: one that remembers what passes, and one that plays it back."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig
from phy.link import Link
from phy.waveform_airs import Air, MakeAir, says_keyed
from testbench.errors import TestbenchError
from testbench.scenario import Scenario

Complexes = NDArray[np.complex64]


class RememberingAir:
    """An air of which the last slot is kept."""

    def __init__(self, inner: Air) -> None:
        self._inner = inner
        self._passed: tuple[Complexes, Complexes | None] | None = None

    @property
    def keyed(self) -> bool:
        """Whether the air behind it says that its noise is keyed."""
        return says_keyed(self._inner)

    def take(self) -> tuple[Complexes, Complexes | None] | None:
        """The last slot's bursts [K, N] and samples [M, N] (None: lost), once; None where nothing passed since."""
        passed, self._passed = self._passed, None
        return passed

    def transmit(self, bursts: Complexes, round_index: int, sounded: Complexes, reference_sample: int) -> Complexes | None:
        """What the air behind it returns."""
        samples = self._inner.transmit(bursts, round_index, sounded, reference_sample)
        self._passed = (bursts, samples)
        return samples


class PlaybackAir:
    """Recorded samples [M, N] of each round (None: a slot that the air lost), whatever is sent: an air that cannot react."""

    def __init__(self, slots: Mapping[int, Complexes | None]) -> None:
        self._slots = slots

    def transmit(self, bursts: Complexes, round_index: int, sounded: Complexes, reference_sample: int) -> Complexes | None:
        """The recorded slot; raises :class:`testbench.errors.TestbenchError` for a round that was not recorded."""
        del bursts, sounded, reference_sample
        if round_index not in self._slots:
            raise TestbenchError(f"round {round_index} is not in the capture; replay the rounds that were recorded")
        return self._slots[round_index]


def silent_air(*_: object) -> PlaybackAir:
    """For a link that is asked for its layout alone: no file is opened and no flowgraph started."""
    return PlaybackAir({})


def waveform_link(config: LinkConfig, seed: int, make_air: MakeAir | None = None) -> Link:
    """A link over the air that ``make_air`` makes; None: the one that it was configured with.

    Raises :class:`testbench.errors.TestbenchError` for a link without waveforms.
    """
    if config.fidelity != "waveform":
        raise TestbenchError(
            'captures hold waveforms, and this link has fidelity "symbol"; set link.fidelity to waveform (on the command line: '
            "--set link.fidelity=waveform)"
        )
    return Link(config, seed, make_air)


def refuse_private(scenario: Scenario) -> None:
    """Raise :class:`testbench.errors.TestbenchError` where a run would set the link, or stop, by its privacy plan."""
    if scenario.privacy.on:
        raise TestbenchError(
            "captures hold what everybody sent, which a privacy claim keeps from the server; leave privacy.epsilon out"
        )
