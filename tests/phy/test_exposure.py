"""The closed form of what arrives of a device, against the link's own noise-free responses; and listeners elsewhere."""

import numpy as np
import pytest
from pydantic import ValidationError

from phy.config import LinkConfig
from phy.config_listener import ListenerConfig
from phy.errors import PhyError
from phy.exposure import Exposer, symbol_gram
from phy.link import Link

TDL = {"model": "tdl", "delay_spread_s": 1e-6}
CASES: dict[str, dict] = {
    "exact": {},
    "truncated": {"power": {"control": "truncated", "threshold": 0.7}},
    "levels of their own": {"power": {"control": "mse_optimal"}, "channel": {"placement": {"law": "disc"}}, "snr_max_db": 0.0},
    "estimated": {"csi": {"estimator": "ls"}, "snr_max_db": 10.0},
    "aged": {"csi": {"age_s": 5e-3, "doppler_hz": 10.0}},
    "moving": {"csi": {"age_s": 5e-3}, "channel": {"doppler_hz": 10.0}},
    "antennas": {"receive_antennas": 3, "combiner": "equal", "power": {"control": "truncated"}},
    "bursts": {"fidelity": "waveform", "csi": {"estimator": "ls"}, "snr_max_db": 10.0, "offsets": {
        "timing_s": {"law": "uniform", "value": 1e-6}, "frequency_hz": {"law": "normal", "value": 50.0},
        "phase_rad": {"law": "uniform", "value": 1.0}}},
    "clocks": {"fidelity": "waveform", "clock": {"sampling_ppm": {"law": "uniform", "value": 1000.0}}},
    "echoes": {"fidelity": "waveform", "channel": TDL, "offsets": {"frequency_hz": {"law": "constant", "value": 3000.0}}},
    "line of sight": {"fidelity": "waveform", "channel": {**TDL, "tdl": "D", "doppler_hz": 5.0}, "receive_antennas": 2},
    "Sionna's taps": {"fidelity": "waveform", "channel": TDL, "burst": {"air": "time_channel"}},
    "Sionna's taps of a late burst": {"fidelity": "waveform", "burst": {"air": "time_channel"},
        "csi": {"age_s": 5e-3, "doppler_hz": 10.0}, "offsets": {"timing_s": {"law": "uniform", "value": 3e-6}}},
}  # fmt: skip


def responses(link: Link, rounds: int, devices: int, device: int) -> np.ndarray:
    """What a unit symbol makes, [T, D]: half of the swing between full scale up and down."""
    up = np.zeros((rounds, devices, 1))
    up[:, device] = link.config.clip
    t = np.arange(rounds)
    return (link.observe(t, up).astype(np.complex128) - link.observe(t, -up)) / 2


@pytest.mark.parametrize("listener", [None, ListenerConfig(antennas=2, channel="same")], ids=["server", "and elsewhere"])
@pytest.mark.parametrize("case", CASES)
def test_the_closed_form_is_what_the_link_carries(case: str, listener: ListenerConfig | None) -> None:
    config = LinkConfig.model_validate({"clip": 2.0, "snr_max_db": 40.0, **CASES[case]})
    rounds, devices = (40, 3) if config.fidelity == "symbol" else (5, 3)
    link, exposer = Link(config, 5, listener=listener), Exposer(config, 5, listener)
    found = exposer.expose(0, rounds, devices)
    seen = [responses(link, rounds, devices, k) for k in range(devices)]
    energy = np.stack([np.square(np.abs(one)).sum(axis=1) for one in seen], axis=1)
    assert energy == pytest.approx(np.square(found.limits) * found.energy, rel=2e-5, abs=1e-12)
    assert (found.limits == 0).any() == (case in ("truncated", "antennas"))
    assert found.exact == (listener is None and case in ("exact", "truncated", "levels of their own", "clocks"))
    if found.axes is None:
        return
    # Axes: inner products between devices, which say how far one's noise covers another.
    scaled = found.axes * found.limits[:, :, None]
    between = np.einsum("td,td->t", seen[0].conj(), seen[1]).real
    assert np.einsum("tr,tr->t", scaled[:, 0], scaled[:, 1]) == pytest.approx(between, rel=2e-5, abs=1e-9)


