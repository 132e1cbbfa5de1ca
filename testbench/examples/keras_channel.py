"""A channel of one's own in Keras: superposition into a front end that saturates.

pairzero run demo --set air.backend=tensorflow --set link.air=testbench.examples.keras_channel:SaturatingFrontEnd
"""

from typing import Any

import keras
import tensorflow as tf

# As in torch_channel.py.
SATURATION = 4.0


class SaturatingFrontEnd(keras.layers.Layer):  # type: ignore[misc]
    """y = s / sqrt(1 + |s|^2 / A^2) with s = H x: small signals pass, large ones end at A."""

    batched = True  # it draws nothing, and treats every round by itself
    graph = True  # nothing in it happens outside TensorFlow

    def call(self, x: Any, h: Any) -> Any:
        """Symbols x [B, K] and gains h [B, M, K] to y [B, M], or bursts x [K, N] and gains h [M, K] to y [M, N]."""
        s = h @ x if len(h.shape) == 2 else tf.linalg.matvec(h, x)
        gain = tf.math.rsqrt(1.0 + tf.square(tf.abs(s)) / SATURATION**2)
        return s * tf.cast(gain, s.dtype)
