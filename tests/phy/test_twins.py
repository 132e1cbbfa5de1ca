"""Symbol and waveform fidelity on the same draws: equal where the model says so, apart by a known amount where not."""

import numpy as np
import pytest

from phy.config import LinkConfig
from phy.errors import PhyError
from phy.link import Link

RATE = 1e6
BURST = {
    "symbols_per_scalar": 16,
    "samples_per_symbol": 4,
    "guard_symbols": 12,
    "synchronisation": "slot",
    "preamble_symbols": 16,
}
SYMBOL_S = 4 / RATE
OFFSETS = {
    "timing_s": {"law": "uniform", "value": 2.7 * SYMBOL_S},
    "phase_rad": {"law": "uniform", "value": 0.6},
    "frequency_hz": {"law": "normal", "value": 900.0},
}


def pair(burst: dict[str, object] | None = None, offsets: dict[str, object] | None = None, **link: object) -> list[Link]:
    """The same link at both fidelities, practically without noise."""
    shared = {"clip": 1.0, "snr_max_db": 190.0, "burst": {**BURST, **(burst or {})}, **link}
    shared["offsets"] = {**(OFFSETS if offsets is None else offsets), "pulse": "burst"}
    return [Link(LinkConfig.model_validate({**shared, "fidelity": fidelity}), 5) for fidelity in ("symbol", "waveform")]


def sent(rounds: int = 6, devices: int = 4, scalars: int = 1) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (rounds, devices, scalars))


def difference(links: list[Link], payloads: np.ndarray) -> float:
    """Largest difference of estimates that neither fidelity lost."""
    results = [link.aggregate(np.arange(7, 7 + len(payloads)), payloads) for link in links]
    assert np.array_equal(results[0].lost, results[1].lost)
    assert not results[0].lost.all()
    heard = ~results[0].lost
    assert np.abs(results[0].estimates[heard]).max() > 0.01
    return float(np.abs(results[0].estimates - results[1].estimates)[heard].max())


@pytest.mark.parametrize("payload", ["repeated", "long", "spread"])
@pytest.mark.parametrize("pulse", ["rrc", "rect"])
def test_flat_fading_with_static_offsets(payload, pulse):
    assert difference(pair({"payload": payload, "pulse": pulse}), sent()) < 2e-5


@pytest.mark.parametrize("link", [
    {"receive_antennas": 3},
    {"csi": {"estimator": "mmse", "pilot_snr_db": 10, "age_s": 2e-3, "doppler_hz": 40}},
    {"csi": {"age_s": 2e-3}, "channel": {"doppler_hz": 40}},
    {"power": {"control": "truncated", "threshold": 0.3}},
    {"channel": {"model": "awgn"}},
    {"channel": {"placement": {"law": "disc"}}},
    {"clock": {"sampling_ppm": {"law": "uniform", "value": 0.01}, "since_sync_s": 0.5, "one_oscillator": True}},
], ids=lambda link: "-".join(link))  # fmt: skip
def test_every_setting_that_both_have(link):
    assert difference(pair(**link), sent()) < 3e-5


@pytest.mark.parametrize("tdl", ["A", "D"])
def test_multipath_held_over_the_burst(tdl):
    assert difference(pair(channel={"model": "tdl", "tdl": tdl, "delay_spread_s": 1.5e-6}), sent()) < 3e-5


def test_the_preamble_finds_and_removes_a_common_offset():
    offsets = {"timing_s": {"law": "constant", "value": 3.3 * SYMBOL_S}, "frequency_hz": {"law": "constant", "value": 400.0}}
    burst = {"synchronisation": "preamble", "preamble_symbols": 64}
    plain, found = pair(burst, offsets)
    payloads = sent(scalars=3)
    result = found.aggregate(np.arange(len(payloads)), payloads)
    assert np.abs(result.estimates - payloads.mean(axis=1)).max() < 5e-3
    assert np.abs(result.diagnostics["timing_s"] - 3.3 * SYMBOL_S).max() < 0.01 * SYMBOL_S
    assert np.abs(result.diagnostics["frequency_hz"] - 400.0).max() < 5.0
    blind = plain.aggregate(np.arange(len(payloads)), payloads)
    assert np.abs(blind.estimates - payloads.mean(axis=1)).max() > 0.1


