"""The channel as a whole: keyed draws, energy, antenna correlation, placement and what it refuses."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sionna.phy.channel import KroneckerModel, PerColumnModel, exp_corr_mat

from phy.channel import Channel
from phy.channels._antennas import correlate
from phy.channels._profile import Profile
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError, UnknownPart
from phy.placement import amplitudes

DISC = {"law": "disc", "shadowing_db": 6.0}
MODELS: list[dict[str, Any]] = [
    {"model": "awgn", "placement": DISC},
    {"model": "rayleigh"},
    {"model": "rayleigh", "antenna_correlation": 0.6, "placement": DISC},
    {"model": "rayleigh", "doppler_hz": 7.0, "antenna_correlation": 0.6},
    {"model": "tdl", "tdl": "C", "antenna_correlation": 0.6},
    {"model": "tdl", "tdl": "D", "placement": DISC},
    {"model": "tdl", "tdl": "E", "doppler_hz": 7.0, "antenna_correlation": 0.6, "placement": DISC},
]
FLAT = [model for model in MODELS if model["model"] != "tdl"]


def make(channel: dict[str, Any], seed: int = 3, **link: Any) -> Channel:
    config = LinkConfig.model_validate({"fidelity": "waveform", "channel": channel, **link})
    return Channel(config, CachedDraws(KeyedDraws(seed)))


@pytest.mark.parametrize("antennas", [1, 3])
@pytest.mark.parametrize("model", MODELS)
def test_paths_depend_on_round_device_and_time_alone(model, antennas):
    for steps in (1, 50):
        args = (antennas, steps, 1e3, 2e-3)
        a, tau_s = make(model).paths(10, 125, 7, *args)
        more, more_tau = make(model).paths(20, 120, 20, *args)
        assert a.dtype == np.complex64
        assert tau_s.dtype == np.float64
        assert a.shape == (7, antennas, 10, tau_s.shape[-1], steps)
        assert np.array_equal(a, more[5:12, :, :10])
        assert np.array_equal(tau_s, more_tau[5:12, :10])
        channel = make(model)
        single = [channel.paths(10, r, 1, *args)[0] for r in range(125, 132)]
        assert np.array_equal(a, np.concatenate(single))
        assert not np.array_equal(make(model, seed=4).paths(10, 125, 7, *args)[0], a)


@settings(max_examples=25, deadline=None)
@given(
    which=st.integers(0, len(FLAT) - 1),
    first=st.integers(0, 10**7),
    rounds=st.integers(1, 300),
    devices=st.integers(1, 40),
    antennas=st.integers(1, 3),
    earlier_s=st.sampled_from([0.0, 1e-3]),
)
def test_gains_depend_on_round_device_and_time_alone(which, first, rounds, devices, antennas, earlier_s):
    channel = make(FLAT[which])
    h = channel.gains(devices, first, rounds, antennas, earlier_s)
    more = channel.gains(devices + 5, max(0, first - 3), rounds + 5, antennas, earlier_s)
    assert np.array_equal(h, more[first - max(0, first - 3) :][:rounds, :, :devices])
    last = first + rounds - 1
    assert np.array_equal(h[-1:], channel.gains(devices, last, 1, antennas, earlier_s))
    assert np.array_equal(h, channel.paths(devices, first, rounds, antennas, start_s=-earlier_s)[0][..., 0, 0])


def test_the_default_is_the_keyed_fading_itself():
    draws = CachedDraws(KeyedDraws(3))
    h = Channel(LinkConfig(), draws).gains(5, 17, 6, 2)
    kept = draws.complex_normal("fading", 5, 17, 6, 2)
    assert np.shares_memory(h, kept)
    assert np.array_equal(h, kept)
    assert np.array_equal(Channel(LinkConfig(), draws).gains(5, 17, 6, 2, earlier_s=0.01), kept)


@pytest.mark.parametrize("letter", "ABCDE")
@pytest.mark.parametrize("doppler_hz", [0.0, 30.0])
def test_a_tapped_delay_line_keeps_the_energy(letter, doppler_hz):
    for correlation in (0.0, 0.7):
        channel = make({"model": "tdl", "tdl": letter, "doppler_hz": doppler_hz, "antenna_correlation": correlation})
        a, _ = channel.paths(500, 0, 20, 2)
        energy = (np.abs(a) ** 2).sum(axis=3)
        # Rounds 0.1 s apart at 30 Hz are nearly unrelated; 10 000 values per antenna whose variance is below 1.
        assert np.allclose(energy.mean(axis=(0, 2, 3)), 1, atol=0.045)


def test_flat_models_keep_the_energy():
    assert np.array_equal(make({"model": "awgn", "antenna_correlation": 0.7}).gains(5, 0, 4, 2), np.ones((4, 2, 5)))
    for doppler_hz in (0.0, 30.0):
        h = make({"doppler_hz": doppler_hz, "antenna_correlation": 0.7}).gains(2000, 0, 20, 2)
        assert np.allclose((np.abs(h) ** 2).mean(axis=(0, 2)), 1, atol=0.03)


def test_antennas_are_correlated_as_sionna_does():
    w = KeyedDraws(1).complex_normal("fading", 7, 0, 9, 5)
    r = exp_corr_mat(0.8, 5, precision="single", device="cpu")
    ours = correlate(w, 0.8)
    for model in (KroneckerModel(r_rx=r, device="cpu"), PerColumnModel(r_rx=r, device="cpu")):
        assert np.allclose(ours, model(torch.from_numpy(w)).numpy(), atol=2e-6)


@pytest.mark.parametrize(
    "model",
    [{"model": "rayleigh"}, {"model": "rayleigh", "doppler_hz": 5.0}, {"model": "tdl"}, {"model": "tdl", "tdl": "D"}],
)
def test_the_covariance_of_scattered_paths_is_exponential(model):
    channel = make({**model, "antenna_correlation": 0.6, "round_duration_s": 1.0})
    # Rounds are unrelated without Doppler; with it, 5 Hz and 1 s apart, nearly so.
    a, _ = channel.paths(1000, 0, 20, 4)
    h = a[..., -1, 0].transpose(1, 0, 2).reshape(4, -1)
    covariance = h @ h.conj().T / h.shape[1]
    lag = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    assert np.allclose(covariance / np.trace(covariance).real * 4, 0.6**lag, atol=0.03)


def test_a_line_of_sight_is_the_same_at_all_antennas():
    a, _ = make({"model": "tdl", "tdl": "E", "antenna_correlation": 0.9}).paths(4000, 0, 1, 3)
    power = (np.abs(a[0, :, :, 0, 0]) ** 2).mean(axis=1)
    assert np.allclose(power, power[0], rtol=0.02)


def test_placement_multiplies_every_path_of_a_device():
    near = make({"model": "tdl", "placement": DISC})
    plain = make({"model": "tdl"})
    factor = amplitudes(
        LinkConfig.model_validate({"channel": {"placement": DISC}}).channel.placement, CachedDraws(KeyedDraws(3)), 6
    )
    assert np.ptp(factor) > 0.1
    assert np.array_equal(near.paths(6, 4, 3, 2)[0], plain.paths(6, 4, 3, 2)[0] * factor[:, None, None])
    assert np.array_equal(make({"placement": DISC}).gains(6, 4, 3, 2), make({}).gains(6, 4, 3, 2) * factor)


def test_which_channels_are_flat():
    assert make({}).flat
    assert make({"model": "awgn"}).flat
    assert make({"doppler_hz": 5.0}).flat
    assert not make({"doppler_hz": 5.0, "variation": "sample"}).flat
    assert make({"variation": "sample"}).flat
    assert not make({"model": "tdl"}).flat
    assert make({"doppler_hz": 5.0, "variation": "sample"}, fidelity="symbol").flat
    with pytest.raises(PhyError, match="stands still over a burst"):
        make({"model": "tdl"}).gains(3, 0, 1, 1)


def test_delays_are_those_of_the_profile():
    channel = make({"model": "tdl", "tdl": "B", "delay_spread_s": 2e-7})
    _, tau_s = channel.paths(3, 0, 2, 1)
    assert tau_s.max() == channel.max_delay_s(3)
    assert tau_s.max() == pytest.approx(4.7834 * 2e-7, rel=1e-6)  # the last tap of TDL-B
    assert make({}).max_delay_s(3) == make({"model": "awgn"}).max_delay_s(3) == 0


def test_unknown_models_are_refused_with_the_nearest_name():
    with pytest.raises(UnknownPart, match="did you mean 'rayleigh'"):
        make({"model": "raileigh"})
    with pytest.raises(UnknownPart, match="cannot load"):
        make({"model": "tests.phy.test_channel:Missing"})


def test_shadowing_without_a_placement_is_refused():
    with pytest.raises(PhyError, match="shadowing_db needs"):
        make({"placement": {"shadowing_db": 3.0}})


@pytest.mark.parametrize(
    ("delays", "powers", "named"),
    [([0.0, -1e-7], [0.5, 0.5], "-1e-07"), ([0.0, 1e-7], [1.5, -0.5], "-0.5"), ([0.0, 1e-7], [1.0, np.nan], "nan")],
)
def test_impossible_profiles_are_refused_by_their_values(delays, powers, named):
    with pytest.raises(PhyError, match=f"power delay profile must be finite and not negative, got {named}"):
        Profile(np.array(delays), np.array(powers))
    with pytest.raises(PhyError, match="one power for each delay"):
        Profile(np.array(delays), np.array([1.0]))


class EarlyPart:
    """A part of a user, whose second path arrives before it was sent."""

    flat = False

    def __init__(self, config: LinkConfig, draws: CachedDraws) -> None:
        del config, draws

    def paths(self, devices, first_round, rounds, antennas, num_time_steps, sampling_frequency_hz, start_s):
        return np.ones((rounds, antennas, devices, 2, num_time_steps), np.complex64), np.tile(
            [0.0, -2e-6], (rounds, devices, 1)
        )


def test_a_users_part_is_loaded_and_checked():
    with pytest.raises(PhyError, match=r"delays .* got -2e-06"):
        make({"model": f"{__name__}:EarlyPart"}).paths(2, 0, 1, 1)
