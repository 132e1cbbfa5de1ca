"""Matrices of NumPy and of MATLAB, every version of it, as soundings: order and scale against numbers written out by hand."""

import io
import zipfile

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from bridge.captures import CaptureError
from bridge.captures.matlab import read_variable
from bridge.captures.matrices import import_matrix

RATE = 2e6
# Entry [t, k] is (t + 1) + 10 k j: no two alike, so that an exchange of axes shows.
H = np.array([[1, 1 + 10j], [2, 2 + 10j], [3, 3 + 10j]])
ENERGY = (1 + 4 + 9 + 101 + 104 + 109) / 6  # 54.667


def matlab73(path, name, values, user_block=True):
    """As MATLAB writes version 7.3: a block of text first, axes the other way round, complex numbers as pairs."""
    with h5py.File(path, "w", userblock_size=512 if user_block else 0) as file:
        pairs = np.empty(values.T.shape, [("real", "<f8"), ("imag", "<f8")])
        pairs["real"], pairs["imag"] = values.T.real, values.T.imag
        file.create_dataset(name, data=pairs).attrs["MATLAB_class"] = np.bytes_("double")
    if user_block:
        with path.open("r+b") as raw:
            raw.write(
                b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 .".ljust(124)
            )
    return path


def written(folder):
    np.save(folder / "c.npy", H)
    np.save(folder / "f.npy", np.asfortranarray(H))
    np.save(folder / "big.npy", H.astype(">c16"))
    np.savez(folder / "h.npz", H=H)
    savemat(folder / "five.mat", {"H": H})
    savemat(folder / "seven.mat", {"H": H}, do_compression=True)
    savemat(folder / "four.mat", {"H": H}, format="4")
    matlab73(folder / "block.mat", "H", H)
    matlab73(folder / "plain.mat", "H", H, user_block=False)
    return sorted(folder.iterdir())


def test_every_container_gives_the_same_instants_devices_and_scale(tmp_path):
    for path in written(tmp_path):
        one = import_matrix(path, ("time", "device"), RATE, step_s=0.25)
        assert one.coefficients.shape == (3, 1, 2, 1), path
        assert np.allclose(one.coefficients[:, 0, :, 0] * np.sqrt(ENERGY), H, atol=1e-5), path
        assert one.times_s.tolist() == [0.0, 0.25, 0.5]
        assert one.delays_s.tolist() == [[0.0], [0.0]]
        assert one.gain_reference_db == pytest.approx(17.377, abs=1e-3)  # 10 lg 54.667
        assert one.mean_gain_db() == pytest.approx(0.0, abs=1e-5)


def test_axes_are_taken_as_they_are_named(tmp_path):
    values = np.arange(1, 25).reshape(2, 3, 4) * (1 + 1j)
    np.save(tmp_path / "h.npy", values)
    one = import_matrix(tmp_path / "h.npy", ("tap", "time", "antenna"), RATE, step_s=1.0)
    scale = np.sqrt((2 * (values.real**2).sum()) / (3 * 4))
    assert one.coefficients.shape == (3, 4, 1, 2)
    assert one.coefficients[2, 3, 0, 1] * scale == pytest.approx(24 + 24j, rel=1e-6)
    assert one.coefficients[0, 3, 0, 1] * scale == pytest.approx(16 + 16j, rel=1e-6)
    assert one.coefficients[2, 0, 0, 0] * scale == pytest.approx(9 + 9j, rel=1e-6)
    assert one.delays_s.tolist() == [[0.0, 0.5e-6]]
    # MATLAB has no less than two axes: a vector's other one is dropped.
    savemat(tmp_path / "v.mat", {"h": np.array([3, 4j])})
    one = import_matrix(tmp_path / "v.mat", ("device",), RATE)
    assert np.allclose(one.coefficients.reshape(-1) * np.sqrt(12.5), [3, 4j])


def test_a_gain_far_from_one_is_kept_beside_the_taps(tmp_path):
    """-160 dB: too small for its square in single precision."""
    np.save(tmp_path / "h.npy", np.full((4, 2), 1e-8j))
    one = import_matrix(tmp_path / "h.npy", ("antenna", "device"), RATE)
    assert one.gain_reference_db == pytest.approx(-160.0)
    assert np.allclose(one.coefficients, 1j)


