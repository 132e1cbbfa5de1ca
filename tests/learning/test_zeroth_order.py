"""The step against closed forms and the three-pass law."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learning.config import ZerothOrderConfig
from learning.parameters import WeightVector, trainable
from learning.perturbation import Perturbation
from learning.zeroth_order import Projections, ZerothOrderStep
from learning.zeroth_order import project as project_all
from tests.learning.tiny import Quadratic, flat, scales

F32 = np.float32


def project(plus: list[np.ndarray], minus: list[np.ndarray], config: ZerothOrderConfig, **options: Any) -> Projections:
    """Of a round of one direction."""
    return project_all([plus], [minus], config, **options)


def z_of(count: int, seed: int, round_index: int, law: str = "rademacher") -> np.ndarray:
    weights = (WeightVector("w", torch.zeros(count)),)
    Perturbation(weights, seed, law).add(round_index, F32(1))
    return weights[0].flat.numpy()


@pytest.mark.parametrize("law", ["rademacher", "gaussian"])
@pytest.mark.parametrize("estimate", [None, 0.0, 3.25, -1e4])
def test_a_round_is_three_float32_additions(law: str, estimate: float | None) -> None:
    start = np.linspace(-0.2, 0.2, 1000).astype(F32)
    model = torch.nn.Linear(1000, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(start))
    config = ZerothOrderConfig(learning_rate=1e-4, mu=1e-3, perturbation=law)
    step = ZerothOrderStep(Perturbation(trainable(model), 11, law), config)
    step.ask(5, lambda: [np.zeros(1, F32)])
    step.tell(5, None if estimate is None else (estimate,))
    z = z_of(1000, 11, 5, law)
    mu = F32(1e-3)
    expected = start
    for factor in (mu, F32(-2 * float(mu)), F32(float(mu) - 1e-4 * (estimate or 0.0))):
        expected = (expected + (factor * z).astype(F32)).astype(F32)
    np.testing.assert_array_equal(model.weight.detach().numpy()[0], expected)
    if not estimate:
        assert np.abs(expected - start).max() < 5e-8  # a restore, up to rounding


def test_projected_gradient_of_a_quadratic() -> None:
    # L(w) = |w|^2/2: (L(w + mu z) - L(w - mu z)) / (2 mu) = w.z for every mu.
    model = Quadratic((500, 13))
    z = np.concatenate([z_of(500 + 512, 3, 2)[:500], z_of(600, 3, 2)[512:525]])

    def losses() -> list[np.ndarray]:
        return [np.array([(flat(model).double() ** 2).sum() / 2], dtype=F32)]

    config = ZerothOrderConfig(mu=0.5, clip=1e6)
    measured = ZerothOrderStep(Perturbation(trainable(model), 3), config).ask(2, losses)
    assert measured.payloads[0, 0] == pytest.approx(z.sum(), abs=1e-3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_loss_falls_along_minus_the_scalar(seed: int) -> None:
    model = Quadratic()
    config = ZerothOrderConfig(mu=1e-2, learning_rate=1e-3, clip=1e6)
    step = ZerothOrderStep(Perturbation(trainable(model), seed), config)

    def loss() -> float:
        return float((flat(model).double() ** 2).sum() / 2)

    before = loss()
    measured = step.ask(0, lambda: [np.array([loss()], dtype=F32)])
    step.tell(0, (float(measured.payloads.mean()),))
    g = float(measured.payloads[0, 0])
    assert loss() < before
    # Closed form of the quadratic: eta g^2 - eta^2 g^2 |z|^2 / 2, with |z|^2 = d for signs.
    expected = 1e-3 * g * g - 0.5 * 1e-6 * g * g * flat(model).numel()
    assert before - loss() == pytest.approx(expected, rel=0.05, abs=5e-5)


def test_clipping_by_device_and_by_sample() -> None:
    plus = [np.array([1.0, 3.0], F32), np.array([0.0, 100.0], F32)]
    minus = [np.array([0.0, 0.0], F32), np.array([0.0, 0.0], F32)]
    device = project(plus, minus, ZerothOrderConfig(mu=0.5, clip=10.0, clip_scope="device"))
    sample = project(plus, minus, ZerothOrderConfig(mu=0.5, clip=10.0, clip_scope="sample"))
    np.testing.assert_array_equal(device.unclipped, [[2.0], [50.0]])
    np.testing.assert_array_equal(device.payloads, [[2.0], [10.0]])
    np.testing.assert_array_equal(sample.payloads, [[2.0], [5.0]])
    assert (device.clipped_fraction, sample.clipped_fraction) == (0.5, 0.25)
    assert device.mean_loss == 13.0


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=30), st.floats(1e-3, 1e3))
def test_payloads_never_exceed_the_clip(values: list[float], clip: float) -> None:
    plus, minus = [np.array(values, F32)], [np.zeros(len(values), F32)]
    for scope in ("device", "sample"):
        config = ZerothOrderConfig(clip=clip, clip_scope=scope)
        assert np.abs(project(plus, minus, config).payloads).max() <= clip * (1 + 1e-12)


def test_difference_is_taken_before_the_mean() -> None:
    # Losses near 1e4 that differ by one float32 step: their means in float32 would be equal.
    base = np.full(1000, 1e4, F32)
    plus = base.copy()
    plus[0] = np.nextafter(F32(1e4), F32(2e4))
    measured = project([plus], [base], ZerothOrderConfig(mu=1e-3, clip=1e6))
    expected = (float(plus[0]) - 1e4) / 1000 / (2 * float(F32(1e-3)))
    assert measured.payloads[0, 0] == pytest.approx(expected, rel=1e-12)


def test_not_a_number_is_seen() -> None:
    bad = [np.array([np.nan], F32)]
    assert not project(bad, [np.zeros(1, F32)], ZerothOrderConfig()).finite
    assert project([np.zeros(1, F32)], [np.zeros(1, F32)], ZerothOrderConfig()).finite


def test_scales_are_rounded_once() -> None:
    factors = scales(1e-3, 1e-2, 0.3)
    assert factors.forward == F32(1e-3)
    assert float(factors.back) == -2 * float(F32(1e-3))
    assert factors.update == F32(float(F32(1e-3)) - 1e-2 * 0.3)
    assert scales(1e-3, 1e-2, None).update == F32(1e-3)
    assert np.isinf(scales(1e-3, 1.0, 1e300).update)
