"""MeZO's own directions: torch's normal stream on the CPU, as the published code draws it.

``torch.manual_seed(s)``, then one ``torch.normal`` per trainable tensor in the model's order (MeZO's ``zo_perturb_parameters``,
arXiv 2305.17333, Algorithm 2). The same numbers come here from a generator of our own, in pieces, without touching torch's
global one. For comparison with published runs only: this z differs between CPU and GPU, between processors of other
vector units in the last bits, and may differ between versions of torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from learning.keys import MEZO_SEEDS, philox
from learning.parameters import WeightVector
from learning.passes import Pass

__all__ = ["MezoDirections", "mezo_seed"]

#: torch fills normals in blocks of 16; pieces of whole blocks leave the stream as it is, if the last has one block or more.
_PIECE = 2**18


def mezo_seed(seed: int, round_index: int, direction: int = 0) -> int:
    """The seed of a round's z in 0 .. 10^9 - 1, the range that MeZO draws its seeds from: a word of Philox."""
    word = philox(seed, MEZO_SEEDS, round_index=round_index, stream=direction).random_raw(1)[0]
    return int(word) % 10**9


class MezoDirections:
    """torch's normal numbers under one seed for the given weights; see :class:`learning.perturbation.Perturbation`."""

    def __init__(self, weights: Sequence[WeightVector], seed: int) -> None:
        self._weights = tuple(weights)
        self._seed = seed
        self._buffer = torch.empty(0)

    def apply(self, round_index: int, passes: Sequence[Pass], decay: np.float32 | None = None) -> None:
        """Every pass in turn, w <- fl32(w + fl32(scale * z)); then the decay of matrices."""
        for item in passes:
            self.add_seeded(mezo_seed(self._seed, round_index, item.direction), item.scale)
        if decay is not None:
            for vector in self._weights:
                if vector.decays:
                    vector.flat.mul_(float(decay))

    def add_seeded(self, seed: int, scale: np.float32) -> None:
        """One pass along the z that MeZO draws after ``torch.manual_seed(seed)``."""
        generator = torch.Generator()
        generator.manual_seed(seed)
        for vector in self._weights:
            done, count = 0, len(vector)
            while done < count:
                take = _PIECE if count - done >= 2 * _PIECE else count - done
                z = self._drawn(take, generator)
                piece = vector.flat[done : done + take]
                piece.add_(z.mul_(float(scale)).to(piece.device))
                done += take

    def _drawn(self, count: int, generator: torch.Generator) -> torch.Tensor:
        if self._buffer.numel() < count:
            self._buffer = torch.empty(count)
        z = self._buffer[:count]
        return z.normal_(0.0, 1.0, generator=generator)
