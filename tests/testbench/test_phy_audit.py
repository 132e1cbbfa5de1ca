"""The audit at the antennas: it hears the link itself, honest claims hold, and each kind of dishonest claim is caught."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.privacy import gdp
from learning.privacy.audit.bounds import gaussian_epsilon
from phy.burst.layout import BurstLayout
from phy.burst.receiver import receive
from phy.coherent import CoherentMode
from phy.config import LinkConfig
from phy.link import Link
from testbench.errors import TestbenchError
from testbench.privacy import phy_audit as audit
from testbench.privacy.tap import NoiseControl, Tap

DELTA = 1e-5
TRIALS = 6000
BURST = {"symbols_per_scalar": 8, "guard_symbols": 12, "preamble_symbols": 16, "synchronisation": "slot"}


def link(**settings):
    shared = {"clip": 10.0, "snr_max_db": -4.0, "air": "numpy", "burst": BURST}
    return LinkConfig.model_validate({**shared, **settings})


def run(config, claims, rounds=4, worlds=None, **more):
    """Audit claims of mu."""
    epsilons = {name: gaussian_epsilon(mu, DELTA) for name, mu in claims.items()}
    trials = more.pop("trials", TRIALS if config.fidelity == "symbol" else TRIALS // 3)
    return audit.phy_audit(config, 7, rounds, trials, DELTA, epsilons, worlds=worlds, **more)


def verdicts(result):
    return {v.name: v.verdict for v in result.verdicts}


# The tap ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"air": "sionna", "receive_antennas": 3, "csi": {"estimator": "mmse", "pilot_snr_db": 10.0}},
        {"scheme": "sign", "power": {"control": "truncated", "artificial_noise": 0.3}},
        {"power": {"caps": [0.1, 0.2, 0.0, 0.05, 0.3]}},
        {"offsets": {"phase_rad": {"law": "uniform", "value": 0.5}}, "channel": {"doppler_hz": 3.0}},
    ],
)
def test_the_tap_hears_what_the_link_hears(settings):
    config = link(**settings)
    payloads = np.random.default_rng(1).uniform(-10, 10, (5, 4))
    control = NoiseControl(silent=False)
    tap = Tap(config, 7, 5, 4, control)
    sent = tap.send(payloads)
    expected = Link(config, 7).aggregate(np.arange(5), payloads[:, :, None])
    estimates = tap.decide(sent, tap.look(sent))
    assert np.array_equal(estimates[~expected.lost], expected.estimates[~expected.lost, 0])


def test_the_tap_hears_the_samples_that_the_links_receiver_filters():
    config = link(fidelity="waveform", receive_antennas=2, offsets={"timing_s": {"law": "uniform", "value": 1e-5}})
    payloads = np.random.default_rng(1).uniform(-10, 10, (3, 4))
    tap = Tap(config, 7, 3, 4, NoiseControl(silent=False))
    sent = tap.send(payloads)
    layout = BurstLayout(config.burst, 4, 1)
    slots = tap.look(sent).reshape(3, 2, layout.slot_samples)
    statistics = np.stack([receive(layout, slot, config.n0).statistics for slot in slots])
    expected = Link(config, 7).aggregate(np.arange(3), payloads[:, :, None]).estimates
    assert np.array_equal(tap.decide(sent, statistics), expected[:, 0])


@pytest.mark.parametrize("fidelity", ["symbol", "waveform"])
def test_noise_is_drawn_anew_and_everything_else_stays(fidelity):
    config = link(fidelity=fidelity, power={"artificial_noise": 0.2})
    control = NoiseControl()
    tap = Tap(config, 7, 3, 4, control)
    payloads = np.full((3, 4), 5.0)

    def seen(silent=False, shift=0):
        control.silent, control.shift_rounds = silent, shift
        return tap.look(tap.send(payloads))

    clean = seen(silent=True)
    assert np.array_equal(clean, seen(silent=True, shift=9))
    assert np.array_equal(seen(), Tap(config, 7, 3, 4, NoiseControl(silent=False)).look(tap.send(payloads)))
    noisy = np.stack([seen(shift=3 * i) - clean for i in range(400)])
    assert not np.array_equal(noisy[0], noisy[1])
    assert np.abs(noisy.mean(axis=0)).max() < 6 * math.sqrt(config.n0 / 400) + 0.1
    # Where no signal is sent (the slot's first sample) noise is the receiver's alone, of variance N0.
    if fidelity == "waveform":
        assert np.square(np.abs(noisy[:, :, 0])).mean() == pytest.approx(config.n0, rel=0.15)


# Honest claims ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"channel": {"model": "awgn"}, "snr_max_db": -8.0},
        {},
        {"scheme": "sign", "power": {"control": "truncated", "threshold": 0.2}, "snr_max_db": 0.0},
        {"power": {"caps": [0.0, 0.2, 0.3, 0.4]}, "snr_max_db": 4.0},
        {"power": {"artificial_noise": 0.4}},
        {"csi": {"age_s": 0.0, "doppler_hz": 10.0}},
        {"offsets": {"phase_rad": {"law": "constant", "value": 1.2}}},
        {"fidelity": "waveform"},
        {"fidelity": "waveform", "power": {"artificial_noise": 0.4}},
    ],
)
def test_honest_claims_hold_and_are_nearly_reached(settings):
    config = link(**settings)
    mu = audit.aligned_mu(config, 7, 4)
    result = run(config, {"aligned": mu})
    assert verdicts(result) == {"aligned": "holds"}
    assert result.signal_mu == pytest.approx(mu, rel=2e-3)
    assert (0.9 if config.fidelity == "symbol" else 0.8) * mu < result.mu_lower < mu
    assert result.epsilon_any < result.verdicts[0].claimed_epsilon
    assert not result.violated
    assert result.observed == 4 * (1 if config.fidelity == "symbol" else BurstLayout(config.burst, 5, 1).slot_samples)


def test_one_device_on_awgn_in_closed_form():
    """a = 1, Delta = 2: mu = 2 / sqrt(N0 / 2) a round."""
    config = link(channel={"model": "awgn"}, snr_max_db=-8.0)
    mu = math.sqrt(3) * 2 / math.sqrt(config.n0 / 2)
    assert run(config, {}, rounds=3, worlds=audit.Worlds(devices=1), trials=100).signal_mu == pytest.approx(mu, rel=1e-5)
    assert audit.aligned_mu(config, 7, 3, audit.Worlds(devices=1)) == pytest.approx(mu, rel=1e-5)
    half = audit.Worlds(devices=1, first=1.0, second=0.0)
    assert run(config, {}, rounds=3, worlds=half, trials=100).signal_mu == pytest.approx(mu / 2, rel=1e-5)


def test_silent_rounds_show_nothing():
    result = run(link(power={"caps": [0.0, 0.0, 0.0, 0.0]}), {"nothing": 0.0}, trials=200)
    assert (result.signal_mu, result.epsilon_lower, verdicts(result)) == (0.0, 0.0, {"nothing": "holds"})


# Dishonest claims ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fidelity", ["symbol", "waveform"])
def test_noise_of_the_complex_sample_taken_for_one_axis_is_caught(fidelity):
    config = link(fidelity=fidelity)
    honest = audit.aligned_mu(config, 7, 4)
    result = run(config, {"honest": honest, "whole N0": honest / math.sqrt(2)})
    assert verdicts(result) == {"honest": "holds", "whole N0": "violated"}
    assert result.violated
    assert result.as_dict()["verdicts"][1]["verdict"] == "violated"


@pytest.mark.parametrize("fidelity", ["symbol", "waveform"])
def test_antennas_that_are_not_counted_are_caught(fidelity):
    config = link(fidelity=fidelity, receive_antennas=4, channel={"model": "awgn"}, snr_max_db=-12.0)
    honest = audit.aligned_mu(config, 7, 4)
    one = audit.aligned_mu(config.model_copy(update={"receive_antennas": 1}), 7, 4)
    assert honest == pytest.approx(2 * one)
    assert verdicts(run(config, {"four": honest, "one": one})) == {"four": "holds", "one": "violated"}


def test_the_combiner_is_not_all_that_antennas_hear():
    """Behind the combiner a device has amplitude a; at the antennas |x_k| |h_k|, which only bounds a from above."""
    config = link(receive_antennas=4, snr_max_db=-8.0)
    control = NoiseControl()
    tap = Tap(config, 7, 4, 5, control)
    gains = np.stack([tap.look(tap.send(10.0 * np.eye(5)[[k] * 4])) for k in range(5)])  # [K, T, M]: what full scale makes
    energy = np.square(np.abs(gains)).sum(axis=(1, 2)).max()
    result = run(config, {"behind the combiner": audit.aligned_mu(config, 7, 4), "antennas": math.sqrt(8 * energy / config.n0)})
    assert verdicts(result) == {"behind the combiner": "violated", "antennas": "holds"}


def test_estimated_channels_inverted_beyond_one_are_caught():
    config = link(csi={"estimator": "ls", "pilot_snr_db": 3.0, "pilot_symbols": 4})
    claim = audit.aligned_mu(config, 7, 4)
    result = run(config, {"perfect inversion": claim})
    assert result.signal_mu > 1.03 * claim
    assert verdicts(run(config, {"perfect inversion": claim}, trials=20_000)) == {"perfect inversion": "violated"}


def test_misalignment_taken_for_privacy_is_caught():
    """A phase error of 1.2 rad leaves 36 % of the amplitude on the real axis, and all of it in the air."""
    config = link(offsets={"phase_rad": {"law": "constant", "value": 1.2}})
    mu = audit.aligned_mu(config, 7, 4)
    assert verdicts(run(config, {"full": mu, "real axis": mu * math.cos(1.2)})) == {"full": "holds", "real axis": "violated"}


def test_a_late_device_leaks_all_the_same():
    """Late by half a scalar, a device loses half its amplitude in the matched filter; the samples have all of it."""
    late = {"timing_s": {"law": "constant", "value": 4 * 4e-6}}
    config = link(fidelity="waveform", offsets=late, burst={**BURST, "pulse": "rect"})
    mu = audit.aligned_mu(config, 7, 4)
    assert verdicts(run(config, {"full": mu, "filtered": 0.5 * mu})) == {"full": "holds", "filtered": "violated"}


def test_artificial_noise_on_the_wrong_axis_is_caught(monkeypatch):
    config = link(power={"artificial_noise": 0.8}, snr_max_db=0.0)
    claim = audit.aligned_mu(config, 7, 4)
    assert verdicts(run(config, {"art": claim})) == {"art": "holds"}
    prepare = CoherentMode.prepare

    def turned(self, first, payloads, present, channel):
        noisy = prepare(self, first, payloads, present, channel)
        symbols, precoder = noisy.state.symbols, noisy.state.precoder
        clean = (payloads / 10.0).astype(np.float32)
        coefficients = precoder[:, :, None] * (clean + 1j * (symbols - clean))
        return type(noisy)(**{**vars(noisy), "coefficients": coefficients[..., None].astype(np.complex64)})

    monkeypatch.setattr(CoherentMode, "prepare", turned)
    assert verdicts(run(config, {"art": claim})) == {"art": "violated"}


def test_artificial_noise_that_was_not_sent_is_caught():
    config = link(snr_max_db=0.0)
    claimed = audit.aligned_mu(
        config.model_copy(update={"power": config.power.model_copy(update={"artificial_noise": 0.8})}), 7, 4
    )
    assert verdicts(run(config, {"art": claimed})) == {"art": "violated"}


def test_a_better_receiver_needs_a_larger_claim():
    config = link(snr_max_db=-10.0)
    mu = audit.aligned_mu(config, 7, 4)
    result = run(config, {"server": mu, "6 dB better": mu * 10**0.3}, advantage_db=6.0)
    assert verdicts(result) == {"server": "violated", "6 dB better": "holds"}


def test_artificial_noise_is_the_same_for_a_better_receiver():
    config = link(snr_max_db=-4.0, power={"artificial_noise": 0.5})
    loud = run(config, {}, trials=200, advantage_db=60.0)
    # Receiver noise gone, K = 5 devices' artificial noise remains: mu^2 = T (2 / (sqrt 5 s))^2.
    assert loud.signal_mu == pytest.approx(2 * math.sqrt(4 / 5) / 0.5, rel=1e-3)


# The result ------------------------------------------------------------------------------------------------------------


def test_claims_that_no_such_audit_can_refute_say_so():
    result = run(link(snr_max_db=40.0), {"huge": 50.0}, trials=200)
    assert verdicts(result) == {"huge": "beyond reach"}
    assert result.epsilon_lower == pytest.approx(result.epsilon_reach)


def test_equal_arguments_give_equal_results_and_progress_is_told():
    told = []
    config = link()
    first = run(config, {"a": 1.0}, trials=2000, progress=told.append)
    assert first == run(config, {"a": 1.0}, trials=2000)
    assert told == [1000, 2000]


def test_the_audited_device_is_the_most_exposed_one_unless_chosen():
    config = link(csi={"estimator": "ls", "pilot_snr_db": 3.0, "pilot_symbols": 4})
    mus = [run(config, {}, trials=8, worlds=audit.Worlds(device=k)).signal_mu for k in range(5)]
    chosen = run(config, {}, trials=8)
    assert (chosen.device, chosen.signal_mu) == (int(np.argmax(mus)), max(mus))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.floats(0.0, 2.0), st.floats(0.01, 10.0), st.integers(0, 2**32 - 1))
def test_whitening_is_the_inverse_of_the_stated_covariance(devices, seen, artificial, n0, seed):
    rng = np.random.default_rng(seed)
    d = rng.normal(size=(2, seen)) + 1j * rng.normal(size=(2, seen))
    r = rng.normal(size=(2, seen, devices)) + 1j * rng.normal(size=(2, seen, devices))
    weights = audit.whitened(d, artificial * r, n0)
    for t in range(2):
        columns = np.concatenate((r[t].real, r[t].imag))
        covariance = n0 / 2 * np.eye(2 * seen) + artificial**2 * columns @ columns.T
        expected = np.linalg.solve(covariance, np.concatenate((d[t].real, d[t].imag)))
        assert np.allclose(np.concatenate((weights[t].real, weights[t].imag)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: run(link(scheme="reed"), {}), "coherent schemes"),
        (lambda: run(link(scheme="digital"), {}), "coherent schemes"),
        (lambda: run(link(receiver="ml"), {}), "fidelity waveform"),
        (lambda: run(link(), {}, trials=7), "8 trials"),
        (lambda: audit.phy_audit(link(), 7, 1, 100, 0.0, {}), "delta"),
        (lambda: audit.phy_audit(link(), 7, 1, 100, 0.1, {"x": -1.0}), "'x'"),
        (lambda: audit.Worlds(devices=3, device=3), "0 .. 2"),
        (lambda: audit.Worlds(first=1.5), "units of the clip"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(TestbenchError, match=words):
        call()


def test_claims_in_the_units_of_the_accountants():
    """A claimed epsilon as an accountant would state it: exact at the very mu, violated just below what is measured."""
    config = link(channel={"model": "awgn"}, snr_max_db=-8.0)
    exact = gdp.epsilon(audit.aligned_mu(config, 7, 4), DELTA)
    result = audit.phy_audit(config, 7, 4, TRIALS, DELTA, {"exact": exact, "too good": 0.8 * exact})
    assert verdicts(result) == {"exact": "holds", "too good": "violated"}
