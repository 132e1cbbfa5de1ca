"""TensorFlow on one thread of the CPU, Keras layers as functions of arrays, and Sionna 1.x's generator.

Sionna 1.x draws from one process-wide ``tf.random.Generator``. :class:`FedGenerator` takes its place while a graph is traced
and hands out tensors that were drawn elsewhere: Sionna's blocks then run unmodified, with keyed draws.
"""

import os

# Read when TensorFlow is imported: its notices would drown a server's last words, and oneDNN's kernels round differently
# from one processor to the next.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # it would look for a GPU, and complain on the way

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["FedGenerator", "Layer", "compiled", "fed", "seed_everything", "seed_generators", "tf"]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what native code writes to standard error; a Python error still speaks for itself."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


# TensorFlow logs that there is no GPU, at import and when its devices are made, before its log level is obeyed.
with _quiet():
    import tensorflow as tf

    # A pool of threads would fight the learner's for the cores; the operations here are small.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.get_logger().setLevel("ERROR")
    tf.constant(0.0)


def compiled(*ranks: int | str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: a ``tf.function`` of complex tensors of these ranks and any shape, traced once, when it is defined.

    ``"real"`` stands for a real scalar, and ``"delays"`` for real [K, P]. The concrete function that comes back spares
    TensorFlow the search for a matching trace, which takes as long as a small graph itself.
    """
    scalars = {"real": [], "delays": [None, None]}
    signature = [
        tf.TensorSpec(scalars[rank], tf.float32) if isinstance(rank, str) else tf.TensorSpec([None] * rank, tf.complex64)
        for rank in ranks
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        concrete: Callable[..., Any] = tf.function(function, input_signature=signature).get_concrete_function()
        return concrete

    return decorate


class Layer:
    """A Keras layer or model, ``tf.Module`` or block of Sionna 1.x, made without arguments, as a function of arrays.

    :param factory: the class; with its attribute ``graph = True`` calls go through ``tf.function``
    """

    def __init__(self, factory: Callable[[], Any]) -> None:
        layer = factory()
        self._graph = bool(getattr(factory, "graph", False))
        self._call = tf.function(layer, reduce_retracing=True) if self._graph else layer

    def __call__(self, seed: int | None, *arrays: Any) -> Any:
        """The layer's answer to arrays, as an array; with ``seed``, the generators are seeded for this call."""
        if seed is not None:
            (seed_generators if self._graph else seed_everything)(seed)
        out = self._call(*(tf.constant(a) for a in arrays))
        return out.numpy() if hasattr(out, "numpy") else out


_SEEDS = 2**63 - 1  # TensorFlow's seeds are signed


def seed_generators(seed: int) -> None:
    """Put TensorFlow's global ``tf.random.Generator`` and, where it is loaded, Sionna's into a state of this seed's."""
    state = np.array([0, 0, seed & _SEEDS], np.int64)  # of Philox: counter, key
    tf.random.get_global_generator().reset(state)
    if "sionna.phy" in sys.modules:
        sys.modules["sionna.phy"].config.tf_rng.reset(state)


def seed_everything(seed: int) -> None:
    """Seed also what draws without a generator, as ``tf.random.normal`` does, and Sionna's other generators.

    TensorFlow forgets its kernels over it: the next call takes tens of milliseconds.
    """
    tf.random.set_seed(seed & _SEEDS)
    seed_generators(seed)
    if "sionna.phy" in sys.modules:
        config = sys.modules["sionna.phy"].config
        config.np_rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state
        config.py_rng.seed(seed)


class FedGenerator:
    """Stands in for ``tf.random.Generator``: every call of ``normal`` takes the next of the standard normals it was given."""

    def __init__(self, *normals: Any) -> None:
        self._left = list(normals)

    def normal(self, shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = tf.float32, name: Any = None) -> Any:
        """The next tensor, scaled, in the shape that the block asks for."""
        del name
        return tf.reshape(self._left.pop(0), shape) * tf.cast(stddev, dtype) + tf.cast(mean, dtype)


@contextmanager
def fed(*complex_normals: Any) -> Iterator[None]:
    """Let Sionna's blocks draw the CN(0, 1) tensors given, real part first, inside this context; use it while tracing."""
    from sionna.phy import config

    root = tf.constant(np.float32(np.sqrt(2.0)))
    parts = [part * root for drawn in complex_normals for part in (tf.math.real(drawn), tf.math.imag(drawn))]
    kept = config._tf_rng
    config._tf_rng = FedGenerator(*parts)
    try:
        yield
    finally:
        config._tf_rng = kept
