"""Soundings, their importers and exporter, and the channel that plays them, against values written out by hand."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from bridge.captures import CaptureError, Sounding
from bridge.captures.importers import import_colosseum, import_deepmimo
from bridge.captures.measured import Part, measured, remarks
from bridge.captures.sionna_rk import export_sionna_rk, read_sionna_rk
from phy.channel import Channel
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError
from phy.link import Link

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


def by_hand(path: Path, leave_out: tuple[str, ...] = (), **changes: object) -> Path:
    """A sounding of one tap as a user writes it with h5py: three instants, one antenna, two devices."""
    import h5py

    attributes = {"format": "pairzero-sounding", "version": 1, "sample_rate_hz": 1e6}
    arrays = {
        "coefficients": np.array([[[[1]], [[2j]]]] * 3).reshape(3, 1, 2, 1),
        "delays_s": np.zeros((2, 1)),
        "times_s": [0, 1, 2],
    }
    with h5py.File(path, "w") as file:
        for name, value in {**attributes, **arrays, **changes}.items():
            if name in leave_out:
                continue
            if name in arrays or name in ("found", "timing_s", "noise_variance"):
                file[name] = value
            else:
                file.attrs[name] = value
    return path


def test_a_file_written_by_hand_needs_only_what_has_no_default(tmp_path):
    one = Sounding.load(by_hand(tmp_path / "h.h5"))
    assert one.coefficients[:, 0, :, 0].tolist() == [[1, 2j]] * 3
    assert one.coefficients.dtype == np.complex64
    assert one.times_s.tolist() == [0.0, 1.0, 2.0]
    assert (one.gain_reference_db, one.source, one.found, one.timing_s, one.noise_variance) == (0.0, "", None, None, None)
    assert np.isnan(one.carrier_hz)
    assert Sounding.load(by_hand(tmp_path / "b.h5", format=np.bytes_("pairzero-sounding"))).sample_rate_hz == 1e6
    part = channel(measured(tmp_path / "h.h5"))
    assert part.gains(2, 0, 1, 1).tolist() == [[[1, 2j]]]


@pytest.mark.parametrize(
    ("leave_out", "changes", "sentence"),
    [
        (("format",), {}, 'lacks the attribute format.* set format to "pairzero-sounding" and version to 1'),
        (("version",), {}, "lacks the attribute version"),
        (("sample_rate_hz",), {}, "lacks the attribute sample_rate_hz"),
        (("coefficients",), {}, "lacks the array coefficients; it has delays_s, times_s"),
        (("delays_s",), {}, "lacks the array delays_s"),
        (("times_s",), {}, "lacks the array times_s"),
        ((), {"format": "another"}, "no sounding of version 1 but 'another', version 1"),
        ((), {"version": 2}, "version 2; import it"),
        ((), {"sample_rate_hz": "1e6"}, "sample_rate_hz of .* must be one number"),
        ((), {"sample_rate_hz": [1e6, 2e6]}, "must be one number"),
        ((), {"sample_rate_hz": np.inf}, "must be positive and finite"),
        ((), {"gain_reference_db": np.nan}, "gain_reference_db must be finite"),
        ((), {"coefficients": np.zeros((3, 1, 2, 1))}, "all coefficients are zero"),
        ((), {"coefficients": np.full((3, 1, 2, 1), 1e200)}, "not finite"),
        ((), {"coefficients": [b"a", b"b"]}, "coefficients of the type .* must be complex64"),
        ((), {"coefficients": np.ones((3, 2))}, "must be .instants, antennas, devices, taps."),
        ((), {"delays_s": 1j * np.ones((2, 1))}, "delays_s of the type complex128; it must be float64"),
        ((), {"found": np.ones((3, 2))}, "found of the type float64; it must be bool"),
        (("times_s",), {"times_s/inner": 1.0}, "lacks the array times_s"),
    ],
)
def test_a_file_written_by_hand_is_told_what_it_lacks(tmp_path, leave_out, changes, sentence):
    with pytest.raises(CaptureError, match=sentence) as caught:
        Sounding.load(by_hand(tmp_path / "h.h5", leave_out, **changes))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "h.h5") in str(caught.value)


def test_a_group_in_the_place_of_an_array_and_other_files_are_refused(tmp_path):
    import h5py

    with h5py.File(by_hand(tmp_path / "h.h5", ("coefficients",)), "r+") as file:
        file.create_group("coefficients")
    with pytest.raises(CaptureError, match="has coefficients, which is no array"):
        Sounding.load(tmp_path / "h.h5")
    (tmp_path / "e.h5").write_bytes(b"")
    with pytest.raises(CaptureError, match="is empty"):
        Sounding.load(tmp_path / "e.h5")
    whole = by_hand(tmp_path / "w.h5").read_bytes()
    for cut in (600, len(whole) - 100):
        (tmp_path / "c.h5").write_bytes(whole[:cut])
        with pytest.raises(CaptureError, match="damaged or cut off"):
            Sounding.load(tmp_path / "c.h5")


def test_a_run_is_told_of_a_gain_that_is_not_one_and_of_starting_over():
    """Devices 0 and 1 at gains 100 and 1: 10 lg 50.5 = 17.03 dB of both, 20 dB of the first alone; 0.3 s of instants."""
    shape = np.ones((4, 1, 2, 1), np.complex64)
    shape[:, :, 0] = 10
    one = Sounding(shape, np.zeros((2, 1)), 0.1 * np.arange(4), RATE)
    assert one.mean_gain_db() == pytest.approx(17.033, abs=1e-3)
    assert one.mean_gain_db(1) == pytest.approx(20.0)
    gain, over = remarks(one, 2, 0.1, 5)
    assert "mean gain of 17.0 dB" in gain
    assert "signals are that much above" in gain
    assert "lasts 0.3 s and 5 rounds 0.5 s: it starts over" in over
    assert remarks(one.scaled_to_unit_gain(), 2, 0.1, 4) == []


def test_a_device_whose_channel_is_zero_is_named(tmp_path):
    h = np.ones((3, 1, 2, 1), np.complex64)
    h[:, :, 1] = 0
    with pytest.raises(PhyError, match="channel of zero for device 1"):
        channel(measured(Sounding(h, np.zeros((2, 1)), np.arange(3.0), RATE).save(tmp_path / "z.h5")))


def test_deepmimo_files_of_matlab_and_of_one_set(tmp_path):
    """Both containers, of a folder with two sets the one that is named, and nothing of different sets."""
    from scipy.io import savemat

    arrays = deepmimo(tmp_path)
    energy = (1e-10 + 10**-10.6 + 1e-11) / 2
    expected = np.array([[1e-5j, -(10**-5.3)], [10**-5.5, 0]]) / np.sqrt(energy)

    def write(folder: Path, label: str, names: tuple[str, ...] = ("power", "phase", "delay"), **changes: np.ndarray) -> Path:
        folder.mkdir(exist_ok=True)
        for name in names:
            savemat(folder / f"{name}_{label}.mat", {name: {**arrays, **changes}[name].astype(np.float32)})
        return folder

    one = import_deepmimo(write(tmp_path / "one", "t001_tx000_r000"), RATE)
    assert np.allclose(one.coefficients[0, 0], expected, atol=1e-6)
    assert np.allclose(one.timing_s, [[1e-6, 2e-6]])
    assert one.gain_reference_db == pytest.approx(10 * np.log10(energy), abs=1e-4)
    savemat(tmp_path / "all.mat", arrays)
    assert np.allclose(import_deepmimo(tmp_path / "all.mat", RATE).coefficients[0, 0], expected, atol=1e-6)

    two = write(write(tmp_path / "two", "t001_tx000_r000"), "t001_tx000_r001", power=arrays["power"] - 20)
    with pytest.raises(CaptureError, match="several sets, 2 of them whole; name one by its file, for example"):
        import_deepmimo(two, RATE)
    for kind in ("power", "phase", "delay"):
        chosen = import_deepmimo(two / f"{kind}_t001_tx000_r001.mat", RATE)
        assert chosen.gain_reference_db == pytest.approx(one.gain_reference_db - 20, abs=1e-4)

    mixed = write(write(tmp_path / "mixed", "t001_tx000_r000", ("power", "phase")), "t002_tx000_r000", ("delay",))
    with pytest.raises(CaptureError, match=r"power, phase and delay of different sets .*delay_t002_tx000_r000.mat"):
        import_deepmimo(mixed, RATE)
    with pytest.raises(CaptureError, match=r"has no delay_t001_tx000_r000.mat, which belongs to power_t001_tx000_r000.mat"):
        import_deepmimo(mixed / "power_t001_tx000_r000.mat", RATE)
    np.savez(mixed / "delay_t001_tx000_r000.npz", delay=arrays["delay"])  # another container is another set
    with pytest.raises(CaptureError, match="different sets"):
        import_deepmimo(mixed, RATE)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(CaptureError, match="has no file power_"):
        import_deepmimo(tmp_path / "nothing", RATE)
    (two / "phase_t001_tx000_r001.mat").write_bytes(b"")
    with pytest.raises(CaptureError, match=r"phase_t001_tx000_r001.mat is empty"):
        import_deepmimo(two / "power_t001_tx000_r001.mat", RATE)


def test_deepmimo_arrays_of_other_axes_units_or_sets_are_refused(tmp_path):
    nan = np.nan
    right = {
        "power": np.array([[-100.0, -106.0, -107.0], [-90.0, nan, nan], [nan, nan, nan], [-110.0, -113.0, nan]]),
        "phase": np.array([[90.0, 180.0, -33.0], [12.0, nan, nan], [nan, nan, nan], [1.0, -100.0, nan]]),
        "delay": np.array([[1.0, 1.5, 2.0], [2.0, nan, nan], [nan, nan, nan], [2.5, 3.0, nan]]) * 1e-6,
    }

    def refused(sentence: str, users: list[int] | None = None, **changes: np.ndarray) -> None:
        np.savez(tmp_path / "d.npz", **{**right, **changes})
        with pytest.raises(CaptureError, match=sentence) as caught:
            import_deepmimo(tmp_path / "d.npz", RATE, users)
        assert "\n" not in str(caught.value)

    np.savez(tmp_path / "d.npz", **right)
    assert import_deepmimo(tmp_path / "d.npz", RATE).coefficients.shape == (1, 1, 3, 3)
    refused("3 rows that are no users but paths; transpose", **{name: values.T for name, values in right.items()})
    refused("power and delay disagree on 1 paths", delay=np.where(right["delay"] == 1.5e-6, nan, right["delay"]))
    refused("power and phase disagree on 2 paths", phase=right["phase"][[0, 1, 2, 1]] * [[1], [1], [1], [nan]])
    refused("power .4, 3., phase .4, 3. and delay .3, 3.", delay=right["delay"][:3])
    refused("more than was sent; power is in dBW", power=10 ** (right["power"] / 10))
    refused("seem to be radians; give degrees", phase=np.deg2rad(right["phase"]))
    refused("in seconds, not negative", delay=right["delay"] * 1e9)
    refused("in seconds, not negative", delay=-right["delay"])
    refused("an infinite power", power=np.where(np.isnan(right["power"]), -np.inf, right["power"]))
    refused("complex numbers in phase", phase=right["phase"] + 0j)
    refused("chosen twice", users=[0, 0])
    refused("Python objects, which are never loaded", phase=np.array([[{}]], object))


def test_colosseum_indices_are_no_seconds(tmp_path):
    """Delays 0, 3, 7 and 9 are places on a grid of 10 ns."""
    from scipy.io import savemat

    cells = np.empty((2, 2, 1), object)
    for place in np.ndindex(cells.shape):
        cells[place] = np.array([[0, 3, 7, 9], [0.1, 0.05j, 0.01, 0.02]])
    savemat(tmp_path / "c.mat", {"chMatrix": cells})
    with pytest.raises(
        CaptureError, match="delays of up to 9 s; if they are indices on a grid of 10 ns, add --delay-unit-s 1e-8"
    ):
        import_colosseum(tmp_path / "c.mat", 0, [1], RATE)
    one = import_colosseum(tmp_path / "c.mat", 0, [1], RATE, delay_unit_s=1e-8)
    assert np.allclose(one.delays_s, [[0, 30e-9, 70e-9, 90e-9]], atol=1e-15)
    with pytest.raises(CaptureError, match="unit of delays must be positive"):
        import_colosseum(tmp_path / "c.mat", 0, [1], RATE, delay_unit_s=0.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fidelity", ["symbol", "waveform"])
def test_a_device_whose_channel_is_zero_in_one_round_is_silent_in_that_round(tmp_path, fidelity):
    """Payloads 1 and 3: their mean 2, without device 0 in round 1 the other's 3, nothing where no channel is open."""
    h = np.ones((4, 1, 2, 1), np.complex64)
    h[1, :, 0] = 0
    h[2] = 0
    file = Sounding(h, np.zeros((2, 1)), 0.1 * np.arange(4), RATE).save(tmp_path / "z.h5")
    settings = {
        "fidelity": fidelity,
        "snr_max_db": 80.0,
        "channel": {"model": "bridge.captures.measured:Part", "file": str(file)},
        "power": {"control": "truncated"},
        "csi": {"estimator": "perfect"},
    }
    link = Link(LinkConfig.model_validate(settings), 4)
    result = link.aggregate(np.arange(4), np.tile([[[1.0], [3.0]]], (4, 1, 1)))
    assert result.lost.tolist() == [False, False, True, False]
    assert np.allclose(result.estimates[:, 0], [2, 3, np.nan, 2], atol=0.1, equal_nan=True)


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
