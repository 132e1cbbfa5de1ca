"""Our keyed channels inside Sionna: one adapter for all of them."""

import torch
from sionna.phy.channel import ChannelModel

from phy.channel import Channel


class KeyedChannelModel(ChannelModel):  # type: ignore[misc]
    """A :class:`phy.channel.Channel` wherever Sionna takes a ``ChannelModel``: batch entry ``i`` is round ``first_round + i``.

    Device 3 of 10 fades like device 3 of 20, and a batch of ten rounds like ten batches of one, which Sionna's own draws from
    one global stream do not give. Fading is held over the time steps, or evaluated at each of them where the channel's
    configuration says ``variation = "sample"``.

    :param channel: the channel, with placement and antenna correlation
    :param num_rx_ant: receive antennas M of the one receiver
    :param num_tx: devices K, one transmit antenna each
    :param first_round: round of the first batch entry; may be set between calls

    :input batch_size: `int`. Number of consecutive rounds B
    :input num_time_steps: `int`. Number of time steps T
    :input sampling_frequency: `float`. Time steps per second [Hz]
    :output a: [B, 1, M, K, 1, P, T], `torch.complex64`. Path coefficients
    :output tau: [B, 1, K, P], `torch.float32`. Path delays [s]
    """

    def __init__(self, channel: Channel, num_rx_ant: int, num_tx: int, first_round: int = 0) -> None:
        super().__init__(precision="single", device="cpu")
        self._channel = channel
        self._shape = (num_tx, num_rx_ant)
        self.first_round = first_round

    def __call__(
        self, batch_size: int, num_time_steps: int, sampling_frequency: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Coefficients and delays of rounds ``first_round .. first_round + batch_size - 1``."""
        devices, antennas = self._shape
        steps = num_time_steps if self._channel.moves else 1
        a, tau_s = self._channel.paths(
            devices, self.first_round, batch_size, antennas, steps, sampling_frequency_hz=float(sampling_frequency)
        )
        out = torch.from_numpy(a)[:, None, :, :, None]
        return out.expand(*out.shape[:-1], num_time_steps), torch.from_numpy(tau_s).to(torch.float32)[:, None]
