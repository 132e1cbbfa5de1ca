"""Power control of least mean square error: the weak send at full power, the strong invert to a common level.

X. Cao, G. Zhu, J. Xu, K. Huang, "Optimized power control for over-the-air computation in fading channels", IEEE TWC 2020
(arXiv 1906.06858), static channel, here per round with a peak power of 1 and a real decision variable.

Device k arrives with amplitude min(|f_k|, a) and the receiver divides by a and by K, so for uncorrelated symbols of
mean zero and mean square s2, and noise N0/2 on the decision variable, with u = 1/a,

    K^2 MSE(u) = s2 sum_k max(0, 1 - |f_k| u)^2 + (N0/2) u^2.

This is convex in u. Half its derivative is the least over j of s2 sum_{k<=j} |f_k| (|f_k| u - 1) + (N0/2) u, the gains in
ascending order (a prefix collects exactly the negative terms), each increasing in u; the root of the least is the largest root:

    a = min over j = 1..K of (sum_{k<=j} |f_k|^2 + N0 / (2 s2)) / sum_{k<=j} |f_k|.

No other levels within the peak power, silence included, and no other receive scaling have a smaller error. The estimate is
biased towards zero where devices fall short of a; as N0 vanishes, a falls to the weakest |f_k| and the bias goes. The gains are
taken as exact: errors of channel estimation are not part of what is minimised.
"""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig

# Mean square of a symbol: votes are +-1; an amplitude is taken as uniform over full scale, an assumption about the payload.
_MEAN_SQUARE_VOTE = 1.0
_MEAN_SQUARE_UNIFORM = 1.0 / 3.0


class Part:
    """Received levels min(|f_k|, a) with the a of least mean square error; everybody present transmits."""

    def __init__(self, config: LinkConfig) -> None:
        mean_square = _MEAN_SQUARE_VOTE if config.scheme == "sign" else _MEAN_SQUARE_UNIFORM
        self._noise = config.n0 / (2.0 * mean_square)

    def levels(
        self, gains: NDArray[np.float32], present: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.bool_] | None, NDArray[np.float32], NDArray[np.float32]]:
        """Estimated gains |f|^2 [B, K], present [B, K] to (who transmits [B, K], received levels [B, K], scaling a [B]).

        ``None`` stands for everybody. a is 0 where nobody is present or no gain is positive.
        """
        amplitudes = np.sqrt(gains)
        if present is not None:
            amplitudes = np.where(present, amplitudes, np.float32(0))
        # Zeros stand for the absent: they come first, change no sum, and leave 0/0 as no candidate.
        ascending = np.sort(amplitudes, axis=1).astype(np.float64)
        total = np.cumsum(ascending, axis=1)
        square = np.cumsum(np.square(ascending), axis=1) + self._noise
        candidates = np.divide(square, total, out=np.full_like(total, np.inf), where=total > 0)
        best = candidates.min(axis=1)
        scaling = np.where(np.isinf(best), 0.0, best).astype(np.float32)
        return present, np.minimum(amplitudes, scaling[:, None]), scaling
