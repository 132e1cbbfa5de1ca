"""The orthogonal digital reference against outage theory and a loop."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phy import theory_schemes as theory
from phy.config import LinkConfig
from phy.draws import KeyedDraws
from phy.orthogonal import OrthogonalMode
from phy.schemes.digital import Part

CLIP = 3.0


def mode(bits: int = 8, symbols: int = 4, snr_db: float = 10.0, clip: float = CLIP) -> OrthogonalMode:
    config = LinkConfig.model_validate(
        {"scheme": "digital", "clip": clip, "snr_max_db": snr_db, "digital": {"bits": bits, "symbols": symbols}}
    )
    return OrthogonalMode(config, KeyedDraws(0), Part(config))


def fades(rounds: int, antennas: int, devices: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (rounds, antennas, devices)
    return ((rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * np.sqrt(0.5)).astype(np.complex64)


@given(bits=st.integers(1, 32), fraction=st.floats(-1.0, 1.0), clip=st.floats(1e-3, 1e3))
@settings(max_examples=200, deadline=None)
def test_quantiser_errs_by_at_most_half_a_step_and_stays_inside(bits, fraction, clip):
    part = Part(LinkConfig.model_validate({"clip": clip, "digital": {"bits": bits}}))
    value = np.clip(fraction * clip, -clip, clip)
    quantised = float(part.quantise(np.array(value)))
    assert part.step == 2 * clip / 2**bits
    assert abs(quantised - value) <= part.step / 2 + 1e-12 * clip
    assert abs(quantised) <= clip
    assert float(part.quantise(np.array(quantised))) == pytest.approx(quantised, abs=1e-12 * clip)


def test_quantiser_has_its_number_of_levels():
    part = Part(LinkConfig.model_validate({"clip": CLIP, "digital": {"bits": 3}}))
    levels = np.unique(part.quantise(np.linspace(-CLIP, CLIP, 10_001)))
    assert np.allclose(levels, CLIP * (np.arange(8) - 3.5) / 4)


@pytest.mark.parametrize(("bits", "symbols", "snr_db", "antennas"), [(16, 16, 15.0, 1), (8, 4, 17.0, 1), (16, 8, 10.0, 3)])
def test_outage_equals_theory(bits, symbols, snr_db, antennas):
    rounds, devices = 40_000, 3
    result = mode(bits, symbols, snr_db).exchange(0, np.zeros((rounds, devices, 1)), None, fades(rounds, antennas, devices))
    p = theory.digital_outage(10 ** (-snr_db / 10), bits, symbols, antennas)
    assert 0.02 < p < 0.98
    assert abs(result.truncated.mean() / devices - p) < 4 * math.sqrt(p * (1 - p) / (rounds * devices))
    lost = p**devices
    assert abs(result.lost.mean() - lost) < 4 * math.sqrt(lost * (1 - lost) / rounds) + 1e-12
    if antennas == 1:
        exponential = 1 - math.exp(-symbols * 10 ** (-snr_db / 10) * (2 ** (bits / symbols) - 1))
        assert p == pytest.approx(exponential, rel=1e-12)


def test_against_a_loop_over_devices():
    rounds, devices, antennas, scalars = 60, 5, 2, 3
    rng = np.random.default_rng(1)
    sent = rng.uniform(-CLIP, CLIP, (rounds, devices, scalars))
    present = rng.random((rounds, devices)) < 0.7
    channel = fades(rounds, antennas, devices)
    residual = (rng.random((rounds, devices)) * np.exp(2j * np.pi * rng.random((rounds, devices)))).astype(np.complex64)
    bits, symbols, n0 = 8, 4, 0.1
    result = mode(bits, symbols, 10.0).exchange(0, sent, present, channel, residual)
    for b in range(rounds):
        heard = []
        for k in range(devices):
            gain = abs(residual[b, k]) ** 2 * sum(abs(channel[b, m, k]) ** 2 for m in range(antennas))
            if present[b, k] and symbols * math.log2(1 + gain / (symbols * n0)) >= bits:
                heard.append(k)
        assert result.heard[b] == len(heard)
        assert result.lost[b] == (not heard)
        assert result.truncated[b] == present[b].sum() - len(heard)
        if heard:
            assert np.abs(result.estimates[b] - sent[b, heard].mean(axis=0)).max() <= CLIP / 2**bits + 1e-12
        else:
            assert np.isnan(result.estimates[b]).all()
        assert result.power_peak[b] == (1.0 if present[b].any() else 0.0)
    assert result.lost.any()
    assert not result.lost.all()


def test_bits_do_not_depend_on_the_batch_nor_on_the_number_of_scalars():
    rounds, devices = 20, 37
    sent = np.random.default_rng(2).uniform(-CLIP, CLIP, (rounds, devices, 3))
    channel = fades(rounds, 2, devices)
    residual = fades(rounds, 1, devices, seed=5)[:, 0]
    one = mode()
    whole = one.exchange(5, sent, None, channel, residual)
    for i in range(rounds):
        alone = one.exchange(5 + i, sent[i : i + 1], None, channel[i : i + 1], residual[i : i + 1])
        assert np.array_equal(alone.estimates[0], whole.estimates[i])
        assert alone.received_power[0] == whole.received_power[i]
        single = one.exchange(5 + i, sent[i : i + 1, :, :1], None, channel[i : i + 1], residual[i : i + 1])
        assert single.estimates[0, 0] == whole.estimates[i, 0]


def test_extreme_rates_are_finite():
    part = Part(LinkConfig.model_validate({"digital": {"bits": 32, "symbols": 1}}))
    assert part.least_snr == pytest.approx(2.0**32 - 1, rel=1e-12)
    part = Part(LinkConfig.model_validate({"digital": {"bits": 1, "symbols": 4096}}))
    assert part.least_snr == pytest.approx(math.log(2), rel=1e-3)  # Shannon's limit at vanishing rate
