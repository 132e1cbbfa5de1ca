"""Keras blocks that misbehave, and ones that draw."""

import keras
import tensorflow as tf


class _Receiver(keras.layers.Layer):
    def call(self, z, amplitude, heard, n0):
        return self.spoilt(tf.math.real(z) / amplitude[:, None])


class Matched(_Receiver):
    batched = True
    graph = True

    def spoilt(self, good):
        return good


class WrongShape(_Receiver):
    def spoilt(self, good):
        return good[:, :0]


class WrongType(_Receiver):
    def spoilt(self, good):
        return tf.cast(good, tf.complex64)


class NotANumber(_Receiver):
    def spoilt(self, good):
        return good * float("nan")


class Raises(_Receiver):
    def spoilt(self, good):
        raise RuntimeError("the weights are gone\nand a second line")


class RaisesInAGraph(Raises):
    graph = True


class Exits(_Receiver):
    def spoilt(self, good):
        raise SystemExit(3)


class Nothing(_Receiver):
    def spoilt(self, good):
        return None


class CannotBeMade(_Receiver):
    def __init__(self):
        raise FileNotFoundError("weights.pt is not here")


class _Channel(keras.layers.Layer):
    def call(self, x, h):
        return self.spoilt(h @ x if len(h.shape) == 2 else tf.linalg.matvec(h, x))


class ChannelOfRealNumbers(_Channel):
    def spoilt(self, good):
        return tf.math.real(good)


class ChannelOfInfinities(_Channel):
    def spoilt(self, good):
        return good / 0.0


class ChannelOfAnotherShape(_Channel):
    def spoilt(self, good):
        return tf.concat((good, good), -1)


class Interferer(_Channel):
    def spoilt(self, good):
        return good + tf.cast(0.1 * tf.random.normal(tf.shape(good)), good.dtype)


class InterfererInAGraph(_Channel):
    graph = True

    def spoilt(self, good):
        return good + tf.cast(0.1 * tf.random.get_global_generator().normal(tf.shape(good)), good.dtype)
