"""Airs at waveform fidelity: device bursts in, received samples out. One file each.

An air stands between transmitter and receiver (:class:`Air`). Whoever makes a link in the same process may hand it another
one (:data:`MakeAir`): one that remembers, adds a recording, or leads out of the machine.
"""

from collections.abc import Callable
from typing import Any, Protocol

from phy.config import LinkConfig
from phy.modes import Complexes


class Air(Protocol):
    """What carries bursts [K, N] of a round to samples [M, N].

    A class attribute ``keyed = True`` states that equal calls give equal samples: every draw is a function of the seed and the
    round. It counts for the class that says it, not for its subclasses. Any other air is taken for one like a radio, whose
    noise is new in every transmission.
    """

    def transmit(self, bursts: Complexes, round_index: int, sounded: Complexes, reference_sample: int) -> Complexes | None:
        """Received samples [M, N] of one slot for device bursts [K, N]; None where the slot was lost, and with it the round.

        ``sounded`` [M, K]: the channel that transmitters rely on; ``reference_sample``: where the payload starts, from which
        carrier phases are counted. Neither argument may be written to.
        """
        ...


# An air of a link: (configuration, keyed draws, cached draws, propagation) -> air.
MakeAir = Callable[[LinkConfig, Any, Any, Any], Air]
