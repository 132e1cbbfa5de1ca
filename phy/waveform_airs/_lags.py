"""Which lags of a discrete-time channel are kept: Sionna's own margin of six samples around all delays that can occur."""

import math

import numpy as np

from phy.config import LinkConfig
from phy.errors import PhyError
from phy.modes import Floats
from phy.propagation import Propagation

# As in Sionna's time_lag_discrete_time_channel: the sinc is cut six samples before the first path and after the last one.
_MARGIN = 6


class Lags:
    """Lags ``first`` to ``last`` in samples, from the bounds of the link's timing offsets and path delays.

    The bounds hold for one device: every device of a link has the same laws, and a channel model the same largest delay.
    """

    def __init__(self, config: LinkConfig, propagation: Propagation) -> None:
        offsets, clock = config.offsets, config.clock
        bound_s = offsets.timing_s.bound + offsets.timing_jitter_s.bound + clock.sampling_ppm.bound * 1e-6 * clock.since_sync_s
        rate = config.burst.sample_rate_hz
        self._rate = rate
        self.first = -_MARGIN - math.ceil(bound_s * rate)
        self.last = _MARGIN + math.ceil((bound_s + propagation.channel.max_delay_s(1)) * rate)

    @property
    def count(self) -> int:
        """Number of taps."""
        return self.last - self.first + 1

    def refuse_beyond(self, delays_s: Floats) -> None:
        """Raise :class:`phy.errors.PhyError` for a delay [s] whose taps would be cut without a word."""
        low, high = float(np.min(delays_s)) * self._rate, float(np.max(delays_s)) * self._rate
        if low < self.first or high > self.last:
            raise PhyError(
                f"a path arrives {low if low < self.first else high:.1f} samples late, beyond the lags {self.first} .. "
                f"{self.last} that the time channel keeps; bound the offsets, or choose burst.air emulated"
            )
