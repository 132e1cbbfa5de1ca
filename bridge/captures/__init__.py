"""Captures: recordings of the air and measured channels, as files that other radio tools read and write.

Formats only, in numpy and json; h5py and scipy load where they are used. Two parts of the physical layer live here because
they play a file: :class:`bridge.captures.measured.Part`, a channel, and :class:`bridge.captures.overlay.Air`, an air.
"""

from bridge.captures.errors import CaptureError
from bridge.captures.opening import Stated, open_any
from bridge.captures.raw import read_raw
from bridge.captures.recording import Annotation, Recording, open_recording
from bridge.captures.sounding import Sounding
from bridge.captures.writing import RecordingWriter, write_collection, write_recording

__all__ = [
    "Annotation",
    "CaptureError",
    "Recording",
    "RecordingWriter",
    "Sounding",
    "Stated",
    "open_any",
    "open_recording",
    "read_raw",
    "write_collection",
    "write_recording",
]