def test_only_those_present_are_exposed() -> None:
    config = LinkConfig(clip=1.0, receive_antennas=2)
    present = np.array([[True, False, True]] * 4)
    found = Exposer(config, 1).expose(8, 4, 3, present)
    assert (found.limits[:, 1] == 0).all()
    assert (found.active == 2).all()
    link = Link(config, 1)
    up = np.zeros((4, 3, 1))
    up[:, 2] = 1.0
    t = np.arange(8, 12)
    seen = (link.observe(t, up, present).astype(complex) - link.observe(t, -up, present)) / 2
    assert np.square(np.abs(seen)).sum(axis=1) == pytest.approx(np.square(found.limits[:, 2]) * found.energy[:, 2], rel=1e-5)


def test_overlapping_symbols_are_not_orthogonal() -> None:
    short = {"symbols_per_scalar": 1, "span_symbols": 4, "rolloff": 0.05, "synchronisation": "slot", "preamble_symbols": 0}
    config = LinkConfig.model_validate({"clip": 1.0, "snr_max_db": 200.0, "fidelity": "waveform", "burst": short,
                                        "channel": {"model": "awgn"}})  # fmt: skip
    gram = symbol_gram(config, 6)
    link, columns = Link(config, 1), []
    for j in range(6):
        up = np.zeros((1, 1, 6))
        up[0, 0, j] = 1.0
        columns.append((link.observe(np.array([0]), up)[0].astype(complex) - link.observe(np.array([0]), -up)[0]) / 2)
    measured = (np.conj(columns) @ np.transpose(columns)).real
    assert gram == pytest.approx(measured / measured[0, 0], abs=1e-5)
    assert np.linalg.eigvalsh(gram)[-1] > 1.15  # what orthogonal symbols would have as 1
    assert symbol_gram(config.model_copy(update={"fidelity": "symbol"}), 3).tolist() == np.eye(3).tolist()


# ---- listeners


def test_a_listener_changes_nothing_at_the_server_and_hears_noise_of_its_own() -> None:
    for fidelity in ("symbol", "waveform"):
        config = LinkConfig(clip=1.0, fidelity=fidelity, snr_max_db=0.0)
        t, silence = np.arange(8), np.zeros((8, 2, 1))
        alone = Link(config, 3).observe(t, silence)
        both = Link(config, 3, listener=ListenerConfig(antennas=2, channel="rayleigh")).observe(t, silence)
        assert both.shape == (8, 3 * alone.shape[1])
        assert np.array_equal(both[:, : alone.shape[1]], alone)
        own = both[:, alone.shape[1] :].reshape(8, 2, -1)
        if fidelity == "symbol":  # silence: noise alone
            long = Link(config, 3, listener=ListenerConfig(antennas=2, channel="rayleigh"))
            seen = long.observe(np.arange(4000), np.zeros((4000, 2, 1)))
            assert np.mean(np.square(np.abs(seen)), axis=0) == pytest.approx([1.0] * 3, rel=0.08)
            mixed = np.abs(seen.T.conj() @ seen / 4000)
            assert np.abs(mixed - np.diag(np.diag(mixed))).max() < 0.08
        assert not np.allclose(own[:, 0], own[:, 1])


def test_channels_to_a_listener_are_independent_correlated_or_given(tmp_path) -> None:
    config, t = LinkConfig(clip=1.0, snr_max_db=120.0, power={"control": "truncated", "threshold": 1e-9}), 6000

    def unit(listener: ListenerConfig) -> tuple[np.ndarray, np.ndarray]:
        """Channels to the server and to the listener's first antenna, from what arrives of one device that does not invert."""
        seen = responses(Link(config, 9, listener=listener), t, 1, 0)
        h = Link(config, 9)._carrier.sounded(1, 0, t)[:, 0, 0]
        return h, seen[:, 1] / seen[:, 0] * h

    for listener, expected in (
        (ListenerConfig(antennas=1, channel="rayleigh"), 0.0),
        (ListenerConfig(antennas=1, channel="same"), 0.0),
        (ListenerConfig(antennas=1, channel="same", correlation=0.8), 0.8),
    ):
        h, g = unit(listener)
        assert np.mean(np.square(np.abs(g))) == pytest.approx(1.0, rel=0.06)
        assert np.mean(g * h.conj()).real == pytest.approx(expected, abs=0.05)
        assert abs(np.mean(g * h.conj()).imag) < 0.05
    given = np.full((1, 2, 3), 0.25 - 0.5j)
    np.save(tmp_path / "g.npy", given)
    seen = responses(
        Link(config, 9, listener=ListenerConfig(antennas=2, channel="given", file=str(tmp_path / "g.npy"))), 5, 3, 1
    )
    h = Link(config, 9)._carrier.sounded(3, 0, 5)[:, 0, 1]
    assert seen[:, 1] / seen[:, 0] * h == pytest.approx(np.full(5, 0.25 - 0.5j), rel=1e-4)
    assert np.array_equal(seen[:, 1], seen[:, 2])


