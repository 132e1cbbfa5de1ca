"""Read SigMF recordings and collections: metadata checked, sha512 checked, samples as complex64.

SigMF 1.2: ``X.sigmf-meta`` (JSON: global, captures, annotations) beside ``X.sigmf-data`` (samples, I first). A collection,
``X.sigmf-collection``, names recordings of one channel each, with the sha512 of their metadata. Our own keys are in the
namespace ``pairzero:``, which docs/captures.md lists.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bridge.captures.errors import CaptureError
from bridge.captures.formats import Complexes, refuse_not_finite, sample_format
from bridge.captures.places import Folder, Place, is_archive, open_archive, read_file
from bridge.captures.segments import choose, read_segments, whole

META, DATA, COLLECTION = ".sigmf-meta", ".sigmf-data", ".sigmf-collection"
NAMESPACE = "pairzero"
_CHUNK_BYTES = 1 << 22
_MOST_CHANNELS = 4096
# Keys that are honoured or checked; docs/captures.md has the same in words.
_GLOBAL = {f"core:{name}" for name in (
    "datatype", "version", "sample_rate", "num_channels", "offset", "sha512", "dataset", "trailing_bytes", "metadata_only",
    "extensions",
)}  # fmt: skip
_CAPTURE = {f"core:{name}" for name in ("sample_start", "frequency", "header_bytes", "global_index", "datetime", "sample_rate")}


@dataclass(frozen=True)
class Annotation:
    """A stretch of a recording: ``start`` and ``count`` in samples of it, and every key that the file has, ``core:`` or not.

    ``start`` counts from the first sample that was read; ``core:sample_start`` of the fields is the file's own, absolute index.
    """

    start: int
    count: int
    fields: Mapping[str, Any]

    def own(self, key: str, default: Any = None) -> Any:
        """The value of ``pairzero:key``."""
        return self.fields.get(f"{NAMESPACE}:{key}", default)


@dataclass(frozen=True)
class Recording:
    """A recording in memory. ``samples`` complex64 [C, N], one row per channel; ``path``: where it came from.

    ``verified``: whether the file stated a sha512, and had it. ``fields``: the global section of the metadata, ``segment`` that
    of the capture segment with which the samples begin. ``first_sample``: the absolute index of sample 0. ``notes``: sentences
    for the user on what the file states and does not have.
    """

    path: Path
    samples: Complexes
    sample_rate_hz: float
    frequency_hz: float | None
    annotations: tuple[Annotation, ...]
    fields: Mapping[str, Any]
    verified: bool
    format: str
    segment: Mapping[str, Any] = field(default_factory=dict)
    first_sample: int = 0
    notes: tuple[str, ...] = ()

    def own(self, key: str, default: Any = None) -> Any:
        """The value of the global ``pairzero:key``."""
        return self.fields.get(f"{NAMESPACE}:{key}", default)

    def at_rate(self, sample_rate_hz: float) -> "Recording":
        """Itself; raises :class:`CaptureError` where its sample rate is another."""
        if not math.isclose(self.sample_rate_hz, sample_rate_hz, rel_tol=1e-9):
            raise CaptureError(
                f"{self.path} was sampled at {self.sample_rate_hz:g} Hz and {sample_rate_hz:g} Hz are needed; set "
                "link.burst.sample_rate_hz, or have it resampled (--resample, or resample = true of an overlay)"
            )
        return self

    def scaled(self, factor: float) -> "Recording":
        """With every sample times ``factor``; raises :class:`CaptureError` for 0 and for what is not finite."""
        if not math.isfinite(factor) or factor == 0:
            raise CaptureError(f"{self.path} needs a scale that is finite and not zero, got {factor}")
        return self if factor == 1.0 else replace(self, samples=self.samples * np.float32(factor))

    def unused(self) -> list[str]:
        """Keys of its metadata that have no effect, sorted; docs/captures.md says which have."""
        known = (self.fields.keys() - _GLOBAL) | (self.segment.keys() - _CAPTURE)
        return sorted(key for key in known if not key.startswith(f"{NAMESPACE}:"))


def open_recording(path: str | Path, *, segment: int | None = None, sample_rate_hz: float | None = None) -> Recording:
    """Read one SigMF recording, given by its metadata, its data, their common stem, or an archive of it.

    ``segment``: the capture segment to read; none reads all, where they follow each other. ``sample_rate_hz`` serves where
    the metadata state none, and is checked where they do. Raises :class:`bridge.captures.errors.CaptureError` where it is
    missing, malformed, truncated, altered, or not finite.
    """
    place, name = locate(Path(path))
    if name.endswith(COLLECTION):
        raise CaptureError(f"{path} is a collection, not one recording; give a {META} file that it names")
    return read_recording(place, name, segment=segment, sample_rate_hz=sample_rate_hz)


def locate(path: Path) -> tuple[Place, str]:
    """Where a recording or collection lies, and the name of its metadata there.

    ``path``: as :func:`open_recording` takes it, or a collection. Of an archive the collection comes first. Raises
    :class:`bridge.captures.errors.CaptureError` where there is none, or an archive holds several.
    """
    if not is_archive(path):
        meta = path if path.suffix == COLLECTION else _meta_path(path)
        return Folder(meta.parent), meta.name
    archive = open_archive(path)
    for ending in (COLLECTION, META):
        found = [name for name in archive.names() if name.endswith(ending)]
        if len(found) == 1:
            return archive, found[0]
        if found:
            break
    raise CaptureError(f"{path} holds {len(found)} files {ending}; unpack it and give one of them")


def read_recording(place: Place, name: str, *, segment: int | None = None, sample_rate_hz: float | None = None) -> Recording:
    """As :func:`open_recording`, of the metadata called ``name`` in a folder or an archive."""
    path = place.path(name)
    meta = parse_json(place.read(name), path)
    section, captures = _section(meta, "global", dict, path), _section(meta, "captures", list, path)
    entries: list[Any] = []
    notes: tuple[str, ...] = (f"{path.name}: the metadata have no section 'annotations'; taken as empty",)
    if "annotations" in meta:
        entries, notes = _section(meta, "annotations", list, path), ()
    annotations = [_annotation(entry, path) for entry in entries]
    _refuse_unreadable(section, path)
    layout = sample_format(section.get("core:datatype", "(none)"), str(path))
    channels = whole(section.get("core:num_channels", 1), "core:num_channels", path, 1)
    if channels > _MOST_CHANNELS:
        raise CaptureError(f"{path} has core:num_channels {channels}; up to {_MOST_CHANNELS} are read")
    offset = whole(section.get("core:offset", 0), "core:offset", path)
    trailing = whole(section.get("core:trailing_bytes", 0), "core:trailing_bytes", path)
    rate = _rate(section, captures, sample_rate_hz, path)
    row = layout.sample_bytes * channels
    segments = read_segments(captures, offset, row, path)
    data_name = _data_name(place, name, section)
    data, data_path = place.read(data_name), place.path(data_name)
    size = len(data) - trailing
    digest = section.get("core:sha512")
    matches = _matches(digest, hashlib.sha512(data).hexdigest(), "core:sha512", path)
    span = choose(segments, segment, size, row, rate, data_path)
    reach = max((note.start + note.count for note in annotations), default=0)
    if reach > offset + segments[-1].start + (size - segments[-1].at) // row:
        if matches:
            raise CaptureError(
                f"{path} has an annotation that reaches to sample {reach}, beyond its samples, whose sha512 matches; "
                "correct the annotation"
            )
        raise CaptureError(
            f"{data_path} is truncated: it holds {len(data)} bytes, which are {len(data) / row:.10g} samples of {row} bytes, "
            f"and its annotations reach to sample {reach}; if the file is whole, correct or remove the annotation"
        )
    if digest is not None and not matches:
        raise CaptureError(f"{data_path} does not have the sha512 that its metadata state: it was altered or cut off")
    view = memoryview(data)
    content = view[slice(*span.pieces[0])] if len(span.pieces) == 1 else b"".join(view[slice(*piece)] for piece in span.pieces)
    samples = np.ascontiguousarray(layout.decode(content).reshape(-1, channels).T)
    refuse_not_finite(samples.T.reshape(-1), str(data_path))
    first = offset + span.start
    kept = tuple(
        replace(note, start=note.start - first)
        for note in annotations
        if first <= note.start and note.start + note.count <= offset + span.stop
    )
    if segment is None and len(kept) < len(annotations):
        notes += (f"{path.name}: {len(annotations) - len(kept)} annotations before its first capture segment are left out",)
    if segment is None and span.start:
        notes += (f"{path.name}: {span.start} samples before its first capture segment are skipped",)
    frequency = span.fields.get("core:frequency")
    return Recording(
        path=path,
        samples=samples,
        sample_rate_hz=rate,
        frequency_hz=None if frequency is None else _number(frequency, "core:frequency", path),
        annotations=kept,
        fields=section,
        verified=matches,
        format=layout.name,
        segment=span.fields,
        first_sample=first,
        notes=notes,
    )


def open_collection(path: str | Path) -> tuple[Mapping[str, Any], tuple[Recording, ...]]:
    """Read a collection or an archive of one: its own fields, and its recordings in the order in which it names them.

    Raises :class:`bridge.captures.errors.CaptureError` as :func:`open_recording`, and where metadata were altered.
    """
    place, name = locate(Path(path))
    if not name.endswith(COLLECTION):
        raise CaptureError(f"{path} is one recording, no collection; give a {COLLECTION} file")
    return read_collection(place, name)


def read_collection(place: Place, name: str) -> tuple[Mapping[str, Any], tuple[Recording, ...]]:
    """As :func:`open_collection`, of the file called ``name`` in a folder or an archive."""
    path = place.path(name)
    section = _section(parse_json(place.read(name), path), "collection", dict, path)
    _refuse_unreadable(section, path)
    streams = section.get("core:streams", [])
    recordings = []
    for stream in streams if isinstance(streams, list) else []:
        stem, expected = _stream(stream)
        meta = _plain_name(stem, path) + META
        if expected is not None and place.holds(meta):
            found = hashlib.sha512(place.read(meta)).hexdigest()
            if not _matches(expected, found, "a hash", path):
                raise CaptureError(
                    f"{place.path(meta)} does not have the sha512 that {path.name} states: it was altered or cut off"
                )
        if not place.holds(meta):
            raise CaptureError(f"there is no recording {place.path(meta)}, which {path.name} names")
        recordings.append(read_recording(place, meta))
    if not recordings:
        raise CaptureError(f"{path} names no recordings; write the capture again")
    return section, tuple(recordings)


def sha512(path: Path) -> str:
    """Hash of a file's bytes, in hexadecimal."""
    digest = hashlib.sha512()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises :class:`CaptureError` where there is none."""
    return parse_json(read_file(path), path)


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """A JSON object from bytes in UTF-8, with a byte order mark or not; raises :class:`CaptureError` where there is none."""
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CaptureError(f"{path} is no text in UTF-8, as SigMF metadata are ({error}); convert it") from error
    except (ValueError, RecursionError) as error:
        raise CaptureError(f"{path} is no JSON ({error}); it is cut off or no SigMF metadata") from error
    if not isinstance(value, dict):
        raise CaptureError(f"{path} holds no JSON object; it is no SigMF metadata")
    return value


def _meta_path(path: Path) -> Path:
    if path.suffix in (DATA, META):
        path = path.with_suffix(META)
    elif not path.is_file():
        path = path.with_name(path.name + META)
    else:
        raise CaptureError(f"{path} is no SigMF recording; state --format and --sample-rate of a raw one")
    if not path.is_file():
        raise CaptureError(f"there is no recording {path}")
    return path


def _data_name(place: Place, meta: str, section: Mapping[str, Any]) -> str:
    given = section.get("core:dataset")
    path = place.path(meta)
    name = meta.removesuffix(META) + DATA if given is None else _plain_name(given, path)
    if not place.holds(name):
        if section.get("core:metadata_only"):
            raise CaptureError(
                f"{path} is distributed without its samples (core:metadata_only); get {name} and put it beside it"
            )
        raise CaptureError(f"{path} lacks its samples: there is no {name} beside it")
    return name


def _plain_name(name: Any, where: Path) -> str:
    # A path that leads out of the folder would read whatever file the capture's author names.
    if not isinstance(name, str) or not name or name in (".", "..") or Path(name).name != name:
        raise CaptureError(f"{where} names the file {str(name)[:80]!r}, which is not a plain file name beside it")
    return name


def _stream(stream: Any) -> tuple[Any, Any]:
    """Name and hash of a collection's entry: an object since SigMF 1.2, a pair before, or the name alone."""
    if isinstance(stream, dict):
        return stream.get("name"), stream.get("hash")
    if isinstance(stream, list) and len(stream) == 2:
        return stream[0], stream[1]
    return stream, None


