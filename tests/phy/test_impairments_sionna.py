"""Sionna blocks against the functions, and clock offsets inside an unmodified TimeChannel against an explicit loop."""

import numpy as np
import pytest
import torch
from sionna.phy.channel import ChannelModel, RayleighBlockFading, TimeChannel
from sionna.phy.channel.tr38901 import TDL

from phy.errors import PhyError
from phy.impairments import sionna_blocks as blocks
from phy.impairments.clock_offset_channel import ClockOffsetChannel
from phy.impairments.converter import convert
from phy.impairments.dc_offset import dc_offset
from phy.impairments.fractional_delay import fractional_delay
from phy.impairments.frequency_offset import frequency_offset
from phy.impairments.iq_imbalance import iq_imbalance
from phy.impairments.phase_noise import phase_noise
from phy.impairments.power_amplifier import rapp, saturation_amplitude
from phy.impairments.sampling_offset import sampling_offset

RATE = 1e6


def samples(batch=3, tx=5, antennas=2, count=256, seed=0, dtype=np.complex64):
    random = np.random.default_rng(seed)
    shape = (batch, tx, antennas, count)
    return torch.from_numpy((random.normal(size=shape) + 1j * random.normal(size=shape)).astype(dtype))


PER_TX = torch.linspace(-1, 1, 5, dtype=torch.float64)
NORMALS = samples(seed=9).real

CASES = {
    "delay": (lambda **o: blocks.FractionalDelay(PER_TX, linear=False, **o), lambda x: fractional_delay(x, PER_TX[:, None])),
    "linear delay": (
        lambda **o: blocks.FractionalDelay(PER_TX, **o),
        lambda x: fractional_delay(x, PER_TX[:, None], linear=True),
    ),
    "frequency": (
        lambda **o: blocks.FrequencyOffset(RATE, 1e3 * PER_TX, PER_TX, 7.5, **o),
        lambda x: frequency_offset(x, 1e3 * PER_TX[:, None], RATE, PER_TX[:, None], 7.5),
    ),
    "sampling": (lambda **o: blocks.SamplingOffset(1e-4 * PER_TX, **o), lambda x: sampling_offset(x, 1e-4 * PER_TX[:, None])),
    "amplifier": (
        lambda **o: blocks.PowerAmplifier(3 * PER_TX, 3.0, **o),
        lambda x: rapp(x, saturation_amplitude(x, 3 * PER_TX[:, None]), 3.0),
    ),
    "iq": (lambda **o: blocks.IqImbalance(PER_TX, 0.1, **o), lambda x: iq_imbalance(x, PER_TX[:, None], 0.1)),
    "dc": (lambda **o: blocks.DcOffset(0.1, PER_TX, **o), lambda x: dc_offset(x, 0.1, PER_TX[:, None])),
    "converter": (lambda **o: blocks.AnalogToDigital(6, 9.0, **o), lambda x: convert(x, 6, 9.0)),
}


@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_blocks_do_what_their_functions_do(name, precision):
    make, function = CASES[name]
    x = samples()
    cast = torch.complex64 if precision == "single" else torch.complex128
    y = make(precision=precision, device="cpu")(x)
    assert y.dtype == cast
    assert torch.equal(y, function(x.to(cast)))


def test_gain_control_and_quantiser_make_the_converter():
    x = samples()
    scaled = blocks.AutomaticGainControl(9.0, device="cpu")(x)
    gain = (scaled / x).real.mean(-1, keepdim=True)
    y = blocks.Quantiser(6, device="cpu")(scaled) / gain
    assert torch.allclose(y, blocks.AnalogToDigital(6, 9.0, device="cpu")(x), atol=1e-4)


def test_phase_noise_takes_normals_or_draws_them():
    x = samples()
    block = blocks.PhaseNoise(RATE, 100.0, device="cpu")
    assert torch.equal(block(x, NORMALS), phase_noise(x, NORMALS, 100.0, RATE))
    drawn = block(x)
    assert not torch.equal(drawn, block(x))
    assert np.allclose(drawn.abs(), x.abs(), rtol=1e-5)


def test_settings_can_be_per_batch_and_assigned_anew():
    x = samples()
    block = blocks.FrequencyOffset(RATE, device="cpu")
    assert torch.equal(block(x), x)
    block.frequency_hz = torch.arange(15.0).reshape(3, 5)
    assert torch.equal(block(x)[2, 1], frequency_offset(x[2, 1], 11.0, RATE))
    block.frequency_hz = np.arange(30.0).reshape(3, 5, 2)
    assert torch.equal(block(x)[2, 1, 1], frequency_offset(x[2, 1, 1], 23.0, RATE))


