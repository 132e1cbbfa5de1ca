"""Philox4x64-10 in plain Python integers, from the paper (Salmon et al., SC'11, section 3.3): the tests' oracle."""

MASK = 2**64 - 1
M0, M1 = 0xD2E7470EE14C6C93, 0xCA5A826395121157
W0, W1 = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B


def philox4x64_10(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    x0, x1, x2, x3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = M0 * x0, M1 * x2
        x0, x1, x2, x3 = (p1 >> 64) ^ x1 ^ k0, p1 & MASK, (p0 >> 64) ^ x3 ^ k1, p0 & MASK
        k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return x0, x1, x2, x3


def stream(seed: int, tag: bytes, round_index: int, direction: int, first_block: int, blocks: int) -> bytes:
    purpose = int.from_bytes(tag.ljust(8, b"\0"), "little")
    result = b""
    for block in range(first_block, first_block + blocks):
        words = philox4x64_10((block + 1, 0, direction, round_index), (seed, purpose))
        result += b"".join(word.to_bytes(8, "little") for word in words)
    return result