def _matches(stated: Any, found: str, key: str, path: Path) -> bool:
    """Whether a hash is the stated one, in upper case or lower; False where none is stated."""
    if stated is None:
        return False
    if not isinstance(stated, str):
        raise CaptureError(f"{path} has {key} {str(stated)[:40]!r}, which is no sha512; correct or remove it")
    return stated.strip().lower() == found


def _rate(section: Mapping[str, Any], captures: list[Any], stated: float | None, path: Path) -> float:
    """The sample rate of the metadata, or the one that is stated where they have none."""
    given = section.get("core:sample_rate")
    if given is None:
        if stated is None:
            raise CaptureError(f"{path} lacks a number core:sample_rate; state it with --sample-rate, or in the metadata")
        given = stated
    rate = _number(given, "core:sample_rate", path)
    if rate <= 0:
        raise CaptureError(f"{path} has core:sample_rate {rate:g}; it must be positive")
    if stated is not None and not math.isclose(rate, stated, rel_tol=1e-9):
        raise CaptureError(f"{path} says that it was sampled at {rate:.12g} Hz, not at the {stated:.12g} Hz that were stated")
    for entry in captures:
        own = entry.get("core:sample_rate") if isinstance(entry, dict) else None
        if own is not None and own != rate:
            raise CaptureError(
                f"{path} has a capture segment of core:sample_rate {str(own)[:40]} beside {rate:.12g} of the whole"
            )
    return rate


