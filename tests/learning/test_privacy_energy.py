import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad, quad
from scipy.stats import beta as beta_law

from learning.privacy.energy import EnergyRound, renyi_narrow_to_wide, renyi_wide_to_narrow
from learning.privacy.errors import PrivacyError


@pytest.mark.parametrize("ratio", [1.01, 1.5, 4.0])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_renyi_divergences_against_quadrature(ratio: float, share: float) -> None:
    for order in (1 + share * (1 / (ratio - 1)), 2.0, 5.0):

        def moment(x: float, sign: int, order: float = order) -> float:
            wide, narrow = -x / ratio - math.log(ratio), -x
            first, second = (wide, narrow) if sign > 0 else (narrow, wide)
            return math.exp(order * first + (1 - order) * second)

        down = math.log(quad(moment, 0, 60, args=(-1,), epsabs=0, epsrel=1e-11, limit=500)[0]) / (order - 1)
        assert renyi_narrow_to_wide(np.array(order), ratio) == pytest.approx(down, rel=1e-6)
        if order < ratio / (ratio - 1):
            rate = order / ratio + 1 - order
            up = math.log(quad(moment, 0, 60 / rate, args=(1,), epsabs=0, epsrel=1e-11, limit=500)[0]) / (order - 1)
            assert renyi_wide_to_narrow(np.array(order), ratio) == pytest.approx(up, rel=1e-6)
        else:
            assert renyi_wide_to_narrow(np.array(order), ratio) == math.inf


@settings(deadline=None)
@given(st.floats(0.01, 20), st.floats(0, 5), st.floats(0.01, 1), st.floats(0, 1), st.floats(0.01, 0.99))
def test_noise_alone_and_an_empty_tone_are_the_worst(n0: float, others: float, high: float, share: float, place: float) -> None:
    """E = 0 and e' = 0 maximise both divergences at every finite order."""
    worst = (1 + n0) / n0
    ratio = (high + others + n0) / (high * share + others + n0)
    order = np.array(1 + place * (worst / (worst - 1) - 1))
    assert renyi_wide_to_narrow(order, ratio) <= renyi_wide_to_narrow(order, worst) + 1e-9
    assert renyi_narrow_to_wide(order, ratio) <= renyi_narrow_to_wide(order, worst) + 1e-9


@pytest.mark.parametrize(("n0", "eps"), [(0.5, 0.5), (1.0, 2.0), (10.0, 0.1)])
def test_delta_of_one_round_against_a_plane_integral(n0: float, eps: float) -> None:
    r = 1 + 1 / n0

    def stick(y: float, x: float) -> float:
        p = math.exp(-x / r - y) / r
        q = math.exp(-x - y / r) / r
        return max(0.0, p - math.exp(eps) * q)

    # The loss is (1 - 1/r) (x - y) >= eps.
    c = eps * r / (r - 1)
    truth = dblquad(stick, c, c + 80 * r, 0, lambda x: x - c, epsabs=1e-10, epsrel=1e-10)[0]
    assert EnergyRound("reed", n0).delta(1, eps) == pytest.approx(truth, rel=1e-6, abs=2e-10)


@pytest.mark.parametrize(("n0", "rounds", "antennas", "eps"), [(1.0, 3, 1, 4.0), (0.2, 1, 2, 8.0), (20.0, 50, 2, 0.5)])
def test_delta_covers_a_simulated_hockey_stick_and_is_close(n0: float, rounds: int, antennas: int, eps: float) -> None:
    rng = np.random.default_rng(2)
    n = 200_000
    r = 1 + 1 / n0
    wide, narrow = (rng.gamma(rounds * antennas, size=n) for _ in range(2))
    loss = (1 - 1 / r) * (r * wide - narrow)
    heads = int((rng.random(n) < np.maximum(0, -np.expm1(eps - loss))).sum())
    reported = EnergyRound("fsk_mv", n0, antennas=antennas).delta(rounds, eps)
    assert beta_law.ppf(1e-6, heads, n - heads + 1) <= reported <= beta_law.ppf(1 - 1e-6, heads + 1, n - heads)


@settings(deadline=None, max_examples=25)
@given(st.floats(-1, 2).map(lambda x: 10.0**x), st.integers(1, 300), st.floats(-8, -2).map(lambda x: 10.0**x))
def test_epsilon_keeps_delta_and_renyi_is_never_below_the_exact_pair(n0: float, rounds: int, delta: float) -> None:
    one = EnergyRound("reed", n0, antennas=2)
    eps = one.epsilon(rounds, delta)
    if eps > 0:
        assert one.delta(rounds, eps) <= delta * (1 + 1e-9)
        assert one.delta(rounds, eps * 0.99) > delta
    assert one.epsilon_renyi(rounds, delta) >= eps


