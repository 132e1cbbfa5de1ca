import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta as beta_law

from learning.errors import LearningError
from learning.privacy import gdp
from learning.privacy.accountants import find, names
from learning.privacy.accountants._levels import round_up_to_levels
from learning.privacy.accountants._losses import composed
from learning.privacy.accountants.gdp import Accountant as Gdp
from learning.privacy.accountants.pld import NUMERICAL_DELTA
from learning.privacy.accountants.pld import Accountant as Pld
from learning.privacy.errors import PrivacyError, UnsupportedRelease
from learning.privacy.release import Release


def sampled(mu, rate: float, **settings) -> Release:
    return Release(np.asarray(mu, float), sampling_rate=rate, relation="record_add_remove", **settings)


def test_accountants_are_found_by_name() -> None:
    assert names() == ["gdp", "paper", "pld"]
    with pytest.raises(LearningError, match="did you mean pld"):
        find("plt")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 2), min_size=1, max_size=30), st.floats(-9, -1).map(lambda x: 10.0**x))
def test_without_sampling_all_accountants_cover_the_exact_one(mus: list[float], delta: float) -> None:
    release = Release(np.array(mus))
    truth = gdp.epsilon(math.hypot(*mus), delta)
    for name in names():
        accountant = find(name)()
        assert accountant.supports(release) is None
        assert accountant.epsilon(release, delta) >= truth * (1 - 1e-12)
        if 0 < truth < 100:
            assert accountant.delta(release, truth) >= delta * (1 - 1e-9)
    assert Gdp().epsilon(release, delta) == pytest.approx(truth, rel=1e-9, abs=1e-12)


def test_the_closed_form_is_what_convolution_approximates() -> None:
    from dp_accounting.pld import privacy_loss_distribution as pld

    mus = [0.3, 0.7, 0.5]
    total = pld.identity(value_discretization_interval=1e-4)
    for mu in mus:
        total = total.compose(pld.from_gaussian_mechanism(1 / mu, value_discretization_interval=1e-4))
    closed = Pld().epsilon(Release(np.array(mus)), 1e-5)
    convolved = total.get_epsilon_for_delta(1e-5)
    assert closed <= convolved <= closed + 1e-3


@pytest.mark.parametrize(("name", "word"), [("paper", "pld"), ("gdp", "pld")])
def test_amplification_is_refused_where_it_is_not_accounted(name: str, word: str) -> None:
    release = sampled([0.5], 0.1)
    sentence = find(name)().supports(release)
    assert sentence is not None
    assert word in sentence
    with pytest.raises(UnsupportedRelease):
        find(name)().epsilon(release, 1e-5)
    with pytest.raises(UnsupportedRelease):
        find(name)().delta(release, 1.0)


@pytest.mark.parametrize("name", ["paper", "gdp", "pld"])
@pytest.mark.parametrize("sampling", ["fixed_size", "shuffled"])
def test_no_amplification_but_by_poisson_samples(name: str, sampling) -> None:
    with pytest.raises(UnsupportedRelease, match="not Poisson"):
        find(name)().epsilon(sampled([0.5], 0.1, sampling=sampling), 1e-5)


@pytest.mark.parametrize("name", ["paper", "gdp", "pld"])
def test_imperfect_channel_knowledge_needs_a_choice(name: str) -> None:
    with pytest.raises(UnsupportedRelease, match="gain"):
        find(name)().epsilon(Release(np.ones(1), csi="unbounded"), 1e-5)


def test_sampling_does_not_hide_replaced_values() -> None:
    with pytest.raises(UnsupportedRelease, match="client's value"):
        Pld().epsilon(Release(np.ones(3), sampling_rate=0.1), 1e-5)
    replaced = Release(np.ones(3), sampling_rate=0.1, relation="record_replace_one")
    with pytest.raises(UnsupportedRelease, match="group"):
        Pld().epsilon(replaced, 1e-5)


def test_a_replacement_costs_at_least_twice_a_removal() -> None:
    replaced = Release(np.full(200, 1.0), sampling_rate=0.05, relation="record_replace_one")
    removed = Pld().epsilon(sampled(np.full(200, 0.5), 0.05), 1e-5)
    grouped = Pld(replace_one="group")
    cost = grouped.epsilon(replaced, 1e-5)
    assert 2 * removed <= cost < 2 * removed + 1.5
    assert grouped.delta(replaced, cost) <= 1e-5 * (1 + 1e-3)


