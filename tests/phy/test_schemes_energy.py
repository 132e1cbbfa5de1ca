"""Energy detection against closed forms and a plain carrier written out here."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phy import theory_schemes as theory
from phy.config import LinkConfig
from phy.discovery import find
from phy.draws import CachedDraws, KeyedDraws
from phy.energy import EnergyMode, keyed_dither, keyed_phases
from phy.errors import BadPayload
from phy.symbol_carrier import SymbolCarrier

CLIP = 5.0
SCHEMES = ["fsk_mv", "reed", "ncairfl"]
VALUES = np.array([5.0, -3.0, 0.5, 1.0, -4.0, 2.0])


def mode(scheme: str, seed: int = 1, looks: int = 1, n0: float = 0.1, antennas: int = 1) -> EnergyMode:
    config = LinkConfig.model_validate(
        {
            "scheme": scheme,
            "clip": CLIP,
            "snr_max_db": -10.0 * np.log10(n0),
            "receive_antennas": antennas,
            "noncoherent": {"looks": looks},
        }
    )
    return EnergyMode(config, KeyedDraws(seed), find("schemes", scheme)(config))


def complex_normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return ((rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * np.sqrt(0.5)).astype(np.complex64)


def carry(coefficients: np.ndarray, looks: int, antennas: int, n0: float, fading: str, seed: int = 0) -> np.ndarray:
    """z[b, i, u, m] = sum_k h q c + w with q = 1, a fade per (round, look, antenna, device) or per (round, antenna, device)."""
    rng = np.random.default_rng(seed)
    batch, devices, scalars, resources = coefficients.shape
    fades = complex_normal(rng, batch, 1 if fading == "block" else looks, devices, antennas)
    if fading == "none":
        fades = np.ones_like(fades)
    by_look = coefficients.reshape(batch, devices, scalars, looks, resources // looks)
    clean = np.einsum("bkilt,blkm->biltm", by_look, np.broadcast_to(fades, (batch, looks, devices, antennas)))
    noise = np.sqrt(n0) * complex_normal(rng, batch, scalars, resources, antennas)
    return (clean.reshape(noise.shape) + noise).astype(np.complex64)


def simulate(scheme: str, payloads: np.ndarray, looks: int, antennas: int, n0: float, fading: str) -> np.ndarray:
    """Estimates [B, n] of rounds 0 .. B-1."""
    one = mode(scheme, looks=looks, n0=n0, antennas=antennas)
    prepared = one.prepare(0, payloads, None)
    return one.decide(prepared, carry(prepared.coefficients, looks, antennas, n0, fading))


def repeated(values: np.ndarray, rounds: int) -> np.ndarray:
    return np.broadcast_to(values[None, :, None], (rounds, len(values), 1))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("looks", [1, 3, 40])
def test_energy_of_a_scalar_is_one_at_full_scale_and_never_more(scheme, looks):
    sent = np.random.default_rng(0).uniform(-CLIP, CLIP, (50, 7, 3))
    sent[:, 0] = np.where(np.arange(50)[:, None] % 2, CLIP, -CLIP)
    prepared = mode(scheme, looks=looks).prepare(0, sent, None)
    energy = np.square(np.abs(prepared.coefficients.astype(np.complex128))).sum(axis=3)
    assert energy.max() <= 1.0
    if scheme == "fsk_mv":
        assert energy.min() > 1 - 3e-6
    elif scheme == "reed":
        assert np.allclose(energy, np.abs(sent) / CLIP, rtol=3e-6)
        assert energy[:, 0].min() > 1 - 3e-6
    else:
        agree = energy[:, 0] > 0
        assert energy[:, 0][agree].min() > 1 - 3e-6
        assert 0.3 < agree.mean() < 0.7
    assert np.array_equal(prepared.reference, np.ones((50, 7)))


def test_majority_probability_at_the_reference_point():
    # 4 votes against 1, three looks of energy 1 and N0 = 0.5: in the split of energy used here N0 = 0.5 / 3.
    assert theory.majority_probability(4, 1, 0.5 / 3, looks=3) == pytest.approx(0.8965, abs=5e-5)


@pytest.mark.parametrize(
    ("plus", "minus", "n0", "looks", "antennas"),
    [(4, 1, 0.5 / 3, 3, 1), (1, 0, 0.2, 1, 1), (2, 3, 1.0, 2, 2), (7, 6, 0.01, 8, 1)],
)
def test_vote_probability_equals_theory(plus, minus, n0, looks, antennas):
    rounds = 100_000
    votes = np.concatenate((np.full(plus, 0.3), np.full(minus, -4.0)))
    estimates = simulate("fsk_mv", repeated(votes, rounds), looks, antennas, n0, "independent")
    assert set(np.unique(estimates)) == {-1.0, 1.0}
    p = theory.majority_probability(plus, minus, n0, looks, antennas)
    assert abs((estimates > 0).mean() - p) < 4 * np.sqrt(p * (1 - p) / rounds)


@pytest.mark.parametrize("scheme", ["reed", "ncairfl"])
@pytest.mark.parametrize("fading", ["independent", "block", "none"])
@pytest.mark.parametrize(("looks", "antennas", "n0"), [(1, 1, 0.3), (4, 1, 0.05), (3, 2, 1.0)])
def test_mean_and_variance_equal_theory(scheme, fading, looks, antennas, n0):
    rounds = 60_000
    error = simulate(scheme, repeated(VALUES, rounds), looks, antennas, n0, fading)[:, 0] - VALUES.mean()
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(rounds)
    closed = theory.reed_variance if scheme == "reed" else theory.ncairfl_variance
    expected = closed(VALUES, CLIP, n0, looks, antennas, fading)
    standard_error = np.std(error**2) / np.sqrt(rounds)
    assert abs(np.mean(error**2) - expected) < 4 * standard_error
    assert standard_error < 0.03 * expected


@pytest.mark.parametrize("look_fading", ["independent", "block"])
@pytest.mark.parametrize("scheme", ["reed", "ncairfl"])
def test_variance_over_the_link_s_own_carrier(scheme, look_fading):
    rounds, looks, antennas, n0 = 30_000, 3, 2, 0.2
    config = LinkConfig.model_validate(
        {
            "scheme": scheme,
            "clip": CLIP,
            "snr_max_db": -10.0 * np.log10(n0),
            "receive_antennas": antennas,
            "noncoherent": {"looks": looks, "look_fading": look_fading},
        }
    )
    draws = KeyedDraws(2)
    one = EnergyMode(config, draws, find("schemes", scheme)(config))
    carrier = SymbolCarrier(config, draws, CachedDraws(draws), one.resources, one.looks)
    sounded = carrier.sounded(len(VALUES), 0, rounds)
    prepared = one.prepare(0, repeated(VALUES, rounds), None, sounded)
    error = one.decide(prepared, carrier.carry(0, prepared, sounded).noisy)[:, 0] - VALUES.mean()
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(rounds)
    closed = theory.reed_variance if scheme == "reed" else theory.ncairfl_variance
    expected = closed(VALUES, CLIP, n0, looks, antennas, look_fading)
    assert abs(np.mean(error**2) - expected) < 4 * np.std(error**2) / np.sqrt(rounds)


def test_reed_variance_in_the_form_of_the_literature():
    # [(rho S+ + N0)^2 + (rho S- + N0)^2] / (L rho^2) with rho the energy of one look.
    looks, n0 = 4, 0.2
    rho = 1 / looks
    sums = VALUES[VALUES > 0].sum() / CLIP, -VALUES[VALUES < 0].sum() / CLIP
    literature = sum((rho * s + n0) ** 2 for s in sums) / (looks * rho**2) * (CLIP / len(VALUES)) ** 2
    assert theory.reed_variance(VALUES, CLIP, n0, looks) == pytest.approx(literature, rel=1e-12)


def test_one_look_makes_block_and_independent_fading_the_same():
    for closed in (theory.reed_variance, theory.ncairfl_variance):
        assert closed(VALUES, CLIP, 0.3, 1, 2, "block") == pytest.approx(closed(VALUES, CLIP, 0.3, 1, 2))


def test_estimates_of_a_single_strong_device_without_fading_and_noise_are_exact():
    sent = np.random.default_rng(3).uniform(-CLIP, CLIP, (200, 1, 4))
    one = mode("reed", looks=5, n0=1e-18)
    prepared = one.prepare(0, sent, None)
    estimates = one.decide(prepared, carry(prepared.coefficients, 5, 1, 0.0, "none"))
    assert np.allclose(estimates, sent[:, 0], atol=1e-5 * CLIP)
    one = mode("ncairfl", looks=5, n0=1e-18)
    prepared = one.prepare(0, sent, None)
    estimates = one.decide(prepared, carry(prepared.coefficients, 5, 1, 0.0, "none"))
    agree = keyed_dither(KeyedDraws(1), 0, 200, 4) * sent[:, 0] > 0
    assert np.allclose(estimates, np.where(agree, 2 * sent[:, 0], 0.0), atol=1e-5 * CLIP)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_absent_send_nothing_and_a_round_without_anybody_is_lost(scheme):
    sent = np.random.default_rng(4).uniform(-CLIP, CLIP, (6, 4, 2))
    present = np.ones((6, 4), bool)
    present[0, 1:] = False
    present[3] = False
    one = mode(scheme, looks=2)
    prepared = one.prepare(0, sent, present)
    assert not prepared.coefficients[~present].any()
    assert np.array_equal(prepared.reference, present.astype(np.complex64))
    assert np.array_equal(prepared.heard, [1, 4, 4, 0, 4, 4])
    assert np.array_equal(prepared.lost, prepared.heard == 0)
    estimates = one.decide(prepared, carry(prepared.coefficients, 2, 1, 0.1, "independent"))
    assert np.array_equal(np.isnan(estimates).all(axis=1), prepared.lost)
    assert np.isfinite(estimates[~prepared.lost]).all()
    everybody = one.prepare(0, sent, None).coefficients
    assert np.array_equal(prepared.coefficients[present], everybody[present])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("looks", "antennas"), [(1, 1), (5, 1), (33, 3), (130, 1)])
def test_bits_do_not_depend_on_the_batch(scheme, looks, antennas):
    rounds, first = 9, 124
    sent = np.random.default_rng(5).uniform(-CLIP, CLIP, (rounds, 11, 2))
    one = mode(scheme, looks=looks, antennas=antennas)
    whole = one.prepare(first, sent, None)
    statistics = carry(whole.coefficients, looks, antennas, 0.1, "independent")
    estimates = one.decide(whole, statistics)
    for i in range(rounds):
        alone = one.prepare(first + i, sent[i : i + 1], None)
        assert np.array_equal(alone.coefficients[0], whole.coefficients[i])
        assert np.array_equal(one.decide(alone, np.ascontiguousarray(statistics[i : i + 1]))[0], estimates[i])
        single = one.prepare(first + i, sent[i : i + 1, :, :1], None)
        assert np.array_equal(single.coefficients[0, :, 0], whole.coefficients[i, :, 0])
        assert np.array_equal(one.decide(single, np.ascontiguousarray(statistics[i : i + 1, :1]))[0, 0], estimates[i, 0])


@given(
    devices=st.integers(1, 12),
    scalars=st.integers(1, 80),
    looks=st.integers(1, 70),
    first=st.integers(0, 10**12),
    seed=st.integers(0, 2**64 - 1),
)
@settings(max_examples=40, deadline=None)
def test_draws_are_keyed_by_round_scalar_look_and_device(devices, scalars, looks, first, seed):
    draws = KeyedDraws(seed)
    phases = keyed_phases(draws, first, 3, devices, scalars, looks)
    assert np.array_equal(
        phases, keyed_phases(draws, first, 3, devices + 5, scalars + 3, looks + 40)[:, :devices, :scalars, :looks]
    )
    assert np.array_equal(phases[2:], keyed_phases(draws, first + 2, 1, devices, scalars, looks))
    dither = keyed_dither(draws, first, 3, scalars)
    assert np.array_equal(dither, keyed_dither(draws, first, 3, scalars + 70)[:, :scalars])
    assert np.array_equal(dither[1:2], keyed_dither(draws, first + 1, 1, scalars))
    assert np.array_equal(np.abs(dither), np.ones_like(dither))


def test_phases_are_uniform_and_uncorrelated_in_every_direction():
    phases = keyed_phases(KeyedDraws(3), 0, 500, 6, 5, 40)
    samples = phases.size
    for turn in (phases, phases**2, phases[1:] * phases[:-1].conj(), phases[:, 1:] * phases[:, :-1].conj()):
        assert abs(turn.mean()) < 4 / np.sqrt(turn.size)
    for turn in (phases[:, :, 1:] * phases[:, :, :-1].conj(), phases[..., 1:] * phases[..., :-1].conj()):
        assert abs(turn.mean()) < 4 / np.sqrt(turn.size)
    counts = np.array([(phases == point).sum() for point in (1, 1j, -1, -1j)])
    assert np.square(counts - samples / 4).sum() / (samples / 4) < 21.1  # chi-square of 3 degrees of freedom, 1e-4
    dither = keyed_dither(KeyedDraws(3), 0, 3000, 90)
    for turn in (dither, dither[1:] * dither[:-1], dither[:, 1:] * dither[:, :-1]):
        assert abs(turn.mean()) < 4 / np.sqrt(turn.size)


def test_targets():
    present = np.array([[True, True, False], [True, True, True], [False, False, False]])
    values = np.array([[4.0, -1.0, 9.0], [1.0, -2.0, -3.0], [1.0, 1.0, 1.0]])
    config = LinkConfig(clip=10.0)
    for scheme in ("reed", "ncairfl", "digital"):
        part = find("schemes", scheme)(config)
        assert np.allclose(part.target(values, present), [1.5, -4 / 3, 0.0])
        assert np.allclose(part.target(values, None), values.mean(axis=1))
    votes = find("schemes", "fsk_mv")(config)
    assert np.array_equal(votes.target(values, present), [0.0, -1.0, 0.0])
    assert np.array_equal(votes.target(values, None), [1.0, -1.0, 1.0])


def test_channel_uses_and_needs():
    config = LinkConfig.model_validate({"noncoherent": {"looks": 3}, "digital": {"bits": 8, "symbols": 4}})
    uses = {"analog": 1, "sign": 1, "fsk_mv": 6, "reed": 6, "ncairfl": 3, "digital": 40}
    for scheme, expected in uses.items():
        part = find("schemes", scheme)(config)
        assert part.channel_uses(10) == expected
        assert part.needs_csi == (scheme in ("analog", "sign", "digital"))


def test_ncairfl_without_a_dither_says_so():
    part = find("schemes", "ncairfl")(LinkConfig())
    with pytest.raises(BadPayload, match="keyed_dither"):
        part.energies(np.zeros((1, 1, 1)), None)
