"""SigMF archives: what the reference library packs is read in place; what is damaged or hostile is refused."""

import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bridge.captures import CaptureError, Stated, open_any, open_recording, write_collection, write_recording
from bridge.captures.recording import open_collection

RATE = 1e6
SAMPLES = np.exp(0.1j * np.arange(50)).astype(np.complex64)


def pack(path: Path, files: list[Path]) -> Path:
    with tarfile.open(path, "w") as tar:
        for file in files:
            tar.add(file, f"folder/{file.name}")
    return path


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    write_recording(tmp_path / "x", SAMPLES, RATE, frequency_hz=1e9)
    return pack(tmp_path / "x.sigmf", [tmp_path / "x.sigmf-data", tmp_path / "x.sigmf-meta"])


@pytest.mark.parametrize("compression", [None, "gz", "xz", "zip"])
def test_what_the_reference_library_packs_is_read(tmp_path, compression):
    sigmf = pytest.importorskip("sigmf", reason="the package sigmf is not installed")
    meta = write_recording(tmp_path / "x", SAMPLES, RATE, frequency_hz=1e9)
    name = "packed.sigmf" + (f".{compression}" if compression else "")
    sigmf.fromfile(str(meta)).archive(str(tmp_path / name), compression=compression)
    read = open_any(tmp_path / name, Stated(scale=2.0))
    assert np.array_equal(read.samples[0], 2 * SAMPLES)
    assert read.verified
    assert read.frequency_hz == 1e9


def test_an_archive_of_a_collection_is_that_collection(tmp_path):
    metas = [write_recording(tmp_path / f"c{i}", (i + 1) * SAMPLES, RATE) for i in range(2)]
    collection = write_collection(tmp_path / "all", metas)
    packed = pack(tmp_path / "all.sigmf", [collection, *tmp_path.glob("c*.sigmf-*")])
    _, both = open_collection(packed)
    assert [r.path.name for r in both] == ["c0.sigmf-meta", "c1.sigmf-meta"]
    assert np.array_equal(open_any(packed, Stated()).samples[1], 2 * SAMPLES)
    loose = pack(tmp_path / "two.sigmf", list(tmp_path.glob("c*.sigmf-*")))
    with pytest.raises(CaptureError, match=r"holds 2 files .sigmf-meta; unpack it"):
        open_any(loose, Stated())


def test_damaged_archives_are_refused(tar, tmp_path):
    whole = tar.read_bytes()
    cases = {
        "cut.sigmf": whole[:700],
        "cut.sigmf.gz": gzip.compress(whole)[:-20],
        "cut.sigmf.xz": lzma.compress(whole)[:-20],
        "text.sigmf": b"not a tar file at all" * 40,
        "empty.sigmf": b"",
        "flipped.sigmf.gz": gzip.compress(whole)[:-8] + bytes(8),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CaptureError, match=r"no archive that can be read|truncated|altered"):
            open_recording(tmp_path / name)
    (tmp_path / "renamed.tar").write_bytes(whole)
    assert np.array_equal(open_recording(tmp_path / "renamed.tar").samples[0], SAMPLES)
    (tmp_path / "x.cf32.gz").write_bytes(gzip.compress(SAMPLES.tobytes()))
    with pytest.raises(CaptureError, match=r"is compressed .gzip., not raw cf32; unpack it"):
        open_any(tmp_path / "x.cf32.gz", Stated("cf32", RATE))


def test_hostile_archives_are_refused(tar, tmp_path):
    """Links, two files of one name, and a small file that grows without end."""
    link = tarfile.TarInfo("x.sigmf-data")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "link.sigmf", "w") as out:
        out.addfile(link)
    with pytest.raises(CaptureError, match="no plain file"):
        open_recording(tmp_path / "link.sigmf")
    with zipfile.ZipFile(tmp_path / "twice.sigmf.zip", "w") as out:
        out.writestr("a/x.sigmf-meta", "{}")
        out.writestr("b/x.sigmf-meta", "{}")
    with pytest.raises(CaptureError, match="two files called"):
        open_recording(tmp_path / "twice.sigmf.zip")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        big = tarfile.TarInfo("x.sigmf-data")
        big.size = 1 << 27
        out.addfile(big, io.BytesIO(bytes(big.size)))
    (tmp_path / "bomb.sigmf.xz").write_bytes(lzma.compress(buffer.getvalue(), preset=0))
    with pytest.raises(CaptureError, match=r"expands to \d+ or more"):
        open_recording(tmp_path / "bomb.sigmf.xz")
