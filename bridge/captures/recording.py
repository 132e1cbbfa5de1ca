"""Read SigMF recordings and collections: metadata checked, sha512 checked, samples as complex64.

SigMF 1.2: ``X.sigmf-meta`` (JSON: global, captures, annotations) beside ``X.sigmf-data`` (samples, I first). A collection,
``X.sigmf-collection``, names recordings of one channel each, with the sha512 of their metadata. Our own keys are in the
namespace ``pairzero:``, which docs/captures.md lists.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bridge.captures.errors import CaptureError
from bridge.captures.formats import Complexes, SampleFormat, refuse_not_finite, sample_format

META, DATA, COLLECTION = ".sigmf-meta", ".sigmf-data", ".sigmf-collection"
NAMESPACE = "pairzero"
_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class Annotation:
    """A stretch of a recording: ``start`` and ``count`` in samples, and every key that the file has, ``core:`` or not."""

    start: int
    count: int
    fields: Mapping[str, Any]

    def own(self, key: str, default: Any = None) -> Any:
        """The value of ``pairzero:key``."""
        return self.fields.get(f"{NAMESPACE}:{key}", default)


@dataclass(frozen=True)
class Recording:
    """A recording in memory. ``samples`` complex64 [C, N], one row per channel; ``path``: where it came from.

    ``verified``: whether the file stated a sha512, and had it. ``fields``: the global section of the metadata.
    """

    path: Path
    samples: Complexes
    sample_rate_hz: float
    frequency_hz: float | None
    annotations: tuple[Annotation, ...]
    fields: Mapping[str, Any]
    verified: bool
    format: str

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


def open_recording(path: str | Path) -> Recording:
    """Read one SigMF recording, given by its metadata, its data, or their common stem.

    Raises :class:`bridge.captures.errors.CaptureError` where it is missing, malformed, truncated, altered, or not finite.
    """
    meta_path = _meta_path(Path(path))
    meta = read_json(meta_path)
    section, captures = _section(meta, "global", dict, meta_path), _section(meta, "captures", list, meta_path)
    annotations = tuple(_annotation(entry, meta_path) for entry in _section(meta, "annotations", list, meta_path))
    layout = sample_format(section.get("core:datatype", "(none)"), str(meta_path))
    channels = _number(section.get("core:num_channels", 1), "core:num_channels", meta_path)
    if channels < 1 or channels != int(channels):
        raise CaptureError(f"{meta_path} has core:num_channels {channels:g}; it must be 1 or more")
    rate = _number(section.get("core:sample_rate"), "core:sample_rate", meta_path)
    if rate <= 0:
        raise CaptureError(f"{meta_path} has core:sample_rate {rate:g}; it must be positive")
    if any(isinstance(entry, dict) and entry.get("core:header_bytes") for entry in captures) or section.get(
        "core:trailing_bytes"
    ):
        raise CaptureError(f"{meta_path} has header or trailing bytes between its samples; write it as a plain recording first")
    reach = max((note.start + note.count for note in annotations), default=0)
    data = _data_path(meta_path, section)
    samples = _samples(data, layout, int(channels), section.get("core:sha512"), reach)
    refuse_not_finite(samples.reshape(-1), str(data))
    first = captures[0] if captures and isinstance(captures[0], dict) else {}
    frequency = first.get("core:frequency")
    return Recording(
        path=meta_path,
        samples=samples,
        sample_rate_hz=rate,
        frequency_hz=None if frequency is None else _number(frequency, "core:frequency", meta_path),
        annotations=annotations,
        fields=section,
        verified="core:sha512" in section,
        format=layout.name,
    )


def open_collection(path: str | Path) -> tuple[Mapping[str, Any], tuple[Recording, ...]]:
    """Read a collection: its own fields, and its recordings in the order in which it names them.

    Raises :class:`bridge.captures.errors.CaptureError` as :func:`open_recording`, and where metadata were altered.
    """
    path = Path(path)
    section = _section(read_json(path), "collection", dict, path)
    streams = section.get("core:streams", [])
    recordings = []
    for stream in streams if isinstance(streams, list) else []:
        name = stream.get("name") if isinstance(stream, dict) else None
        meta_path = path.parent / (_plain_name(name, path) + META)
        expected = stream.get("hash")
        if expected is not None and meta_path.is_file() and sha512(meta_path) != expected:
            raise CaptureError(f"{meta_path} does not have the sha512 that {path.name} states: it was altered or cut off")
        recordings.append(open_recording(meta_path))
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
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CaptureError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise CaptureError(f"{path} is no JSON ({error}); it is cut off or no SigMF metadata") from error
    if not isinstance(value, dict):
        raise CaptureError(f"{path} holds no JSON object; it is no SigMF metadata")
    return value


def _meta_path(path: Path) -> Path:
    if path.suffix in (DATA, META):
        path = path.with_suffix(META)
    elif not path.is_file():
        path = path.with_name(path.name + META)
    elif path.suffix:
        raise CaptureError(f"{path} is no SigMF recording; state --format and --sample-rate of a raw one")
    if not path.is_file():
        raise CaptureError(f"there is no recording {path}")
    return path


def _data_path(meta_path: Path, section: Mapping[str, Any]) -> Path:
    name = section.get("core:dataset")
    path = meta_path.with_suffix(DATA) if name is None else meta_path.parent / _plain_name(name, meta_path)
    if not path.is_file():
        raise CaptureError(f"{meta_path} lacks its samples: there is no {path.name} beside it")
    return path


def _plain_name(name: Any, where: Path) -> str:
    # A path that leads out of the folder would read whatever file the capture's author names.
    if not isinstance(name, str) or not name or name in (".", "..") or Path(name).name != name:
        raise CaptureError(f"{where} names the file {str(name)[:80]!r}, which is not a plain file name beside it")
    return name


def _samples(path: Path, layout: SampleFormat, channels: int, digest: Any, reach: int) -> Complexes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror}") from error
    row = layout.sample_bytes * channels
    if len(data) % row or len(data) < reach * row:
        raise CaptureError(
            f"{path} is truncated: it holds {len(data)} bytes, which are {len(data) / row:.10g} samples of {row} bytes, and "
            f"its annotations reach to sample {reach}"
        )
    if digest is not None and hashlib.sha512(data).hexdigest() != digest:
        raise CaptureError(f"{path} does not have the sha512 that its metadata state: it was altered or cut off")
    return np.ascontiguousarray(layout.decode(data).reshape(-1, channels).T)


def _section(meta: Mapping[str, Any], name: str, kind: type, path: Path) -> Any:
    value = meta.get(name)
    if not isinstance(value, kind):
        raise CaptureError(f"{path} lacks the section {name!r}; it is no SigMF metadata")
    return value


def _annotation(entry: Any, path: Path) -> Annotation:
    if not isinstance(entry, dict):
        raise CaptureError(f"{path} has an annotation that is no JSON object")
    ends = [entry.get("core:sample_start"), entry.get("core:sample_count", 0)]
    if any(not isinstance(value, int) or isinstance(value, bool) or value < 0 for value in ends):
        raise CaptureError(f"{path} has an annotation without whole core:sample_start and core:sample_count")
    return Annotation(ends[0], ends[1], entry)


def _number(value: Any, key: str, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CaptureError(f"{path} lacks a number {key}; state it in the metadata")
    return float(value)