def test_extra_delta_is_taken_from_what_is_left() -> None:
    release = Release(np.array([1.0]), csi="tail", extra_delta=4e-6)
    assert Gdp().epsilon(release, 1e-5) == pytest.approx(gdp.epsilon(1.0, 6e-6), rel=1e-9)
    assert Gdp().delta(release, 3.0) == pytest.approx(gdp.delta(3.0, 1.0) + 4e-6, rel=1e-9)
    with pytest.raises(PrivacyError, match="g_max"):
        Gdp().epsilon(release, 3e-6)


@pytest.mark.parametrize(
    ("eps", "delta", "rounds", "rate", "multiplier"),
    [
        (5, 0.01, 8000, 16 / 200, 4.14),
        (5, 0.01, 8000, 64 / 1000, 3.34),
        (5, 1e-5, 8000, 0.016, 1.46),
        (1, 1e-5, 8000, 0.016, 5.42),
    ],
)
def test_known_noise_multipliers(eps: float, delta: float, rounds: int, rate: float, multiplier: float) -> None:
    accountant = Pld()
    quieter, louder = (sampled(np.full(rounds, 1 / (multiplier + step)), rate) for step in (0.02, -0.02))
    assert accountant.epsilon(quieter, delta) < eps < accountant.epsilon(louder, delta)


def test_central_limit_estimate_is_labelled() -> None:
    estimate = Gdp().estimate(sampled(np.full(8000, 1 / 1.46), 0.016), 1e-5)
    assert "not a guarantee" in estimate.caveat
    assert estimate.mu == pytest.approx(1.105, abs=0.02)
    assert estimate.epsilon < Pld().epsilon(sampled(np.full(8000, 1 / 1.46), 0.016), 1e-5)


@pytest.mark.parametrize(("mu", "rate", "rounds", "eps"), [(1.0, 0.2, 10, 1.0), (2.0, 0.5, 3, 2.5), (0.5, 0.1, 60, 0.5)])
@pytest.mark.parametrize("removed", [True, False])
def test_sampled_delta_covers_a_simulated_hockey_stick(mu: float, rate: float, rounds: int, eps: float, removed: bool) -> None:
    """E max(0, 1 - e^(eps - loss)) over the loss of simulated rounds, both directions, with a band of 1 - 1e-6."""
    rng = np.random.default_rng(11)
    n = 200_000
    x = rng.normal(size=(n, rounds))
    if removed:
        x += mu * (rng.random((n, rounds)) < rate)
    ratio = np.log1p(rate * np.expm1(mu * x - mu * mu / 2)).sum(axis=1)
    loss = ratio if removed else -ratio
    gain = np.maximum(0.0, -np.expm1(eps - loss))
    # A mean of numbers in [0, 1] is that of coins: compare by coins drawn with these probabilities (Clopper-Pearson).
    heads = int((rng.random(n) < gain).sum())
    low = beta_law.ppf(1e-6, heads, n - heads + 1) if heads else 0.0
    high = beta_law.ppf(1 - 1e-6, heads + 1, n - heads)
    reported = Pld().delta(sampled(np.full(rounds, mu), rate), eps)
    assert reported >= low
    if removed:  # the larger direction here
        assert reported <= high * 1.02


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(1e-4, 1.5), min_size=1, max_size=40), st.integers(1, 8))
def test_rounding_to_levels_never_lowers_a_round(mus: list[float], levels: int) -> None:
    values, counts = round_up_to_levels(np.array(mus), levels)
    assert len(values) <= levels
    assert counts.sum() == len(mus)
    charged = np.repeat(values, counts)
    assert np.all(charged >= np.sort(mus))


def test_levels_are_optimal_on_a_small_case() -> None:
    mu = np.array([1.0, 1.1, 2.0, 2.1, 2.2, 5.0])
    values, counts = round_up_to_levels(mu, 3)
    assert values.tolist() == [1.1, 2.2, 5.0]
    assert counts.tolist() == [2, 3, 1]


def test_many_levels_cost_little_and_cover() -> None:
    mu = np.random.default_rng(5).lognormal(-2, 0.5, 3000)
    values, counts = round_up_to_levels(mu, 64)
    assert np.all(np.repeat(values, counts) >= np.sort(mu))
    assert (values**2 * counts).sum() < 1.05 * (mu**2).sum()


def test_bucketed_rounds_cost_at_least_as_much_as_the_rounds() -> None:
    release = sampled(np.geomspace(0.1, 0.9, 30), 0.1)
    assert Pld(levels=64).epsilon(release, 1e-5) <= Pld(levels=4).epsilon(release, 1e-5)


