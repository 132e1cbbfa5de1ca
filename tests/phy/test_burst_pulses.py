"""Pulses and known sequences against closed forms and Sionna's filter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phy.burst.pulses import pulse, root_raised_cosine
from phy.burst.sequences import preamble_sequence, spreading_sequence, zadoff_chu
from phy.config_burst import BurstConfig


def textbook(t: float, a: float) -> float:
    if t == 0:
        return 1 + a * (4 / np.pi - 1)
    numerator = np.sin(np.pi * t * (1 - a)) + 4 * a * t * np.cos(np.pi * t * (1 + a))
    return numerator / (np.pi * t * (1 - (4 * a * t) ** 2))


@settings(max_examples=200, deadline=None)
@given(t=st.floats(-40, 40), a=st.floats(0.05, 1))
def test_root_raised_cosine_is_the_textbook_quotient_away_from_its_singular_points(t, a):
    if abs(t) > 1e-6 and abs(1 - (4 * a * t) ** 2) > 1e-6:
        assert root_raised_cosine(np.array(t), a) == pytest.approx(textbook(t, a), abs=1e-8)


@pytest.mark.parametrize("a", [0.05, 0.22, 0.35, 1.0])
def test_root_raised_cosine_at_its_singular_points(a):
    limit = a / np.sqrt(2) * ((1 + 2 / np.pi) * np.sin(np.pi / (4 * a)) + (1 - 2 / np.pi) * np.cos(np.pi / (4 * a)))
    assert root_raised_cosine(np.array([0.0, 1 / (4 * a), -1 / (4 * a)]), a) == pytest.approx([textbook(0, a), limit, limit])


@pytest.mark.parametrize("delay", [0.0, 0.25, 0.5, 1.0, 1.7, 3.0])
def test_autocorrelation_of_the_root_is_the_raised_cosine(delay):
    a, step = 0.35, 0.25
    t = np.arange(-4000, 4001) * step
    found = (root_raised_cosine(t, a) * root_raised_cosine(t - delay, a)).sum() * step
    closed = np.sinc(delay) * np.cos(np.pi * a * delay) / (1 - (2 * a * delay) ** 2)
    assert found == pytest.approx(closed, abs=1e-6)


@pytest.mark.parametrize(("sps", "span", "rolloff"), [(4, 16, 0.35), (2, 8, 0.22), (8, 5, 1.0), (5, 7, 0.5)])
def test_grid_pulse_is_sionnas_filter(sps, span, rolloff):
    import torch
    from sionna.phy.signal import RootRaisedCosineFilter

    # Its filter normalises as it filters: the impulse response is what it does.
    impulse = torch.zeros(1, dtype=torch.float64)
    impulse[0] = 1
    theirs = RootRaisedCosineFilter(span, sps, rolloff, normalize=True, precision="double")(impulse).numpy()
    config = BurstConfig(samples_per_symbol=sps, span_symbols=span, rolloff=rolloff)
    assert pulse(config).samples == pytest.approx(theirs, abs=1e-7)


@pytest.mark.parametrize("kind", ["rrc", "rect"])
@pytest.mark.parametrize("sps", [2, 3, 4, 8])
@pytest.mark.parametrize("duration", [1, 5])
def test_pulse_has_unit_energy_and_the_same_values_at_its_instants(kind, sps, duration):
    one = pulse(BurstConfig(pulse=kind, samples_per_symbol=sps), duration)
    assert (one.samples**2).sum() == pytest.approx(1, abs=1e-12)
    instants = np.arange(len(one.samples)) - one.lead_samples
    assert np.array_equal(one.at(instants), one.samples)
    assert one.at(np.array([instants[0] - 1, instants[-1] + 1])) == pytest.approx([0, 0])
    if kind == "rrc":
        assert one.at(np.array(sps * duration // 2)) == one.samples.max()
        assert one.samples == pytest.approx(one.samples[::-1], abs=1e-12)


@pytest.mark.parametrize("length", [4, 5, 8, 16, 31, 32, 100, 127, 512, 2048])
def test_zadoff_chu_has_modulus_one_and_no_periodic_sidelobes(length):
    s = zadoff_chu(length)
    assert np.abs(s) == pytest.approx(np.ones(length))
    periodic = np.fft.ifft(np.abs(np.fft.fft(s)) ** 2)
    assert np.abs(periodic[1:]).max() < 1e-9 * length


@pytest.mark.parametrize(("length", "bound"), [(8, 0.31), (16, 0.32), (32, 0.20), (64, 0.30), (128, 0.30), (512, 0.10)])
def test_aperiodic_sidelobes_of_a_half_are_low(length, bound):
    s = zadoff_chu(length)
    aperiodic = np.abs(np.correlate(s, s, "full")) / length
    aperiodic[length - 1] = 0
    assert aperiodic.max() < bound


def test_preamble_has_two_equal_halves_and_no_other_sidelobe_near_the_peak():
    s = preamble_sequence(64)
    assert np.array_equal(s[:32], s[32:])
    aperiodic = np.abs(np.correlate(s, s, "full")) / 64
    assert aperiodic[63 + 32] == pytest.approx(0.5)
    near = np.r_[aperiodic[63 - 20 : 63], aperiodic[64 : 64 + 20]]
    assert near.max() < 0.2


def test_spreading_sequence_is_rudin_shapiro():
    # The first terms by the recursion s(2i) = s(i), s(2i + 1) = (-1)^i s(i).
    expected = [1.0]
    for i in range(1, 300):
        expected.append(expected[i // 2] * ((-1) ** (i // 2) if i % 2 else 1))
    assert spreading_sequence(300).tolist() == expected


@pytest.mark.parametrize("chips", [2, 16, 256, 4096])
def test_spectrum_of_the_spreading_sequence_is_flat(chips):
    power = np.abs(np.fft.fft(spreading_sequence(chips), 16 * chips)) ** 2
    assert power.max() <= 2 * chips * (1 + 1e-9)
