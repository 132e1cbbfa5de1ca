"""Splits and mini-batches: keyed, fair, and independent of everything else."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.batches import batch, poisson, shards
from learning.config import FederationConfig
from learning.errors import TaskError
from learning.keys import BATCHES, Words, bits_of, philox


@settings(max_examples=60, deadline=None)
@given(
    examples=st.integers(1, 300),
    devices=st.integers(1, 12),
    split=st.sampled_from(["iid", "dirichlet"]),
    alpha=st.sampled_from([1e-3, 0.1, 1.0, 100.0]),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_example_goes_to_one_device(examples: int, devices: int, split: str, alpha: float, seed: int) -> None:
    labels = [i % 3 for i in range(examples)]
    config = FederationConfig(devices=devices, split=split, dirichlet_alpha=alpha, seed=seed)
    if examples < devices:
        with pytest.raises(TaskError, match=f"{examples} training examples cannot serve {devices} devices"):
            shards(labels, config)
        return
    try:
        dealt = shards(labels, config)
    except TaskError:  # few labels or a small alpha may leave a device without any, as a test below says
        assert split == "dirichlet"
        return
    assert sorted(np.concatenate(dealt).tolist()) == list(range(examples))
    assert all(len(shard) > 0 for shard in dealt)
    if split == "iid":
        assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    for shard, again in zip(dealt, shards(labels, config), strict=True):
        np.testing.assert_array_equal(shard, again)


def test_small_alpha_is_more_uneven_than_large() -> None:
    labels = [i % 2 for i in range(2000)]

    def imbalance(alpha: float) -> float:
        shares = []
        for seed in range(10):
            config = FederationConfig(devices=5, split="dirichlet", dirichlet_alpha=alpha, dirichlet_min_examples=1, seed=seed)
            shares += [abs(np.mean([labels[i] for i in shard]) - 0.5) for shard in shards(labels, config)]
        return float(np.mean(shares))

    assert imbalance(0.1) > 0.25
    assert imbalance(100.0) < 0.05


@pytest.mark.parametrize("shape", [0.05, 0.5, 1.0, 7.0])
def test_gamma_draws_have_the_right_moments(shape: float) -> None:
    words = Words(philox(1, 99))
    draws = np.exp([words.log_gamma_draw(shape) for _ in range(20_000)])
    assert draws.mean() == pytest.approx(shape, abs=5 * np.sqrt(shape / 20_000))
    assert draws.var() == pytest.approx(shape, rel=0.25)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**40),
    st.integers(0, 1000),
    st.integers(1, 60),
    st.integers(1, 60),
)
def test_a_batch_is_a_sample_of_the_shard(seed: int, round_index: int, device: int, count: int, size: int) -> None:
    shard = np.arange(count) * 7 + 3
    chosen = batch(seed, round_index, device, shard, size)
    assert len(chosen) == size
    assert set(chosen.tolist()) <= set(shard.tolist())
    if size <= count:
        assert len(set(chosen.tolist())) == size
    np.testing.assert_array_equal(chosen, batch(seed, round_index, device, shard, size))


def test_batches_are_uniform_and_differ() -> None:
    shard = np.arange(10)
    counts: Counter[tuple[int, ...]] = Counter()
    for round_index in range(4000):
        counts.update([tuple(batch(0, round_index, 3, shard, 2).tolist())])
    assert len(counts) == 90  # every ordered pair
    expected = 4000 / 90
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < 89 + 5 * np.sqrt(2 * 89)
    first = [batch(0, t, k, np.arange(1000), 8).tolist() for t in range(3) for k in range(3)]
    assert len({tuple(entry) for entry in first}) == 9


def test_an_empty_device_is_refused_by_name() -> None:
    labels = [0] * 30 + [1] * 30
    config = FederationConfig(devices=5, split="dirichlet", dirichlet_alpha=1e-3, seed=3)
    with pytest.raises(TaskError, match=r"device \d would hold no training examples under federation.dirichlet_alpha = 0.001"):
        shards(labels, config)
    whole = shards(labels, config.model_copy(update={"dirichlet_min_examples": 4}))
    assert min(map(len, whole)) == 4
    assert sorted(np.concatenate(whole).tolist()) == list(range(60))
    # Only what is lacking moves: an alpha that leaves nobody short deals as without the minimum.
    even = config.model_copy(update={"dirichlet_alpha": 50.0})
    for plain, kept in zip(
        shards(labels, even), shards(labels, even.model_copy(update={"dirichlet_min_examples": 2})), strict=True
    ):
        np.testing.assert_array_equal(plain, kept)
    with pytest.raises(TaskError, match="do not give each of 5 devices 13"):
        shards(labels, config.model_copy(update={"dirichlet_min_examples": 13}))


def test_a_file_is_a_device() -> None:
    config = FederationConfig(devices=3, split="by_file")
    dealt = shards([0] * 6, config, [2, 0, 1, 0, 2, 2])
    assert [shard.tolist() for shard in dealt] == [[1, 3], [2], [0, 4, 5]]
    with pytest.raises(TaskError, match=r"device 1 would hold no training examples under federation.split"):
        shards([0] * 6, config, [2, 0, 0, 0, 2, 2])
    with pytest.raises(TaskError, match="lists 4 files or more for 3 devices"):
        shards([0] * 6, config, [2, 0, 1, 3, 2, 2])
    with pytest.raises(TaskError, match="takes a list of training files"):
        shards([0] * 6, config)


# Draws by a device's secret

SECRET = bytes(range(32))


def shake_words(secret: bytes, round_index: int, device: int, count: int) -> list[int]:
    """The words as the page and the module state them, written out: SHAKE-256 of a prefix, the place, and the secret."""
    place = b"batches\0" + round_index.to_bytes(8, "little") + device.to_bytes(8, "little")
    stream = hashlib.shake_256(b"pairzero" + place + secret).digest(8 * count)
    return [int.from_bytes(stream[8 * i : 8 * i + 8], "little") for i in range(count)]


def test_batches_of_a_secret_are_those_of_shake_256() -> None:
    shard = np.arange(100, 160)
    words = shake_words(SECRET, 5, 3, 60)
    assert poisson(SECRET, 5, 3, shard, 20).tolist() == [
        100 + i for i, word in enumerate(words) if (word >> 11) / 2**53 < 1 / 3
    ]
    left, expected = shard.tolist(), []
    for place, word in enumerate(words[:8]):
        other = place + ((word >> 32) * (60 - place) >> 32)
        left[place], left[other] = left[other], left[place]
        expected.append(left[place])
    assert batch(SECRET, 5, 3, shard, 8).tolist() == expected
    assert batch(SECRET, 5, 3, shard[:4], 8).tolist() == [100 + ((word >> 32) * 4 >> 32) for word in words[:8]]


def test_a_stream_of_a_secret_goes_on_where_it_was_read() -> None:
    bits = bits_of(SECRET, BATCHES, round_index=2, stream=1)
    parts = [*np.asarray(bits.random_raw(3)).tolist(), *np.asarray(bits.random_raw(4)).tolist()]
    assert parts == shake_words(SECRET, 2, 1, 7)


def test_batches_of_the_seed_are_as_they_were() -> None:
    """Golden: runs of before must be continued to the same bits."""
    shard = np.arange(50)
    assert batch(7, 3, 2, shard, 6).tolist() == [5, 3, 30, 12, 46, 1]
    assert poisson(7, 3, 2, shard, 6).tolist() == [0, 1, 7, 19, 28, 31]


def membership(key: int | bytes, rounds: int, device: int, entries: int, size: int) -> np.ndarray:
    """bool[rounds, entries]: who is in the Poisson batch."""
    shard = np.arange(entries)
    return np.stack([np.isin(shard, poisson(key, t, device, shard, size)) for t in range(rounds)])


def test_secret_sampling_has_its_frequency_and_is_independent() -> None:
    rounds, entries, size = 2000, 40, 8
    drawn = membership(SECRET, rounds, 0, entries, size)
    q = size / entries
    # Every entry, and all of them, as often as announced; batch sizes binomial.
    error = np.sqrt(q * (1 - q) / rounds)
    assert np.abs(drawn.mean(axis=0) - q).max() < 4.5 * error
    assert abs(drawn.mean() - q) < 4 * error / np.sqrt(entries)
    assert drawn.sum(axis=1).var() == pytest.approx(entries * q * (1 - q), rel=4 * np.sqrt(2 / rounds))

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return abs(float(np.mean((a - q) * (b - q)))) / (q * (1 - q)) * np.sqrt(a.size)

    # Between entries, rounds, devices, secrets, and with the public draw: in standard errors.
    assert correlation(drawn[:, :-1], drawn[:, 1:]) < 4
    assert correlation(drawn[:-1], drawn[1:]) < 4
    others: list[int | bytes] = [7, int.from_bytes(SECRET[:7], "little"), bytes(32), SECRET[:31] + b"\xff"]
    for other in others:
        assert correlation(drawn, membership(other, rounds, 0, entries, size)) < 4
    assert correlation(drawn, membership(SECRET, rounds, 1, entries, size)) < 4
    fixed = [set(batch(SECRET, t, 0, np.arange(entries), size).tolist()) for t in range(300)]
    counts = Counter(entry for one in fixed for entry in one)
    assert all(len(one) == size for one in fixed)
    assert max(abs(counts[e] - 300 * q) for e in range(entries)) < 4.5 * np.sqrt(300 * q * (1 - q))