def test_distance_is_geometry_and_path_loss() -> None:
    config = LinkConfig(clip=1.0, channel={"model": "awgn", "placement": {"law": "disc", "exponent": 3.0}})
    placed = Exposer(config, 4, ListenerConfig(antennas=1, channel="same"))
    at_the_server = Exposer(config, 4, ListenerConfig(antennas=1, channel="same", distance_m=0.0))
    assert at_the_server.expose(0, 2, 5).energy == pytest.approx(placed.expose(0, 2, 5).energy, rel=1e-6)
    # A device at distance r from the server lies within d - r .. d + r of a listener at distance d.
    from phy.draws import CachedDraws, KeyedDraws
    from phy.placement import amplitudes, distances_m

    draws, d = CachedDraws(KeyedDraws(4)), 400.0
    r, own = distances_m(config.channel.placement, draws, 5), amplitudes(config.channel.placement, draws, 5).astype(float)
    far = Exposer(config, 4, ListenerConfig(antennas=1, channel="same", distance_m=d)).expose(0, 1, 5).energy[0] - 1.0
    gain = np.sqrt(far) * own  # amplitude towards the listener: what arrives there over what was sent
    apart = 50.0 * gain ** (-2 / 3)
    assert ((apart > d - r - 1e-2) & (apart < d + r + 1e-2)).all()
    assert np.ptp(apart) > 10.0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"channel": "rayleigh"}, "set antennas to at least 1"),
        ({"antennas": 1, "channel": "given"}, "needs file"),
        ({"antennas": 1, "channel": "rayleigh", "file": "x.npy"}, "read by channel"),
        ({"antennas": 1, "channel": "given", "file": "x.npy", "distance_m": 3.0}, "is as its file says"),
    ],
)
def test_a_listener_that_makes_no_sense_is_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        ListenerConfig(**settings)


def test_a_listener_whose_channel_cannot_be_is_refused(tmp_path) -> None:
    config = LinkConfig(clip=1.0)
    with pytest.raises(PhyError, match="needs a channel to them"):
        Link(config, 1, listener=ListenerConfig(antennas=1))
    np.save(tmp_path / "real.npy", np.ones((1, 1, 2)))
    np.save(tmp_path / "short.npy", np.ones((3, 1, 2), complex))
    (tmp_path / "text.npy").write_text("no array")
    for name, sentence in (("none", "cannot be read"), ("text", "cannot be read"), ("real", "complex coefficients")):
        with pytest.raises(PhyError, match=sentence):
            Link(config, 1, listener=ListenerConfig(antennas=1, channel="given", file=str(tmp_path / f"{name}.npy")))
    short = Link(config, 1, listener=ListenerConfig(antennas=1, channel="given", file=str(tmp_path / "short.npy")))
    with pytest.raises(PhyError, match="holds 3 rounds"):
        short.observe(np.arange(5), np.zeros((5, 2, 1)))
    with pytest.raises(PhyError, match="channels of 2 devices"):
        short.observe(np.arange(2), np.zeros((2, 3, 1)))
    echoes = LinkConfig(clip=1.0, fidelity="waveform", channel=TDL)
    with pytest.raises(PhyError, match="correlation is of flat channels"):
        Link(echoes, 1, listener=ListenerConfig(antennas=1, channel="same", correlation=0.5))