def test_neighbouring_scalars_interfere_only_in_the_waveform():
    """Late by d symbols of N, a device loses d/N of a scalar to the one before; symbol fidelity in guards does not see it."""
    late = 4 * SYMBOL_S  # a quarter of the scalar
    offsets = {"timing_s": {"law": "constant", "value": late}}
    symbol, waveform = pair({"pulse": "rect"}, offsets, channel={"model": "awgn"})
    payloads = sent(scalars=5)
    rounds = np.arange(len(payloads))
    guarded = symbol.aggregate(rounds, payloads).estimates
    stream = waveform.aggregate(rounds, payloads).estimates
    means = payloads.mean(axis=1)
    before = np.concatenate([np.zeros((len(means), 1)), means[:, :-1]], axis=1)
    assert np.abs(guarded - 0.75 * means).max() < 1e-5
    assert np.abs(stream - (0.75 * means + 0.25 * before)).max() < 1e-5
    contiguous = Link(symbol.config.model_copy(update={
        "offsets": symbol.config.offsets.model_copy(update={
            "spacing": "contiguous", "pulse": "rectangular", "symbol_duration_s": 16 * SYMBOL_S})}), 5)  # fmt: skip
    assert np.abs(contiguous.aggregate(rounds, payloads).estimates - stream).max() < 1e-5


def test_back_to_back_scalars_with_frequency_offsets():
    """Rectangles in continuous time against samples: they part by the sampled carrier, of order (f / f_s)^2."""
    offsets = {
        "timing_s": {"law": "uniform", "value": 0.0},
        "frequency_hz": {"law": "uniform", "value": 800.0},
        "spacing": "contiguous",
    }
    symbol, waveform = pair({"pulse": "rect"}, offsets)
    update = {"pulse": "rectangular", "symbol_duration_s": 16 * SYMBOL_S}
    symbol = Link(symbol.config.model_copy(update={"offsets": symbol.config.offsets.model_copy(update=update)}), 5)
    # The integral over a sample starts at its left edge, the sample is its left edge: half a sample of rotation.
    bound = 2 * np.pi * 800.0 * 0.5 / RATE
    assert difference([symbol, waveform], sent(scalars=6)) < 1.2 * bound


def raised_cosine(t: np.ndarray, rolloff: float = 0.35) -> np.ndarray:
    """The Nyquist pulse that two root raised cosines make, away from its removable singularity."""
    return np.sinc(t) * np.cos(np.pi * rolloff * t) / (1 - (2 * rolloff * t) ** 2)


def test_drift_inside_the_burst_is_what_the_waveform_adds():
    """A clock fast by e pulls chip j early by e (j + 1/2) chips, off its peak and into its neighbours."""
    ppm, chips_count = 4000.0, 64
    clock = {"sampling_ppm": {"law": "constant", "value": ppm}}
    burst = {"symbols_per_scalar": chips_count, "payload": "spread", "span_symbols": 32}
    symbol, waveform = pair(burst, {}, clock=clock, channel={"model": "awgn"})
    payloads = sent()
    rounds = np.arange(len(payloads))
    means = payloads.mean(axis=1)
    assert np.abs(symbol.aggregate(rounds, payloads).estimates - means).max() < 1e-5
    measured = np.median(waveform.aggregate(rounds, payloads).estimates / means)
    chips = _spreading(waveform)
    index = np.arange(chips_count)
    slipped = index - ppm * 1e-6 * (index + 0.5)
    expected = (chips[:, None] * chips * raised_cosine(slipped[None, :] - index[:, None])).sum() / chips_count
    assert expected < 0.99
    assert measured == pytest.approx(expected, abs=2e-3)


def _spreading(link: Link) -> np.ndarray:
    from phy.burst.sequences import spreading_sequence

    return spreading_sequence(link.config.burst.symbols_per_scalar).real


def test_noise_has_the_variance_of_the_symbol_link():
    """Estimates of silence at 0 dB: variance clip^2 N0 / (2 a^2 K^2) at both fidelities."""
    shared = {"clip": 1.0, "snr_max_db": 0.0, "power": {"control": "truncated", "threshold": 0.5},
              "channel": {"model": "awgn"}, "burst": {**BURST, "payload": "spread"}}  # fmt: skip
    rounds = 1500
    for fidelity in ("symbol", "waveform"):
        link = Link(LinkConfig.model_validate({**shared, "fidelity": fidelity}), 2)
        estimates = link.aggregate(np.arange(rounds), np.zeros((rounds, 3, 2))).estimates
        variance = 1.0 / (2 * 0.5 * 9)
        assert estimates.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / estimates.size))


