"""Capture segments of SigMF metadata: which bytes of a dataset are which samples, and whether they follow each other.

Sample indices of SigMF are absolute: ``core:offset`` is the index of the dataset's first sample. What lies before the first
segment belongs to none and is skipped. A segment may begin with ``core:header_bytes`` that are no samples; the dataset may end
with ``core:trailing_bytes`` that are none.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bridge.captures.errors import CaptureError

# What may change from segment to segment without a change of the signal.
_MAY_DIFFER = {
    "core:sample_start",
    "core:global_index",
    "core:datetime",
    "core:header_bytes",
    "core:geolocation",
}
# Time stamps of hosts are not better than this: seconds, and share of the time since the last one.
# Beyond any file.
_MOST = 2**62
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d+))?(?:[Zz]|\+00:00)?")
_STAMP_S, _STAMP_SHARE = 1e-3, 1e-4


@dataclass(frozen=True)
class Segment:
    """One entry of ``captures``. ``start``: its first sample, counted in the dataset; ``at``: that sample's byte."""

    start: int
    at: int
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Span:
    """Samples that are read: dataset samples ``start`` to ``stop`` - 1, lying in ``pieces`` of bytes (first, last + 1)."""

    start: int
    stop: int
    pieces: tuple[tuple[int, int], ...]
    fields: Mapping[str, Any]


def whole(value: Any, key: str, path: Path, least: int = 0) -> int:
    """An integer of metadata, also one written as 3.0; raises :class:`bridge.captures.errors.CaptureError`."""
    good = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not good or isinstance(value, bool) or not least <= value <= _MOST:
        raise CaptureError(f"{path} has {key} {str(value)[:40]!r}, which is no whole number from {least}; correct the metadata")
    return int(value)


def read_segments(captures: Sequence[Any], offset: int, row: int, path: Path) -> list[Segment]:
    """Segments in the order of the file; none stated means one from the first sample.

    ``row``: bytes of a sample of all channels. Raises :class:`bridge.captures.errors.CaptureError` where they do not ascend.
    """
    found: list[Segment] = []
    headers = 0
    for i, entry in enumerate(captures):
        if not isinstance(entry, dict):
            raise CaptureError(f"{path} has a capture segment that is no JSON object; correct the metadata")
        first = whole(entry.get("core:sample_start"), f"captures[{i}] core:sample_start", path)
        if first < offset:
            raise CaptureError(
                f"{path} has captures[{i}] at sample {first}, before the dataset's first sample, which core:offset puts at "
                f"{offset}; sample indices are absolute: correct one of them"
            )
        if found and first - offset <= found[-1].start:
            raise CaptureError(f"{path} has capture segments whose core:sample_start do not ascend; sort them")
        headers += whole(entry.get("core:header_bytes", 0), f"captures[{i}] core:header_bytes", path)
        found.append(Segment(first - offset, headers + (first - offset) * row, entry))
    return found or [Segment(0, 0, {})]


def choose(segments: Sequence[Segment], wanted: int | None, size: int, row: int, rate_hz: float, path: Path) -> Span:
    """The samples of segment ``wanted``, or of all where nothing changes between them.

    ``size``: bytes of the dataset without trailing ones. Raises :class:`bridge.captures.errors.CaptureError` for a retune, a
    gap or any other change inside, a segment that does not exist, and a dataset that ends too early or within a sample.
    """
    last = segments[-1]
    if size < last.at or (size - last.at) % row:
        raise CaptureError(
            f"{path} is truncated: its samples end at byte {size}, which is no whole number of samples of {row} bytes after "
            f"byte {last.at}, where its last capture segment begins at sample {last.start}"
        )
    total = last.start + (size - last.at) // row
    if wanted is not None and not 0 <= wanted < len(segments):
        raise CaptureError(f"{path} has capture segments 0 .. {len(segments) - 1}; there is no segment {wanted}")
    if wanted is None:
        for i in range(1, len(segments)):
            change = _change(segments[i - 1], segments[i], rate_hz)
            if change is not None:
                raise CaptureError(
                    f"{path} {change} at its capture segment {i} (sample {segments[i].start}): choose one segment with "
                    f"--capture 0 .. {len(segments) - 1}"
                )
    low, high = (0, len(segments)) if wanted is None else (wanted, wanted + 1)
    ends = [segment.start for segment in segments[1:]] + [total]
    pieces = tuple((segments[i].at, segments[i].at + (ends[i] - segments[i].start) * row) for i in range(low, high))
    return Span(segments[low].start, ends[high - 1], pieces, segments[low].fields)


def _change(before: Segment, after: Segment, rate_hz: float) -> str | None:
    """What is not the same on both sides, in words; None where the samples follow each other."""
    count = after.start - before.start
    old_index, new_index = before.fields.get("core:global_index"), after.fields.get("core:global_index")
    if isinstance(old_index, int) and isinstance(new_index, int) and new_index - old_index != count:
        return f"lacks or repeats samples (core:global_index goes {new_index - old_index} further, samples {count})"
    old_time, new_time = time_stamp(before.fields.get("core:datetime")), time_stamp(after.fields.get("core:datetime"))
    if old_time is not None and new_time is not None:
        passed, expected = (new_time[0] - old_time[0]).total_seconds(), count / rate_hz
        if abs(passed - expected) > max(_STAMP_S, _STAMP_SHARE * expected, old_time[1], new_time[1]):
            return f"has a gap (core:datetime goes {passed:g} s further, samples {expected:g} s)"
    for key in sorted((before.fields.keys() | after.fields.keys()) - _MAY_DIFFER):
        old, new = before.fields.get(key), after.fields.get(key)
        if old != new:
            what = "is retuned" if key == "core:frequency" else f"changes {key[:60]}"
            return f"{what} from {_short(old)} to {_short(new)}"
    return None


def _short(value: Any) -> str:
    return "nothing stated" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)[:40]


def time_stamp(text: Any) -> tuple[datetime, float] | None:
    """An RFC 3339 time stamp and its resolution in seconds; None where there is none."""
    match = _STAMP.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    digits = match[2] or ""
    try:
        return datetime.fromisoformat(f"{match[1].upper().replace('T', ' ')}.{digits[:6]:0<6}"), 10.0 ** -len(digits)
    except ValueError:
        return None
