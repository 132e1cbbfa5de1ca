"""Sionna's discrete-time channel as an air: the taps and the convolution of its ``TimeChannel``, block by block.

Here a channel is what Sionna makes of it: taps sum_p a_p sinc(l - W tau_p) at the sample rate W, cut six samples beyond the
delays. A delay between samples leaves an error of about -30 dB whatever the oversampling, unlike the emulated air: choose this
air to get the numbers of an existing Sionna simulation. Timing offsets are added to tau, as
:class:`phy.impairments.clock_offset_channel.ClockOffsetChannel` does; carriers are turned and noise is keyed as everywhere.
"""

import numpy as np
import torch
from sionna.phy.channel import ApplyTimeChannel, cir_to_time_channel

from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.modes import Complexes, Floats
from phy.propagation import Propagation
from phy.waveform_airs._lags import Lags
from phy.waveform_airs.emulated import Part as Emulated


class Part(Emulated):
    """The air of backend sionna; :mod:`phy.waveform_airs._tensorflow` has that of Sionna 1.x."""

    keyed = True

    def __init__(self, config: LinkConfig, draws: KeyedDraws, cached: CachedDraws, propagation: Propagation) -> None:
        super().__init__(config, draws, cached, propagation)
        self._lags = Lags(config, propagation)
        self._apply: dict[int, ApplyTimeChannel] = {}

    def steps(self, count: int) -> int:
        """Outputs of the whole convolution."""
        return count + self._lags.count - 1

    def start_s(self, reference_sample: int) -> float:
        """Outputs start at the first lag."""
        return super().start_s(reference_sample) + self._lags.first / self._rate

    def flat(self, x: torch.Tensor, gains: Complexes, timing_s: Floats) -> torch.Tensor:
        """Bursts through one path."""
        return self.filtered(x, gains[:, :, None], np.zeros((len(timing_s), 1)), timing_s)

    def filtered(self, x: torch.Tensor, paths: Complexes, delays_s: Floats, timing_s: Floats) -> torch.Tensor:
        """Paths that stand still."""
        return self.by_sample(x, paths[..., None], timing_s[:, None] + delays_s)

    def by_sample(self, x: torch.Tensor, paths: Complexes, delays_s: Floats) -> torch.Tensor:
        """Paths [M, K, P, T] at every output, T = 1 where they stand still."""
        count = x.shape[1]
        self._lags.refuse_beyond(delays_s)
        a = torch.from_numpy(paths)[None, None, :, :, None]  # [1, 1, M, K, 1, P, T]
        tau = torch.from_numpy(delays_s.astype(np.float32))[None, None]
        taps = cir_to_time_channel(self._rate, a, tau, self._lags.first, self._lags.last)
        if count not in self._apply:
            self._apply = {count: ApplyTimeChannel(count, self._lags.count, precision="single", device="cpu")}
        y: torch.Tensor = self._apply[count](x[None, :, None], taps)[0, 0]
        return y[:, -self._lags.first : count - self._lags.first]
