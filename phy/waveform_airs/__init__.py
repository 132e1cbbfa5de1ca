"""Airs at waveform fidelity: device bursts in, received samples out. One file each.

An air stands between transmitter and receiver (:class:`Air`). Whoever makes a link in the same process may hand it another
one (:data:`MakeAir`): one that remembers, adds a recording, or leads out of the machine.
"""

from collections.abc import Callable
from typing import Any, Protocol

from phy.config import LinkConfig
from phy.foreign import Guarded
from phy.modes import Complexes


class Air(Protocol):
    """What carries bursts [K, N] of a round to samples [M, N].

    A class attribute ``keyed = True`` states that equal calls give equal samples: every draw, noise among them, is a function
    of the draws that the air was given. It counts for the class that says it, not for a user's subclass. Any other air is taken
    for one like a radio, whose noise is new in every transmission (:func:`says_keyed`).
    """

    def transmit(self, bursts: Complexes, round_index: int, sounded: Complexes, reference_sample: int) -> Complexes | None:
        """Received samples [M, N] of one slot for device bursts [K, N]; None where the slot was lost, and with it the round.

        ``sounded`` [M, K]: the channel that transmitters rely on; ``reference_sample``: where the payload starts, from which
        carrier phases are counted. Neither argument may be written to.
        """
        ...


def says_keyed(air: Any) -> bool:
    """Whether the air's noise is keyed, by its own word: a class outside this package that inherits from one of ours may have
    added noise of its own, so it must say so itself.
    """
    part = air.part if isinstance(air, Guarded) else air
    kind = type(part)
    return bool(getattr(part, "keyed", False)) and (kind.__module__.startswith("phy.") or "keyed" in vars(kind))


# An air of a link: (configuration, keyed draws, cached draws, propagation) -> air.
MakeAir = Callable[[LinkConfig, Any, Any, Any], Air]
