"""Clock offsets for Sionna: any of its channel models, with a delay and a frequency offset for each transmitter."""

import math

import torch
from sionna.phy.channel import ChannelModel

from phy.errors import PhyError
from phy.impairments._tensors import Real


class ClockOffsetChannel(ChannelModel):  # type: ignore[misc]
    r"""A Sionna channel model whose transmitters have clocks of their own.

    Wraps any ``ChannelModel`` and changes what it returns: each transmitter's ``delay_s`` is added to its path delays
    ``tau``, and its path coefficients ``a`` are turned by exp(j (2 pi f t + phi)). The result goes wherever Sionna takes a
    channel model, such as an unmodified ``TimeChannel``. The model's own random draws are not touched, and offsets of zero
    return the model's own numbers bit for bit.

    *Time.* Step i of a call is at t = (i + ``l_min``) / ``sampling_frequency``. A ``TimeChannel`` asks for N + l_max - l_min
    steps of which the first is output time ``l_min``: give its ``l_min`` here, and the phase at the first transmitted sample
    is ``phase_rad``; leave 0, and all of the output is turned by the constant phase -2 pi f l_min / W more. t starts anew
    at each call. Phases are computed in double precision whatever the precision of the model.

    *Delay.* Sionna cuts the channel's taps at ``l_min`` and ``l_max`` without a word, so delays beyond them would lose
    energy unnoticed. State here what they cover: ``max_delay_s`` (``TimeChannel``'s ``maximum_delay_spread``) and, where
    transmitters may be early, ``max_advance_s`` (lower ``TimeChannel``'s ``l_min`` of -6 by as many samples). Paths without
    power may have any delay.

    *Drift.* Sionna's ``tau`` has no time axis, so a delay cannot change within a call. ``drift_ppm`` therefore moves the
    delay as a whole, to its value at the middle of the call: the burst of a clock that is fast by eps comes earlier by
    eps (``elapsed_s`` + t_mid). For the stretch inside a burst put
    :class:`phy.impairments.sionna_blocks.SamplingOffset` before the channel. The carrier does not follow the drift: set
    ``frequency_hz`` as well.

    :param channel_model: the Sionna channel model to wrap
    :param max_delay_s: largest path delay, offset included, that the simulation covers [s]
    :param max_advance_s: how early a path may come [s]
    :param l_min: output time of the first step, in samples; ``TimeChannel.l_min``
    :param delay_s: timing offset, positive is late [s]; scalar, [num_tx] or [batch_size, num_tx], as all that follow
    :param frequency_hz: carrier frequency offset, positive where the transmitter's carrier is above the receiver's [Hz]
    :param phase_rad: phase offset at t = 0 [rad]
    :param drift_ppm: error of the transmitter's clock [1e-6]; positive is fast
    :param elapsed_s: time since the clocks were aligned, at t = 0 [s]

    :input batch_size: `int`. Batch size
    :input num_time_steps: `int`. Number of time steps
    :input sampling_frequency: `float`. Sampling frequency [Hz]

    :output a: [batch size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_paths, num_time_steps], `torch.complex`.
        Path coefficients
    :output tau: [batch size, num_rx, num_tx, num_paths] or
        [batch size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_paths], `torch.float`. Path delays [s]

    Raises :class:`phy.errors.PhyError` where a delay is not covered or a parameter does not fit the transmitters.

    .. code-block:: python

        model = RayleighBlockFading(num_rx=1, num_rx_ant=2, num_tx=5, num_tx_ant=1)
        model = ClockOffsetChannel(model, max_delay_s=3e-6, l_min=-6)
        model.set_offsets(delay_s=1e-6 * torch.rand(5), frequency_hz=100.0)
        channel = TimeChannel(model, bandwidth=1e6, num_time_samples=64, maximum_delay_spread=3e-6)
    """

    def __init__(
        self,
        channel_model: ChannelModel,
        *,
        max_delay_s: float,
        max_advance_s: float = 0.0,
        l_min: int = 0,
        delay_s: Real = 0.0,
        frequency_hz: Real = 0.0,
        phase_rad: Real = 0.0,
        drift_ppm: Real = 0.0,
        elapsed_s: Real = 0.0,
    ) -> None:
        super().__init__(precision=channel_model.precision, device=channel_model.device)
        self._model = channel_model
        self._max_delay_s = max_delay_s
        self._max_advance_s = max_advance_s
        self._l_min = l_min
        self.set_offsets(
            delay_s=delay_s, frequency_hz=frequency_hz, phase_rad=phase_rad, drift_ppm=drift_ppm, elapsed_s=elapsed_s
        )

    @property
    def channel_model(self) -> ChannelModel:
        """The channel model inside."""
        return self._model

    def set_offsets(
        self,
        *,
        delay_s: Real = 0.0,
        frequency_hz: Real = 0.0,
        phase_rad: Real = 0.0,
        drift_ppm: Real = 0.0,
        elapsed_s: Real = 0.0,
    ) -> None:
        """Replace all offsets; what is left out becomes 0. Each a scalar, [num_tx] or [batch_size, num_tx]."""
        given = {
            "delay_s": delay_s,
            "frequency_hz": frequency_hz,
            "phase_rad": phase_rad,
            "drift_ppm": drift_ppm,
            "elapsed_s": elapsed_s,
        }
        offsets = {name: torch.as_tensor(value, dtype=torch.float64, device=self.device) for name, value in given.items()}
        for name, value in offsets.items():
            if value.dim() > 2 or not bool(torch.isfinite(value).all()):
                raise PhyError(f"{name} must be finite, and a scalar, [num_tx] or [batch_size, num_tx]; got {value}")
        self._check_delays(offsets["delay_s"], "delay_s")
        self._offsets = offsets

    def __call__(self, batch_size: int, num_time_steps: int, sampling_frequency: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Path coefficients and delays with the offsets on them."""
        a, tau = self._model(batch_size, num_time_steps, sampling_frequency)
        offsets = {name: self._fitted(name, value, a.shape[0], a.shape[3]) for name, value in self._offsets.items()}

        step_s = 1.0 / sampling_frequency
        middle_s = (self._l_min + 0.5 * (num_time_steps - 1)) * step_s
        shift = offsets["delay_s"] - 1e-6 * offsets["drift_ppm"] * (offsets["elapsed_s"] + middle_s)
        # tau is [B, R, T, P], or [B, R, A, T, A', P] with antennas.
        shift = shift[:, None, :, None] if tau.dim() == 4 else shift[:, None, None, :, None, None]
        late = tau.to(torch.float64) + shift
        if float(late.max()) > self._max_delay_s or float(late.min()) < -self._max_advance_s:
            heard = (a != 0).any(dim=-1)
            self._check_delays(late[heard.any(dim=(2, 4)) if tau.dim() == 4 else heard], "the path delay, offset included,")

        instants = (self._l_min + torch.arange(num_time_steps, dtype=torch.float64, device=a.device)) * step_s
        cycles = offsets["frequency_hz"][..., None] * instants + offsets["phase_rad"][..., None] / (2.0 * math.pi)
        angle = (cycles - torch.round(cycles)) * (2.0 * math.pi)
        turned = torch.complex(torch.cos(angle), torch.sin(angle)).to(a.dtype)
        return a * turned[:, None, None, :, None, None, :], late.to(tau.dtype)

    def _fitted(self, name: str, value: torch.Tensor, batch: int, num_tx: int) -> torch.Tensor:
        """An offset as [batch, num_tx]."""
        try:
            return value.expand(batch, num_tx)
        except RuntimeError:
            raise PhyError(
                f"{name} of shape {list(value.shape)} does not fit {num_tx} transmitters in a batch of {batch}; it must be a "
                "scalar, [num_tx] or [batch_size, num_tx]"
            ) from None

    def _check_delays(self, delay_s: torch.Tensor, what: str) -> None:
        if delay_s.numel() == 0:
            return
        # Single precision may round a delay that is exactly at the bound beyond it.
        late, early = float(delay_s.max()), -float(delay_s.min())
        if late > self._max_delay_s * (1 + 1e-6):
            raise PhyError(
                f"{what} reaches {late:.6g} s and max_delay_s is {self._max_delay_s:.6g}; raise it together with "
                "maximum_delay_spread or l_max of the time channel, which would cut the taps off"
            )
        if early > self._max_advance_s * (1 + 1e-6):
            raise PhyError(
                f"{what} goes down to {-early:.6g} s and max_advance_s is {self._max_advance_s:.6g}; raise it together with a "
                "smaller l_min of the time channel, which would cut the taps off"
            )
