"""Channel models of Sionna 2, on PyTorch, as parts."""

from typing import Any

from numpy.typing import NDArray
from sionna.phy.channel import ChannelModel, RayleighBlockFading
from sionna.phy.channel.tr38901 import TDL

from phy.channels._foreign_model import ForeignModel
from phy.runtimes.torch import seeded


class SionnaModel(ForeignModel):
    """Adapter around a :class:`sionna.phy.channel.ChannelModel`: a fraction of a millisecond a round for Sionna's ``TDL``.

    Its generators are put back after each call to where they were.
    """

    def is_model(self, model: Any) -> bool:
        """Whether it is a channel model of Sionna 2."""
        return isinstance(model, ChannelModel)

    def draw(self, model: Any, seed: int, batch: int, steps: int, rate_hz: float) -> tuple[NDArray[Any], NDArray[Any]]:
        """One call of the model."""
        with seeded(seed):
            a, tau = model(batch, steps, rate_hz)
        return a.detach().resolve_conj().cpu().numpy(), tau.detach().cpu().numpy()


def rayleigh(antennas: int) -> Any:
    """Sionna's own Rayleigh block fading of a single link."""
    return RayleighBlockFading(1, antennas, 1, 1, precision="single", device="cpu")


def tdl(letter: str, delay_spread_s: float, antennas: int) -> Any:
    """Sionna's own tapped delay line; the carrier frequency matters to Doppler alone, and devices stand still."""
    return TDL(letter, delay_spread_s, carrier_frequency=1e9, num_rx_ant=antennas, precision="single", device="cpu")
