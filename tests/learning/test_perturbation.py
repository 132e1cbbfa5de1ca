"""z against an independent Philox, golden vectors, and its invariances."""

import hashlib
import statistics
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.laws import Gaussian, law
from learning.parameters import WeightVector, trainable, weights_sha256
from learning.perturbation import Perturbation, raw_bytes
from tests.learning.philox_oracle import philox4x64_10, stream
from tests.learning.tiny import scales

LAWS = ("rademacher", "gaussian")


def vectors(*sizes: int, start: float = 0.0) -> tuple[WeightVector, ...]:
    return tuple(WeightVector(f"w{i}", torch.full((size,), start)) for i, size in enumerate(sizes))


def drawn(weights: tuple[WeightVector, ...]) -> np.ndarray:
    return np.concatenate([vector.flat.numpy() for vector in weights])


class Golden(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Parameter((torch.arange(300, dtype=torch.float32) / 256).reshape(3, 100))
        self.b = torch.nn.Parameter(torch.zeros(5))


def test_oracle_agrees_with_random123() -> None:
    # Known-answer vectors of the Random123 distribution (kat_vectors, philox4x64 10).
    assert philox4x64_10((0, 0, 0, 0), (0, 0)) == (
        0x16554D9ECA36314C,
        0xDB20FE9D672D0FDC,
        0xD7E772CEE186176B,
        0x7E68B68AEC7BA23B,
    )
    ones = 2**64 - 1
    assert philox4x64_10((ones,) * 4, (ones,) * 2) == (
        0x87B092C3013FE90B,
        0x438C3C67BE8D0224,
        0x9CC7D7C69CD777B6,
        0xA09CAEBF594F0BA0,
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    round_index=st.integers(0, 2**62),
    direction=st.integers(0, 2**32),
    first=st.integers(0, 2**40),
    blocks=st.integers(1, 5),
)
def test_bytes_are_the_oracles(seed: int, round_index: int, direction: int, first: int, blocks: int) -> None:
    ours = raw_bytes(seed, round_index, first, blocks, direction=direction)
    assert ours.tobytes() == stream(seed, b"perturb", round_index, direction, first, blocks)


@pytest.mark.parametrize(
    ("name", "seed", "round_index", "first", "digest"),
    [
        ("rademacher", 0, 0, [-1, 1, 1, 1, 1], "3b05a837a9233967777ede91bfb288bc53748974c7a4fbc1d90ac1b9b9df558e"),
        ("rademacher", 7, 3, [-1, 1, 1, 1, 1], "f662be53adb4400f5ae98cbda5ac0bdb1d244c7a7bfbe5e5a5390100207ec8f6"),
        (
            "gaussian",
            0,
            0,
            [0.65641177, 1.1413537, 0.83776087, 1.4887297, -0.7701125],
            "01c78b80a13a2a96e39f4f12f2c90cecb88010bb596466daba29cb2c8b9ca4bb",
        ),
        (
            "gaussian",
            7,
            3,
            [2.5274122, 0.11288387, 1.4887297, -0.32391617, -0.62038845],
            "4b74f2445c7cdea0d61e690bb30a8bcf8cbd5d036125ab3bce5d3b4db41cf72c",
        ),
    ],
)
def test_golden_vectors(name: str, seed: int, round_index: int, first: list[float], digest: str) -> None:
    rule = law(name, 1)
    z = np.empty(1024 * rule.weights_per_block, dtype=np.float32)
    rule.expand(rule.table(np.float32(1)), raw_bytes(seed, round_index, 0, 1024), z)
    np.testing.assert_array_equal(z[:5], np.array(first, dtype=np.float32))
    assert hashlib.sha256(z.astype("<f4").tobytes()).hexdigest() == digest


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("rademacher", "6687e035f2d293a7d732d8f53c2bc23741cc109a8ec79fe5a809bdb5c216d611"),
        ("gaussian", "97a164aead555f61618a2573879f941e977973f457c52ea82656e6d1f0cfad62"),
    ],
)
def test_golden_weights_after_three_rounds(name: str, digest: str) -> None:
    model = Golden()
    z = Perturbation(trainable(model), 7, name)
    for round_index, estimate in ((0, 1.5), (1, -0.25), (2, None)):
        factors = scales(1e-3, 1e-2, estimate)
        for factor in (factors.forward, factors.back, factors.update):
            z.add(round_index, factor)
    assert weights_sha256(model) == digest


def test_signs_are_the_bits_of_the_oracle() -> None:
    weights = vectors(300, 5)
    Perturbation(weights, 9).add(4, np.float32(1))
    bits = np.unpackbits(np.frombuffer(stream(9, b"perturb", 4, 0, 0, 3), dtype=np.uint8), bitorder="little")
    signs = np.where(bits == 1, 1.0, -1.0)
    np.testing.assert_array_equal(weights[0].flat.numpy(), signs[:300])
    np.testing.assert_array_equal(weights[1].flat.numpy(), signs[512:517])  # the next whole block


