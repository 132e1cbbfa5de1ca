"""Sionna's air: keyed Rayleigh block fading as a Sionna channel model, superposed by Sionna's flat-fading channel."""

import numpy as np
import torch
from numpy.typing import NDArray
from sionna.phy.channel import ApplyFlatFadingChannel, RayleighBlockFading

from phy.draws import CachedDraws

# torch multiplies matrices of fewer than 400 elements by a plain loop whose rounding does not depend on the batch;
# larger ones go to a BLAS whose last bits may. Groups of devices keep every product below that.
_GROUP = 256


class KeyedRayleighBlockFading(RayleighBlockFading):  # type: ignore[misc]
    """Sionna's Rayleigh block fading with keyed draws: batch entry ``i`` is round ``first_round + i``.

    Usable wherever Sionna takes a ``ChannelModel``. Device 3 of 10 fades like device 3 of 20, and a batch of ten rounds
    like ten batches of one, which Sionna's own draws from one global stream do not give.

    :param draws: keyed source of the coefficients
    :param num_rx_ant: receive antennas M of the one receiver
    :param num_tx: devices K, one transmit antenna each

    :input batch_size: `int`. Number of consecutive rounds B
    :input num_time_steps: `int`. The coefficient is constant over them
    :output a: [B, 1, M, K, 1, 1, num_time_steps], `torch.complex64`. Path coefficients
    :output tau: [B, 1, K, 1], `torch.float32`. Delays [s], all zero
    """

    def __init__(self, draws: CachedDraws, num_rx_ant: int, num_tx: int) -> None:
        super().__init__(1, num_rx_ant, num_tx, 1, precision="single", device="cpu")
        self._draws = draws
        self._shape = (num_tx, num_rx_ant)
        self.first_round = 0

    def __call__(
        self, batch_size: int, num_time_steps: int, sampling_frequency: float | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Coefficients and delays of rounds ``first_round .. first_round + batch_size - 1``."""
        del sampling_frequency  # block fading has no time scale inside a round
        devices, antennas = self._shape
        drawn = self._draws.complex_normal("fading", devices, self.first_round, batch_size, antennas)
        a = torch.from_numpy(drawn)[:, None, :, :, None, None, None]
        tau = torch.zeros(batch_size, 1, devices, 1)
        return a.expand(*a.shape[:-1], num_time_steps), tau


class Part:
    """Flat Rayleigh block fading through Sionna's classes, in single precision on the CPU."""

    def __init__(self, draws: CachedDraws) -> None:
        self._draws = draws
        self._apply = ApplyFlatFadingChannel(precision="single", device="cpu")

    def fading(self, devices: int, first_round: int, rounds: int, antennas: int) -> NDArray[np.complex64]:
        """Channel coefficients [B, M, K] of consecutive rounds; the caller must not write to them.

        They are those of :class:`KeyedRayleighBlockFading`, without the 17 us that its tensor views cost at every call.
        """
        return self._draws.complex_normal("fading", devices, first_round, rounds, antennas)

    def superpose(self, channel: NDArray[np.complex64], signals: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Noise-free received samples y[b, m] = sum_k h[b, m, k] x[b, k], for h [B, M, K] and x [B, K]. [B, M]."""
        _, antennas, devices = channel.shape
        h = torch.from_numpy(channel)
        x = torch.from_numpy(signals)
        if antennas == 1 and devices <= _GROUP:
            # `call` is what the block does with tensors that already have its precision and device.
            return np.asarray(self._apply.call(x, h).numpy())
        received = np.zeros(channel.shape[:2], np.complex64)
        for low in range(0, devices, _GROUP):
            group = slice(low, low + _GROUP)
            for m in range(antennas):
                received[:, m] += self._apply(x[:, group], h[:, m : m + 1, group])[:, 0].numpy()
        return received
