"""A user's channel block as the air that carries bursts."""

import numpy as np

from phy.blocks import Block, seed_of
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError
from phy.foreign import checked
from phy.modes import Complexes, Floats
from phy.propagation import Propagation
from phy.waveform_airs._numpy import Emulated


class BlockWaveformAir(Emulated):
    """Offsets and receiver noise are ours, in numpy; between them bursts [K, N] go through the block with gains [M, K].

    Raises :class:`phy.errors.PhyError` where the channel is not flat: a block with paths has them inside.
    """

    keyed = True  # a block draws from generators that are seeded by round

    def __init__(
        self,
        label: str,
        block: Block,
        config: LinkConfig,
        draws: KeyedDraws,
        cached: CachedDraws,
        propagation: Propagation,
    ) -> None:
        super().__init__(config, draws, cached, propagation)
        if not propagation.channel.flat:
            raise PhyError(f"{label} takes one gain for each device: choose channel.model rayleigh or awgn")
        self._label, self._block, self._cached = label, block, cached
        self._round = 0

    def transmit(self, bursts: Complexes, round_index: int, sounded: Complexes, reference_sample: int) -> Complexes:
        """Received samples [M, N] of one slot."""
        self._round = round_index
        return super().transmit(bursts, round_index, sounded, reference_sample)

    def flat(self, x: Complexes, gains: Complexes, timing_s: Floats) -> Complexes:
        """Bursts through the block, each at its own time."""
        if timing_s.any():
            x = self.delayed(x, timing_s)
        seed = None if self._block.batched else seed_of(self._cached, self._round)
        y = self._block.call(seed, x, np.ascontiguousarray(gains))
        return checked(self._label, y, (len(gains), x.shape[1]), "complex").astype(np.complex64)
