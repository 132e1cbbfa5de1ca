"""The memory of NCAirFL: nothing is lost but time."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from phy.config import LinkConfig
from phy.discovery import find
from phy.draws import KeyedDraws
from phy.energy import keyed_dither
from phy.schemes.ncairfl import ErrorFeedback

CLIP = 2.0


@given(seed=st.integers(0, 2**64 - 1), scale=st.floats(1e-3, 10.0), first=st.integers(0, 10**9), devices=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_what_was_sent_and_what_is_remembered_add_up_to_what_was_given(seed, scale, first, devices):
    values = scale * np.random.default_rng(seed % 1000).standard_normal((60, devices, 2))
    payloads, memory = ErrorFeedback(CLIP, seed).run(values, first)
    assert np.abs(payloads).max() <= CLIP
    assert np.allclose(2.0 * payloads.sum(axis=0) + memory, values.sum(axis=0), atol=1e-9 * scale)


def test_payloads_agree_with_the_dither_so_that_the_link_sends_all_of_them():
    values = np.random.default_rng(0).standard_normal((400, 3, 2))
    payloads, _ = ErrorFeedback(CLIP, 7).run(values)
    dither = keyed_dither(KeyedDraws(7), 0, 400, 2)
    assert (payloads * dither[:, None] >= 0).all()
    part = find("schemes", "ncairfl")(LinkConfig(scheme="ncairfl", clip=CLIP))
    energies = part.energies(payloads, dither)
    assert np.allclose(energies.sum(axis=3), np.abs(payloads) / CLIP)
    # What the server decodes from exact energies is the mean of what was sent.
    decoded = part.decode(energies.sum(axis=1), np.full(400, 3.0), dither)
    assert np.allclose(decoded, 2.0 * payloads.mean(axis=1))


def test_recursion_step_by_step():
    feedback = ErrorFeedback(CLIP, 1)
    dither = keyed_dither(KeyedDraws(1), 0, 50, 1)[:, 0]
    values = np.random.default_rng(1).uniform(-5, 5, 50)
    payloads, _ = feedback.run(values[:, None, None])
    memory = 0.0
    for t in range(50):
        wanted = memory + values[t]
        sent = min(max(wanted, -2 * CLIP), 2 * CLIP) if wanted * dither[t] > 0 else 0.0
        assert payloads[t, 0, 0] == sent / 2
        memory = wanted - sent


def test_memory_of_a_constant_value_is_geometric():
    # Without the limit, memory after a round is g times the value, P(g) = 2^-(g+1): the rounds since the dither last agreed.
    payloads, memory = ErrorFeedback(1e6, 3).run(np.ones((40, 1, 20_000)))
    waits = memory[0]
    assert np.array_equal(waits, np.rint(waits))
    for g in range(6):
        p = 2.0 ** -(g + 1)
        assert abs((waits == g).mean() - p) < 4 * np.sqrt(p * (1 - p) / waits.size)
    # What is sent per round has mean 1 and mean square E[(1 + g)^2] / 2 = 3 (without memory, 2 max(phi, 0) has 2).
    sent = 2.0 * payloads[-1, 0]
    assert abs(np.square(sent).mean() - 3.0) < 4 * np.square(sent).std() / np.sqrt(sent.size)
    assert abs(sent.mean() - 1.0) < 4 * sent.std() / np.sqrt(sent.size)