def npy(header: bytes, content: bytes = b"") -> bytes:
    header = header.ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def test_what_is_no_matrix_is_refused_in_one_sentence(tmp_path):
    def refused(of, sentence, axes=("time", "device"), **changes):
        with pytest.raises(CaptureError, match=sentence) as caught:
            import_matrix(tmp_path / of, axes, RATE, **{"step_s": 1.0, **changes})
        assert "\n" not in str(caught.value)
        assert of in str(caught.value) or "must be positive" in str(caught.value)

    def file(name, content):
        (tmp_path / name).write_bytes(content)
        return name

    np.save(tmp_path / "h.npy", H)
    whole = (tmp_path / "h.npy").read_bytes()
    refused("none.npy", "there is no file")
    for kind in ("npy", "npz", "mat"):
        refused(file(f"empty.{kind}", b""), "is empty")
        refused(file(f"text.{kind}", b"hello,world\n" * 30), "it starts with")
        refused(file(f"zeros.{kind}", bytes(2000)), "it starts with")
    refused(file("x.csv", b"1,2"), "save it as .npy, .npz or .mat")
    refused(file("cut.npy", whole[:-8]), "damaged or cut off")
    refused(file("head.npy", whole[:50]), "damaged or cut off")
    refused(file("code.npy", npy(b"__import__('os').abort()")), "damaged or cut off")
    refused(file("huge.npy", npy(b"{'descr': '<c16', 'fortran_order': False, 'shape': (1000000, 1000000)}")), "too large")
    np.save(tmp_path / "o.npy", np.array([[{}, 1]], object), allow_pickle=True)
    refused("o.npy", "Python objects, which are never loaded")
    np.savez(tmp_path / "o.npz", H=np.array([[{}, 1]], object))
    refused("o.npz", "Python objects, which are never loaded")
    np.save(tmp_path / "s.npy", np.array([["a", "b"]]))
    refused("s.npy", "must be an array of numbers")
    np.savez(tmp_path / "two.npz", H=H, G=H)
    refused("two.npz", "has the arrays H, G; name the one that is meant")
    refused("two.npz", "lacks the array 'F'; it has H, G", name="F")
    refused("h.npy", "leave out --variable", name="H")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("readme.txt", "x")
    refused("zip.npz", "has the arrays none")
    np.save(tmp_path / "nan.npy", np.array([[1, np.nan]]))
    refused("nan.npy", "not finite")
    np.save(tmp_path / "zero.npy", np.zeros((3, 2)))
    refused("zero.npy", "no gain")
    np.save(tmp_path / "far.npy", np.full((3, 2), 1e200))
    refused("far.npy", "check its units")
    np.save(tmp_path / "none_of_them.npy", np.zeros((0, 2)))
    refused("none_of_them.npy", "it is empty")
    refused("h.npy", r"is 3 x 2 and does not say what that counts; name its axes", axes=())
    refused("h.npy", r"is 3 x 2, and 1 axes are named", axes=("time",))
    refused("h.npy", "are not different ones of", axes=("time", "time"))
    refused("h.npy", "are not different ones of", axes=("time", "user"))
    refused("h.npy", "add --step-s", step_s=None)
    refused("h.npy", "must be positive and finite", step_s=0.0)