def test_an_estimate_has_the_same_bits_alone_and_in_a_batch():
    _, link = pair({"synchronisation": "preamble"}, snr_max_db=15.0)
    payloads = sent(5, scalars=2)
    whole = link.aggregate(np.arange(5), payloads)
    for i in (3, 0):
        alone = link.aggregate(np.array([i]), payloads[i : i + 1])
        assert np.array_equal(alone.estimates[0], whole.estimates[i], equal_nan=True)


def test_no_preamble_no_number():
    _, link = pair({"synchronisation": "preamble", "detection_threshold": 0.5}, snr_max_db=-30.0)
    result = link.aggregate(np.arange(4), sent(4))
    assert result.lost.all()
    assert np.isnan(result.estimates).all()


def test_offsets_beyond_the_guard_are_refused_with_the_limit():
    with pytest.raises(PhyError, match=r"guard of 4.8e-05 s.*guard_symbols to at least 26"):
        pair(offsets={"timing_s": {"law": "uniform", "value": 1e-4}})
    with pytest.raises(PhyError, match="path delays"):
        pair(channel={"model": "tdl", "delay_spread_s": 2e-5})[1].aggregate(np.arange(1), sent(1))


@pytest.mark.parametrize("scheme", ["fsk_mv", "reed", "ncairfl"])
@pytest.mark.parametrize("looks", [1, 3])
def test_energy_schemes_on_the_same_fades_and_phases(scheme, looks):
    links = pair(scheme=scheme, noncoherent={"looks": looks, "look_fading": "block"}, receive_antennas=2)
    payloads = sent(8)
    results = [link.aggregate(np.arange(8), payloads).estimates for link in links]
    assert np.abs(results[0]).max() > 0.1
    if scheme == "fsk_mv":
        assert (results[0] != results[1]).sum() <= (looks > 1)
    elif looks == 1:
        assert np.abs(results[0] - results[1]).max() < 2e-5
    else:  # looks follow one another without a guard, and a late device leaks from one into the next
        assert np.corrcoef(results[0].ravel(), results[1].ravel())[0, 1] > 0.9


def test_energy_schemes_without_timing_offset_agree_over_all_looks():
    links = pair(offsets={"phase_rad": OFFSETS["phase_rad"]}, scheme="reed", noncoherent={"looks": 3, "look_fading": "block"})
    assert difference(links, sent(8)) < 1e-3  # neighbouring looks meet in the truncated tails of the pulse


@pytest.mark.parametrize("receiver", ["aligned", "ml"])
def test_interval_receivers_on_statistics_and_on_samples(receiver):
    """Whole-sample offsets: cut rectangles give what the closed form gives, for scalars back to back."""
    burst = {"pulse": "rect", "symbols_per_scalar": 16}
    offsets = {"timing_s": {"law": "uniform", "value": 0.4 * 16 * SYMBOL_S}, "spacing": "contiguous"}
    symbol, waveform = _interval_pair(burst, offsets, receiver)
    payloads = sent(6, scalars=4)
    rounds = np.arange(6)
    a, b = symbol.aggregate(rounds, payloads), waveform.aggregate(rounds, payloads)
    means = payloads.mean(axis=1)
    assert np.abs(a.estimates - means).max() < 1e-5
    # Fractional edges of a band-limited sampled rectangle are blurred over a sample or two of sixty-four.
    assert np.abs(b.estimates - means).max() < 0.1
    plain = _interval_pair(burst, offsets, "matched")[1].aggregate(rounds, payloads)
    assert np.abs(plain.estimates - means).mean() > 3 * np.abs(b.estimates - means).mean()


def _interval_pair(burst: dict[str, object], offsets: dict[str, object], receiver: str) -> list[Link]:
    shared = {"clip": 1.0, "snr_max_db": 120.0, "receiver": receiver, "burst": {**BURST, **burst, "guard_symbols": 20}}
    offsets = {**offsets, "symbol_duration_s": 16 * SYMBOL_S}
    return [
        Link(LinkConfig.model_validate({**shared, "offsets": offsets, "fidelity": fidelity}), 5)
        for fidelity in ("symbol", "waveform")
    ]