def test_blocks_refuse_what_sionna_would_swallow():
    with pytest.raises(TypeError, match="precison"):
        blocks.FractionalDelay(1.0, precison="double")
    with pytest.raises(TypeError, match="unexpected keyword"):
        ClockOffsetChannel(RayleighBlockFading(1, 1, 1, 1), max_delay_s=1e-6, delay=1e-6)
    with pytest.raises(PhyError, match="num_tx_ant, N"):
        blocks.SamplingOffset(1e-6, device="cpu")(samples()[0])
    with pytest.raises(PhyError, match="does not fit"):
        blocks.SamplingOffset(torch.zeros(4), device="cpu")(samples())
    with pytest.raises(PhyError, match="must be a scalar"):
        blocks.DcOffset(torch.zeros(1, 1, 1, 1), device="cpu")


class Paths(ChannelModel):
    """A channel of fixed paths with antennas that see different delays, or the same."""

    def __init__(self, per_antenna, precision):
        super().__init__(precision=precision, device="cpu")
        self.per_antenna = per_antenna

    def __call__(self, batch_size, num_time_steps, sampling_frequency):
        random = np.random.default_rng(4)
        shape = (batch_size, 2, 2, 5, 1, 3, num_time_steps)
        a = random.normal(size=shape) + 1j * random.normal(size=shape)
        delays = (batch_size, 2, 2, 5, 1, 3) if self.per_antenna else (batch_size, 2, 5, 3)
        tau = random.uniform(0, 3e-6, delays)
        return torch.from_numpy(a).to(self.cdtype), torch.from_numpy(tau).to(self.dtype)


@pytest.mark.parametrize("per_antenna", [False, True])
@pytest.mark.parametrize(("precision", "tolerance"), [("single", 1e-5), ("double", 1e-12)])
def test_inside_sionnas_time_channel_against_an_explicit_loop(precision, tolerance, per_antenna):
    batch, tx, count, l_min, l_max = 2, 5, 24, -9, 16
    random = np.random.default_rng(3)
    delay = random.uniform(-2e-6, 5e-6, tx)
    frequency = random.uniform(-5e3, 5e3, (batch, tx))
    phase = random.uniform(-3, 3, tx)
    inner = Paths(per_antenna, precision)
    model = ClockOffsetChannel(inner, max_delay_s=8e-6, max_advance_s=2e-6, l_min=l_min)
    model.set_offsets(delay_s=delay, frequency_hz=frequency, phase_rad=phase)
    x = samples(batch, tx, 1, count, dtype=np.complex128)
    channel = TimeChannel(model, RATE, count, l_min=l_min, l_max=l_max, precision=precision, device="cpu")
    y = channel(x).numpy()

    a, tau = (v.numpy().astype(np.complex128) for v in inner(batch, count + l_max - l_min, RATE))
    tau = tau.real if per_antenna else np.broadcast_to(tau.real[:, :, None, :, None, :], a.shape[:-1])
    expected = np.zeros(y.shape, complex)
    for b, r, m, k, p in np.ndindex(batch, 2, 2, tx, 3):
        taps = np.sinc(np.arange(l_min, l_max + 1) - RATE * (tau[b, r, m, k, 0, p] + delay[k]))
        for i in range(expected.shape[-1]):
            t = (i + l_min) / RATE
            turned = a[b, r, m, k, 0, p, i] * np.exp(1j * (2 * np.pi * frequency[b, k] * t + phase[k]))
            for lag in range(l_min, l_max + 1):
                n = i - (lag - l_min)
                if 0 <= n < count:
                    expected[b, r, m, i] += turned * taps[lag - l_min] * complex(x[b, k, 0, n])
    assert np.abs(y - expected).max() < tolerance * np.abs(expected).max()


def test_l_min_fixes_the_phase_at_the_first_transmitted_sample():
    a0, _ = Paths(False, "double")(1, 30, RATE)
    with_l_min = ClockOffsetChannel(Paths(False, "double"), max_delay_s=1e-5, l_min=-6, frequency_hz=1e4)
    without = ClockOffsetChannel(Paths(False, "double"), max_delay_s=1e-5, frequency_hz=1e4)
    a, _ = with_l_min(1, 30, RATE)
    assert np.allclose(a[..., 6], a0[..., 6])
    constant = np.exp(-2j * np.pi * 1e4 * 6 / RATE)
    assert np.allclose(a, without(1, 30, RATE)[0] * constant)


