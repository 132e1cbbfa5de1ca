"""Channel inversion aligned to the weakest device, everybody transmits (pAirZero, arXiv 2604.12401, Theorem 3, full power)."""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig


class Part:
    """Aligned amplitude a = sqrt(P) min_k |f_k| over the devices present."""

    def __init__(self, config: LinkConfig) -> None:
        del config

    def align(
        self, gains: NDArray[np.float32], present: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.bool_] | None, NDArray[np.float32]]:
        """Estimated gains |f|^2 [B, K] and who is present [B, K] to (who transmits [B, K], amplitude a [B]).

        ``None`` stands for everybody. Peak power P = 1.
        """
        if present is None:
            return None, np.sqrt(gains.min(axis=1))
        weakest = np.where(present, gains, np.float32(np.inf)).min(axis=1)
        return present, np.sqrt(np.where(np.isinf(weakest), np.float32(0), weakest))
