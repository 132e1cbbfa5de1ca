"""Known coins: exact limits, coverage with canaries that interfere or differ, plants, and a residual that is no white noise."""

import math

import numpy as np
import pytest
from scipy.stats import binom, nct

from learning.privacy import gdp
from learning.privacy.audit.known_coins import (
    audit_known_coins,
    canaries_needed,
    most_telling,
    noncentrality_lower,
)
from learning.privacy.errors import PrivacyError


def run(rng, canaries, rounds, mu, gains=1.0, noise=1.0, confidence=0.95):
    """One run of canaries that all are in every round, with random signs: far more of them than rounds interfere."""
    coins = np.where(rng.random(canaries) < 0.5, 1.0, -1.0)
    a = np.where(rng.random((canaries, rounds)) < 0.5, 0.5, -0.5) * mu / math.sqrt(rounds)
    heard = (coins * gains) @ a + noise * rng.normal(size=rounds)
    return audit_known_coins(heard, coins @ a, mu, confidence)


@pytest.mark.parametrize("freedom", [5, 60, 999])
@pytest.mark.parametrize("statistic", [2.5, 6.0, 25.0])
@pytest.mark.parametrize("confidence", [0.9, 0.975])
def test_the_limit_is_that_of_students_noncentral_t(freedom, statistic, confidence):
    limit = noncentrality_lower(statistic, freedom, confidence)
    reached = nct.sf(statistic, freedom, limit)
    assert reached == pytest.approx(1.0 - confidence, rel=1e-6) or (limit == 0.0 and reached > 1.0 - confidence)


def test_far_out_the_limit_is_that_of_a_normal_ratio():
    # Where SciPy's series fail: t / lambda has a variance of 1 / lambda^2 + 1 / (2 nu) to first order.
    limit = noncentrality_lower(4000.0, 100_000, 0.975)
    assert limit == pytest.approx(4000.0 * (1.0 - 1.96 * math.sqrt(1 / 4000.0**2 + 1 / 200_000)), rel=1e-4)
    assert noncentrality_lower(-3.0, 50, 0.95) == noncentrality_lower(0.5, 50, 0.95) == 0.0


def test_the_limit_exceeds_the_truth_in_one_run_of_twenty_and_no_oftener():
    """Exact: neither more, which would refute honest claims, nor less, which would miss false ones. Canaries: 8 per round."""
    runs = 1000
    exceeded = sum(run(np.random.default_rng(seed), 320, 40, 1.2).mu > 1.2 for seed in range(runs))
    assert binom.ppf(0.001, runs, 0.05) <= exceeded <= binom.ppf(0.999, runs, 0.05)


@pytest.mark.parametrize("gains", ["half are silent", "all differ"])
@pytest.mark.parametrize("rounds", [24, 200])
def test_canaries_that_differ_do_not_make_one_of_them_look_louder_than_it_is(gains, rounds):
    """The claim is of one record: as loud as the loudest canary. Interfering ones must not add up to more."""
    exceeded = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        each = np.repeat([0.0, 1.0], 150) if gains == "half are silent" else rng.uniform(0.5, 1.0, 300)
        exceeded += run(rng, 300, rounds, 1.0, each).mu > each.max()
    assert exceeded <= binom.ppf(0.999, 300, 0.05)


def test_no_stated_number_is_believed():
    """Noise half as strong as stated, and canaries twice as loud, show alike; the strength itself is measured."""
    weak = run(np.random.default_rng(3), 2000, 800, 1.0, noise=math.sqrt(0.5))
    assert 1.25 < weak.mu < weak.estimate < 1.6
    assert weak.residual.level_lower < math.sqrt(0.5) < weak.residual.level_upper
    loud = run(np.random.default_rng(3), 2000, 800, 1.0, gains=2.0)
    assert 1.8 < loud.mu < loud.estimate < 2.2
    assert loud.gain == pytest.approx(2.0, rel=0.1)
    # Scaling what was received and what was expected alike, as a wrong unit of both does, changes nothing.
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=50), rng.normal(size=50)
    assert audit_known_coins(7.0 * (x + y), x, 1.0).mu == pytest.approx(
        7.0 * audit_known_coins((x + y) / 7.0, x, 1.0).mu * 1 / 7.0
    )


