"""Write SigMF recordings and collections: cf32_le, one channel each, with sha512 and annotations per slot."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from bridge.captures.errors import CaptureError
from bridge.captures.formats import Complexes, refuse_not_finite
from bridge.captures.recording import COLLECTION, DATA, META, NAMESPACE, Annotation, sha512

SIGMF_VERSION = "1.2.5"
EXTENSION = {"name": NAMESPACE, "version": "1.0.0", "optional": True}


class RecordingWriter:
    """A recording that grows sample by sample; the metadata, and with them the recording, exist once it is closed.

    Leaving the ``with`` block by an error deletes the samples: a half-written recording is never read as a whole one.

    :param stem: path without suffix
    :param fields: further global fields, with their namespace
    :raises CaptureError: the file cannot be written, or already exists
    """

    def __init__(
        self,
        stem: str | Path,
        sample_rate_hz: float,
        frequency_hz: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        self.stem = Path(stem)
        self.samples = 0
        self._rate, self._frequency = sample_rate_hz, frequency_hz
        self._fields = dict(fields or {})
        self._annotations: list[dict[str, Any]] = []
        self._digest = hashlib.sha512()
        self.meta_path = self.stem.with_name(self.stem.name + META)
        self.data_path = self.stem.with_name(self.stem.name + DATA)
        try:
            self.stem.parent.mkdir(parents=True, exist_ok=True)
            self.data_path.open("xb").close()
            self._file = self.data_path.open("wb")
        except FileExistsError as error:
            raise CaptureError(f"{self.data_path} already exists; choose another folder") from error
        except OSError as error:
            raise CaptureError(f"{self.data_path} cannot be written: {error.strerror}") from error

    def append(self, samples: Complexes, fields: Mapping[str, Any] | None = None, label: str | None = None) -> None:
        """Add samples [N], and with ``fields`` or ``label`` an annotation of them."""
        refuse_not_finite(samples, str(self.data_path))
        raw = np.ascontiguousarray(samples, "<c8").tobytes()
        self._digest.update(raw)
        try:
            self._file.write(raw)
        except OSError as error:
            raise CaptureError(f"{self.data_path} cannot be written: {error.strerror}") from error
        if fields is not None or label is not None:
            named = {} if label is None else {"core:label": label}
            self.annotate(self.samples, len(samples), {**named, **(fields or {})})
        self.samples += len(samples)

    def annotate(self, start: int, count: int, fields: Mapping[str, Any]) -> None:
        """Say something of samples start .. start + count - 1."""
        self._annotations.append({"core:sample_start": start, "core:sample_count": count, **fields})

    def abandon(self) -> None:
        """Close and delete the samples: a half-written recording is of no use."""
        self._file.close()
        self.data_path.unlink(missing_ok=True)

    def close(self) -> Path:
        """Finish the recording and return the path of its metadata."""
        self._file.close()
        capture: dict[str, Any] = {"core:sample_start": 0}
        if self._frequency is not None:
            capture["core:frequency"] = self._frequency
        section: dict[str, Any] = {
            "core:datatype": "cf32_le",
            "core:version": SIGMF_VERSION,
            "core:sample_rate": self._rate,
            "core:num_channels": 1,
            "core:sha512": self._digest.hexdigest(),
            "core:recorder": NAMESPACE,
            "core:extensions": [EXTENSION],
            **self._fields,
        }
        write_json(self.meta_path, {"global": section, "captures": [capture], "annotations": self._annotations})
        return self.meta_path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def write_recording(
    stem: str | Path,
    samples: Complexes,
    sample_rate_hz: float,
    *,
    frequency_hz: float | None = None,
    annotations: Iterable[Annotation] = (),
    fields: Mapping[str, Any] | None = None,
) -> Path:
    """Write samples [N] at once and return the path of the metadata."""
    with RecordingWriter(stem, sample_rate_hz, frequency_hz, fields) as writer:
        writer.append(samples)
        for note in annotations:
            writer.annotate(note.start, note.count, note.fields)
    return writer.meta_path


def write_collection(path: str | Path, metas: Sequence[Path], fields: Mapping[str, Any] | None = None) -> Path:
    """Write the collection of recordings that lie in the same folder, with the hashes of their metadata."""
    path = Path(path)
    streams = [{"name": meta.name.removesuffix(META), "hash": sha512(meta)} for meta in metas]
    section = {"core:version": SIGMF_VERSION, "core:extensions": [EXTENSION], "core:streams": streams, **(fields or {})}
    target = path if path.suffix == COLLECTION else path.with_name(path.name + COLLECTION)
    write_json(target, {"collection": section})
    return target


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file in one step: a reader sees the old one or the new one."""
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise CaptureError(f"{path} cannot be written: {error.strerror}") from error
