"""Amplifier, mixer and converter against their closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phy.errors import PhyError
from phy.impairments.adc import quantise
from phy.impairments.agc import agc_gain
from phy.impairments.converter import convert
from phy.impairments.dc_offset import dc_offset
from phy.impairments.iq_imbalance import image_rejection_ratio, iq_imbalance
from phy.impairments.power_amplifier import rapp, saturation_amplitude


def noise(*shape, seed=0, dtype=torch.complex64):
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(size=shape) + 1j * random.normal(size=shape)).to(dtype)


def power(x):
    return float((x.abs().double() ** 2).mean())


@pytest.mark.parametrize("smoothness", [0.8, 1.0, 2.0, 3.0, 10.0])
def test_rapp_at_small_at_saturation_and_beyond(smoothness):
    amplitude = 0.7
    x = torch.tensor([1e-4, amplitude, 1e4], dtype=torch.complex128) * np.exp(0.4j)
    y = rapp(x, amplitude, smoothness) * np.exp(-0.4j)
    expected = [1e-4, amplitude * 2 ** (-0.5 / smoothness), amplitude]
    assert np.allclose(y, expected, rtol=1e-3)
    assert float(y.abs().max()) < amplitude * (1 + 1e-12)


@settings(max_examples=50, deadline=None)
@given(smoothness=st.floats(0.5, 20), back_off_db=st.floats(-20, 40), seed=st.integers(0, 99))
def test_amplifier_never_adds_energy_and_keeps_phases_and_order(smoothness, back_off_db, seed):
    x = noise(2, 64, seed=seed)
    y = rapp(x, saturation_amplitude(x, back_off_db), smoothness)
    assert bool((y.abs() <= x.abs() * (1 + 1e-6)).all())
    assert np.allclose((y * x.conj()).imag, 0, atol=1e-5)
    order = torch.argsort(x.abs(), dim=-1)
    assert bool((torch.diff(torch.gather(y.abs(), -1, order)) > -1e-5).all())


def test_back_off_is_over_the_mean_power_of_what_is_sent():
    x = torch.zeros(3, 1000, dtype=torch.complex64)
    x[0, 200:300] = 2.0
    x[1, 200:900] = 0.1j
    x[:, :100] += 1e-9  # what a filter by FFT leaves in a guard
    x[2] = 0
    amplitude = saturation_amplitude(x, [6.0, -3.0, 0.0])
    assert np.allclose(amplitude[:2], [2.0 * 10**0.3, 0.1 * 10**-0.15], rtol=1e-6)
    y = rapp(x, amplitude)
    assert float(y[2].abs().max()) == 0
    # Rapp at p = 2 and a ratio |x|^2 / A^2 of 10^(-back-off / 10).
    assert np.allclose(y[0, 200].real, 2.0 * (1 + 10**-1.2) ** -0.25, rtol=1e-6)


@pytest.mark.parametrize(("gain_db", "phase_rad"), [(1.0, 0.0), (0.0, 0.1), (-0.5, 0.05), (2.0, -0.3)])
def test_image_rejection_in_closed_form(gain_db, phase_rad):
    count = 64
    tone = torch.exp(2j * torch.pi * 5 * torch.arange(count, dtype=torch.float64) / count)
    lines = torch.fft.fft(iq_imbalance(tone, gain_db, phase_rad)).abs() ** 2
    assert float(lines[5] / lines[count - 5]) == pytest.approx(image_rejection_ratio(gain_db, phase_rad), rel=1e-9)
    others = lines.sum() - lines[5] - lines[count - 5]
    assert float(others / lines.sum()) < 1e-12


def test_imbalance_is_a_gain_and_a_phase_of_the_quadrature_branch():
    x = noise(3, 50, dtype=torch.complex128)
    gain_db, phase = np.array([0.0, 1.0, -2.0]), np.array([0.0, 0.2, -0.1])
    y = iq_imbalance(x, gain_db, phase).numpy()
    quadrature = 10 ** (gain_db / 20) * np.exp(1j * phase)
    assert np.allclose(y, x.numpy().real + 1j * quadrature[:, None] * x.numpy().imag)
    assert np.array_equal(y[0], x[0].numpy())


def test_dc_is_relative_to_the_burst_and_lasts_as_long():
    x = torch.zeros(2, 400, dtype=torch.complex128)
    x[0, 100:300] = 3.0 * torch.exp(2j * torch.pi * torch.arange(200, dtype=torch.float64) / 20)
    y = dc_offset(x, 0.1, [0.5, 0.0])
    assert np.allclose(y[0, 100:300].mean(), 0.3 * np.exp(0.5j))
    assert float(y[0, :100].abs().max()) == 0
    assert float(y[1].abs().max()) == 0


@pytest.mark.parametrize("bits", range(2, 13))
def test_each_bit_brings_6_02_db(bits):
    # A uniform input over the full scale: signal V^2 / 3 and error D^2 / 12 per component, so 2^(2 bits).
    random = np.random.default_rng(bits)
    shape = (1, 400_000)
    x = torch.from_numpy(random.uniform(-1, 1, shape) + 1j * random.uniform(-1, 1, shape))
    sqnr_db = 10 * np.log10(power(x) / power(quantise(x, bits) - x))
    assert sqnr_db == pytest.approx(20 * bits * np.log10(2), abs=0.03)


def test_quantiser_is_mid_rise_and_saturates():
    x = torch.tensor([-9.0, -0.51, -1e-9, 0.0, 0.3, 0.5, 0.99, 7.0], dtype=torch.complex128)
    levels = quantise(x, 2).real
    assert levels.tolist() == [-0.75, -0.75, -0.25, 0.25, 0.25, 0.75, 0.75, 0.75]
    assert quantise(x, 1, 2.0).real.tolist() == [-1, -1, -1, 1, 1, 1, 1, 1]
    with pytest.raises(PhyError, match="1 to 24 bits, got 25"):
        quantise(x, 25)


def test_quantiser_converges_and_its_error_is_half_a_step():
    x = noise(2, 3000) / 10
    for bits in (8, 12, 16):
        error = quantise(x, bits) - x
        worst = max(float(error.real.abs().max()), float(error.imag.abs().max()))
        assert worst <= 2.0**-bits * 1.001
    assert float((quantise(x, 24) - x).abs().max()) < 2e-7


def test_gain_control_leaves_the_headroom():
    x = noise(3, 2000) * torch.tensor([[1e-6], [1.0], [1e5]])
    scaled = x * agc_gain(x, 12.0, 0.5)[:, None]
    rms = (scaled.abs().double().square().mean(-1) / 2).sqrt()
    assert np.allclose(20 * np.log10(0.5 / rms.numpy()), 12.0, atol=1e-5)
    assert float(agc_gain(torch.zeros(4, dtype=torch.complex64), 12.0)) == 1


def test_converter_returns_the_original_scale():
    x = noise(2, 20_000) * torch.tensor([[1e-4], [50.0]])
    for row in range(2):
        # Full scale 15 dB over the rms: step 2 V / 2^b, error D^2 / 12, next to no clipping.
        error_db = 10 * np.log10(power(convert(x, 10, 15.0)[row] - x[row]) / power(x[row]))
        expected_db = 10 * np.log10((2.0 * 10 ** (15 / 20) / 2**10) ** 2 / 12)
        assert error_db == pytest.approx(expected_db, abs=0.1)
    assert float((convert(x, 24, 20.0) - x).abs().max() / x.abs().max()) < 1e-5
    # Full scale at the rms: a Gaussian component is clipped 32 % of the time.
    clipped = convert(x, 16, 0.0)[1].real
    assert float((clipped.abs() > 0.999 * clipped.abs().max()).double().mean()) == pytest.approx(0.3173, abs=0.012)
