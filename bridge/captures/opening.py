"""Open whatever recording it is, with what its user states of it: SigMF, a collection, an archive, raw samples, WAV.

What is stated is honoured, or refused where the file speaks for itself; nothing is ignored.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bridge.captures.errors import CaptureError
from bridge.captures.places import is_archive
from bridge.captures.raw import read_raw
from bridge.captures.recording import COLLECTION, DATA, META, Recording, locate, read_collection, read_recording
from bridge.captures.segments import time_stamp


@dataclass(frozen=True)
class Stated:
    """What a user says of a recording. ``segment``: the capture segment of SigMF metadata; ``channels``: of raw samples."""

    format: str | None = None
    sample_rate_hz: float | None = None
    scale: float = 1.0
    channels: int | None = None
    segment: int | None = None


def open_all(path: Path, stated: Stated) -> tuple[Recording, ...]:
    """The recordings of a file: those of a collection, or one. Raises :class:`bridge.captures.errors.CaptureError`."""
    if not _is_sigmf(path, stated):
        if stated.segment is not None:
            raise CaptureError(f"{path} has no capture segments, which only SigMF has; leave --capture out")
        return (read_raw(path, stated.format, stated.sample_rate_hz, scale=stated.scale, channels=stated.channels),)
    if stated.format is not None:
        raise CaptureError(f"{path} is SigMF, whose metadata state the format (core:datatype); leave --format out")
    if stated.channels is not None:
        raise CaptureError(f"{path} is SigMF, whose metadata state the channels (core:num_channels); leave --channels out")
    place, name = locate(path)
    if not name.endswith(COLLECTION):
        recording = read_recording(place, name, segment=stated.segment, sample_rate_hz=stated.sample_rate_hz)
        return (recording.scaled(stated.scale),)
    if stated.segment is not None:
        raise CaptureError(f"{path} is a collection, in which --capture chooses nothing; give one of its recordings")
    _, recordings = read_collection(place, name)
    for recording in recordings if stated.sample_rate_hz is not None else ():
        if recording.sample_rate_hz != stated.sample_rate_hz:
            raise CaptureError(
                f"{recording.path} says that it was sampled at {recording.sample_rate_hz:.12g} Hz, not at the "
                f"{stated.sample_rate_hz:.12g} Hz that were stated"
            )
    return tuple(recording.scaled(stated.scale) for recording in recordings)


def open_any(path: Path, stated: Stated) -> Recording:
    """One recording; those of a collection become its channels, in the order in which it names them.

    Raises :class:`bridge.captures.errors.CaptureError`, also for recordings that do not begin together, or differ in length,
    rate or frequency.
    """
    recordings = open_all(path, stated)
    first = recordings[0]
    if len(recordings) == 1:
        return first
    for other in recordings[1:]:
        for what, mine, others in (
            ("sample rate in Hz", first.sample_rate_hz, other.sample_rate_hz),
            ("number of samples", first.samples.shape[1], other.samples.shape[1]),
            ("first sample", _begin(first), _begin(other)),
            ("frequency in Hz", first.frequency_hz, other.frequency_hz),
            ("time", *_times(first, other)),
        ):
            if mine != others:
                raise CaptureError(
                    f"{path} has recordings that are not channels of one: the {what} of {first.path.name} is {mine} and of "
                    f"{other.path.name} {others}; give one of its recordings"
                )
    return replace(
        first,
        path=path,
        samples=np.concatenate([recording.samples for recording in recordings]),
        annotations=(),
        fields={},
        verified=all(recording.verified for recording in recordings),
        notes=tuple(note for recording in recordings for note in recording.notes),
    )


def _is_sigmf(path: Path, stated: Stated) -> bool:
    if path.suffix == DATA and stated.format is not None:
        return path.with_suffix(META).is_file()  # without metadata it is a file of raw samples like any other
    if path.suffix in (META, DATA, COLLECTION) or is_archive(path):
        return True
    return not path.exists() and path.with_name(path.name + META).is_file()


def _times(first: Recording, other: Recording) -> tuple[object, object]:
    """The times at which two recordings begin; twice nothing where one is not stated, or they are the same to half a sample."""
    texts = [recording.segment.get("core:datetime") for recording in (first, other)]
    mine, others = time_stamp(texts[0]), time_stamp(texts[1])
    if mine is None or others is None:
        return None, None
    apart = abs((mine[0] - others[0]).total_seconds())
    return (None, None) if apart <= max(0.5 / first.sample_rate_hz, mine[1], others[1]) else (texts[0], texts[1])


def _begin(recording: Recording) -> object:
    return recording.segment.get("core:global_index", recording.first_sample)
