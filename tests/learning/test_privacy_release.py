import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.privacy.accountants import find
from learning.privacy.errors import PrivacyError
from learning.privacy.release import Release, adversary_n0, envelope, gaussian_mu
from learning.privacy.sensitivity import Sensitivity, delta_warning


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=20), st.floats(-3, 3), st.integers(0, 19), st.floats(0.01, 2))
def test_sensitivities_bound_the_change_of_a_clipped_sum(samples: list[float], other: float, index: int, clip: float) -> None:
    b = len(samples)
    index %= b

    def value(batch: list[float]) -> float:
        return float(np.clip(sum(np.clip(batch, -clip, clip)) / b, -clip, clip)) if batch else 0.0

    before = value(samples)
    replaced = value([*samples[:index], other, *samples[index + 1 :]])
    removed = value([*samples[:index], *samples[index + 1 :]])
    slack = 1e-9
    assert abs(before - replaced) <= Sensitivity("record_replace_one", clip, b).delta + slack
    assert abs(before - removed) <= Sensitivity("record_add_remove", clip, b).delta + slack
    assert abs(before - replaced) <= Sensitivity("client_value", clip).delta + slack


def test_sensitivities_in_numbers_and_words() -> None:
    assert Sensitivity("client_value", 100).delta == 200
    assert Sensitivity("record_replace_one", 100, 16).delta == 12.5
    assert Sensitivity("record_add_remove", 100, 16).delta == 6.25
    assert Sensitivity("record_add_remove", 100, 16).ratio == 1 / 16
    assert "replaced by any other" in Sensitivity("client_value", 100).statement
    assert "lacks" in Sensitivity("record_add_remove", 100, 16).statement


@pytest.mark.parametrize("relation", ["client_value", "record_replace_one", "record_add_remove"])
def test_one_record_flips_a_sign(relation) -> None:
    sign = Sensitivity(relation, 100, payload="sign")
    assert sign.delta == sign.ratio == 2
    assert "whatever the batch" in sign.statement
    with pytest.raises(PrivacyError, match="flip a sign"):
        Sensitivity(relation, 100, 16, payload="sign")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("client_value", 0.0), "clip"),
        (("client_value", math.inf), "clip"),
        (("client_value", 1.0, 16), "not divided by b"),
        (("record_add_remove", 1.0), "give batch"),
        (("record_add_remove", 1.0, 0), "batch"),
        (("records", 1.0), "choose one of"),
    ],
)
def test_bad_sensitivities(arguments, words: str) -> None:
    with pytest.raises(PrivacyError, match=words):
        Sensitivity(*arguments)


def test_delta_above_one_over_n_is_named() -> None:
    assert delta_warning(1e-5, 1000) is None
    sentence = delta_warning(0.01, 1000)
    assert sentence is not None
    assert "n = 1000" in sentence


def test_mu_of_a_round_is_what_a_simulated_round_shows() -> None:
    rng = np.random.default_rng(3)
    n, a, n0, k, art = 400_000, 0.3, 0.02, 4, 0.2
    noise = rng.normal(0, math.sqrt(n0 / 2), n) + a * rng.normal(0, art, (k, n)).sum(axis=0)
    shift = 2 * a  # the device's symbol moves from -1 to +1
    assert gaussian_mu([a], n0, 2.0, artificial_std=art, active=k)[0] == pytest.approx(shift / noise.std(), rel=5e-3)


def test_printed_noise_is_three_db_off() -> None:
    ours, printed = gaussian_mu([0.5], 0.1, 2.0), gaussian_mu([0.5], 0.1, 2.0, as_printed=True)
    np.testing.assert_allclose(ours / printed, math.sqrt(2))


def test_silence_and_absence_of_noise() -> None:
    assert gaussian_mu([0.0, 0.5], 0.0, 2.0).tolist() == [0.0, math.inf]


def test_a_better_observer_has_less_noise() -> None:
    assert adversary_n0(1.0, 10.0, 4) == pytest.approx(1 / 40)


def test_release_is_checked_and_kept_from_change() -> None:
    mu = np.array([1.0, 2.0])
    release = Release(mu)
    mu[0] = 9
    assert release.mu.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="read-only"):
        release.mu[0] = 3
    assert release.total_mu == pytest.approx(math.sqrt(5))
    assert release.scaled(2).prefix(1).mu.tolist() == [2.0]
    assert not Release(mu, sampling_rate=1.0).sampled
    assert Release(mu, sampling_rate=1.0, sampling="shuffled").sampled


@pytest.mark.parametrize("arguments", [{"mu": [-1.0]}, {"mu": [math.nan]}, {"mu": [[1.0]]}, {"mu": [1.0], "sampling_rate": 0.0},
                                       {"mu": [1.0], "sampling_rate": 1.5}, {"mu": [1.0], "csi": "none"},
                                       {"mu": [1.0], "extra_delta": 2.0}])  # fmt: skip
def test_bad_releases(arguments) -> None:
    with pytest.raises(PrivacyError):
        Release(**arguments)


def test_a_table_of_devices_is_charged_what_costs_none_of_them_less():
    """The envelope of sorted rounds, by the accountant itself; less than each round's loudest device where they take turns."""
    rng = np.random.default_rng(3)
    table = rng.uniform(0.0, 0.6, (40, 3)) * np.array([1.0, 0.9, 0.4])
    words = {"sampling_rate": 0.1, "relation": "record_add_remove"}
    whole = Release(envelope(table), table=table, **words)
    assert whole.announced.tolist() == table.max(axis=1).tolist()
    accountant = find("pld")()
    for release in (whole, whole.prefix(15), whole.scaled(1.5)):
        alone = [accountant.epsilon(Release(column, **words), 1e-5) for column in release.table.T]
        claimed = accountant.epsilon(release, 1e-5)
        assert max(alone) <= claimed * (1 + 1e-9)
        assert claimed < 0.97 * accountant.epsilon(Release(release.announced, **words), 1e-5)
    same = np.repeat(table[:, :1], 3, axis=1)
    assert np.sort(Release(envelope(same), table=same, **words).mu) == pytest.approx(np.sort(same[:, 0]))