def _refuse_unreadable(section: Mapping[str, Any], path: Path) -> None:
    """What the metadata themselves say that a reader must know and this one does not."""
    version = section.get("core:version", "1")
    if not isinstance(version, str) or version.split(".")[0].removeprefix("v") not in ("0", "1"):
        raise CaptureError(f"{path} is of SigMF {str(version)[:20]!r}; versions 0 and 1 are read")
    extensions = section.get("core:extensions", [])
    for extension in extensions if isinstance(extensions, list) else []:
        name = extension.get("name") if isinstance(extension, dict) else None
        if name != NAMESPACE and isinstance(extension, dict) and extension.get("optional") is False:
            raise CaptureError(
                f"{path} needs the extension {str(name)[:40]!r} (optional: false), which is not known here; set it to true if "
                "the samples can be read without it"
            )


def _section(meta: Mapping[str, Any], name: str, kind: type, path: Path) -> Any:
    value = meta.get(name)
    if not isinstance(value, kind):
        raise CaptureError(f"{path} lacks the section {name!r}; it is no SigMF metadata")
    return value


def _annotation(entry: Any, path: Path) -> Annotation:
    if not isinstance(entry, dict):
        raise CaptureError(f"{path} has an annotation that is no JSON object")
    start = whole(entry.get("core:sample_start"), "an annotation's core:sample_start", path)
    return Annotation(start, whole(entry.get("core:sample_count", 0), "an annotation's core:sample_count", path), entry)


def _number(value: Any, key: str, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:  # nor NaN
        raise CaptureError(f"{path} has {key} {str(value)[:40]!r}, which is no number; correct the metadata")
    return float(value)
