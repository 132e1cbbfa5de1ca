"""A neural receiver in Keras: it knows how large sums usually are, and trusts a noisy one accordingly.

pairzero run demo --set air.backend=tensorflow --set link.receiver=testbench.examples.keras_receiver:Receiver
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from testbench.examples.receiver_weights import layers


class Receiver(keras.Model):  # type: ignore[misc]
    """The network of :mod:`testbench.examples.receiver_weights`."""

    batched = True  # it draws nothing, and treats every round by itself
    graph = True  # nothing in it happens outside TensorFlow

    def __init__(self) -> None:
        super().__init__()
        *hidden, last = layers()
        self.dense = [_dense(*layer, "tanh") for layer in hidden] + [_dense(*last, "sigmoid")]

    def call(self, z: Any, amplitude: Any, heard: Any, n0: Any) -> Any:
        """Sums of symbols [B, n] from statistics z [B, n], amplitudes [B], devices heard [B] and the noise variance."""
        scale = (amplitude * heard)[:, None]
        mean = tf.math.real(z) / scale
        sigma = tf.sqrt(n0 / 2.0) / scale
        count = tf.broadcast_to(_log10(heard[:, None]), tf.shape(mean))
        hidden = tf.stack((tf.abs(mean), tf.broadcast_to(_log10(sigma), tf.shape(mean)), count), axis=-1)
        for dense in self.dense:
            hidden = dense(hidden)
        return mean * hidden[..., 0] * heard[:, None]


def _dense(weights: list[list[float]], bias: list[float], activation: str) -> Any:
    layer = keras.layers.Dense(len(bias), activation=activation)
    layer.build((None, len(weights)))
    layer.set_weights([np.array(weights, np.float32), np.array(bias, np.float32)])
    return layer


def _log10(x: Any) -> Any:
    return tf.math.log(x) / tf.math.log(10.0)
