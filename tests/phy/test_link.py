"""The link against closed forms, and its bits against batching, devices and engines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from phy import theory
from phy.config import LinkConfig
from phy.errors import BadPayload, UnknownPart
from phy.link import Link

CLIP = 10.0


def payloads(rounds: int, devices: int, scalars: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-CLIP, CLIP, (rounds, devices, scalars))


def link(seed: int = 1, **settings_: object) -> Link:
    return Link(LinkConfig.model_validate({"clip": CLIP, **settings_}), seed)


VARIANTS = {
    "perfect": {},
    "ls": {"csi": {"estimator": "ls", "pilot_symbols": 4, "pilot_snr_db": 10.0}},
    "mmse": {"csi": {"estimator": "mmse", "pilot_symbols": 4, "pilot_snr_db": 10.0}},
    "aged": {"csi": {"age_s": 0.005, "doppler_hz": 10.0}},
    "aged mmse": {"csi": {"estimator": "mmse", "pilot_snr_db": 10.0, "age_s": 0.002, "doppler_hz": 10.0}},
    "aged ls": {"csi": {"estimator": "ls", "pilot_snr_db": 10.0, "age_s": 0.002, "doppler_hz": 10.0}},
}


@pytest.mark.parametrize("csi", VARIANTS)
@pytest.mark.parametrize("snr_max_db", [0.0, 20.0])
def test_mse_of_truncated_inversion_equals_theory(csi, snr_max_db):
    config = {**VARIANTS[csi], "power": {"control": "truncated", "threshold": 0.1}, "snr_max_db": snr_max_db}
    one = link(**config)
    values = np.array([9.0, -4.0, 3.0])
    rounds = 300_000
    result = one.aggregate(np.arange(rounds), np.broadcast_to(values[:, None], (rounds, 3, 1)))
    heard_all = result.diagnostics["truncated"] == 0
    error = result.estimates[heard_all, 0] - values.mean()
    csi_config = one.config.csi
    expected = theory.truncated_inversion_mse(
        values,
        CLIP,
        one.config.n0,
        0.1,
        csi_config.estimator,
        one.config.pilot_error_variance,
        theory.jakes_correlation(csi_config.doppler_hz, csi_config.age_s),
    )
    standard_error = np.std(error**2) / np.sqrt(len(error))
    assert abs(np.mean(error**2) - expected) < 4.5 * standard_error
    assert standard_error < 0.02 * expected


@pytest.mark.parametrize("devices", [1, 5, 30])
def test_noise_of_weakest_alignment_is_exactly_gaussian_given_the_fade(devices):
    one = link(snr_max_db=5.0)
    sent = payloads(40_000, devices)
    result = one.aggregate(np.arange(40_000), sent)
    std = np.sqrt(theory.noise_variance(CLIP, one.config.n0, result.diagnostics["aligned_gain"], devices))
    assert stats.kstest((result.estimates[:, 0] - sent.mean(axis=(1, 2))) / std, "norm").pvalue > 1e-3
    # The weakest of K unit-mean exponential gains is exponential of rate K.
    assert stats.kstest(result.diagnostics["aligned_gain"] ** 2 * devices, "expon").pvalue > 1e-3


def test_unbiased_with_perfect_and_mmse_csi_and_biased_as_computed_with_ls():
    for estimator, beta in (("perfect", 1.0), ("mmse", 1.0), ("ls", 1 / 1.1)):
        one = link(
            csi={"estimator": estimator, "pilot_symbols": 1, "pilot_snr_db": 10.0},
            power={"control": "truncated", "threshold": 0.2},
        )
        sent = np.full((200_000, 4, 1), 8.0)
        estimates = one.aggregate(np.arange(200_000), sent).estimates[:, 0]
        estimates = estimates[np.isfinite(estimates)]
        assert abs(estimates.mean() - 8.0 * beta) < 4 * estimates.std() / np.sqrt(len(estimates))


@pytest.mark.parametrize(
    "settings",
    [
        {"power": {"control": "weakest"}},
        {"power": {"control": "truncated"}, "csi": {"estimator": "ls"}, "receive_antennas": 3},
        {"power": {"artificial_noise": 0.8}},
        {"scheme": "reed", "noncoherent": {"looks": 4}},
        {"scheme": "fsk_mv"},
    ],
)
def test_power_is_that_of_what_is_sent(settings):
    one = link(**settings)
    sent, present = payloads(2000, 6), np.random.default_rng(1).random((2000, 6)) < 0.8
    coefficients = one._mode.prepare(0, sent, present, one._carrier.sounded(6, 0, 2000)).coefficients.astype(np.complex128)
    energy = np.square(np.abs(coefficients)).sum(axis=3)[:, :, 0]
    found = one.aggregate(np.arange(2000), sent, present).diagnostics
    if "artificial_noise" not in settings.get("power", {}):
        assert energy.max() <= 1.0
    np.testing.assert_allclose(found["power_peak"], energy.max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found["power_mean"], energy.sum(axis=1) / np.maximum(present.sum(axis=1), 1), rtol=1e-6)


@pytest.mark.parametrize("antennas", [1, 3])
@pytest.mark.parametrize("control", ["weakest", "truncated"])
@pytest.mark.parametrize("csi", ["perfect", "ls", "mmse"])
def test_peak_power_is_never_exceeded(antennas, control, csi):
    one = link(receive_antennas=antennas, power={"control": control}, csi={"estimator": csi, "pilot_snr_db": 0.0})
    sent = np.where(payloads(100_000, 6) > 0, CLIP, -CLIP)
    peak = one.aggregate(np.arange(100_000), sent).diagnostics["power_peak"]
    assert peak.max() <= 1.0
    if control == "weakest":
        assert peak.min() > 1 - 1e-5  # the weakest device transmits at the peak


def test_truncation_probability_and_lost_rounds():
    one = link(power={"control": "truncated", "threshold": 0.5})
    result = one.aggregate(np.arange(100_000), payloads(100_000, 2))
    truncated = result.diagnostics["truncated"]
    p = -np.expm1(-0.5)
    assert stats.binomtest(int(truncated.sum()), 200_000, p).pvalue > 1e-3
    assert stats.binomtest(int(result.lost.sum()), 100_000, p**2).pvalue > 1e-3
    assert np.isnan(result.estimates[result.lost]).all()
    assert np.isfinite(result.estimates[~result.lost]).all()


@pytest.mark.parametrize("air", ["sionna", "numpy"])
@pytest.mark.parametrize("antennas", [1, 2])
@pytest.mark.parametrize("csi", ["perfect", "ls", "aged mmse"])
@pytest.mark.parametrize("devices", [1, 7, 300])
def test_bits_do_not_depend_on_the_batch(air, antennas, csi, devices):
    offsets = {"phase_rad": {"law": "uniform", "value": 0.3}, "timing_s": {"law": "normal", "value": 1e-4}}
    one = link(air=air, receive_antennas=antennas, offsets=offsets, **VARIANTS[csi])
    rounds = np.arange(90, 90 + 300) if devices < 100 else np.arange(120, 140)
    sent = payloads(len(rounds), devices)
    whole = one.aggregate(rounds, sent)
    order = np.random.default_rng(0).permutation(len(rounds))[:60]
    shuffled = link(air=air, receive_antennas=antennas, offsets=offsets, **VARIANTS[csi]).aggregate(rounds[order], sent[order])
    assert np.array_equal(whole.estimates[order], shuffled.estimates)
    for i in order[:25]:
        single = one.aggregate(rounds[i : i + 1], sent[i : i + 1])
        assert np.array_equal(single.estimates[0], whole.estimates[i])
        assert all(np.array_equal(v, whole.diagnostics[k][i : i + 1]) for k, v in single.diagnostics.items())


@pytest.mark.parametrize("antennas", [1, 4])
def test_sionna_and_numpy_airs_agree(antennas):
    sent = payloads(500, 9, scalars=2)
    a = link(air="sionna", receive_antennas=antennas).aggregate(np.arange(500), sent)
    b = link(air="numpy", receive_antennas=antennas).aggregate(np.arange(500), sent)
    scale = CLIP / a.diagnostics["aligned_gain"]
    assert np.max(np.abs(a.estimates - b.estimates) / scale[:, None]) < 1e-6


def test_common_random_numbers_across_the_number_of_devices():
    small, large = link(), link()
    few, many = small._carrier.sounded(10, 40, 100), large._carrier.sounded(20, 40, 100)
    assert np.array_equal(few, many[:, :, :10])


def test_absent_devices_are_as_if_they_were_not_there():
    sent = payloads(200, 6)
    present = np.ones((200, 6), bool)
    present[:, 4:] = False
    with_mask = link(snr_max_db=10.0).aggregate(np.arange(200), sent, present)
    without = link(snr_max_db=10.0).aggregate(np.arange(200), sent[:, :4])
    assert np.allclose(with_mask.estimates, without.estimates, rtol=1e-4, atol=1e-4)
    assert np.array_equal(with_mask.diagnostics["true_mean"], without.diagnostics["true_mean"])
    nobody = link().aggregate(np.arange(3), sent[:3], np.zeros((3, 6), bool))
    assert nobody.lost.all()


def test_scalars_of_one_round_share_the_fade_but_not_the_noise():
    one = link(snr_max_db=10.0)
    sent = np.repeat(payloads(50_000, 3), 2, axis=2)
    result = one.aggregate(np.arange(50_000), sent)
    error = (result.estimates - sent.mean(axis=1)) * result.diagnostics["aligned_gain"][:, None]
    assert abs(np.corrcoef(error.T)[0, 1]) < 4 / np.sqrt(50_000)


@pytest.mark.parametrize("snr_max_db", [0.0, 6.0])
def test_one_bit_votes_are_wrong_as_often_as_theory_says(snr_max_db):
    one = link(
        scheme="sign",
        decision="hard",
        snr_max_db=snr_max_db,
        power={"control": "truncated", "threshold": 0.05},
    )
    signs = np.array([1.0, 1.0, -1.0])
    result = one.aggregate(np.arange(200_000), np.broadcast_to(signs[:, None], (200_000, 3, 1)))
    clean = result.diagnostics["truncated"] == 0
    wrong = int((result.estimates[clean, 0] < 0).sum())
    expected = theory.vote_error_probability(signs, np.sqrt(0.05), one.config.n0)
    assert stats.binomtest(wrong, int(clean.sum()), expected).pvalue > 1e-3


def test_soft_vote_is_the_average_vote_without_noise():
    one = link(scheme="sign", snr_max_db=120.0)
    sent = payloads(300, 5)
    assert np.allclose(one.aggregate(np.arange(300), sent).estimates[:, 0], np.sign(sent[:, :, 0]).mean(axis=1), atol=1e-3)


def test_received_power_is_that_of_the_aligned_sum():
    one = link()
    sent = payloads(400, 5)
    d = one.aggregate(np.arange(400), sent).diagnostics
    expected = (d["aligned_gain"] * sent.sum(axis=(1, 2)) / CLIP) ** 2
    assert np.allclose(d["received_power"], expected, rtol=1e-3, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    rounds=st.integers(1, 40),
    devices=st.integers(1, 9),
    scalars=st.integers(1, 3),
    antennas=st.integers(1, 3),
    snr_max_db=st.floats(-30, 40),
    seed=st.integers(0, 2**64 - 1),
    control=st.sampled_from(["weakest", "truncated"]),
    estimator=st.sampled_from(["perfect", "ls", "mmse"]),
)
def test_any_link_returns_finite_estimates_or_lost_rounds(
    rounds, devices, scalars, antennas, snr_max_db, seed, control, estimator
):
    one = link(
        seed,
        snr_max_db=snr_max_db,
        receive_antennas=antennas,
        power={"control": control},
        csi={"estimator": estimator},
    )
    result = one.aggregate(np.arange(rounds), payloads(rounds, devices, scalars))
    assert np.array_equal(np.isfinite(result.estimates).all(axis=1), ~result.lost)
    assert result.diagnostics["power_peak"].max() <= 1.0


@pytest.mark.parametrize(
    ("value", "sentence"),
    [(np.nan, "not a number"), (CLIP * 1.01, "exceeds the clip"), (-np.inf, "exceeds the clip")],
)
def test_payloads_beyond_the_clip_are_refused(value, sentence):
    sent = payloads(3, 2)
    sent[1, 1] = value
    with pytest.raises(BadPayload, match=sentence):
        link().aggregate(np.arange(3), sent)


def test_wrong_shapes_are_refused():
    with pytest.raises(BadPayload, match="rounds, devices, scalars"):
        link().aggregate(np.arange(3), payloads(4, 2))
    with pytest.raises(BadPayload, match="must lie in 0"):
        link().aggregate(np.array([-1]), payloads(1, 2))
    with pytest.raises(BadPayload, match="present must have shape"):
        link().aggregate(np.arange(3), payloads(3, 2), np.ones((2, 3), bool))


def test_a_part_that_does_not_exist_names_its_nearest():
    with pytest.raises(UnknownPart, match="did you mean 'analog'"):
        link(scheme="analgo")
    with pytest.raises(UnknownPart, match="did you mean 'mmse'"):
        link(csi={"estimator": "mmes"})


def test_a_users_own_part_is_found_by_module_and_class():
    one = link(scheme="phy.schemes.analog:Part")
    assert one.description["payload_bits_per_scalar"] == 16


@pytest.mark.parametrize(
    "bad",
    [
        {"clip": 0},
        {"snr_max_db": float("nan")},
        {"snr": 3},
        {"offsets": {"phase_rad": {"law": "uniform", "value": -1}}},
    ],
)
def test_bad_configurations_are_refused(bad):
    with pytest.raises(ValidationError):
        LinkConfig.model_validate(bad)


def test_the_loudest_gain_is_what_arrives_of_a_full_scale_symbol():
    sent = np.zeros((400, 3, 1))
    exact = link(power={"control": "truncated"}).aggregate(np.arange(400), sent)
    heard = ~exact.lost
    assert np.allclose(exact.diagnostics["loudest_gain"][heard], exact.diagnostics["aligned_gain"][heard], rtol=1e-5)
    rough = link(csi={"estimator": "ls", "pilot_snr_db": 5}, power={"control": "truncated"}).aggregate(np.arange(400), sent)
    ratio = rough.diagnostics["loudest_gain"] / np.maximum(rough.diagnostics["aligned_gain"], 1e-9)
    assert (ratio[~rough.lost] > 1).mean() > 0.5
    many = link(receive_antennas=4).aggregate(np.arange(400), sent)
    assert (many.diagnostics["loudest_gain"] > 1.2 * many.diagnostics["aligned_gain"]).mean() > 0.9
    for k in range(3):
        one = sent.copy()
        one[:, k] = CLIP
        alone = link(snr_max_db=200.0, receive_antennas=4).observe(np.arange(400), one)
        assert (np.sqrt((np.abs(alone) ** 2).sum(axis=1)) <= many.diagnostics["loudest_gain"] * (1 + 1e-4)).all()
