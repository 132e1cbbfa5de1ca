"""Receive combining against brute force and the law of maximum-ratio combining."""

import numpy as np
from scipy import stats

from phy.combining import combiner, multiply, project
from phy.config import LinkConfig
from phy.link import Link


def channels(rounds: int, antennas: int, devices: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (rounds, antennas, devices)
    return ((rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2)).astype(np.complex64)


def test_multiply_and_project_are_complex_products():
    h = channels(7, 3, 4)
    v = channels(7, 3, 1)[:, :, 0]
    assert np.allclose(multiply(h, h), h * h)
    assert np.allclose(project(v, h), np.einsum("bm,bmk->bk", v, h), atol=1e-6)
    assert np.allclose(project(v, v), np.einsum("bm,bm->b", v, v), atol=1e-6)


def test_max_min_is_the_best_of_all_matched_filters():
    h = channels(50, 4, 6)
    v = combiner("max_min", h, None)
    assert np.allclose(np.linalg.norm(v, axis=1), 1, atol=1e-5)
    worst = np.abs(np.einsum("bm,bmk->bk", v.conj(), h)).min(axis=1)
    candidates = h / np.linalg.norm(h, axis=1, keepdims=True)
    brute = np.abs(np.einsum("bmc,bmk->bck", candidates.conj(), h)).min(axis=2).max(axis=1)
    assert np.allclose(worst, brute, rtol=1e-4)


def test_absent_devices_do_not_steer_the_combiner():
    h = channels(50, 3, 5)
    present = np.ones((50, 5), bool)
    present[:, 3:] = False
    assert np.allclose(combiner("max_min", h, present), combiner("max_min", h[:, :, :3], None))


def test_one_device_gets_the_array_gain():
    config = LinkConfig.model_validate({"clip": 1.0, "receive_antennas": 4})
    gain = Link(config, 2).aggregate(np.arange(30_000), np.ones((30_000, 1, 1))).diagnostics["aligned_gain"] ** 2
    assert stats.kstest(gain, stats.gamma(4).cdf).pvalue > 1e-3


def test_equal_combining_brings_no_gain():
    config = LinkConfig.model_validate({"clip": 1.0, "receive_antennas": 4, "combiner": "equal"})
    gain = Link(config, 2).aggregate(np.arange(30_000), np.ones((30_000, 1, 1))).diagnostics["aligned_gain"] ** 2
    assert stats.kstest(gain, "expon").pvalue > 1e-3
