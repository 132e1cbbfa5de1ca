"""Where devices stand and what they lose, against closed forms."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from phy.config_air import PlacementConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.placement import amplitudes, distances_m

DEVICES = 20_000


def place(**settings: Any) -> PlacementConfig:
    return PlacementConfig.model_validate({"law": "disc", **settings})


def draws(seed: int = 2) -> CachedDraws:
    return CachedDraws(KeyedDraws(seed))


def test_devices_stand_uniformly_in_area():
    d = distances_m(place(inner_radius_m=20.0, radius_m=80.0), draws(), DEVICES)
    assert d.min() >= 20
    assert d.max() <= 80
    assert stats.kstest(d, lambda x: (x**2 - 400) / (6400 - 400)).pvalue > 1e-3


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_the_mean_gain_is_the_integral_over_the_ring(exponent):
    inner, outer, reference = 20.0, 80.0, 50.0
    gain = amplitudes(place(inner_radius_m=inner, radius_m=outer, exponent=exponent), draws(), DEVICES).astype(float) ** 2
    area = outer**2 - inner**2
    if exponent == 2.0:
        expected = reference**2 * 2 * np.log(outer / inner) / area
    else:
        expected = reference**exponent * 2 * (outer ** (2 - exponent) - inner ** (2 - exponent)) / ((2 - exponent) * area)
    assert abs(gain.mean() - expected) <= 4 * gain.std() / np.sqrt(DEVICES) + 1e-6


def test_the_gain_is_one_at_the_reference_distance():
    near = amplitudes(place(inner_radius_m=30.0, radius_m=30.0, reference_m=30.0), draws(), 5)
    assert near.dtype == np.float32
    assert np.allclose(near, 1)
    far = amplitudes(place(inner_radius_m=60.0, radius_m=60.0, reference_m=30.0, exponent=4.0), draws(), 5)
    assert np.allclose(far**2, 2.0**-4)


def test_shadowing_is_normal_in_decibels_and_independent_of_the_distance():
    settings = {"inner_radius_m": 20.0, "radius_m": 80.0}
    plain = amplitudes(place(**settings), draws(), DEVICES)
    shadowed = amplitudes(place(**settings, shadowing_db=8.0), draws(), DEVICES)
    shadowing_db = 20 * np.log10(shadowed / plain.astype(float))
    assert stats.kstest(shadowing_db, stats.norm(0, 8).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(shadowing_db, plain)[0, 1]) < 4 / np.sqrt(DEVICES)


def test_a_device_stays_where_it_is_when_others_join():
    config = place(shadowing_db=4.0)
    assert np.array_equal(amplitudes(config, draws(), 10), amplitudes(config, draws(), 20)[:10])
    assert np.array_equal(distances_m(config, draws(), 10), distances_m(config, draws(), 20)[:10])
    assert not np.array_equal(distances_m(config, draws(), 10), distances_m(config, draws(3), 10))


def test_without_a_placement_all_gains_are_one():
    assert np.array_equal(amplitudes(PlacementConfig(), draws(), 4), np.ones(4, np.float32))
    assert np.array_equal(distances_m(PlacementConfig(reference_m=70.0), draws(), 4), np.full(4, 70.0))
