"""Artificial noise: closed forms, power and privacy that hold, and optimality over a fine grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.privacy.errors import PrivacyError
from learning.privacy.schedules import NoiseDesign, NoiseSource, adversary_noise_variance, design_noise


def one(
    source: NoiseSource, mu: float, cap: float, adversary: float, server: float, devices: int = 5, **more: float
) -> NoiseDesign:
    return design_noise(
        source,
        np.array([mu]),
        np.array([cap]),
        adversary_variance=adversary,
        server_variance=server,
        devices=devices,
        **more,  # type: ignore[arg-type]
    )


def test_adversary() -> None:
    assert adversary_noise_variance(1.0) == 0.5
    assert adversary_noise_variance(1.0, advantage_db=10.0, antennas=4) == pytest.approx(0.5 / 40)
    with pytest.raises(PrivacyError, match="0 antennas"):
        adversary_noise_variance(1.0, antennas=0)


def test_receiver_noise_alone() -> None:
    design = design_noise(
        "receiver", np.array([0.1, 5.0, 0.0]), np.ones(3), adversary_variance=0.5, server_variance=0.5, devices=5, clip=100.0
    )
    np.testing.assert_allclose(design.amplitudes, [0.1 * math.sqrt(0.5) / 2, 1.0, 0.0])  # the cap, where mu cannot be spent
    np.testing.assert_allclose(design.mu, [0.1, 2 / math.sqrt(0.5), 0.0])
    np.testing.assert_array_equal(design.artificial_std, 0.0)
    np.testing.assert_allclose(design.estimate_std[:2], 100 / 5 * math.sqrt(0.5) / design.amplitudes[:2])
    assert math.isinf(design.estimate_std[2])


def test_artificial_noise_alone() -> None:
    design = design_noise(
        "artificial",
        np.array([0.5]),
        np.array([0.8]),
        adversary_variance=0.5,
        server_variance=0.3,
        devices=4,
        sensitivity_ratio=2.0,
    )
    # r / mu = 4, so each of 4 devices adds noise of variance 4: signal and noise share the power 1 : 4
    assert design.artificial_std[0] == pytest.approx(2.0)
    assert design.amplitudes[0] == pytest.approx(0.8 / math.sqrt(5.0))
    assert design.mean_power[0] == pytest.approx(0.64)
    assert design.mu[0] == pytest.approx(0.5)
    assert design.mu_server[0] < 0.5  # the server's own noise comes on top
    assert design.estimate_std[0] == pytest.approx(math.sqrt(0.3 / design.amplitudes[0] ** 2 + 4 * 4) / 4)
    assert "artificial noise alone" in design.statement


def test_both_is_receiver_where_the_adversary_hears_no_better() -> None:
    for adversary in (0.5, 2.0):
        both = one("both", 0.3, 1.0, adversary, 0.5)
        receiver = one("receiver", 0.3, 1.0, adversary, 0.5)
        assert both.amplitudes == receiver.amplitudes
        assert both.artificial_std == 0.0


def test_noise_that_few_are_trusted_with_must_help_all_the_more() -> None:
    """All K devices' noise disturbs the server but only N devices' noise counts: it pays from v_srv > (K / N) v_adv on."""
    below = one("both", 0.3, 1.0, 0.5, 0.9, devices=4, noisy_devices=2)
    assert below.artificial_std == 0.0
    above = one("both", 0.3, 1.0, 0.5, 1.1, devices=4, noisy_devices=2)
    assert above.artificial_std > 0.0
    assert above.estimate_std < one("receiver", 0.3, 1.0, 0.5, 1.1, devices=4).estimate_std


@given(
    mu=st.floats(0.01, 20.0),
    cap=st.floats(0.01, 10.0),
    adversary=st.floats(1e-4, 10.0),
    server=st.floats(1e-4, 10.0),
    devices=st.integers(1, 12),
    trusted=st.integers(1, 12),
    ratio=st.floats(0.01, 2.0),
    source=st.sampled_from(["receiver", "artificial", "both"]),
)
@settings(max_examples=300, deadline=None)
def test_privacy_and_power_hold_and_nothing_on_a_grid_is_better(
    mu: float, cap: float, adversary: float, server: float, devices: int, trusted: int, ratio: float, source: NoiseSource
) -> None:
    trusted = min(trusted, devices)
    design = design_noise(
        source,
        np.array([mu]),
        np.array([cap]),
        adversary_variance=adversary,
        server_variance=server,
        devices=devices,
        sensitivity_ratio=ratio,
        noisy_devices=trusted,
    )
    a, s = design.amplitudes[0], design.artificial_std[0]
    counted = 0.0 if source == "artificial" else adversary
    assert ratio * a / math.sqrt(counted + a**2 * trusted * s**2) == pytest.approx(design.mu[0], rel=1e-9)
    assert design.mu[0] <= mu * (1 + 1e-9)
    assert a**2 * (1 + s**2) == pytest.approx(design.mean_power[0], rel=1e-12)
    assert design.mean_power[0] <= cap**2 * (1 + 1e-9)
    assert design.estimate_std[0] == pytest.approx(math.sqrt(server / a**2 + devices * s**2) / devices, rel=1e-9)
    # every other amplitude with the least noise it needs: allowed by power, and no better an estimate
    amplitudes = cap * np.linspace(1e-3, 1.0, 2000)
    needed = np.maximum((ratio / mu) ** 2 - counted / amplitudes**2, 0.0) / trusted
    if source == "receiver":
        allowed = needed == 0.0
    else:
        allowed = amplitudes**2 * (1 + needed) <= cap**2
    std = np.sqrt(server / amplitudes**2 + devices * needed) / devices
    assert (std[allowed] >= design.estimate_std[0] * (1 - 1e-9)).all()


def test_both_gains_on_receiver_noise_alone_against_a_better_receiver() -> None:
    """20 dB ahead, the adversary forces receiver noise alone down by 20 dB; artificial noise wins most of it back."""
    receiver = one("receiver", 0.1, 1.0, 0.005, 0.5)
    both = one("both", 0.1, 1.0, 0.005, 0.5)
    assert both.estimate_std[0] < 0.2 * receiver.estimate_std[0]
    # the floor is the noise that privacy asks for whoever makes it: (clip / K) (r / mu)
    assert both.estimate_std[0] == pytest.approx(2.0 / 0.1 / 5, rel=0.3)


def test_silent_rounds_and_deep_fades() -> None:
    sources: tuple[NoiseSource, ...] = ("receiver", "artificial", "both")
    for source in sources:
        design = design_noise(
            source,
            np.array([0.0, 0.1]),
            np.array([1.0, 0.0]),
            adversary_variance=0.1,
            server_variance=0.5,
            devices=3,
        )
        for values in (design.amplitudes, design.mu, design.mu_server, design.mean_power, design.artificial_std):
            np.testing.assert_array_equal(values, 0.0)
        assert np.isinf(design.estimate_std).all()


def test_refusals() -> None:
    with pytest.raises(PrivacyError, match="choose receiver, artificial or both"):
        one("thermal", 0.1, 1.0, 0.5, 0.5)  # type: ignore[arg-type]
    with pytest.raises(PrivacyError, match="6 of 5 devices"):
        one("both", 0.1, 1.0, 0.5, 0.5, noisy_devices=6)
    with pytest.raises(PrivacyError, match="noise variance is negative"):
        one("both", 0.1, 1.0, -0.5, 0.5)
    with pytest.raises(PrivacyError, match="one entry per round"):
        one("both", math.nan, 1.0, 0.5, 0.5)
    with pytest.raises(PrivacyError, match="clip must be positive"):
        one("both", 0.1, 1.0, 0.5, 0.5, clip=0.0)