def test_interval_receivers_learn_timings_from_pilots():
    burst = {"pulse": "rect", "symbols_per_scalar": 16, "pilot_symbols": 16}
    offsets = {"timing_s": {"law": "uniform", "value": 0.4 * 16 * SYMBOL_S}, "phase_rad": {"law": "uniform", "value": 0.5}}
    payloads = sent(6, scalars=3)
    means = payloads.mean(axis=1)
    errors = {}
    for name in ("aligned", "ml", "matched"):
        link = _interval_pair(burst, offsets, name)[1]
        errors[name] = np.abs(link.aggregate(np.arange(6), payloads).estimates - means).mean()
    assert errors["ml"] < 0.5 * errors["matched"]


def test_what_the_server_receives_holds_what_it_decides_on():
    symbol, waveform = pair(snr_max_db=10.0)
    payloads = sent(3)
    rounds = np.arange(3)
    statistics = symbol.observe(rounds, payloads)
    result = symbol.aggregate(rounds, payloads)
    assert statistics.shape == (3, 1)
    assert np.allclose(statistics[:, 0].real / result.diagnostics["aligned_gain"] / 4, result.estimates[:, 0], rtol=1e-5)
    samples = waveform.observe(rounds, payloads)
    noise = waveform.observe(rounds, np.zeros_like(payloads)) - samples
    assert samples.shape[1] > 100
    assert np.abs(noise).max() > 0


def test_a_cap_on_the_amplitude_is_kept_round_by_round():
    caps = (0.2, 0.0, 0.01)
    link = Link(LinkConfig.model_validate({"clip": 1.0, "snr_max_db": 100.0, "power": {"caps": caps}}), 3)
    payloads = sent(3)
    result = link.aggregate(np.arange(3), payloads)
    assert list(result.lost) == [False, True, False]
    assert (result.diagnostics["aligned_gain"] <= np.array(caps) + 1e-9).all()
    assert np.allclose(result.estimates[[0, 2]], payloads.mean(axis=1)[[0, 2]], atol=1e-2)
    with pytest.raises(PhyError, match=r"caps has 3 rounds and round 3"):
        link.aggregate(np.array([3]), payloads[:1])


def test_artificial_noise_adds_its_variance_and_keeps_the_power():
    config = LinkConfig.model_validate(
        {"clip": 2.0, "snr_max_db": 150.0, "channel": {"model": "awgn"}, "power": {"artificial_noise": 0.7}}
    )
    rounds = 20_000
    result = Link(config, 3).aggregate(np.arange(rounds), np.full((rounds, 4, 1), 2.0))
    assert result.estimates.mean() == pytest.approx(2.0, abs=4 * 0.7 / np.sqrt(rounds))
    assert result.estimates.var() == pytest.approx((2.0 * 0.7) ** 2 / 4, rel=4 * np.sqrt(2 / rounds))
    assert result.diagnostics["power_mean"].mean() == pytest.approx(1.0, rel=0.02)


def test_artificial_noise_may_change_from_round_to_round():
    levels = (0.7, 0.0, 0.3)
    config = {"clip": 2.0, "snr_max_db": 150.0, "channel": {"model": "awgn"}}
    scheduled = Link(LinkConfig.model_validate({**config, "power": {"artificial_noise": levels}}), 3)
    payloads = np.full((3, 4, 1), 2.0)
    result = scheduled.aggregate(np.arange(3), payloads)
    for t, level in enumerate(levels):
        alone = Link(LinkConfig.model_validate({**config, "power": {"artificial_noise": level}}), 3)
        assert result.estimates[t] == alone.aggregate(np.array([t]), payloads[:1]).estimates[0]
        assert result.estimates[t] == scheduled.aggregate(np.array([t]), payloads[:1]).estimates[0]
    with pytest.raises(PhyError, match=r"artificial_noise has 3 rounds and round 3"):
        scheduled.aggregate(np.array([3]), payloads[:1])


def test_estimated_timings_and_gains_still_pay_at_20_db():
    burst = {**BURST, "pulse": "rect", "pilot_symbols": 16, "guard_symbols": 20}
    payloads = np.random.default_rng(1).uniform(-1, 1, (60, 4, 2))
    means, errors = payloads.mean(axis=1), {}
    for receiver in ("ml", "matched"):
        config = {"fidelity": "waveform", "clip": 1.0, "receiver": receiver, "snr_max_db": 20.0, "burst": burst}
        config["offsets"] = {"timing_s": {"law": "uniform", "value": 20e-6}}
        result = Link(LinkConfig.model_validate(config), 5).aggregate(np.arange(60), payloads)
        assert not result.lost.any()
        errors[receiver] = np.square(result.estimates - means).mean()
    assert errors["ml"] < 0.8 * errors["matched"]
