"""Where the noise of weakest-device inversion has no mean square, from the law of its smallest amplitudes."""

import math

import numpy as np
import pytest

from phy.config import LinkConfig
from phy.link import Link
from phy.theory import noise_without_mean

ROUNDS = 100_000


def config(**settings):
    return LinkConfig.model_validate({"clip": 1.0, "air": "numpy", **settings})


@pytest.mark.parametrize(
    ("antennas", "combiner", "devices", "without"),
    [
        (1, "max_min", 5, True),
        (2, "equal", 3, True),
        (2, "max_min", 2, True),
        (2, "max_min", 3, False),
        (2, "max_min", 1, False),
    ],
)
def test_the_tail_of_small_gains(antennas, combiner, devices, without):
    # P(a^2 < x) ~ x^p for small x. E[1 / a^2] is the integral of P(a^2 < x) / x^2: it diverges for p <= 1, not for p = 2.
    link = config(receive_antennas=antennas, combiner=combiner)
    assert noise_without_mean(link, devices) is without
    rounds, silent = np.arange(ROUNDS), np.zeros((ROUNDS, devices, 1))
    drawn = [Link(link, seed).aggregate(rounds, silent).diagnostics["aligned_gain"] for seed in range(4)]
    gain = np.square(np.concatenate(drawn))
    at = (0.002, 0.02) if without else (0.02, 0.2)
    below = [int((gain < x).sum()) for x in at]
    assert below[0] > 10
    power = math.log10(below[1] / below[0])
    assert power == pytest.approx(1.0 if without else 2.0, abs=0.3)
    if antennas == 1:
        assert below[1] / len(gain) == pytest.approx(-math.expm1(-0.02 * devices), rel=0.03)


def test_what_bounds_the_noise():
    assert not noise_without_mean(config(power={"control": "truncated"}), 5)
    assert not noise_without_mean(config(channel={"model": "awgn"}), 5)
    assert not noise_without_mean(config(scheme="reed"), 5)
    assert noise_without_mean(config(scheme="sign"), 5)