def test_the_whole_chain_of_looks_under_a_common_fade_is_covered() -> None:
    """Looks with random phases that are revealed: the likelihood ratio of the vectors, not of a sufficient sample."""
    rng = np.random.default_rng(4)
    n, looks, n0, eps = 200_000, 4, 0.5, 2.0

    def normal(*shape: int):
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / math.sqrt(2)

    phases = np.exp(0.5j * np.pi * rng.integers(0, 4, (n, looks)))
    on = normal(n, 1) * phases / math.sqrt(looks) + math.sqrt(n0) * normal(n, looks)
    off = math.sqrt(n0) * normal(n, looks)

    def matched(y):
        return np.abs((y * phases.conj()).sum(axis=1)) ** 2 / looks

    # ln CN(0, N0 I + u u*) - ln CN(0, N0 I) = |u* y|^2 / (N0 (N0 + 1)) - ln(1 + 1/N0), u of unit norm.
    loss = (matched(on) - matched(off)) / (n0 * (n0 + 1))
    heads = int((rng.random(n) < np.maximum(0, -np.expm1(eps - loss))).sum())
    reported = EnergyRound("reed", n0, looks=looks).delta(1, eps)
    assert beta_law.ppf(1e-6, heads, n - heads + 1) <= reported <= beta_law.ppf(1 - 1e-6, heads + 1, n - heads)


def test_a_common_fade_leaks_more_than_fresh_ones() -> None:
    for n0 in (0.1, 1.0, 10.0):
        orders = 1 + np.linspace(0.05, 0.9, 10) * n0
        common, fresh = (EnergyRound("reed", n0, looks=4, common_fade=c) for c in (True, False))
        assert np.all(common.renyi(orders) >= fresh.renyi(orders))
        assert common.epsilon(10, 1e-5) > fresh.epsilon(10, 1e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(0.05, 20))
def test_scalars_under_a_common_fade_are_within_the_pair(seed: int, scalars: int, n0: float) -> None:
    """Generalised eigenvalues of any two payloads' covariances, with other devices, lie within [1/r, r]."""
    rng = np.random.default_rng(seed)

    def signal(payload):
        amplitude = np.sqrt(np.concatenate((np.maximum(payload, 0), np.maximum(-payload, 0))))
        return (amplitude * phases)[:, None]

    phases = np.tile(np.exp(0.5j * np.pi * rng.integers(0, 4, scalars)), 2)
    x, y = (signal(rng.uniform(-1, 1, scalars)) for _ in range(2))
    other = rng.random() * signal(rng.uniform(-1, 1, scalars))
    noise = n0 * np.eye(2 * scalars) + other @ other.conj().T
    eigenvalues = np.linalg.eigvals(np.linalg.solve(noise + y @ y.conj().T, noise + x @ x.conj().T)).real
    r = EnergyRound("reed", n0, scalars=scalars, sensitivity_ratio=0.1 if scalars > 1 else 2.0).ratio
    assert eigenvalues.max() <= r * (1 + 1e-9)
    assert eigenvalues.min() >= 1 / r * (1 - 1e-9)


def test_records_leak_less_than_client_values_except_in_votes() -> None:
    small = {"sensitivity_ratio": 1 / 16}
    assert EnergyRound("reed", 1.0, **small).epsilon(10, 1e-5) < EnergyRound("reed", 1.0).epsilon(10, 1e-5) / 4
    assert EnergyRound("fsk_mv", 1.0, **small).ratio == EnergyRound("fsk_mv", 1.0).ratio


def test_a_dithered_round_costs_less_than_two_tones() -> None:
    assert EnergyRound("ncairfl", 20.0).epsilon(200, 1e-5) < EnergyRound("reed", 20.0).epsilon(200, 1e-5)


@pytest.mark.parametrize("upwards", [True, False])
def test_a_dithered_run_is_covered_whichever_way_its_tone_goes(upwards: bool) -> None:
    rng = np.random.default_rng(6)
    n, rounds, n0, eps = 200_000, 20, 5.0, 1.0
    r = 1 + 1 / n0
    x = rng.gamma(rounds, size=n)
    loss = (r - 1) * x - rounds * math.log(r) if upwards else rounds * math.log(r) - (1 - 1 / r) * x
    heads = int((rng.random(n) < np.maximum(0, -np.expm1(eps - loss))).sum())
    low = beta_law.ppf(1e-6, heads, n - heads + 1)
    one = EnergyRound("ncairfl", n0)
    assert one.delta(rounds, eps) >= low
    assert one.epsilon(rounds, low) >= eps


def test_many_rounds_and_none() -> None:
    one = EnergyRound("reed", 100.0)
    assert one.epsilon(0, 1e-5) == 0.0
    assert one.delta(0, 1.0) == 0.0
    # Many weak rounds are nearly Gaussian: mu^2 = T variance of the loss = 2 T / N0^2.
    from learning.privacy import gdp

    assert one.epsilon(8000, 1e-5) == pytest.approx(gdp.epsilon(math.sqrt(2 * 8000) / 100, 1e-5), rel=0.05)


@pytest.mark.parametrize(
    "arguments",
    [
        {"scheme": "analog", "n0": 1.0},
        {"scheme": "reed", "n0": 0.0},
        {"scheme": "reed", "n0": math.inf},
        {"scheme": "reed", "n0": 1.0, "looks": 0},
        {"scheme": "reed", "n0": 1.0, "sensitivity_ratio": 0.0},
        {"scheme": "ncairfl", "n0": 1.0, "error_feedback": True},
    ],
)
def test_bad_rounds(arguments) -> None:
    with pytest.raises(PrivacyError):
        EnergyRound(**arguments)


def test_bad_targets() -> None:
    one = EnergyRound("reed", 1.0)
    for call in (
        lambda: one.epsilon(1, 0.0),
        lambda: one.epsilon(-1, 0.1),
        lambda: one.delta(1, 0.0),
        lambda: one.renyi([1.0]),
    ):
        with pytest.raises(PrivacyError):
            call()
