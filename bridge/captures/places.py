"""Where the files of a recording lie: a folder, or an archive, which is read in place and never unpacked.

SigMF archives are tar files (``.sigmf``); the reference library also writes them compressed (``.sigmf.gz``, ``.sigmf.xz``) and
as ``.sigmf.zip``. The content decides which it is.
"""

import bz2
import gzip
import lzma
import re
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

from bridge.captures.errors import CaptureError

# What an archive may hold more than this many times its own size is taken for an attack on memory, beyond the first 64 MiB.
_MOST_TIMES, _HARMLESS_BYTES = 200, 1 << 26
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, RuntimeError)
# The first bytes of each compression.
_COMPRESSED = {b"\x1f\x8b\x08": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}


class Place(Protocol):
    """Files that belong together, by their plain names."""

    def path(self, name: str) -> Path:
        """How an error names the file."""

    def holds(self, name: str) -> bool:
        """Whether there is such a file."""

    def names(self) -> list[str]:
        """All files, sorted."""

    def read(self, name: str) -> bytes:
        """Its content; raises :class:`bridge.captures.errors.CaptureError`."""


@dataclass(frozen=True)
class Folder:
    """A folder of the file system."""

    folder: Path

    def path(self, name: str) -> Path:
        """The file's own path."""
        return self.folder / name

    def holds(self, name: str) -> bool:
        """Whether it is a file there."""
        return self.path(name).is_file()

    def names(self) -> list[str]:
        """Files of the folder, sorted."""
        return sorted(entry.name for entry in self.folder.iterdir() if entry.is_file())

    def read(self, name: str) -> bytes:
        """The whole file; raises :class:`bridge.captures.errors.CaptureError`."""
        return read_file(self.path(name))


@dataclass(frozen=True)
class Archive:
    """An archive in memory: the content of its files by their last names."""

    file: Path
    content: dict[str, bytes]

    def path(self, name: str) -> Path:
        """The archive's path with the member's name behind it."""
        return self.file / name

    def holds(self, name: str) -> bool:
        """Whether the archive has it."""
        return name in self.content

    def names(self) -> list[str]:
        """Members, sorted."""
        return sorted(self.content)

    def read(self, name: str) -> bytes:
        """The member's content; raises :class:`bridge.captures.errors.CaptureError`."""
        if name not in self.content:
            raise CaptureError(f"{self.file} is an archive without {name}")
        return self.content[name]


def read_file(path: Path) -> bytes:
    """A file's bytes; raises :class:`bridge.captures.errors.CaptureError` with the system's reason."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror or error}") from error


def compression(start: bytes) -> str | None:
    """The compression of a file that begins with these bytes: gzip, bzip2, xz, zip, or none."""
    if start[:4] == b"PK\x03\x04":
        return "zip"
    return next((name for magic, name in _COMPRESSED.items() if start.startswith(magic)), None)


def is_archive(path: Path) -> bool:
    """Whether the file is an archive by its name (``.sigmf``, ``.sigmf.gz``, ...) or, being a tar file, by its content."""
    if re.search(r"\.sigmf(\.(gz|xz|bz2|zip))?$", path.name):
        return path.is_file()
    try:
        with path.open("rb") as file:
            return file.read(262)[257:262] == b"ustar"
    except OSError:
        return False


def open_archive(path: Path) -> Archive:
    """Read an archive's files. Folders within it are not looked at, links and sparse files are refused.

    Raises :class:`bridge.captures.errors.CaptureError` where it is damaged, no archive, or expands beyond all measure.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            kind = compression(file.read(8))
        if kind == "zip":
            return Archive(path, _zip(path, size))
        with _decompressed(path, kind) as stream:
            return Archive(path, _tar(path, stream, size))
    except _DAMAGE as error:
        raise CaptureError(f"{path} is no archive that can be read, or it is cut off ({error}); pack it again") from error


def _decompressed(path: Path, kind: str | None) -> IO[bytes]:
    if kind == "gzip":
        return cast("IO[bytes]", gzip.open(path))
    if kind == "bzip2":
        return cast("IO[bytes]", bz2.open(path))
    return cast("IO[bytes]", lzma.open(path)) if kind == "xz" else path.open("rb")


def _tar(path: Path, stream: IO[bytes], size: int) -> dict[str, bytes]:
    content: dict[str, bytes] = {}
    bounded = _Bounded(path, stream, size)
    with tarfile.open(fileobj=cast("IO[bytes]", bounded), mode="r|") as tar:
        for member in tar:
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise CaptureError(f"{path} holds {member.name[:80]!r}, which is no plain file; pack it again without it")
            file = tar.extractfile(member)
            assert file is not None
            _keep(content, path, member.name, file.read())
    while bounded.read(1 << 20):  # to the end, where the checksum of the compression stands
        pass
    return content


class _Bounded:
    """A stream that may not grow beyond measure, whatever in it does: members, or headers of the archive."""

    def __init__(self, path: Path, stream: IO[bytes], size: int) -> None:
        self._path, self._stream, self._size, self._total = path, stream, size, 0

    def read(self, count: int) -> bytes:
        data = self._stream.read(count)
        self._total += len(data)
        _expands(self._path, self._total, self._size)
        return data


def _zip(path: Path, size: int) -> dict[str, bytes]:
    content: dict[str, bytes] = {}
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        _expands(path, sum(member.file_size for member in members), size)
        for member in members:
            _keep(content, path, member.filename, archive.read(member))
    return content


def _keep(content: dict[str, bytes], path: Path, name: str, data: bytes) -> None:
    last = name.rsplit("/", 1)[-1]
    if last in content:
        raise CaptureError(f"{path} holds two files called {last[:80]!r}; pack them apart")
    content[last] = data


def _expands(path: Path, total: int, size: int) -> None:
    if total > max(_HARMLESS_BYTES, _MOST_TIMES * size):
        raise CaptureError(f"{path} of {size} bytes expands to {total} or more; unpack it yourself if that is meant")
