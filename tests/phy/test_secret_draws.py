"""A link with a secret: what it keys, what it leaves to the seed, and what the link says of its noise."""

import numpy as np
import pytest

from phy.config import LinkConfig
from phy.draws import AllBut, CachedDraws, KeyedDraws
from phy.energy import keyed_dither
from phy.errors import BadPayload
from phy.link import Link
from phy.waveform_airs._numpy import Emulated
from testbench.captures.airs import RememberingAir, silent_air

SEED, SECRET = 5, 2**64 - 9
ROUNDS = np.arange(6)
ZEROS = np.zeros((6, 3, 2))
PAYLOADS = np.linspace(-8, 8, 36).reshape(6, 3, 2)


def config(**settings: object) -> LinkConfig:
    return LinkConfig.model_validate({"csi": {"estimator": "perfect"}, **settings})


def test_a_secret_keys_its_purposes_and_no_others() -> None:
    both = KeyedDraws(SEED, SECRET, {"noise"})
    for purpose, key in (("noise", SECRET), ("fading", SEED)):
        alone = KeyedDraws(key)
        assert np.array_equal(both.words(purpose, 2, 100, 200, 3), alone.words(purpose, 2, 100, 200, 3))
        assert np.array_equal(both.long_complex_normal(purpose, 7, 2, 50), alone.long_complex_normal(purpose, 7, 2, 50))
        assert np.array_equal(both.uniform(purpose, 2, 0, 9), alone.uniform(purpose, 2, 0, 9))
        cached = CachedDraws(both)
        for t in (0, 130, 1):
            assert np.array_equal(cached.complex_normal(purpose, 2, t, 1, 3), alone.complex_normal(purpose, 2, t, 1, 3))
    assert np.array_equal(
        KeyedDraws(SEED, None, {"noise"}).words("noise", 1, 0, 4, 1), KeyedDraws(SEED).words("noise", 1, 0, 4, 1)
    )
    most = AllBut("dither")
    assert ("dither" in most, "fading" in most, "noise" in most) == (False, True, True)


@pytest.mark.parametrize("backend", ["sionna", "numpy"])
@pytest.mark.parametrize("shape", [{}, {"receive_antennas": 2}, {"scheme": "sign"}, {"receiver": "aligned"}])
def test_noise_of_a_symbol_link_is_the_secrets_and_fades_are_the_seeds(backend: str, shape: dict[str, object]) -> None:
    chosen = config(backend=backend, **shape)
    hidden, public, other = Link(chosen, SEED, secret=SECRET), Link(chosen, SEED), Link(chosen, SEED, secret=SECRET - 1)
    payloads = np.sign(PAYLOADS)
    found = [link.aggregate(ROUNDS, payloads) for link in (hidden, public, other)]
    for one in found[1:]:
        assert np.array_equal(found[0].diagnostics["aligned_gain"], one.diagnostics["aligned_gain"])
    if shape != {"receiver": "aligned"}:
        # Without a signal all that is received is noise: that of a link whose seed is the secret.
        noise = hidden.observe(ROUNDS, ZEROS) if "scheme" not in shape else hidden.observe(ROUNDS, payloads)
        if "scheme" not in shape:
            assert np.array_equal(noise, Link(chosen, SECRET).observe(ROUNDS, ZEROS))
        signals = [link.observe(ROUNDS, payloads) - link.observe(ROUNDS, -payloads) for link in (hidden, public)]
        assert signals[0] == pytest.approx(signals[1], abs=1e-5)
        assert np.abs(noise - public.observe(ROUNDS, ZEROS if "scheme" not in shape else payloads)).min() > 1e-5
    else:
        assert np.abs(found[0].estimates - found[1].estimates).min() > 1e-5
        assert np.abs(found[0].estimates - found[2].estimates).min() > 1e-5


@pytest.mark.parametrize("air", ["emulated", "time_channel"])
@pytest.mark.parametrize("backend", ["sionna", "numpy"])
def test_noise_of_a_waveform_link_is_the_secrets(backend: str, air: str) -> None:
    chosen = config(backend=backend, fidelity="waveform", burst={"air": air})
    hidden, public = (Link(chosen, SEED, secret=secret).observe(ROUNDS[:2], PAYLOADS[:2]) for secret in (SECRET, None))
    count = hidden.shape[1]
    for t in range(2):
        noise = [KeyedDraws(key).long_complex_normal("noise", t, 1, count)[0] for key in (SECRET, SEED)]
        expected = np.sqrt(chosen.n0) * (noise[0] - noise[1])
        assert hidden[t] - public[t] == pytest.approx(expected, abs=1e-5)


