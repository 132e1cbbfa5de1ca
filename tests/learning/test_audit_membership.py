"""Membership attack: the curve by brute force, the bound by closed forms, the attack against the loss it must reach."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from learning.privacy.audit import membership
from learning.privacy.errors import PrivacyError


def test_bounds_at_the_papers_budget():
    """mu = 1.7563 is what (5, 0.01) allows."""
    assert membership.auc_bound(1.7563) == pytest.approx(0.893, abs=5e-4)
    assert float(membership.tpr_bound(0.01, 1.7563)) == pytest.approx(0.28, abs=5e-3)
    assert float(membership.tpr_bound(0.001, 1.7563)) == pytest.approx(0.09, abs=5e-3)
    assert np.array_equal(membership.tpr_bound([0.0, 1.0], 1.0), [0, 1])


scores = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@settings(max_examples=60)
@given(scores, scores)
def test_curve_and_auc_by_brute_force(members, nonmembers):
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(members, nonmembers)]
    assert membership.auc(members, nonmembers) == pytest.approx(sum(pairs) / len(pairs))
    curve = membership.roc(members, nonmembers)
    assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 0, 1, 1)
    for fpr, tpr, threshold in zip(curve.fpr, curve.tpr, curve.thresholds, strict=True):
        assert fpr == pytest.approx(np.mean([s >= threshold for s in nonmembers]))
        assert tpr == pytest.approx(np.mean([s >= threshold for s in members]))
    # The area under the curve's polygon is the same number.
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(membership.auc(members, nonmembers))
    for target in (0.0, 0.3, 1.0):
        allowed = [t for f, t in zip(curve.fpr, curve.tpr, strict=True) if f <= target + 1e-12]
        assert membership.tpr_at_fpr(members, nonmembers, target) == max(allowed)


def test_scores_by_hand():
    estimates = np.array([1.0, math.nan, -2.0, 0.5])
    projections = np.array([[50.0, 9.0, -300.0, 2.0], [0.0, 0.0, 0.0, 4.0]])
    ratio = np.array([1.0, 5.0, 2.0, 3.0])
    expected = [(1 * 50 * 1 + 4 * -2 * -100 + 9 * 0.5 * 2) / 8, 9 * 0.5 * 4 / 8]
    assert np.allclose(membership.correlation_scores(estimates, projections, ratio, 100.0, 8), expected)
    rest = np.array([1.0, 0.0, -2.0, 0.0])
    assert np.allclose(membership.correlation_scores(estimates, projections, ratio, 100.0, 8, rest), [9 / 8, 9 * 2 / 8])


def test_who_knows_the_rest_reaches_the_bound():
    """Against a known rest, T rounds of p_hat = (a (rest + p_x / b) + noise) / (a K) are Gaussian-private with exactly mu."""
    rng = np.random.default_rng(1)
    rounds, devices, batch, clip, runs = 40, 5, 16, 100.0, 4000
    ratio = rng.uniform(0.1, 1.5, rounds) / clip  # c_t / sigma_t, per unit of p
    projection = rng.uniform(-clip, clip, rounds)
    mu = math.sqrt(np.square(ratio * projection / batch).sum()) * 4
    ratio *= 4
    rest = rng.normal(0, 20, rounds)
    noise = rng.normal(0, 1, (2, runs, rounds)) / (ratio * devices)
    without = rest / devices + noise[0]
    with_ = (rest + projection / batch) / devices + noise[1]
    member, nonmember = (
        [membership.correlation_scores(e, projection[None], ratio, clip, batch, rest / devices)[0] for e in estimates]
        for estimates in (with_, without)
    )
    spread = 3 / math.sqrt(runs)
    assert abs(membership.auc(member, nonmember) - membership.auc_bound(mu)) < spread
    assert abs(membership.tpr_at_fpr(member, nonmember, 0.1) - float(membership.tpr_bound(0.1, mu))) < spread
    assert not any(check.violated for check in membership.check_bound(member, nonmember, mu))
    assert any(check.violated for check in membership.check_bound(member, nonmember, 0.7 * mu))
    assert membership.auc_lower_limit(member, nonmember) < membership.auc_bound(mu)
    # Without knowing the rest the same scores tell less.
    blind_member, blind_nonmember = (
        [membership.correlation_scores(e, projection[None], ratio, clip, batch)[0] for e in estimates]
        for estimates in (with_ + rng.normal(0, 30, (runs, rounds)), without + rng.normal(0, 30, (runs, rounds)))
    )
    assert membership.auc(blind_member, blind_nonmember) < membership.auc_bound(mu) - spread


def test_honest_bounds_are_violated_no_more_often_than_promised():
    mu, repeats = 1.0, 300
    violated = 0
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        checks = membership.check_bound(rng.normal(mu, 1, 200), rng.normal(0, 1, 200), mu)
        violated += any(check.violated for check in checks)
    assert violated <= binom.ppf(0.999, repeats, 0.05)


def test_limits_of_one_point():
    """Threshold: the score that 10 of 100 non-members exceed; limits: Clopper and Pearson's for 10 of 100 and 60 of 100."""
    nonmembers = np.arange(100.0)
    members = np.where(np.arange(100) < 60, 200.0, -1.0)
    (check,) = membership.check_bound(members, nonmembers, 1.0, targets=(0.1,))
    assert (check.fpr, check.tpr) == (0.1, 0.6)
    assert binom.cdf(10, 100, check.fpr_upper) == pytest.approx(0.025)
    assert binom.sf(59, 100, check.tpr_lower) == pytest.approx(0.025)
    assert check.bound == pytest.approx(norm.cdf(norm.ppf(check.fpr_upper) + 1.0))
    assert check.violated == (check.tpr_lower > check.bound)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: membership.auc([], [1.0]), "one of the two is empty"),
        (lambda: membership.roc([math.nan], [1.0]), "NaN"),
        (lambda: membership.check_bound([1.0], [0.0], 1.0, targets=(0.0,)), "between 0 and 1"),
        (lambda: membership.correlation_scores([1.0], [[1.0, 2.0]], [1.0], 1.0, 1), "one per round"),
        (lambda: membership.correlation_scores([1.0], [[math.inf]], [1.0], 1.0, 1), "not finite"),
        (lambda: membership.correlation_scores([1.0], [[1.0]], [math.inf], 1.0, 1), "infinite"),
        (lambda: membership.correlation_scores([1.0], [[1.0]], [1.0], 0.0, 1), "clip must be positive"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(PrivacyError, match=words):
        call()