def test_gaussian_table_is_the_documented_formula() -> None:
    normal = statistics.NormalDist()
    edges = [normal.inv_cdf(i / 256) for i in range(1, 256)]
    density = [0.0, *(normal.pdf(edge) for edge in edges), 0.0]
    means = np.array([256 * (density[i] - density[i + 1]) for i in range(256)])
    means /= np.sqrt(np.mean(means**2))
    table = Gaussian(pairs=False).table(np.float32(1))[:, 0]
    np.testing.assert_allclose(table, means, rtol=2e-7, atol=1e-9)
    np.testing.assert_array_equal(table, -table[::-1])
    assert np.mean(table.astype(float) ** 2) == pytest.approx(1, abs=1e-8)
    assert np.mean(table.astype(float) ** 4) == pytest.approx(2.964, abs=5e-4)
    assert (
        hashlib.sha256(table.astype("<f4").tobytes()).hexdigest()
        == "c8c33402e9cd2f1bb37feb09735541ac310f2334bc702ba91f60178d8f90beda"
    )


def test_gaussian_pairs_are_the_single_values() -> None:
    raw = raw_bytes(3, 1, 0, 2048)
    out = [np.empty(len(raw), dtype=np.float32) for _ in range(2)]
    for pairs, target in zip((False, True), out, strict=True):
        rule = Gaussian(pairs=pairs)
        rule.expand(rule.table(np.float32(-2e-3)), raw, target)
    np.testing.assert_array_equal(out[0], out[1])


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 1500), min_size=1, max_size=6),
    chunk=st.integers(1, 4000),
    keep=st.sampled_from([0, 2**20]),
    name=st.sampled_from(LAWS),
)
def test_chunks_and_keeping_change_nothing(sizes: list[int], chunk: int, keep: int, name: str) -> None:
    results = []
    for size, kept in ((2**18, 2**26), (chunk, keep)):
        weights = vectors(*sizes, start=0.1)
        z = Perturbation(weights, 5, name, chunk_weights=size, keep_bytes=kept)
        for round_index in (0, 1, 0):
            z.add(round_index, np.float32(1e-3))
        results.append(drawn(weights))
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("name", LAWS)
def test_threads_change_nothing(name: str) -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            weights = vectors(70_001, 3)
            Perturbation(weights, 1, name).add(2, np.float32(0.5))
            results.append(drawn(weights))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("per_index", [True, False])
def test_the_accelerators_path_gives_the_same_bits(name: str, per_index: bool) -> None:
    # The lookup that runs on an accelerator, run here on the CPU's own tensors.
    weights = vectors(600_000 if per_index else 1000, 5)
    Perturbation(weights, 2, name).add(3, np.float32(1e-3))
    other = vectors(len(weights[0]), 5)
    z = Perturbation(other, 2, name, chunk_weights=4096)
    table = torch.from_numpy(z.law.table(np.float32(1e-3)))
    for window in z._windows:
        for piece in window.pieces:
            z._add_on_device(piece, table, z._raw(window, 3, 0))
    np.testing.assert_array_equal(drawn(weights), drawn(other))


@pytest.mark.parametrize("name", LAWS)
def test_moments_and_independence(name: str) -> None:
    weights = vectors(200_000, 200_000)
    Perturbation(weights, 0, name).add(0, np.float32(1))  # seed 0 and round 0 are as good as any
    first, second = (vector.flat.double().numpy() for vector in weights)
    other = vectors(200_000)
    Perturbation(other, 0, name).add(1, np.float32(1))
    bound = 5 / np.sqrt(200_000)
    assert abs(first.mean()) < bound
    assert abs((first**2).mean() - 1) < 2 * bound
    assert abs((first * second).mean()) < bound  # equal shapes, different z
    assert abs((first * other[0].flat.double().numpy()).mean()) < bound  # another round, another z
    assert abs((first[1:] * first[:-1]).mean()) < bound


def test_other_seed_direction_and_purpose_are_other_streams() -> None:
    streams = {
        raw_bytes(0, 0, 0, 8).tobytes(),
        raw_bytes(1, 0, 0, 8).tobytes(),
        raw_bytes(0, 0, 0, 8, direction=1).tobytes(),
        raw_bytes(0, 0, 0, 8, purpose=1).tobytes(),
        raw_bytes(0, 0, 8, 8).tobytes(),
    }
    assert len(streams) == 5


@pytest.mark.parametrize("name", LAWS)
def test_memory_is_a_few_chunks_not_a_copy(name: str) -> None:
    weights = vectors(4_000_000)  # 16 MB
    z = Perturbation(weights, 0, name, keep_bytes=2**20, chunk_weights=2**16)
    tracemalloc.start()
    try:
        z.add(0, np.float32(1e-3))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2e6


def test_the_document_holds_these_vectors() -> None:
    text = (Path(__file__).parents[2] / "docs" / "perturbation.md").read_text("utf-8")
    for seed, round_index, direction, block in ((0, 0, 0, 0), (7, 3, 0, 5), (2**63 - 1, 2**31, 1, 2**40)):
        assert f"`{raw_bytes(seed, round_index, block, 1, direction=direction).tobytes().hex()}`" in text
    digests = [
        mark.args[1] for test in (test_golden_vectors, test_golden_weights_after_three_rounds) for mark in test.pytestmark
    ]
    for case in (case for cases in digests for case in cases):
        assert f"`{case[-1]}`" in text


def test_unknown_law_is_refused() -> None:
    with pytest.raises(ValueError, match="rademacher and gaussian"):
        law("cauchy", 1)