def test_artificial_noise_is_the_secrets() -> None:
    quiet = config(channel={"model": "awgn"}, power={"artificial_noise": 0.5}, snr_max_db=90.0)
    found = {key: Link(quiet, key[0], secret=key[1]).observe(ROUNDS, ZEROS) for key in ((1, 9), (2, 9), (1, 8), (1, None))}
    assert np.array_equal(found[1, 9], found[2, 9])
    assert found[1, 9].real.std() > 0.3
    for other in ((1, 8), (1, None)):
        assert np.abs(found[1, 9] - found[other]).min() > 1e-4


@pytest.mark.parametrize("scheme", ["reed", "fsk_mv", "ncairfl"])
def test_all_that_hides_energies_is_the_secrets_but_the_dither(scheme: str) -> None:
    chosen = config(scheme=scheme, snr_max_db=30.0)
    found = {key: Link(chosen, key[0], secret=key[1]) for key in ((1, 9), (2, 9), (1, 8), (1, None))}
    seen = {key: link.observe(ROUNDS, np.full((6, 3, 2), 8.0)) for key, link in found.items()}
    if scheme != "ncairfl":
        assert np.array_equal(seen[1, 9], seen[2, 9])
    for other in ((1, 8), (1, None)):
        assert not np.isclose(seen[1, 9], seen[other]).any()
    if scheme == "ncairfl":
        rounds = np.arange(40)
        full = np.full((40, 3, 1), 8.0)
        for seed in (1, 2):
            estimates = Link(chosen, seed, secret=9).aggregate(rounds, full).estimates[:, 0]
            # Whoever agrees with the dither is heard: large estimates where it is +1, noise elsewhere.
            agrees = keyed_dither(KeyedDraws(seed), 0, 40, 1)[:, 0] > 0
            assert np.median(np.abs(estimates[agrees])) > 50 * np.median(np.abs(estimates[~agrees]))


class Louder(Emulated):
    """A user's air on top of ours, which says nothing of its noise."""


class Own(Emulated):
    """A user's air that says that its noise is ours."""

    keyed = True


AIRS = __name__


@pytest.mark.parametrize(
    ("settings", "noise"),
    [
        ({}, "seed"),
        ({"scheme": "reed"}, "seed"),
        ({"scheme": "digital"}, "seed"),
        ({"receiver": "aligned"}, "seed"),
        ({"fidelity": "waveform"}, "seed"),
        ({"fidelity": "waveform", "burst": {"air": "time_channel"}}, "seed"),
        ({"fidelity": "waveform", "backend": "numpy"}, "seed"),
        ({"fidelity": "waveform", "burst": {"air": f"{AIRS}:Own"}}, "seed"),
        ({"fidelity": "waveform", "burst": {"air": f"{AIRS}:Louder"}}, "fresh"),
    ],
)
def test_the_description_says_whose_the_noise_is(settings: dict[str, object], noise: str) -> None:
    chosen = config(**settings)
    for secret, keyed_by in ((None, "seed"), (SECRET, "secret")):
        told = Link(chosen, SEED, secret=secret).description
        assert (told["noise"], told["keyed_by"]) == (keyed_by if noise == "seed" else "fresh", keyed_by)
        assert str(SECRET) not in str(told)


def test_an_air_that_is_handed_over_speaks_for_itself() -> None:
    chosen = config(fidelity="waveform", backend="numpy")
    assert Link(chosen, SEED, silent_air).description["noise"] == "fresh"
    for kind, noise in ((Own, "secret"), (Louder, "fresh"), (Emulated, "secret")):
        link = Link(chosen, SEED, lambda *of_link, kind=kind: RememberingAir(kind(*of_link)), secret=SECRET)
        assert link.description["noise"] == noise


@pytest.mark.parametrize("secret", [-1, 2**64, 1.5, "12345"])
def test_a_secret_that_is_none_is_refused_without_being_shown(secret: object) -> None:
    with pytest.raises(BadPayload, match=r"the link's secret must be an integer in 0 \.\. 2\^64 - 1") as refused:
        Link(config(), SEED, secret=secret)  # type: ignore[arg-type]
    assert str(secret) not in str(refused.value).replace("2^64 - 1", "")
