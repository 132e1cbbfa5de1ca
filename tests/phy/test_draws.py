"""Keyed draws against a Philox written out from its paper, and their laws against closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from phy.draws import GROUP_ROUNDS, CachedDraws, KeyedDraws, _exponential, purpose_key

_M = (1 << 64) - 1


def philox4x64_10(counter: list[int], key: list[int]) -> list[int]:
    """Salmon et al. 2011, table 2 and figure 3, in Python integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(p1 >> 64) ^ c[1] ^ k[0], p1 & _M, (p0 >> 64) ^ c[3] ^ k[1], p0 & _M]
        k = [(k[0] + 0x9E3779B97F4A7C15) & _M, (k[1] + 0xBB67AE8584CAA73B) & _M]
    return c


@pytest.mark.parametrize(("seed", "device", "rnd", "per_round"), [(0, 0, 0, 1), (7, 3, 1000, 1), (2**64 - 1, 11, 500, 3)])
def test_words_are_philox_of_seed_purpose_round_and_device(seed, device, rnd, per_round):
    words = KeyedDraws(seed).words("fading", device + 1, rnd, 1, per_round)
    group, inside = divmod(rnd, GROUP_ROUNDS)
    for j in range(per_round):
        index = (device * GROUP_ROUNDS + inside) * per_round + j
        # numpy's generator increments the counter before it uses it.
        block = philox4x64_10([index // 4 + 1, group, 0, 0], [seed, purpose_key("fading")])
        assert int(words[0, j, device]) == block[index % 4]


@settings(max_examples=40, deadline=None)
@given(first=st.integers(0, 2000), rounds=st.integers(1, 300), devices=st.integers(1, 12), per=st.integers(1, 3))
def test_a_draw_depends_on_its_key_alone(first, rounds, devices, per):
    draws = KeyedDraws(5)
    part = draws.complex_normal("fading", devices, first, rounds, per)
    more = draws.complex_normal("fading", devices + 5, max(0, first - 3), rounds + 7, per)
    assert np.array_equal(part, more[first - max(0, first - 3) :][:rounds, :, :devices])
    cached = CachedDraws(draws)
    single = [cached.complex_normal("fading", devices, t, 1, per) for t in range(first, first + min(rounds, 5))]
    assert np.array_equal(part[:5], np.concatenate(single))


def test_complex_normals_follow_their_law():
    h = KeyedDraws(3).complex_normal("fading", 4, 0, 50_000, 1).ravel()
    assert stats.kstest(np.abs(h) ** 2, "expon").pvalue > 1e-3
    assert stats.kstest(np.angle(h), stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3
    assert stats.kstest(h.real * np.sqrt(2), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(np.abs(h[:-1]), np.abs(h[1:]))[0, 1]) < 4 / np.sqrt(len(h))


def test_deep_fades_have_their_probability():
    energy = np.abs(KeyedDraws(1).complex_normal("fading", 100, 0, 20_000, 1)) ** 2
    count = int((energy < 1e-5).sum())
    assert stats.binomtest(count, energy.size, -np.expm1(-1e-5)).pvalue > 1e-3
    assert energy.min() > 0


def test_squared_radii_are_those_of_all_32_bits():
    top = 2**32 - 1
    edges = [0, 1, 2, 2**23, 2**24 + 1, 2**31, top, *(top - 2**n for n in range(32)), *range(4228379000, 4228381000, 7)]
    u = np.array(edges, np.uint64)
    words = np.concatenate([u, np.random.default_rng(0).integers(0, 2**32, 100_000, np.uint64)])
    # 1 - (u + 1/2) / 2^32 is exact in double precision, and so is its logarithm's argument.
    expected = -np.log1p(-((top - words.astype(np.float64)) + 0.5) * 2.0**-32)
    found = _exponential((words | np.uint64(7 << 32)).view(np.uint32).reshape(1, -1))[0]
    assert np.abs(found / expected - 1).max() < 2e-6


def test_purposes_devices_rounds_and_seeds_are_unrelated():
    base = KeyedDraws(1).complex_normal("fading", 2, 0, 4096, 1)[:, 0]
    others = [
        KeyedDraws(1).complex_normal("pilot", 1, 0, 4096, 1)[:, 0, 0],
        KeyedDraws(2).complex_normal("fading", 1, 0, 4096, 1)[:, 0, 0],
        KeyedDraws(1).complex_normal("fading", 1, 4096, 4096, 1)[:, 0, 0],
        base[:, 1],
    ]
    for other in others:
        assert abs(np.vdot(base[:, 0], other)) / 4096 < 5 / np.sqrt(4096)


def test_uniform_law():
    u = KeyedDraws(9).uniform("timing", 3, 0, 20_000).ravel()
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert u.min() >= 0
    assert u.max() < 1