def test_noise_that_is_missing_in_some_rounds_shows_and_is_not_overstated():
    """What is released is far more; the limit is that of the mean square, and knows that fewer rounds tell of the strength."""
    limits, truth = [], 1.0 / math.sqrt(np.mean([1.0, 0.05**2]))
    for seed in range(400):
        rng = np.random.default_rng(seed)
        x, strength = rng.normal(size=200), np.where(rng.random(200) < 0.5, 1.0, 0.05)
        found = audit_known_coins(3.0 * x + strength * rng.normal(size=200), 3.0 * x, 1.0)
        assert found.residual.freedom < 160
        limits.append(found.mu)
    assert np.count_nonzero(np.array(limits) > truth) <= binom.ppf(0.999, 400, 0.05)
    assert 1.15 < np.median(limits) < truth


@pytest.mark.parametrize("kind", ["coloured", "louder with the signal"])
def test_a_residual_that_is_not_noise_of_the_stated_shape_voids_the_limit(kind):
    rng = np.random.default_rng(8)
    x = rng.normal(size=2000)
    noise = rng.normal(size=2000)
    noise = noise + 0.4 * np.roll(noise, 1) if kind == "coloured" else noise * (0.3 + x**2)
    found = audit_known_coins(x + noise, x, 1.0)
    assert not found.residual.sound
    assert found.mu == 0.0
    assert audit_known_coins(x + rng.normal(size=2000), x, 1.0).residual.sound


def test_honest_noise_is_seldom_doubted():
    doubted = sum(not run(np.random.default_rng(seed), 50, 100, 1.0).residual.sound for seed in range(1500))
    assert doubted <= binom.ppf(0.999, 1500, 0.0005)


@pytest.mark.parametrize(("epsilon", "delta", "rounds"), [(8.0, 1e-5, 300), (2.0, 0.01, 1000)])
def test_so_many_canaries_as_are_said_to_be_needed_show_the_share(epsilon, delta, rounds):
    mu, share = gdp.mu(epsilon, delta), 0.7
    count = canaries_needed(mu, delta, rounds, share, 0.95, 0.95)
    enough = gdp.mu(share * epsilon, delta)
    limits = np.array([run(np.random.default_rng(seed), count, rounds, mu).mu for seed in range(60)])
    assert (limits >= enough).sum() >= binom.ppf(0.001, 60, 0.95)
    few = np.array([run(np.random.default_rng(seed), count // 4, rounds, mu).mu for seed in range(60)])
    assert (few >= enough).sum() <= 45


def test_loud_canaries_are_pooled_by_themselves_where_that_tells_more():
    assert most_telling(np.full(40, 0.3), 1000).all()
    assert most_telling(np.full(2, 1e-6), 30).all()
    # 1000 loud ones are plenty, and 1000 at a fifth would only dilute their mean; next to equal ones are welcome.
    two = most_telling(np.repeat([0.2, 1.0], 1000), 1000)
    assert np.array_equal(two, np.repeat([False, True], 1000))
    assert most_telling(np.repeat([0.99, 1.0], 1000), 1000).all()
    # One that is loud cannot be heard alone.
    assert most_telling(np.append(1.5, np.ones(2000)), 1000).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: audit_known_coins(np.ones(30), np.ones(29), 1.0), "one number each"),
        (lambda: audit_known_coins(np.ones(19), np.ones(19), 1.0), "at least 20 rounds"),
        (lambda: audit_known_coins(np.full(30, np.nan), np.ones(30), 1.0), "not finite"),
        (lambda: audit_known_coins(np.ones(30), np.ones(30), -1.0), "mu must be"),
        (lambda: audit_known_coins(np.ones(30), np.ones(30), 1.0, 1.0), "confidence"),
        (lambda: audit_known_coins(np.ones(30), np.zeros(30), 1.0), "no canary was heard"),
        (lambda: audit_known_coins(np.ones(30), np.ones(30), 1.0), "without noise"),
        (lambda: canaries_needed(1.0, 1e-5, 19, 0.8), "share and power"),
        (lambda: canaries_needed(1.0, 1e-5, 20, 0.99), "take more rounds"),
        (lambda: most_telling([], 10), "some canaries"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(PrivacyError, match=words):
        call()