def test_no_offsets_change_no_bit_and_no_draw():
    from sionna.phy import config

    results = []
    for wrap in (False, True):
        config.seed = 11
        model = TDL("A", 100e-9, 3.5e9, max_speed=3.0, precision="single", device="cpu")
        if wrap:
            model = ClockOffsetChannel(model, max_delay_s=3e-6, l_min=-6)
        channel = TimeChannel(model, RATE, 32, precision="single", device="cpu")
        results.append(channel(samples(3, 1, 1, 32), 0.1))
    assert torch.equal(*results)


def test_phase_stays_exact_after_a_long_time():
    model = ClockOffsetChannel(
        RayleighBlockFading(1, 1, 1, 1, precision="single", device="cpu"), max_delay_s=0.0, frequency_hz=123.4
    )
    a, _ = model(1, 2_000_000, RATE)
    turned = (a[0, 0, 0, 0, 0, 0] / a[0, 0, 0, 0, 0, 0, 0]).numpy()
    last = 1_999_999
    assert abs(turned[last] - np.exp(2j * np.pi * 123.4 * last / RATE)) < 1e-6


def test_drift_moves_the_delay_to_the_middle_of_the_call():
    model = ClockOffsetChannel(
        Paths(False, "double"), max_delay_s=1e-5, max_advance_s=1e-5, drift_ppm=[2.0, 0, 0, 0, -2.0], elapsed_s=0.5
    )
    shift = model(1, 101, 100.0)[1] - Paths(False, "double")(1, 101, 100.0)[1]
    # 101 steps at 100 Hz: the middle is at 0.5 s, a second after the clocks were aligned. Fast clocks come early.
    expected = np.array([-2e-6, 0, 0, 0, 2e-6])
    assert np.allclose(shift[0, 0], expected[:, None], atol=1e-15)


def test_delays_that_are_not_covered_are_refused():
    inner = Paths(False, "single")
    with pytest.raises(PhyError, match=r"delay_s reaches 2e-05 s and max_delay_s is 1e-05"):
        ClockOffsetChannel(inner, max_delay_s=1e-5, delay_s=2e-5)
    with pytest.raises(PhyError, match="max_advance_s is 0"):
        ClockOffsetChannel(inner, max_delay_s=1e-5, delay_s=-1e-6)
    with pytest.raises(PhyError, match="offset included, reaches"):
        ClockOffsetChannel(inner, max_delay_s=4e-6, delay_s=3e-6)(2, 1, RATE)
    with pytest.raises(PhyError, match=r"frequency_hz of shape \[4\] does not fit 5 transmitters"):
        ClockOffsetChannel(inner, max_delay_s=4e-6, frequency_hz=torch.ones(4))(2, 1, RATE)
    with pytest.raises(PhyError, match="must be finite"):
        ClockOffsetChannel(inner, max_delay_s=4e-6, phase_rad=float("nan"))


@pytest.mark.parametrize("per_antenna", [False, True])
def test_paths_without_power_may_have_any_delay(per_antenna):
    class Padded(Paths):
        def __call__(self, *args):
            a, tau = super().__call__(*args)
            a[:, :, :, :, :, 2] = 0
            tau[..., 2] = -1.0
            return a, tau

    model = ClockOffsetChannel(Padded(per_antenna, "single"), max_delay_s=6e-6, delay_s=3e-6)
    _, tau = model(2, 4, RATE)
    assert float(tau[..., :2].max()) < 6e-6
    model.set_offsets(delay_s=5e-6)
    with pytest.raises(PhyError, match="offset included, reaches"):
        model(2, 4, RATE)


def test_its_docstring_example_runs():
    model = RayleighBlockFading(num_rx=1, num_rx_ant=2, num_tx=5, num_tx_ant=1, device="cpu")
    model = ClockOffsetChannel(model, max_delay_s=3e-6, l_min=-6)
    model.set_offsets(delay_s=1e-6 * torch.linspace(0, 1, 5), frequency_hz=100.0)
    channel = TimeChannel(model, bandwidth=1e6, num_time_samples=64, maximum_delay_spread=3e-6, device="cpu")
    assert channel(samples(3, 5, 1, 64)).shape == (3, 1, 2, 64 + 15)
    block = blocks.FrequencyOffset(sampling_frequency=1e6, frequency_hz=[100.0, -50.0], device="cpu")
    assert block(samples(64, 2, 1, 1024)).shape == (64, 2, 1, 1024)
