"""Several runs together: exact for Gaussian ones, basic composition for others, and of which relation the total is."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from learning.privacy import gdp
from learning.privacy.accountants import find
from learning.privacy.composition import Charge, common_relation, total_of
from learning.privacy.errors import PrivacyError
from learning.privacy.release import Release

squares = st.lists(st.floats(0.01, 9.0), min_size=1, max_size=6)


def gaussian(square: float, delta: float = 1e-3, relation: str = "client_value", extra: float = 0.0) -> Charge:
    return Charge(relation, gdp.epsilon(math.sqrt(square), delta - extra), delta, square, extra)


@settings(max_examples=60, deadline=None)
@given(squares, st.floats(1e-6, 1e-2))
def test_gaussian_runs_are_the_joint_release(many, delta):
    """The likelihood ratio of all outputs together is that of one Gaussian; its trade-off is computed here from normals."""
    total = total_of([gaussian(square, delta) for square in many])
    assert total.delta == pytest.approx(delta * len(many), rel=1e-12)
    mu, eps = math.sqrt(sum(many)), total.epsilon
    joint = norm.cdf(mu / 2 - eps / mu) - math.exp(eps) * norm.cdf(-mu / 2 - eps / mu)
    assert joint == pytest.approx(total.delta, rel=1e-6)
    assert total.epsilon <= sum(gaussian(square, delta).epsilon for square in many) * (1 + 1e-9)  # what basic composition says
    # Round by round, as one long run.
    rounds = np.concatenate([np.full(7, math.sqrt(square / 7)) for square in many])
    assert total.epsilon == pytest.approx(find("gdp")().epsilon(Release(rounds), total.delta), rel=1e-9)


def test_the_sum_is_tight_by_an_attack_on_both_outputs():
    """Two runs, one changed value: the best test on both outputs reaches delta at the epsilon of the total, and not below."""
    rng = np.random.default_rng(1)
    mus = np.array([1.2, 0.7])
    total = total_of([gaussian(float(mu**2), 0.02) for mu in mus])
    loss = mus @ (rng.normal(size=(2, 2_000_000)) + mus[:, None]) - (mus @ mus) / 2  # log likelihood ratio under the change
    reached = np.mean(np.maximum(0.0, 1.0 - np.exp(total.epsilon - loss)))
    assert reached == pytest.approx(0.04, rel=0.01)


def test_others_add_and_a_mixture_is_stated_at_one_delta():
    plain = Charge("client_value", 1.5, 1e-4)
    assert total_of([plain, plain]) == total_of([plain, plain], 2e-4)
    assert (total_of([plain, plain]).epsilon, total_of([plain, plain]).mu) == (3.0, 0.0)
    mixed = total_of([plain, gaussian(1.0), gaussian(3.0)])
    assert mixed.delta == pytest.approx(2.1e-3)
    assert mixed.epsilon == pytest.approx(1.5 + gdp.epsilon(2.0, 2e-3), rel=1e-9)
    assert total_of([plain, gaussian(4.0)], 5e-3).epsilon == pytest.approx(1.5 + gdp.epsilon(2.0, 4.9e-3), rel=1e-9)
    tail = total_of([gaussian(4.0, 1e-3, extra=4e-4), gaussian(5.0, 1e-3, extra=1e-4)])
    assert tail.epsilon == pytest.approx(gdp.epsilon(3.0, 1.5e-3), rel=1e-9)
    for delta in (1e-4, 5e-5):
        with pytest.raises(PrivacyError, match=r"have spent 0\.0001 of delta themselves"):
            total_of([plain, gaussian(4.0)], delta)
    assert total_of([gaussian(1.0, 0.4)] * 3).epsilon == math.inf  # delta says nothing any more


@pytest.mark.parametrize(
    ("relations", "same", "expected"),
    [
        (["client_value", "client_value"], True, "client_value"),
        (["client_value", "client_value"], False, "record_replace_one"),
        (["client_value", "record_add_remove"], True, "record_add_remove"),
        (["client_value", "record_replace_one"], True, "record_replace_one"),
        (["record_add_remove", "record_replace_one"], True, "record_replace_one"),
        (["record_add_remove"], False, "record_add_remove"),
    ],
)
def test_a_device_covers_its_records_and_not_the_other_way_round(relations, same, expected):
    assert common_relation(relations, same_devices=same) == expected


def test_a_record_replaced_is_one_removed_and_one_added():
    total = total_of([gaussian(1.0, relation="record_add_remove"), gaussian(2.0, relation="record_replace_one")])
    assert total.relation == "record_replace_one"
    assert total.mu == pytest.approx(math.sqrt(4.0 + 2.0))
    # Group privacy of a plain promise holds for a mechanism that is known exactly.
    for mu, eps in ((0.5, 0.3), (1.0, 2.0), (2.0, 1.0)):
        twice = Charge("record_add_remove", eps, gdp.delta(eps, mu)).replaced()
        assert twice.epsilon == 2 * eps
        assert gdp.delta(twice.epsilon, 2 * mu) <= twice.delta