@pytest.mark.parametrize("rate", [0.01, 0.5])
def test_sampling_never_costs_more_than_none(rate: float) -> None:
    for mu in (1e-3, 0.3, 3.0, 25.0):
        for delta in (1e-5, 1e-12):
            release = sampled(np.full(5, mu), rate)
            assert Pld().epsilon(release, delta) <= Gdp().epsilon(Release(release.mu), delta)


def test_silent_and_noise_free_runs() -> None:
    assert Pld().epsilon(sampled(np.zeros(5), 0.1), 1e-5) == 0.0
    assert Pld().epsilon(Release(np.zeros(0)), 1e-5) == 0.0
    assert Pld().epsilon(sampled([math.inf], 0.1), 1e-5) == math.inf
    assert Gdp().epsilon(Release(np.array([math.inf])), 1e-5) == math.inf
    assert Pld().delta(sampled([math.inf], 0.1), 1.0) == 1.0


@pytest.mark.parametrize("name", ["paper", "gdp", "pld"])
def test_bad_targets(name: str) -> None:
    accountant = find(name)()
    release = Release(np.ones(1))
    for delta in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(PrivacyError):
            accountant.epsilon(release, delta)
    for epsilon in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(PrivacyError):
            accountant.delta(release, epsilon)
    with pytest.raises(PrivacyError):
        Pld(levels=0)


@pytest.mark.parametrize(
    ("mu", "rounds", "interval"), [(0.1, 8000, 1e-3), (0.01, 8000, 1e-5), (1.0, 100, 1e-3), (0.5, 1, 1e-4)]
)
def test_transforms_err_by_far_less_than_what_is_added(mu: float, rounds: int, interval: float) -> None:
    """At a rate of almost 1 the closed form without sampling is the truth, down to deltas that rounding might spoil."""
    loss = composed(np.array([mu]), np.array([rounds]), 1 - 1e-12, interval)
    total = mu * math.sqrt(rounds)
    for delta in (1e-5, 1e-8, 1e-10, 1e-12):
        reported = loss.get_delta_for_epsilon(gdp.epsilon(total, delta))
        assert delta * (1 - 1e-6) - NUMERICAL_DELTA / 10 <= reported <= delta * 1.1 + NUMERICAL_DELTA / 10


@pytest.mark.parametrize(
    ("mus", "counts", "rate", "interval"),
    [
        ([0.5, 0.9], [300, 700], 0.08, 1e-3),
        ([0.05, 0.3], [6000, 2000], 0.016, 1e-3),
        ([5.0], [1], 0.5, 1e-3),
        ([3.0, 0.01], [4, 1000], 0.02, 5e-4),
        ([1e-3], [10], 0.001, 1e-5),
    ],
)
def test_one_pass_agrees_with_the_library_level_by_level(mus, counts, rate: float, interval: float) -> None:
    from dp_accounting.pld import privacy_loss_distribution as pld

    slow = pld.identity(value_discretization_interval=interval)
    for mu, count in zip(mus, counts, strict=True):
        one = pld.from_gaussian_mechanism(1 / mu, value_discretization_interval=interval, sampling_prob=rate)
        slow = slow.compose(one.self_compose(count))
    fast = composed(np.array(mus), np.array(counts), rate, interval)
    for delta in (1e-2, 1e-5, 1e-8):
        expected = slow.get_epsilon_for_delta(delta)
        assert fast.get_epsilon_for_delta(delta) == pytest.approx(expected, rel=1e-5, abs=1e-9)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    st.lists(st.floats(0.05, 1.5), min_size=1, max_size=12),
    st.floats(0.02, 0.98) | st.just(1.0),
    st.floats(0.05, 3.0),
    st.booleans(),
    st.integers(1, 8),
)
def test_no_accountant_reports_less_than_a_simulation_of_the_mechanism(
    mus: list[float], rate: float, eps: float, removed: bool, levels: int
) -> None:
    """Random rounds of different loudness, sampled or not, both directions, few levels or many."""
    rng = np.random.default_rng(len(mus))
    n, mu = 20_000, np.array(mus)
    x = rng.normal(size=(n, len(mu)))
    if removed:
        x += mu * (rng.random(x.shape) < rate)
    ratio = np.log1p(rate * np.expm1(mu * x - mu * mu / 2)).sum(axis=1)
    gain = np.maximum(0.0, -np.expm1(eps - (ratio if removed else -ratio)))
    heads = int((rng.random(n) < gain).sum())
    low = beta_law.ppf(1e-7, heads, n - heads + 1) if heads else 0.0
    assert Pld(levels).delta(sampled(mu, rate), eps) >= low
    if rate == 1.0:
        assert all(find(name)().delta(Release(mu), eps) >= low for name in names())
