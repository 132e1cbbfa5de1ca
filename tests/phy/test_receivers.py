"""The receivers against explicit least squares, their closed forms, and each other at their limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phy import theory_misaligned as theory
from phy.config import LinkConfig
from phy.discovery import available, find
from phy.misaligned import interval_count, observe
from phy.receivers import aligned, matched, ml

T = 1e-3


def config(n0: float) -> LinkConfig:
    return LinkConfig(snr_max_db=-10 * np.log10(n0))


def normals(rng: np.random.Generator, rounds: int, count: int) -> np.ndarray:
    drawn = rng.standard_normal((rounds, count)) + 1j * rng.standard_normal((rounds, count))
    return (drawn * np.sqrt(0.5)).astype(np.complex64)


def receive(receiver, symbols, gains, timing, n0, noise=None, amplitude=1.0):
    """Estimates [B, n] of a receiver that knows gains and timings."""
    rounds, devices, scalars = symbols.shape
    gains = np.asarray(np.broadcast_to(gains, (rounds, devices)), np.complex64)
    timing = np.array(np.broadcast_to(timing, (rounds, devices)))
    if noise is None:
        noise = np.zeros((rounds, interval_count(devices, scalars)), np.complex64)
    seen = observe(symbols, gains, timing, noise, symbol_duration_s=T, n0=n0)
    heard = (gains != 0).sum(axis=1).astype(float)
    return receiver.estimate(seen, gains, timing, np.full(rounds, amplitude, np.float32), heard)


def test_parts_are_found_by_name():
    assert available("receivers") == ["aligned", "matched", "ml"]
    assert [find("receivers", name)(LinkConfig()).uses_intervals for name in available("receivers")] == [True, False, True]
    assert find("receivers", "phy.receivers.ml:Lmmse") is ml.Lmmse
    assert not matched.Part(LinkConfig()).uses_intervals


# --- aligned ---------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), devices=st.integers(1, 8), scalars=st.integers(1, 5))
def test_aligned_is_exact_without_noise_and_phases(seed, devices, scalars):
    rng = np.random.default_rng(seed)
    symbols = rng.uniform(-1, 1, (3, devices, scalars))
    timing = rng.uniform(-2, 2, (3, 1)) * T + rng.uniform(0, 0.95, (3, devices)) * T
    got = receive(aligned.Part(config(0.1)), symbols, 0.6, timing, 0.1, amplitude=0.6)
    np.testing.assert_allclose(got, symbols.sum(axis=1), atol=1e-5)


def test_aligned_loses_the_round_where_no_window_is_common():
    symbols = np.full((4, 3, 2), 0.5)
    timing = np.array([[0, 0.5, 0.99], [0, 0.5, 1.0], [-0.5, 0, 0.7], [0, 0, 5]]) * T
    got = receive(aligned.Part(config(0.1)), symbols, 1.0, timing, 0.1)
    assert np.isnan(got).all(axis=1).tolist() == [False, True, True, True]
    np.testing.assert_allclose(got[0], 1.5, atol=1e-9)


def test_silent_devices_do_not_narrow_the_common_window():
    rng = np.random.default_rng(2)
    symbols = rng.uniform(-1, 1, (20_000, 3, 1))
    gains = np.array([1, 1, 0])
    noise = normals(rng, 20_000, interval_count(3, 1))
    got = receive(aligned.Part(config(0.2)), symbols, gains, np.array([0, 0.1, 3.0]) * T, 0.2, noise)
    error = got[:, 0].real - symbols[:, :2, 0].sum(axis=1)
    assert abs(error.var() / (0.2 / (2 * 0.9)) - 1) < 4 * np.sqrt(2 / 20_000)


def test_a_round_in_which_nobody_transmits_is_no_number():
    for receiver in (aligned.Part(config(0.1)), ml.Part(config(0.1))):
        assert np.isnan(receive(receiver, np.ones((1, 2, 1)), 0.0, np.zeros(2), 0.1)).all()


# --- ml --------------------------------------------------------------------------------------------------------------


def explicit_least_squares(symbols, gains, timing, n0, noise):
    """Weighted least squares of one round on the interval means, from a design matrix filled interval by interval."""
    devices, scalars = symbols.shape
    seen = observe(symbols[None], gains[None], timing[None], noise[None], symbol_duration_s=T, n0=n0)
    edges, means = seen.edges_symbols[0], seen.means[0]
    rows, values = [], []
    for i, mean in enumerate(means):
        width, middle = edges[i + 1] - edges[i], (edges[i + 1] + edges[i]) / 2
        row = np.zeros((devices, scalars), np.complex128)
        for k in range(devices):
            index = int(np.floor(middle - timing[k] / T))
            if 0 <= index < scalars:
                row[k, index] = gains[k]
        rows.append(np.sqrt(width) * row.ravel())
        values.append(np.sqrt(width) * mean)
    matrix, right = np.array(rows), np.array(values)
    real = np.linalg.lstsq(np.vstack((matrix.real, matrix.imag)), np.concatenate((right.real, right.imag)), rcond=1e-7)[0]
    return real.reshape(devices, scalars).sum(axis=0)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), devices=st.integers(1, 5), scalars=st.integers(1, 5), spread=st.sampled_from([0.5, 0.9, 3.0])
)
def test_ml_is_least_squares_on_the_interval_means(seed, devices, scalars, spread):
    rng = np.random.default_rng(seed)
    symbols = rng.uniform(-1, 1, (1, devices, scalars))
    gains = np.exp(1j * rng.uniform(0, 1.5, devices)).astype(np.complex64)
    # Edges at least a hundredth of a symbol apart, where the ridge is far below every eigenvalue.
    timing = (rng.permutation(40)[:devices] + rng.uniform(0.25, 0.75, devices)) / 40 * spread * T
    n0 = 1e-6
    noise = normals(rng, 1, interval_count(devices, scalars))
    got = receive(ml.Part(config(n0)), symbols, gains, timing, n0, noise)
    assert got[0].real == pytest.approx(explicit_least_squares(symbols[0], gains, timing, n0, noise[0]), abs=1e-4)


def test_ml_is_exact_without_noise_whatever_the_phases_and_timings():
    rng = np.random.default_rng(4)
    symbols = rng.uniform(-1, 1, (30, 6, 8))
    gains = np.exp(2j * np.pi * rng.uniform(size=(30, 6)))
    timing = rng.permuted(np.tile(np.arange(6) * 0.37 * T, (30, 1)), axis=1)
    got = receive(ml.Part(config(1e-12)), symbols, gains, timing, 0.0)
    np.testing.assert_allclose(got, symbols.sum(axis=1), atol=1e-4)


@pytest.mark.parametrize("apart", [0.0, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("scalars", [1, 4])
@pytest.mark.parametrize("n0", [1e-20, 1e-6, 1e-2, 1.0])
def test_devices_in_step_still_give_their_sum(apart, scalars, n0):
    """Only the sum of ten equal devices is observable; its noise is that of the matched filter, N0 / 2, and no more."""
    rng = np.random.default_rng(5)
    rounds = 400
    symbols = rng.uniform(-1, 1, (rounds, 10, scalars))
    timing = np.arange(10) * apart * T
    noise = normals(rng, rounds, interval_count(10, scalars))
    got = receive(ml.Part(config(n0)), symbols, 1.0, timing, n0, noise)
    error = (got.real - symbols.sum(axis=1)).ravel()
    exact = theory.ml(np.ones(10, complex), timing, scalars, T, n0, ridge=max(1e-10, min(n0 / 200, 1e-3)))
    expected = exact.mean_square_error().mean() + 1e-10  # float64 solves a system of condition 1e11 to 1e-5
    assert np.mean(error**2) < expected * (1 + 5 * np.sqrt(2 / len(error)))
    assert exact.variance.max() < n0 / 2 * 1.02


@pytest.mark.parametrize("apart", [0.0, 1e-9, 1e-5])
@pytest.mark.parametrize("n0", [1e-4, 1e-2, 10.0])
def test_what_cannot_be_observed_is_bounded_not_amplified(apart, n0):
    """Two devices of opposite phase, in step, show the difference of their symbols alone; plain least squares explodes."""
    rng = np.random.default_rng(6)
    symbols = rng.uniform(-1, 1, (2000, 2, 1))
    noise = normals(rng, 2000, interval_count(2, 1))
    timing = np.array([0.0, apart * T])
    got = receive(ml.Part(config(n0)), symbols, np.array([1.0, -1.0]), timing, n0, noise)
    bound = 2 * max(100.0, 1000 * n0 / 2) / 4
    assert np.mean((got.real[:, 0] - symbols.sum(axis=(1, 2))) ** 2) < 1.2 * (bound + 2 / 3)
    if apart == 1e-9:
        assert theory.ml(np.array([1, -1 + 0j]), timing, 1, T, n0).variance[0] > 1e8 * n0


def test_one_device_is_heard_as_by_the_matched_filter():
    rng = np.random.default_rng(7)
    n0 = 10.0
    symbols = rng.uniform(-1, 1, (50, 1, 3))
    noise = normals(rng, 50, interval_count(1, 3))
    got = receive(ml.Part(config(n0)), symbols, 1j, np.zeros(1), n0, noise)
    seen = observe(symbols, np.full((50, 1), 1j), np.zeros((50, 1)), noise, symbol_duration_s=T, n0=n0)
    np.testing.assert_allclose(got.real, (seen.means / 1j).real, rtol=1.1e-3)


def test_silent_devices_change_nothing_for_ml():
    rng = np.random.default_rng(8)
    symbols = rng.uniform(-1, 1, (20, 4, 3))
    gains = np.array([1, 1j, 0, 0.5])
    timing = np.array([0, 0.3, 0.5, 0.6]) * T
    got = receive(ml.Part(config(1e-9)), symbols, gains, timing, 0.0)
    np.testing.assert_allclose(got, symbols[:, [0, 1, 3]].sum(axis=1), atol=1e-4)


def test_lmmse_has_the_smaller_error_and_shrinks():
    rng = np.random.default_rng(10)
    n0 = 1.0
    symbols = rng.uniform(-1, 1, (20_000, 4, 1))
    timing = np.array([0, 0.2, 0.4, 0.7]) * T
    noise = normals(rng, 20_000, interval_count(4, 1))
    truth = symbols.sum(axis=1)[:, 0]
    plain = receive(ml.Part(config(n0)), symbols, 1.0, timing, n0, noise)[:, 0].real
    shrunk = receive(ml.Lmmse(config(n0)), symbols, 1.0, timing, n0, noise)[:, 0].real
    expected = theory.ml(np.ones(4, complex), timing, 1, T, n0, ridge=1.5 * n0)
    error = (shrunk - truth) ** 2
    assert abs(error.mean() - expected.mean_square_error()[0]) < 4 * error.std() / np.sqrt(20_000)
    assert error.mean() < np.mean((plain - truth) ** 2)


@pytest.mark.parametrize("name", ["aligned", "ml"])
@pytest.mark.parametrize("scalars", [1, 5])
def test_a_batch_gives_the_bits_of_its_rounds(name, scalars):
    rng = np.random.default_rng(11)
    symbols = rng.uniform(-1, 1, (33, 7, scalars))
    gains = np.exp(1j * rng.uniform(0, 1, (33, 7)))
    timing = rng.uniform(0, 0.9, (33, 7)) * T
    noise = normals(rng, 33, interval_count(7, scalars))
    part = find("receivers", name)(config(0.1))
    whole = receive(part, symbols, gains, timing, 0.1, noise)
    for r in range(33):
        one = slice(r, r + 1)
        np.testing.assert_array_equal(receive(part, symbols[one], gains[one], timing[one], 0.1, noise[one])[0], whole[r])


# --- timings that are only estimated ---------------------------------------------------------------------------------


def test_timings_that_are_estimated_cost_what_the_cut_leaves_out():
    """Known timings narrower than the true ones let an edge into the window: its share of the width is lost."""
    symbols = np.ones((1, 2, 1))
    timing, known = np.array([[0.0, 0.3]]) * T, np.array([[0.0, 0.2]]) * T
    noise = np.zeros((1, interval_count(2, 1, known_apart=True)))
    seen = observe(symbols, np.ones((1, 2)), timing, noise, symbol_duration_s=T, n0=0.1, known_timing_s=known)
    arguments = (np.ones((1, 2), np.complex64), known, np.ones(1, np.float32), np.full(1, 2.0))
    got = aligned.Part(config(0.1)).estimate(seen, *arguments)
    assert got[0, 0] == pytest.approx((0.8 + 0.7) / 0.8)
    assert abs(ml.Part(config(0.1)).estimate(seen, *arguments)[0, 0] - 2) < 0.2
