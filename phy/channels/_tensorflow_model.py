"""Channel models of Sionna 1.x, on TensorFlow, as parts, and Sionna's Rayleigh fading fed with keyed draws."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phy.channels._foreign_model import ForeignModel
from phy.draws import GROUP_ROUNDS, CachedDraws
from phy.runtimes.tensorflow import compiled, fed, seed_everything, seed_generators, tf

# After the runtime, which says how TensorFlow is to be loaded.
from sionna.phy.channel import ChannelModel, RayleighBlockFading  # isort: skip
from sionna.phy.channel.tr38901 import TDL  # isort: skip


class SionnaModel(ForeignModel):
    """Adapter around a :class:`sionna.phy.channel.ChannelModel` of Sionna 1.x.

    A user's model is called eagerly, tens of milliseconds a round, since a graph would freeze what it draws outside TensorFlow.
    With its attribute ``graph = True``, which states that it draws from Sionna's ``config.tf_rng`` alone, it goes through
    ``tf.function`` in about a millisecond.
    """

    def is_model(self, model: Any) -> bool:
        """Whether it is a channel model of Sionna 1.x."""
        return isinstance(model, ChannelModel)

    def draw(self, model: Any, seed: int, batch: int, steps: int, rate_hz: float) -> tuple[NDArray[Any], NDArray[Any]]:
        """One call of the model."""
        if not getattr(model, "graph", False):
            seed_everything(seed)
            a, tau = model(batch, steps, rate_hz)
        else:
            seed_generators(seed)
            key = (batch, steps, rate_hz)
            graphs: dict[Any, Any] = self.__dict__.setdefault("_graphs", {})
            if key not in graphs:
                graphs[key] = tf.function(lambda: model(batch, steps, rate_hz))
            a, tau = graphs[key]()
        return a.numpy(), tau.numpy()


class FedRayleigh:
    """Keyed draws that have gone through Sionna's Rayleigh block fading: a source of fades in place of the bare draws.

    The block runs unmodified in a ``tf.function``; its generator hands out the keyed normals. Groups of rounds are kept by the
    draws themselves, and here once more after the block.
    """

    def __init__(self, draws: CachedDraws) -> None:
        self._draws = draws
        self._kept: tuple[tuple[int, int, int], NDArray[np.complex64]] | None = None

    def complex_normal(
        self, purpose: str, devices: int, first_round: int, rounds: int, per_round: int
    ) -> NDArray[np.complex64]:
        """As :meth:`phy.draws.CachedDraws.complex_normal`, [rounds, per_round, devices]; not to be written to."""
        start = first_round - first_round % GROUP_ROUNDS
        if rounds >= GROUP_ROUNDS or first_round + rounds > start + GROUP_ROUNDS:
            return self._through(self._draws.complex_normal(purpose, devices, first_round, rounds, per_round))
        key = (start, devices, per_round)
        if self._kept is None or self._kept[0] != key:
            drawn = self._draws.complex_normal(purpose, devices, start, GROUP_ROUNDS, per_round)
            self._kept = (key, self._through(drawn))
        return self._kept[1][first_round - start : first_round - start + rounds]

    def _through(self, drawn: NDArray[np.complex64]) -> NDArray[np.complex64]:
        faded: NDArray[np.complex64] = _fade(tf.constant(drawn)).numpy()
        return faded


@compiled(3)
def _fade(drawn: Any) -> Any:
    """Coefficients [B, M, K] of Sionna's block fed with CN(0, 1) draws [B, M, K]."""
    shape = tf.shape(drawn)
    with fed(drawn):
        a, _ = RayleighBlockFading(1, shape[1], shape[2], 1, precision="single")(shape[0], 1)
    return a[:, 0, :, :, 0, 0, 0]


def rayleigh(antennas: int) -> Any:
    """Sionna's own Rayleigh block fading of a single link."""
    return _in_graph(RayleighBlockFading(1, antennas, 1, 1, precision="single"))


def tdl(letter: str, delay_spread_s: float, antennas: int) -> Any:
    """Sionna's own tapped delay line; the carrier frequency matters to Doppler alone, and devices stand still."""
    return _in_graph(TDL(letter, delay_spread_s, carrier_frequency=1e9, num_rx_ant=antennas, precision="single"))


def _in_graph(model: Any) -> Any:
    """Sionna's own models draw from TensorFlow alone: a graph freezes nothing of them."""
    model.graph = True
    return model
