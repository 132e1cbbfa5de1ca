"""Interval statistics against numerical integration, against the offsets' closed form, and their noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from phy import theory_misaligned as theory
from phy.errors import PhyError
from phy.misaligned import Intervals, interval_count, observe
from phy.offsets import residual_gain

T = 1e-3


def draw(seed: int, rounds: int, devices: int, scalars: int, *, edges: int = 1):
    """Symbols, gains, timings, frequencies and noise of a random case."""
    rng = np.random.default_rng(seed)
    shape = (rounds, devices)
    symbols = rng.uniform(-1, 1, (*shape, scalars))
    gains = (rng.uniform(0.2, 1.0, shape) * np.exp(2j * np.pi * rng.uniform(size=shape))).astype(np.complex64)
    count = edges * devices * (scalars + 1) - 1
    noise = (rng.standard_normal((rounds, count)) + 1j * rng.standard_normal((rounds, count))) * np.sqrt(0.5)
    return symbols, gains, rng.uniform(-1.5, 1.5, shape) * T, rng.uniform(-900, 900, shape), noise.astype(np.complex64)


def at_nominal_instants(symbols, gains, timing, noise, **options) -> tuple[Intervals, np.ndarray]:
    """The matched filter over [l T, (l + 1) T], as a receiver sees it that believes every timing to be zero. [B, n]."""
    seen = observe(symbols, gains, timing, noise, symbol_duration_s=T, known_timing_s=np.zeros_like(timing), **options)
    return seen, seen.filtered()[:, 0]


@pytest.mark.parametrize("rotating", [False, True])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), devices=st.integers(1, 4), scalars=st.integers(1, 3))
def test_clean_means_are_integrals_of_the_received_signal(rotating, seed, devices, scalars):
    symbols, gains, timing, frequency, noise = draw(seed, 1, devices, scalars)
    age = 0.7 * T
    seen = observe(
        symbols, gains, timing, 0 * noise, symbol_duration_s=T, n0=1.0, frequency_hz=frequency if rotating else None, age_s=age
    )

    def received(t: float) -> complex:  # t in symbols
        total = 0j
        for k in range(devices):
            index = int(np.floor(t - timing[0, k] / T))
            if 0 <= index < scalars:
                turn = np.exp(2j * np.pi * frequency[0, k] * (t * T + age)) if rotating else 1.0
                total += gains[0, k] * turn * symbols[0, k, index]
        return total

    edges = seen.edges_symbols[0]
    assert (np.diff(edges) >= 0).all()
    for i, mean in enumerate(seen.means[0]):
        low, high = edges[i], edges[i + 1]
        if high - low < 1e-6:
            continue
        inside = (low + 1e-12, high - 1e-12)
        truth = quad(lambda t: received(t).real, *inside)[0] + 1j * quad(lambda t: received(t).imag, *inside)[0]
        assert mean == pytest.approx(truth / (high - low), abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), devices=st.integers(1, 6))
def test_intervals_covering_a_symbol_add_up_to_the_plain_matched_filter(seed, devices):
    symbols, gains, timing, frequency, noise = draw(seed, 5, devices, 1, edges=2)
    _, statistic = at_nominal_instants(symbols, gains, timing, 0 * noise, n0=1.0, frequency_hz=frequency, age_s=2 * T)
    q = residual_gain(timing, np.zeros_like(timing), frequency, T, 2 * T)
    np.testing.assert_allclose(statistic[:, 0], (gains * q * symbols[:, :, 0]).sum(axis=1), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), devices=st.integers(1, 6), scalars=st.integers(1, 6))
def test_scalars_back_to_back_interfere_as_the_closed_form_says(seed, devices, scalars):
    symbols, gains, timing, _, noise = draw(seed, 1, devices, scalars, edges=2)
    _, statistic = at_nominal_instants(symbols, gains, timing, 0 * noise, n0=1.0)
    moments = theory.matched(gains[0].astype(np.complex128), timing[0], scalars, T, 1.0, 1.0)
    np.testing.assert_allclose(statistic[0].real - symbols[0].sum(axis=0), moments.bias(symbols[0]), atol=1e-12)


def test_noise_is_white_with_variance_n0_behind_unit_energy_filters():
    # Two windows of one symbol that overlap by 0.6: covariance N0 [[1, 0.6], [0.6, 1]].
    rounds, n0 = 40_000, 0.3
    _, _, _, _, noise = draw(1, rounds, 2, 1)
    timing = np.tile([0.1 * T, 0.5 * T], (rounds, 1))
    zero = np.zeros((rounds, 2, 1))
    seen = observe(zero, np.ones((rounds, 2)), timing, noise, symbol_duration_s=T, n0=n0).filtered()[:, :, 0]
    for k in range(2):
        power = np.abs(seen[:, k]) ** 2
        assert abs(power.mean() - n0) < 4 * power.std() / np.sqrt(rounds)
    cross = (seen[:, 0] * np.conj(seen[:, 1])).real
    assert abs(cross.mean() - 0.6 * n0) < 4 * cross.std() / np.sqrt(rounds)
    improper = (seen[:, 0] ** 2).real
    assert abs(improper.mean()) < 4 * improper.std() / np.sqrt(rounds)


def test_an_interval_mean_carries_n0_over_its_width():
    rounds = 20_000
    _, _, _, _, noise = draw(2, rounds, 2, 1)
    timing = np.tile([0.0, 0.25 * T], (rounds, 1))
    seen = observe(np.zeros((rounds, 2, 1)), np.ones((rounds, 2)), timing, noise, symbol_duration_s=T, n0=0.5)
    power = np.abs(seen.means) ** 2
    expected = 0.5 / np.array([0.25, 0.75, 0.25])
    assert (np.abs(power.mean(axis=0) - expected) < 4 * power.std(axis=0) / np.sqrt(rounds)).all()


@pytest.mark.parametrize("rotating", [False, True])
@pytest.mark.parametrize("scalars", [1, 5])
def test_a_batch_gives_the_bits_of_its_rounds(rotating, scalars):
    symbols, gains, timing, frequency, noise = draw(3, 37, 7, scalars)

    def run(which: slice) -> np.ndarray:
        f = frequency[which] if rotating else None
        one = (symbols[which], gains[which], timing[which], noise[which])
        return observe(*one, symbol_duration_s=T, n0=0.1, frequency_hz=f).means

    whole = run(slice(None))
    for r in range(37):
        np.testing.assert_array_equal(run(slice(r, r + 1))[0], whole[r])


def test_coinciding_edges_make_empty_intervals_without_noise():
    symbols, gains, _, frequency, noise = draw(4, 3, 4, 2)
    seen = observe(symbols, gains, np.zeros((3, 4)), noise, symbol_duration_s=T, n0=1.0, frequency_hz=frequency)
    assert np.isfinite(seen.means).all()
    assert (seen.means[seen.widths == 0] == 0).all()
    assert (seen.widths > 0).sum() == 3 * 2
    for k in range(1, 4):
        np.testing.assert_array_equal(seen.filtered()[:, k], seen.filtered()[:, 0])


def test_the_count_of_normals_depends_on_sizes_alone():
    assert interval_count(10, 1) == 19
    assert interval_count(3, 4, known_apart=True) == 29


def test_what_cannot_be_observed_is_refused():
    symbols, gains, timing, _, noise = draw(5, 2, 3, 1)
    with pytest.raises(PhyError, match=r"shape \(2, 5\), got \(2, 4\)"):
        observe(symbols, gains, timing, noise[:, 1:], symbol_duration_s=T, n0=1.0)
    timing[0, 0] = np.nan
    with pytest.raises(PhyError, match="must be finite"):
        observe(symbols, gains, timing, noise, symbol_duration_s=T, n0=1.0)
