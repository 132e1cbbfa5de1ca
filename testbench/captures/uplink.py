"""A link in this process as an uplink of the federation."""

import numpy as np
from numpy.typing import NDArray

from learning.uplink import Aggregate
from phy.link import Link


class LinkUplink:
    """Asks a :class:`phy.link.Link` round by round; same numbers as an air server would return."""

    def __init__(self, link: Link) -> None:
        self.link = link

    @property
    def repeatable(self) -> bool:
        """Whether a round that is sent twice has the same bits."""
        return self.link.keyed

    def aggregate(self, round_index: int, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None = None) -> Aggregate:
        """The link's estimates [n] for payloads [K, n]."""
        who = None if present is None else np.asarray(present, np.bool_)[None]
        result = self.link.aggregate(np.array([round_index], np.int64), np.asarray(payloads, np.float64)[None], who)
        diagnostics = {name: float(values[0]) for name, values in result.diagnostics.items()}
        return Aggregate(result.estimates[0], bool(result.lost[0]), diagnostics)
