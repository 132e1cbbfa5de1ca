"""Sionna 1.x's air, on TensorFlow: its flat-fading channel and its AWGN, unmodified, each in one ``tf.function``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phy.draws import CachedDraws
from phy.runtimes.tensorflow import compiled, fed, seed_generators, tf

# After the runtime, which says how TensorFlow is to be loaded.
from sionna.phy.channel import AWGN, ApplyFlatFadingChannel  # isort: skip

_apply = ApplyFlatFadingChannel(precision="single")
_awgn = AWGN(precision="single")


class Part:
    """Flat block fading through Sionna's blocks, in single precision on the CPU.

    Fades come from :class:`phy.channels._tensorflow_model.FedRayleigh`, Sionna's own block fed with keyed draws.
    """

    def __init__(self, draws: CachedDraws) -> None:
        del draws

    def superpose(self, channel: NDArray[np.complex64], signals: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Noise-free received samples y[b, m] = sum_k h[b, m, k] x[b, k], for h [B, M, K] and x [B, K]. [B, M]."""
        return np.asarray(_superposed(tf.constant(signals), tf.constant(channel)).numpy())

    def add_noise(self, clean: NDArray[np.complex64], thermal: NDArray[np.complex64], n0: float) -> NDArray[np.complex64]:
        """Samples with noise of variance ``n0`` each, from CN(0, 1) draws of the same shape [B, n, U, M]."""
        return np.asarray(_received(tf.constant(clean), tf.constant(thermal), tf.constant(np.float32(n0))).numpy())


@compiled(2, 3)
def _superposed(x: Any, h: Any) -> Any:
    return _apply(x, h)


@compiled(4, 4, "real")
def _received(clean: Any, thermal: Any, n0: Any) -> Any:
    with fed(thermal):
        return _awgn(clean, n0)


def own_noise(clean: NDArray[np.complex64], n0: float, seed: int) -> NDArray[np.complex64]:
    """Samples [N] with noise that Sionna's AWGN draws from its own generator, seeded with ``seed``."""
    seed_generators(seed)
    return np.asarray(_noisy(tf.constant(clean), tf.constant(np.float32(n0))).numpy())


@compiled(1, "real")
def _noisy(clean: Any, n0: Any) -> Any:
    return _awgn(clean, n0)
