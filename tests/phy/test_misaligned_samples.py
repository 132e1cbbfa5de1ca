"""Interval statistics of samples against the exact ones."""

import numpy as np
import pytest

from phy.config import LinkConfig
from phy.errors import PhyError
from phy.misaligned import observe
from phy.misaligned_samples import interval_statistics, observe_samples
from phy.receivers import aligned, ml

RATE = 1e6
WIDTH = 16  # samples per symbol
T = WIDTH / RATE
START = 40  # samples before the payload


def burst(symbols: np.ndarray, gains: np.ndarray, delay_samples: np.ndarray, length: int) -> np.ndarray:
    """Rectangles averaged over each sample: sample m is the mean of the waveform on [m, m + 1)."""
    out = np.zeros(length, np.complex128)
    m = np.arange(length)
    for k in range(len(gains)):
        for index, symbol in enumerate(symbols[k]):
            low = START + delay_samples[k] + index * WIDTH
            part = np.clip(np.minimum(m + 1, low + WIDTH) - np.maximum(m, low), 0, 1)
            out += gains[k] * symbol * part / np.sqrt(WIDTH)
    return out


@pytest.mark.parametrize("scalars", [1, 4])
@pytest.mark.parametrize("fractional", [False, True])
def test_samples_give_the_exact_clean_statistics(scalars, fractional):
    rng = np.random.default_rng(scalars)
    devices = 5
    symbols = rng.uniform(-1, 1, (devices, scalars))
    gains = np.exp(1j * rng.uniform(0, 6, devices))
    delays = rng.uniform(-20, 20, devices) if fractional else rng.permutation(np.arange(-20, 21))[:devices]
    samples = burst(symbols, gains, delays, 40 + scalars * WIDTH + 60)
    seen = observe_samples(samples, RATE, delays / RATE, scalars=scalars, symbol_duration_s=T, start_s=START / RATE)
    exact = observe(
        symbols[None],
        gains[None],
        delays[None] / RATE,
        np.zeros((1, devices * (scalars + 1) - 1)),
        symbol_duration_s=T,
        n0=1.0,
    )
    np.testing.assert_array_equal(seen.edges_symbols, exact.edges_symbols)
    if fractional:  # |jump| <= 2 at an edge: a quarter of a sample times that, for up to three edges in one sample
        assert np.abs(seen.integral() - exact.integral()).max() < 3 * 0.5 / WIDTH
    else:  # weighted, because rounding leaves intervals of width 1e-16, whose means are nothing
        np.testing.assert_allclose(seen.widths * seen.means, exact.widths * exact.means, atol=1e-12)
        np.testing.assert_allclose(seen.filtered(), exact.filtered(), atol=1e-12)


def test_receivers_agree_on_samples_and_on_exact_statistics():
    rng = np.random.default_rng(9)
    devices, scalars = 4, 6
    symbols = rng.uniform(-1, 1, (devices, scalars))
    gains = np.exp(1j * rng.uniform(0, 1, devices))[None].astype(np.complex64)
    delays = np.array([0, 3, 5, 9])
    samples = burst(symbols, gains[0], delays, 220).astype(np.complex64)
    seen = observe_samples(samples, RATE, delays / RATE, scalars=scalars, symbol_duration_s=T, start_s=START / RATE)
    noise = np.zeros((1, devices * (scalars + 1) - 1))
    exact = observe(symbols[None], gains, delays[None] / RATE, noise, symbol_duration_s=T, n0=0.01)
    known = (gains, delays[None] / RATE, np.ones(1, np.float32), np.full(1, 4.0))
    for receiver in (aligned.Part(LinkConfig()), ml.Part(LinkConfig())):
        np.testing.assert_allclose(receiver.estimate(seen, *known), receiver.estimate(exact, *known), atol=1e-4)


def test_noise_of_a_mean_is_n0_over_its_width():
    rng = np.random.default_rng(3)
    rounds, n0 = 20_000, 0.4
    noise = (rng.standard_normal((rounds, 32)) + 1j * rng.standard_normal((rounds, 32))) * np.sqrt(n0 / 2)
    means = interval_statistics(noise.astype(np.complex64), RATE, np.array([2, 6, 18, 18, 32]) / RATE, T)
    power = np.abs(means) ** 2
    expected = n0 * WIDTH / np.array([4, 12, np.inf, 14])
    assert (np.abs(power.mean(axis=0) - expected) <= 4 * power.std(axis=0) / np.sqrt(rounds)).all()


def test_edges_outside_the_samples_are_refused():
    with pytest.raises(PhyError, match="leave the slot of 32"):
        interval_statistics(np.zeros(32, np.complex64), RATE, np.array([2, 40]) / RATE, T)
