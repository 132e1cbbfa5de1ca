"""Soundings, their importers and exporter, and the channel that plays them, against values written out by hand."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from bridge.captures import CaptureError, Sounding
from bridge.captures.importers import import_colosseum, import_deepmimo
from bridge.captures.measured import Part, measured
from bridge.captures.sionna_rk import export_sionna_rk, read_sionna_rk
from phy.channel import Channel
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError

RATE = 1e6


def sounding(instants: int = 3, antennas: int = 2, devices: int = 2, taps: int = 2, **changes: object) -> Sounding:
    rng = np.random.default_rng(1)
    shape = (instants, antennas, devices, taps)
    fields = {
        "coefficients": (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64),
        "delays_s": np.tile(np.arange(taps) / RATE, (devices, 1)),
        "times_s": 0.1 * np.arange(instants),
        "sample_rate_hz": RATE,
        **changes,
    }
    return Sounding(**fields)


def channel(part: type, **settings: object) -> Part:
    config = LinkConfig.model_validate({"fidelity": "waveform", "channel": {"round_duration_s": 0.05, **settings}})
    return part(config, CachedDraws(KeyedDraws(0)))


def test_hdf5_round_trip(tmp_path):
    found = np.array([[True, False], [True, True], [True, True]])
    values = np.arange(6.0).reshape(3, 2)
    one = sounding(
        found=found, timing_s=values, frequency_offset_hz=values + 1, noise_variance=values + 2, carrier_hz=1e9, source="here"
    )
    read = Sounding.load(one.save(tmp_path / "new" / "s.h5"))
    for name in ("coefficients", "delays_s", "times_s", "found", "timing_s", "frequency_offset_hz", "noise_variance"):
        assert np.array_equal(getattr(read, name), getattr(one, name)), name
        assert getattr(read, name).dtype == getattr(one, name).dtype
    assert (read.sample_rate_hz, read.carrier_hz, read.source, read.gain_reference_db) == (RATE, 1e9, "here", 0.0)


def test_gain_and_scaling():
    one = sounding(coefficients=np.full((3, 2, 2, 2), 3 + 4j, np.complex64))
    assert np.allclose(one.gain_db, 10 * np.log10(50))
    scaled = one.scaled_to_unit_gain()
    assert np.allclose(scaled.gain_db, 0, atol=1e-6)
    assert scaled.gain_reference_db == pytest.approx(10 * np.log10(50))


def test_soundings_without_meaning_are_refused(tmp_path):
    for changes, sentence in (
        ({"delays_s": -np.ones((2, 2))}, "not negative"),
        ({"delays_s": np.ones((3, 2))}, "do not fit"),
        ({"times_s": np.zeros(3)}, "increase"),
        ({"coefficients": np.full((3, 2, 2, 2), np.nan, np.complex64)}, "not finite"),
        ({"sample_rate_hz": 0.0}, "sample rate"),
        ({"found": np.ones(3, bool)}, "found has shape"),
    ):
        with pytest.raises(CaptureError, match=sentence):
            sounding(**changes)
    file = tmp_path / "x.h5"
    with pytest.raises(CaptureError, match="there is no sounding"):
        Sounding.load(file)
    file.write_bytes(b"not HDF5")
    with pytest.raises(CaptureError, match="cannot be read as a sounding"):
        Sounding.load(file)
    whole = sounding().save(tmp_path / "y.h5")
    file.write_bytes(whole.read_bytes()[:1500])
    with pytest.raises(CaptureError):
        Sounding.load(file)


def test_the_channel_interpolates_in_time_and_starts_over(tmp_path):
    one = sounding()
    part = channel(measured(one.save(tmp_path / "s.h5")))
    h = one.coefficients.astype(complex)
    a, tau = part.paths(2, 0, 7, 2)
    # Rounds at 0, 50, ..., 300 ms; instants at 0, 100 and 200 ms, the first one again at 300 ms.
    expected = [h[0], (h[0] + h[1]) / 2, h[1], (h[1] + h[2]) / 2, h[2], (h[2] + h[0]) / 2, h[0]]
    assert np.allclose(a[..., 0], expected, atol=1e-6)
    assert np.array_equal(tau, np.tile(one.delays_s, (7, 1, 1)))
    assert part.max_delay_s(2) == 1e-6
    assert not part.flat
    steps, _ = part.paths(1, 0, 1, 1, 5, 100.0)  # every 10 ms
    weights = np.arange(5)[:, None] / 10
    assert np.allclose(steps[0, 0, 0].T, (1 - weights) * h[0, 0, 0] + weights * h[1, 0, 0], atol=1e-6)


def test_a_device_and_a_round_do_not_depend_on_the_others(tmp_path):
    part = channel(measured(sounding().save(tmp_path / "s.h5")))
    every, _ = part.paths(2, 0, 9, 2)
    for r in range(9):
        alone, _ = part.paths(1, r, 1, 1)
        assert np.array_equal(alone[0, 0, 0], every[r, 0, 0])


def test_an_instant_that_was_not_heard_is_filled_from_its_neighbours(tmp_path):
    one = sounding(found=np.array([[True, True], [False, True], [True, True]]), times_s=np.array([0.0, 0.1, 0.4]))
    part = channel(measured(one.save(tmp_path / "s.h5")))
    a, _ = part.paths(2, 2, 1, 2)
    h = one.coefficients
    assert np.allclose(a[0, :, 0, :, 0], 0.75 * h[0, :, 0] + 0.25 * h[2, :, 0], atol=1e-6)
    assert np.allclose(a[0, :, 1, :, 0], h[1, :, 1])


def test_a_single_tap_is_a_flat_channel_of_the_link(tmp_path, monkeypatch):
    one = sounding(instants=1, taps=1, antennas=1)
    (tmp_path / "room_of_mine.py").write_text(
        f"from bridge.captures.measured import measured\nRoom = measured({str(one.save(tmp_path / 's.h5'))!r})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = LinkConfig.model_validate({"channel": {"model": "room_of_mine:Room"}})
    air = Channel(config, CachedDraws(KeyedDraws(0)))
    assert air.flat
    assert np.array_equal(air.gains(2, 5, 3, 1), np.repeat(one.coefficients[..., 0], 3, axis=0))


def test_the_channel_refuses_what_was_not_measured(tmp_path):
    part = channel(measured(sounding().save(tmp_path / "s.h5")))
    with pytest.raises(PhyError, match="holds 2 devices and 2 antennas; 3 and 1 were asked for"):
        part.paths(3, 0, 1, 1)
    with pytest.raises(PhyError, match=r"set link\.channel\.file"):
        channel(Part)
    with pytest.raises(PhyError, match="there is no sounding"):
        channel(measured(tmp_path / "none.h5"))
    with pytest.raises(PhyError, match="never heard device 1"):
        channel(measured(sounding(found=np.array([[True, False]] * 3)).save(tmp_path / "deaf.h5")))


def deepmimo(folder: Path) -> dict[str, np.ndarray]:
    return {
        "power": np.array([[-100.0, -106.0], [np.nan, np.nan], [-110.0, np.nan]]),  # dBW
        "phase": np.array([[90.0, 180.0], [np.nan, np.nan], [0.0, np.nan]]),
        "delay": np.array([[1.5e-6, 1.0e-6], [np.nan, np.nan], [2e-6, np.nan]]),
    }


def test_deepmimo_paths(tmp_path):
    arrays = deepmimo(tmp_path)
    np.savez(tmp_path / "d.npz", **arrays)
    folder = tmp_path / "scenario"
    folder.mkdir()
    for name, values in arrays.items():
        np.savez(folder / f"{name}_t001_tx000_r000.npz", values)
    energy = (1e-10 + 10**-10.6 + 1e-11) / 2
    for path in (tmp_path / "d.npz", folder):
        one = import_deepmimo(path, RATE)
        expected = np.array([[1e-5j, -(10**-5.3)], [10**-5.5, 0]]) / np.sqrt(energy)
        assert np.allclose(one.coefficients[0, 0], expected, atol=1e-6)
        assert np.allclose(one.delays_s, [[0.5e-6, 0], [0, 0]], atol=1e-15)
        assert np.allclose(one.timing_s, [[1e-6, 2e-6]])
        assert one.gain_reference_db == pytest.approx(10 * np.log10(energy))
    assert import_deepmimo(folder, RATE, [2]).coefficients.shape == (1, 1, 1, 2)
    for bad, sentence in (([1], "have a path"), ([3], "have a path")):
        with pytest.raises(CaptureError, match=sentence):
            import_deepmimo(folder, RATE, bad)
    np.savez(tmp_path / "e.npz", power=np.ones(3))
    with pytest.raises(CaptureError, match="lacks the array 'phase'"):
        import_deepmimo(tmp_path / "e.npz", RATE)
    (tmp_path / "f.npz").write_bytes(b"nothing")
    with pytest.raises(CaptureError, match="no NumPy file"):
        import_deepmimo(tmp_path / "f.npz", RATE)


def test_colosseum_taps(tmp_path):
    from scipy.io import savemat

    cells = np.empty((3, 3, 2), object)
    for i, j, t in np.ndindex(3, 3, 2):
        cells[i, j, t] = np.array([[1e-6, 0, 0, 0], [1, 0, 0, 0]], complex)
    cells[1, 0, 0] = np.array([[0, 3e-6, 0, 0], [2, 1j, 0, 0]], complex)
    cells[1, 0, 1] = np.array([[0, 5e-6, 0, 0], [1, 1, 0, 0]], complex)
    cells[2, 0, 0] = np.array([[0, 0, 0, 0], [0, 0, 0, 0]], complex)
    savemat(tmp_path / "c.mat", {"chMatrix": cells})
    one = import_colosseum(tmp_path / "c.mat", 0, [1, 2], RATE, step_s=2e-3)
    scale = np.sqrt((5 + 0 + 2 + 1) / 4)
    assert np.allclose(one.delays_s[0], [0, 3e-6, 5e-6])
    assert np.allclose(one.coefficients[:, 0, 0] * scale, [[2, 1j, 0], [1, 0, 1]], atol=1e-6)
    assert one.delays_s[1, 0] == pytest.approx(1e-6)
    assert np.allclose(one.coefficients[:, 0, 1] * scale, [[0, 0, 0], [1, 0, 0]], atol=1e-6)
    assert np.array_equal(one.times_s, [0, 2e-3])
    still = cells[:, :, :1]
    savemat(tmp_path / "still.mat", {"chMatrix": still})
    assert import_colosseum(tmp_path / "still.mat", 0, [1], RATE).coefficients.shape == (1, 1, 1, 2)
    with pytest.raises(CaptureError, match="choose a receiver and other nodes"):
        import_colosseum(tmp_path / "c.mat", 0, [0], RATE)
    savemat(tmp_path / "x.mat", {"other": 1})
    with pytest.raises(CaptureError, match="lacks the variable 'chMatrix'; it has other"):
        import_colosseum(tmp_path / "x.mat", 0, [1], RATE)
    (tmp_path / "y.mat").write_bytes(b"MATLAB" * 40)
    with pytest.raises(CaptureError, match="is no MATLAB file: it starts with"):
        import_colosseum(tmp_path / "y.mat", 0, [1], RATE)


def test_the_research_kits_file_byte_by_byte(tmp_path):
    coefficients = np.zeros((2, 1, 1, 3), np.complex64)
    coefficients[0, 0, 0] = [1, 2, 2j]
    coefficients[1, 0, 0] = [0, 0, -1]
    one = sounding(coefficients=coefficients, delays_s=np.array([[0.0, 1e-6, 2e-6]]), times_s=np.arange(2.0))
    folder = export_sionna_rk(one, tmp_path / "rk", symbols_per_slot=2, sigma_scaling=0.5)
    data = (folder / "cirs.bin").read_bytes()
    entry = struct.pack("<f6f3H2x", 3.0, 1, 0, 2, 0, 0, 2, 0, 1, 2)  # 34 bytes, padded to 36
    second = struct.pack("<f6f3H2x", 1.0, 0, 0, 0, 0, -1, 0, 0, 1, 2)
    assert data == entry * 2 + second * 2
    section = {"num_taps": 3, "num_cirs": 4, "sigma_scaling": 0.5, "sigma_max": 0.0}
    assert json.loads((folder / "config.json").read_text()) == {"channel_emulation": section}
    norms, taps, index = read_sionna_rk(folder)
    assert np.array_equal(norms, [3, 3, 1, 1])
    assert np.array_equal(taps[::2], coefficients[:, 0, 0])
    assert np.array_equal(index[0], [0, 1, 2])
    # At half the rate the last two delays, 0.5 and 1 samples, meet at 0 and 1 (halves round to even).
    _, coarse, places = read_sionna_rk(export_sionna_rk(one, tmp_path / "half", sample_rate_hz=5e5))
    assert np.array_equal(places[0], [0, 1])
    assert np.array_equal(coarse[0], [3, 2j])
    with pytest.raises(CaptureError, match="format ends at 65535"):
        export_sionna_rk(one, tmp_path / "far", sample_rate_hz=1e12)
    (folder / "cirs.bin").write_bytes(data[:-1])
    with pytest.raises(CaptureError, match="no folder of impulse responses"):
        read_sionna_rk(folder)
