"""Delay, frequency offset, sampling offset and phase noise against analytically shifted signals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phy.errors import PhyError
from phy.impairments._tensors import phase_ramp
from phy.impairments.fractional_delay import fractional_delay
from phy.impairments.frequency_offset import frequency_offset
from phy.impairments.phase_noise import phase_noise
from phy.impairments.sampling_offset import sampling_offset

SPS = 4
ROLLOFF = 0.35


def rrc(t):
    """Root raised cosine at instants t in symbols, unit energy in continuous time, singular points by their limits."""
    t = np.asarray(t, float)
    out = np.empty_like(t)
    zero = np.abs(t) < 1e-9
    pole = np.abs(np.abs(4 * ROLLOFF * t) - 1) < 1e-7
    rest = ~(zero | pole)
    out[zero] = 1 - ROLLOFF + 4 * ROLLOFF / np.pi
    a = np.pi / (4 * ROLLOFF)
    out[pole] = ROLLOFF / np.sqrt(2) * ((1 + 2 / np.pi) * np.sin(a) + (1 - 2 / np.pi) * np.cos(a))
    u = t[rest]
    numerator = np.sin(np.pi * u * (1 - ROLLOFF)) + 4 * ROLLOFF * u * np.cos(np.pi * u * (1 + ROLLOFF))
    out[rest] = numerator / (np.pi * u * (1 - (4 * ROLLOFF * u) ** 2))
    return out


def burst(instants, count, devices=3, symbols=24):
    """Sum of untruncated RRC pulses with random QPSK, mid-slot, evaluated at instants [K, N] in samples."""
    random = np.random.default_rng(5)
    values = (random.choice([-1, 1], (devices, symbols)) + 1j * random.choice([-1, 1], (devices, symbols))) / np.sqrt(2)
    centres = count / 2 + SPS * (np.arange(symbols) - symbols / 2)
    instants = np.broadcast_to(instants, (devices, count))
    return sum(values[:, i, None] * rrc((instants - c) / SPS) for i, c in enumerate(centres))


def error_db(y, expected):
    y = y.numpy() if isinstance(y, torch.Tensor) else y
    return 10 * np.log10((np.abs(y - expected) ** 2).sum() / (np.abs(expected) ** 2).sum())


def energy(x):
    return (x.abs().double() ** 2).sum(-1)


def noise(*shape, seed=0, dtype=torch.complex64):
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(size=shape) + 1j * random.normal(size=shape)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_delay_is_the_pulse_evaluated_later(dtype):
    count = 4096
    n = np.arange(count)
    delays = np.array([0.5, -7.3, 300.123])
    x = torch.from_numpy(burst(n, count)).to(dtype)
    y = fractional_delay(x, delays)
    expected = burst(n - delays[:, None], count)
    assert y.dtype == dtype
    # Beyond single precision what remains is the slow decay of an untruncated RRC, which does not end with the slot.
    assert error_db(y, expected) < -95


@pytest.mark.parametrize("epsilon", [100e-6, -100e-6, 10e-6, -1e-6, 0.0])
def test_sampling_offset_is_the_pulse_on_another_clock(epsilon):
    count = 8192
    n = np.arange(count)
    x = torch.from_numpy(burst(n, count)).to(torch.complex64)
    factors = epsilon * np.array([1.0, 0.5, -0.25])
    assert error_db(sampling_offset(x, factors), burst(n * (1 + factors[:, None]), count)) < -95


def gaussians(instants):
    """Three Gaussian pulses on carriers, band- and time-limited to rounding: an oracle for double precision."""
    parts = [(1.0, 3000, 40, 0.16), (0.7j, 5000, 300, -0.4), (1.0, 4000, 4, 0.0)]
    return sum(a * np.exp(-(((instants - c) / s) ** 2) / 2 + 2j * np.pi * f * instants) for a, c, s, f in parts)


def test_delay_and_sampling_offset_are_exact_in_double_precision():
    n = np.arange(8192)
    x = torch.from_numpy(gaussians(n))
    assert error_db(fractional_delay(x, 777.123), gaussians(n - 777.123)) < -230
    assert error_db(sampling_offset(x, 1e-4), gaussians(n * (1 + 1e-4))) < -230
    # A delay that is taken along is in the receiver's samples.
    assert error_db(sampling_offset(x, -1e-4, 12.3), gaussians((n - 12.3) * (1 - 1e-4))) < -230


@pytest.mark.parametrize("count", [1, 2, 7, 64, 101])
def test_sampling_offset_is_the_fourier_sum_at_stretched_instants(count):
    x = noise(2, count, dtype=torch.complex128)
    epsilon = np.array([0.01, -0.02])
    k = np.arange(count) - count // 2
    spectrum = np.fft.fftshift(np.fft.fft(x.numpy()), axes=-1)
    n = np.arange(count) * (1 + epsilon[:, None])
    expected = np.einsum("kf,knf->kn", spectrum, np.exp(2j * np.pi * k * n[..., None] / count)) / count
    assert np.allclose(sampling_offset(x, epsilon), expected, atol=1e-11)


def test_fast_clock_plays_a_shorter_burst():
    count, epsilon = 4096, 1e-3
    x = torch.zeros(count, dtype=torch.complex128)
    x[3000 - 64 : 3001 + 64] = torch.from_numpy(np.hanning(129)).to(torch.complex128)
    y = sampling_offset(x, epsilon).abs() ** 2
    centre = float((torch.arange(count) * y).sum() / y.sum())
    assert centre == pytest.approx(3000 / (1 + epsilon), abs=1e-6)


def test_many_rows_are_worked_on_in_chunks_with_equal_results():
    x = noise(5, 9, 2048)
    epsilon = np.linspace(-1e-4, 1e-4, 9)
    whole = sampling_offset(x, epsilon, torch.ones(5, 1))
    for i in range(9):
        assert torch.allclose(whole[:, i], sampling_offset(x[:, i], epsilon[i], 1.0), atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(delay=st.floats(-50, 50), count=st.integers(1, 70))
def test_delays_add_and_integer_delays_shift(delay, count):
    x = noise(count, dtype=torch.complex128)
    assert np.allclose(fractional_delay(fractional_delay(x, delay), 3 - delay), np.roll(x.numpy(), 3), atol=1e-10)


def test_linear_delay_loses_what_leaves():
    x = noise(2, 16, dtype=torch.complex128)
    y = fractional_delay(x, [3, -5], linear=True)
    assert np.allclose(y[0], np.concatenate([np.zeros(3), x[0, :-3]]), atol=1e-12)
    assert np.allclose(y[1], np.concatenate([x[1, 5:], np.zeros(5)]), atol=1e-12)
    assert np.allclose(fractional_delay(x, [1e9, -17], linear=True), 0, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(frequency=st.floats(-0.5, 0.5), start=st.floats(-1e3, 1e3))
def test_ramp_is_accurate_after_a_million_samples(frequency, start):
    count = 1_000_000
    step, first = torch.tensor([[frequency], [start]], dtype=torch.float64)
    ramp = phase_ramp(step, count, first, torch.complex64)
    n = np.array([0, 1, 1000, 123_456, count - 1])
    # The oracle is reduced in integers, exactly: a double is a fraction of two of them.
    top, bottom = float(frequency).as_integer_ratio()
    cycles = np.array([(int(i) * top % bottom) / bottom for i in n]) + start % 1.0
    assert np.abs(ramp[0, n].numpy() - np.exp(2j * np.pi * cycles)).max() < 1e-6


def test_frequency_offset_turns_about_its_reference():
    x = noise(3, 5000)
    f, phi, ref = np.array([1e3, -250.0, 0.0]), np.array([0.1, -2.0, 3.0]), np.array([0.0, 2500.5, 7.0])
    y = frequency_offset(x, f, 1e6, phi, ref)
    n = np.arange(5000)
    expected = x.numpy() * np.exp(1j * (2 * np.pi * f[:, None] * (n - ref[:, None]) / 1e6 + phi[:, None]))
    assert np.abs(y.numpy() - expected).max() < 5e-6
    assert frequency_offset(x[0], f, 1e6).shape == (3, 5000)


def test_wiener_phase_has_the_lines_correlation_and_variance():
    rows, count, linewidth, rate = 4000, 400, 2e3, 1e6
    normals = torch.from_numpy(np.random.default_rng(0).normal(size=(rows, count)))
    y = phase_noise(torch.ones(rows, count, dtype=torch.complex128), normals, linewidth, rate).numpy()
    assert np.array_equal(y[:, 0], np.ones(rows))
    for lag in (1, 20, 100):
        product = (y[:, lag:] * y[:, :-lag].conj()).mean(axis=1).real
        expected = np.exp(-np.pi * linewidth * lag / rate)
        assert product.mean() == pytest.approx(expected, abs=5 * product.std() / np.sqrt(rows))
    theta = np.unwrap(np.angle(y), axis=1)[:, -1]
    variance = 2 * np.pi * linewidth * (count - 1) / rate
    assert theta.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / rows))


def test_clocks_keep_energy():
    x = noise(3, 4000, seed=1)
    # Up to the band's edge, which a stretch must not cross.
    spectrum = torch.fft.fft(x)
    spectrum[:, 1980:2021] = 0
    x = torch.fft.ifft(spectrum)
    x[:, :300] = 0
    x[:, -300:] = 0
    per_device = np.array([1e-4, -3e-5, 1e-6])
    kept = [
        fractional_delay(x, [0.5, -20.25, 1000.0]),
        frequency_offset(x, [100.0, -5e5, 3.3], 1e6),
        phase_noise(x, noise(3, 4000).real, 1e4, 1e6),
    ]
    for y in kept:
        assert np.allclose(energy(y), energy(x), rtol=1e-5)
    # The amplitude stays while the burst gets shorter.
    stretched = energy(sampling_offset(x, per_device)) * torch.from_numpy(1 + per_device)
    assert np.allclose(stretched, energy(x), rtol=1e-5)


def test_shapes_that_do_not_fit_are_named():
    x = noise(3, 10)
    with pytest.raises(PhyError, match=r"shape \(2,\) does not fit samples of shape \(3, 10\)"):
        fractional_delay(x, [1.0, 2.0])
    with pytest.raises(PhyError, match="complex tensor"):
        frequency_offset(torch.ones(4), 1.0, 1.0)
