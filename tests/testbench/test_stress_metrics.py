"""Payloads, faults and metrics of a stress test against closed forms and explicit loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc, gammaincc
from scipy.stats import binomtest

from testbench.stress.axes import ProtocolFaults
from testbench.stress.evaluate import Failed, evaluate
from testbench.stress.limits import crossing
from testbench.stress.metrics import ratio, share, summarise
from testbench.stress.payloads import out_of_step, send, session_seed
from testbench.stress.plan import PayloadLaw
from testbench.stress.plan_file import build_plan
from testbench.stress.points import Point, points_of, units_of

LAW = PayloadLaw(sigma=0.2, correlation=0.5)
T = 64e-6


def plan(**settings):
    data = {
        "seed": 3, "devices": 6, "rounds": 4000, "sessions": 20,
        "payload": {"sigma": 0.2, "correlation": 1.0},
        "link": {
            "air": "numpy", "snr_max_db": 200.0, "power": {"control": "truncated", "threshold": 1e-9},
            "offsets": {"symbol_duration_s": T},
        },
        "contestants": {"analog": {"label": "analog"}},
    }  # fmt: skip
    return build_plan({**data, **settings}, "plan")


def measure(point: Point) -> dict[str, float]:
    parts = []
    for unit in units_of(point, 2500):
        part = evaluate(unit)
        assert not isinstance(part, Failed), part
        parts.append(part)
    return summarise([b for p in parts for b in p.batches], np.concatenate([p.errors for p in parts]), point.entries)


def points(**axes):
    return points_of(plan(axes={name: {"range": text} for name, text in axes.items()}))


def test_a_uniform_phase_shrinks_the_estimate_by_sin_x_over_x():
    for point in points(phase="0,45,90,150deg"):
        x = point.value
        expected = math.sin(x) / x if x else 1.0
        got = measure(point)
        assert got["gain"] == pytest.approx(expected, abs=0.02)
        # All devices send the same scalar, so that NMSE = (1 - E cos)^2 + Var(cos) / K.
        second = 0.5 + (math.sin(2 * x) / (4 * x) if x else 0.5)
        nmse = (1 - expected) ** 2 + (second - expected**2) / 6
        if x:
            assert 10 ** (got["nmse_db"] / 10) == pytest.approx(nmse, rel=0.06)
            assert got["nmse_db_low"] < got["nmse_db"] < got["nmse_db_high"]
        else:
            assert got["nmse_db"] < -50


def test_a_uniform_timing_offset_costs_the_edges():
    for point in points(timing="0,16,32,64us"):
        x = point.value / T
        got = measure(point)
        assert got["gain"] == pytest.approx(1 - x / 2, abs=0.02)
        if x:
            assert 10 ** (got["nmse_db"] / 10) == pytest.approx(x**2 / 4 + x**2 / 12 / 6, rel=0.06)


def test_wrong_seeds_cost_what_independent_scalars_cost():
    for point in points(seed_mismatch="0.1,0.5,1"):
        q, devices = point.value, 6
        # error = (sum of B strangers - B p) / K with B ~ Bin(K, q): variance sigma^2 (E B + E B^2) / K^2.
        nmse = (devices * q + devices * q * (1 - q) + (devices * q) ** 2) / devices**2
        got = measure(point)
        assert 10 ** (got["nmse_db"] / 10) == pytest.approx(nmse, rel=0.08)
        if q == 1:
            assert got["wrong_sign_low"] < 0.5 < got["wrong_sign_high"]


def test_stragglers_mix_stale_and_fresh_scalars():
    (point,) = points(stragglers="0.3")
    law, devices, rounds = plan().payload, 6, point.session_rounds()
    errors, energy, lost = 0.0, 0.0, 0
    for session in range(point.sessions):
        sent = send(law, point.faults, 1.0, session_seed(point.seed, session), rounds, devices)
        fresh, late = sent.fresh[:, :, 0], ~sent.present
        for t in range(rounds):
            heard = [fresh[t - 1, k] if t and late[t - 1, k] else fresh[t, k] for k in range(devices) if not late[t, k]]
            if not heard:
                lost += 1
                continue
            errors += (np.mean(heard) - fresh[t].mean()) ** 2
            energy += fresh[t].mean() ** 2
    got = measure(point)
    assert 10 ** (got["nmse_db"] / 10) == pytest.approx(errors / energy, rel=1e-3)
    assert got["lost"] == pytest.approx(lost / point.rounds)


def test_payloads_follow_their_law():
    sent = send(LAW, ProtocolFaults(), 4.0, session_seed(1, 0), 20_000, 8, 1)
    p = sent.fresh[:, :, 0]
    assert sent.on_air is sent.fresh
    assert sent.present is None
    assert p.std() == pytest.approx(0.8, rel=0.02)
    assert np.corrcoef(p[:, 0], p[:, 5])[0, 1] == pytest.approx(0.5, abs=0.03)
    assert abs(p).max() <= 4.0
    fewer = send(LAW, ProtocolFaults(), 4.0, session_seed(1, 0), 20_000, 3, 1)
    assert np.array_equal(fewer.fresh, sent.fresh[:, :3])
    many = send(LAW, ProtocolFaults(), 1.0, session_seed(1, 0), 50, 3, 7)
    assert many.fresh.shape == (50, 3, 7)
    assert abs(np.corrcoef(many.fresh[:, 0, 0], many.fresh[:, 0, 1])[0, 1]) < 0.4


@given(st.integers(1, 40), st.integers(0, 9), st.integers(0, 2**32))
def test_out_of_step_is_what_a_loop_says(rounds, every, seed):
    lost = np.random.default_rng(seed).random((rounds, 3)) < 0.3
    got = out_of_step(lost, every)
    for k in range(3):
        away = False
        for t in range(rounds):
            if every and t % every == 0:
                away = False
            assert got[t, k] == away
            away |= bool(lost[t, k])


def test_the_design_effect_widens_the_interval():
    trials = np.full(20, 50.0)
    even = share(np.full(20, 10.0), trials)
    exact = binomtest(200, 1000).proportion_ci(method="wilson")
    assert (even.low, even.high) == pytest.approx((exact.low, exact.high), rel=1e-6)
    uneven = share(np.array([0.0, 20.0] * 10), trials)
    assert uneven.value == even.value
    assert uneven.high - uneven.low > 1.5 * (even.high - even.low)
    assert share(np.zeros(4), trials[:4]).low == 0.0


def test_the_band_of_a_ratio_covers_the_truth():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        d = rng.normal(size=(20, 50)) ** 2
        n = d * rng.exponential(0.1, size=d.shape)
        found = ratio(n.sum(axis=1), d.sum(axis=1))
        hits += found.low < 0.1 < found.high
    assert 0.91 < hits / 400 < 0.98


def test_crossings():
    assert crossing([0, 1, 2], [-20, -15, -5], -10) == ("found", 1.5)
    assert crossing([0, 1, 2], [-5, -15, -5], -10)[0] == "none"
    assert crossing([0, 1, 2], [-20, -15, -12], -10) == ("all", 2)
    state, value = crossing([1, 10, 100], [-20, -15, -5], -10)
    assert state == "found"
    assert value == pytest.approx(10**1.5)
    assert crossing([0, 1], [-20, math.nan], -10) == ("found", 0)


def test_common_random_numbers_make_differences_small():
    near = points(timing="20,22us")
    batches = []
    for point in near:
        parts = [evaluate(unit) for unit in units_of(point, 10**6)]
        batches.append(np.array([b["error2"] / b["target2"] for p in parts for b in p.batches]))
    paired = np.var(batches[1] - batches[0])
    unpaired = np.var(batches[1]) + np.var(batches[0])
    assert paired < 0.1 * unpaired
    assert batches[1].mean() > batches[0].mean()


def test_a_point_does_not_depend_on_how_it_is_cut():
    (point,) = points(timing="30us")
    whole = [evaluate(unit) for unit in units_of(point, 10**6)]
    cut = [evaluate(unit) for unit in units_of(point, 1)]
    assert len(whole) == 1
    assert len(cut) == 20
    assert whole[0].batches == [b for part in cut for b in part.batches]
    assert np.array_equal(whole[0].errors, np.concatenate([part.errors for part in cut]))


def test_static_offsets_are_drawn_anew_in_many_sessions():
    settings = {"axes": {"phase": {"range": "90,180deg", "per": "device"}}, "static_sessions": 100}
    for point in points_of(plan(**settings)):
        assert point.sessions == 100
        assert sum(unit.last - unit.first for unit in units_of(point, 500)) == 100


@pytest.mark.parametrize("scheme", ["reed", "fsk_mv", "ncairfl"])
def test_wrong_signs_of_energy_detection_are_those_of_its_law(scheme):
    """Given the payloads, energies are Gamma variables of shape L and mean S / L + N0 a look, however phases turn."""
    looks, devices, n0 = 8, 10, 0.01
    chosen = plan(
        devices=devices, rounds=20_000, payload={"sigma": 0.3, "correlation": 0.5},
        link={"air": "numpy", "snr_max_db": 20.0, "csi": {"age_s": 1e-3}, "offsets": {"symbol_duration_s": T}},
        contestants={"energy": {"label": "energy", "link": {"scheme": scheme, "noncoherent": {"looks": looks}}}},
        axes={"phase": {"range": "0,180deg"}},
    )  # fmt: skip
    for point in points_of(chosen):
        got = measure(point)
        expected = []
        for session in range(point.sessions):
            sent = send(point.payload, point.faults, 1.0, session_seed(point.seed, session), point.session_rounds(), devices)
            p = sent.fresh[:, :, 0]
            energies = np.stack([p >= 0, p < 0], axis=-1) if scheme == "fsk_mv" else np.stack([p, -p], axis=-1).clip(0)
            mean = energies.sum(axis=1) / looks + n0
            plus = p.mean(axis=1) > 0
            if (
                scheme == "ncairfl"
            ):  # the dither hears one side: right if it is the mean's and above the noise, or not and below
                above = gammaincc(looks, looks * n0 / mean)
                right = 0.5 * np.where(plus, above[:, 0] + 1 - above[:, 1], above[:, 1] + 1 - above[:, 0])
            else:
                beyond = betainc(looks, looks, mean[:, 0] / mean.sum(axis=1))
                right = np.where(plus, beyond, 1 - beyond)
            expected.append(1 - right)
        wrong = np.concatenate(expected)
        spread = math.sqrt(float((wrong * (1 - wrong)).mean()) / len(wrong))
        assert got["wrong_sign"] == pytest.approx(wrong.mean(), abs=4 * spread)
        assert wrong.mean() == pytest.approx({"reed": 0.0641, "fsk_mv": 0.1143, "ncairfl": 0.4378}[scheme], abs=0.004)