def test_matlab_files_with_something_else_in_them(tmp_path):
    def refused(path, sentence, names=(), cells=False):
        with pytest.raises(CaptureError, match=sentence) as caught:
            read_variable(path, names, cells=cells)
        assert "\n" not in str(caught.value)

    from scipy.sparse import csr_matrix

    path = tmp_path / "m.mat"
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = np.ones(2), np.ones(3)
    savemat(path, {"H": H, "G": H, "c": cell, "t": "text", "s": {"a": 1}, "sparse": csr_matrix(np.eye(3))})
    refused(path, "has 2 variables with numbers among H, G, c, t, s, sparse; name the one that is meant")
    for name, kind in (("c", "cell"), ("t", "char"), ("s", "struct"), ("sparse", "sparse")):
        refused(path, f"has {name} of class {kind}; it must be an array of numbers", (name,))
    refused(path, "it must be a cell array", ("H",), cells=True)
    whole = path.read_bytes()
    for cut in (100, 140, 200, len(whole) // 3):
        (tmp_path / "cut.mat").write_bytes(whole[:cut])
        with pytest.raises(CaptureError):
            read_variable(tmp_path / "cut.mat", ("H",))
    new = matlab73(tmp_path / "n.mat", "H", H)
    with h5py.File(new, "r+") as file:
        file["t"] = np.arange(4, dtype=np.uint16)
        file["t"].attrs["MATLAB_class"] = np.bytes_("char")
        file["s/a"] = 1.0
        file["e"] = np.array([0, 0], np.uint64)
        file["e"].attrs["MATLAB_class"], file["e"].attrs["MATLAB_empty"] = np.bytes_("double"), 1
    assert np.array_equal(read_variable(new), H)
    for name in ("t", "s", "e"):
        refused(new, f"has {name} .*it must be an array of numbers", (name,))
    refused(new, "lacks the variable 'F'", ("F",))
    whole = new.read_bytes()
    for cut in (130, 600, len(whole) // 2):
        (tmp_path / "cut.mat").write_bytes(whole[:cut])
        refused(tmp_path / "cut.mat", "damaged or cut off")


def test_cells_of_both_kinds_of_matlab_files_are_the_same(tmp_path):
    """Cells [2, 3] of version 7.3 are references, stored the other way round."""
    cells = np.empty((2, 3), object)
    for i, j in np.ndindex(2, 3):
        cells[i, j] = np.array([[i + 10.0 * j, 1, 2], [3, 4, 5j]])
    savemat(tmp_path / "five.mat", {"c": cells})
    with h5py.File(tmp_path / "new.mat", "w") as file:
        references = np.empty((3, 2), h5py.ref_dtype)
        for i, j in np.ndindex(2, 3):
            values = np.empty((3, 2), [("real", "<f8"), ("imag", "<f8")])
            values["real"], values["imag"] = cells[i, j].T.real, cells[i, j].T.imag
            references[j, i] = file.create_dataset(f"#refs#/{i}{j}", data=values).ref
        file.create_dataset("c", data=references, dtype=h5py.ref_dtype).attrs["MATLAB_class"] = np.bytes_("cell")
    for name in ("five.mat", "new.mat"):
        found = read_variable(tmp_path / name, ("c",), cells=True)
        assert found.shape == (2, 3)
        assert found[1, 2].tolist() == [[21, 1, 2], [3, 4, 5j]], name


def test_an_archive_that_claims_much_is_not_decompressed(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("H.npy", head.getvalue())
    with pytest.raises(CaptureError, match="too large"):
        import_matrix(tmp_path / "b.npz", ("time",), RATE, step_s=1.0)


def test_tags_that_would_end_the_process_are_refused(tmp_path):
    """The type 9 (doubles) of the numbers changed to one that does not exist, their length, the dimensions; also in cells."""
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = np.array([[1.0, 2, 3]]), np.array([[4.0]])
    path = tmp_path / "m.mat"

    def changed(name, at, old, new, sentence):
        data = path.read_bytes()
        place = data.index(at) + len(at) - len(old)
        assert data[place : place + len(old)] == old
        (tmp_path / "c.mat").write_bytes(data[:place] + new + data[place + len(old) :])
        with pytest.raises(CaptureError, match=sentence) as caught:
            read_variable(tmp_path / "c.mat", (name,), cells=name == "c")
        assert "\n" not in str(caught.value)

    savemat(path, {"H": np.array([[1.0, 2, 3]])})
    tag = b"\x09\0\0\0\x18\0\0\0"  # 3 doubles of 8 bytes
    changed("H", tag, tag, b"\x86\0\0\0\x18\0\0\0", "an element of type 134 and 24 bytes is in the wrong place")
    changed("H", tag, tag, b"\x09\0\0\0\x18\1\0\0", "an element of 280 bytes reaches beyond its end")
    changed("H", tag, tag, b"\x09\0\0\0\x10\0\0\0", "an array of 3 elements has 2")
    dims = b"\x05\0\0\0\x08\0\0\0\1\0\0\0\3\0\0\0"
    changed("H", dims, b"\3\0\0\0", b"\xff\xff\xff\xff", "the dimensions .1, -1.")
    savemat(path, {"c": cells})
    changed("c", tag, tag, b"\x86\0\0\0\x18\0\0\0", "an element of type 134")
    changed("c", b"\x0e\0\0\0", b"\x0e\0\0\0", b"\x0d\0\0\0", "type 13 stands where an array belongs")
    deep = np.array([[1.0]])
    for _ in range(20):
        outer = np.empty((1, 1), object)
        outer[0, 0] = deep
        deep = outer
    savemat(path, {"c": deep})
    with pytest.raises(CaptureError, match="arrays lie too deep"):
        read_variable(path, ("c",), cells=True)
    savemat(path, {"H": np.zeros((1, 3000))}, do_compression=True)
    whole = path.read_bytes()
    size = int.from_bytes(whole[132:136], "little") - 4
    path.write_bytes(whole[:132] + size.to_bytes(4, "little") + whole[136 : 136 + size])
    with pytest.raises(CaptureError, match="a compressed variable is cut off"):
        read_variable(path)


def test_what_the_check_lets_pass_is_what_scipy_writes(tmp_path):
    from scipy.sparse import csc_matrix

    values = {
        "s": {"a": np.arange(3.0), "b": {"deep": "text"}},
        "records": np.array([(1, 2.0), (3, 4.0)], [("i", "i4"), ("f", "f8")]),
        "sparse": csc_matrix(np.eye(3) * 1j),
        "text": ["one", "three"],
        "none": np.zeros((0, 3)),
        "small": np.int8([[1, 2]]),
        "yes": np.array([[True]]),
        "H": H,
    }
    for compressed in (False, True):
        savemat(tmp_path / "m.mat", values, do_compression=compressed)
        assert np.array_equal(read_variable(tmp_path / "m.mat", ("H",)), H)
        assert read_variable(tmp_path / "m.mat", ("small",)).tolist() == [[1, 2]]
