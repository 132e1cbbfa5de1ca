"""A capture as the testbench uses it: the link that it went through, the slots of every round, and the recorded truth."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bridge.captures.errors import CaptureError
from bridge.captures.opening import Stated, open_all
from bridge.captures.recording import COLLECTION, META, Annotation, Recording
from phy.config import LinkConfig
from testbench.elsewhere import MEASURED_CHANNEL, OVERLAY_AIR, STREAM_AIR, sha256_of
from testbench.errors import TestbenchError

Complexes = NDArray[np.complex64]


@dataclass(frozen=True)
class Truth:
    """What was recorded beside the samples: payloads [B, K, n], present [B, K], estimates [B, n] (NaN where lost), lost [B]."""

    payloads: NDArray[np.float64]
    present: NDArray[np.bool_]
    estimates: NDArray[np.float64]
    lost: NDArray[np.bool_]


@dataclass(frozen=True)
class Capture:
    """Received slots [B, M, N] of ``rounds`` [B], and, where they were recorded, bursts [B, K, N] and the truth.

    ``slot_lost`` [B]: the air had lost the slot, and zeros stand for it. ``notes``: what was odd about the recordings.
    ``frequency_hz``: the carrier that they state.
    """

    path: Path
    config: LinkConfig
    seed: int
    rounds: NDArray[np.int64]
    devices: int
    scalars: int
    slots: Complexes
    slot_lost: NDArray[np.bool_]
    bursts: Complexes | None
    truth: Truth | None
    notes: tuple[str, ...] = ()
    frequency_hz: float | None = None

    def mean_payloads(self) -> NDArray[np.float64]:
        """Mean over the devices present of every scalar. [B, n]; NaN where nobody was, or nothing is known."""
        if self.truth is None:
            return np.full((len(self.rounds), self.scalars), np.nan)
        weights = self.truth.present[:, :, None]
        with np.errstate(invalid="ignore"):
            return np.asarray((self.truth.payloads * weights).sum(axis=1) / weights.sum(axis=1))


def find_capture(path: Path) -> Path:
    """The file of a capture given as a folder, a collection or a recording."""
    if path.is_dir():
        found = sorted(path.glob(f"*{COLLECTION}"))
        alone = sorted(path.glob(f"*{META}"))
        if not found and len(alone) == 1:
            return alone[0]
        if len(found) != 1:
            raise TestbenchError(
                f"{path} holds {len(found)} collections and {len(alone)} recordings; give one {COLLECTION} or {META} file"
            )
        return found[0]
    return path


def load_capture(path: Path, allow_parts: Iterable[str] = ()) -> Capture:
    """Read a capture that ``capture record`` wrote: a collection, its folder, or the recording of a single antenna.

    Raises :class:`bridge.captures.errors.CaptureError` where files are damaged, and :class:`testbench.errors.TestbenchError`
    where it lacks what a replay needs, or names a class (``module:Class``) that is not in ``allow_parts``.
    """
    path = find_capture(path)
    recordings = open_all(path, Stated())
    streams = {kind: [r for r in recordings if r.own("stream") == kind] for kind in ("device", "antenna")}
    heard, sent = (sorted(streams[kind], key=lambda r: int(r.own("index", 0))) for kind in ("antenna", "device"))
    if not heard:
        what = "what a device sent, not what was received" if sent else f"no capture of ours; for other recordings {_STATE}"
        raise TestbenchError(f"{path} is {what}")
    first = heard[0]
    antennas, devices, scalars = (_whole(first, name) for name in ("antennas", "devices", "scalars"))
    if len(heard) != antennas:
        raise TestbenchError(f"{path} is one of {antennas} antennas; give the {COLLECTION} file, which names all of them")
    config = _config(first, allow_parts)
    for recording in recordings:
        recording.at_rate(config.burst.sample_rate_hz)
    count = _whole(first, "slot_samples")
    rounds = np.array([_round(note, path) for note in first.annotations], np.int64)
    if not len(rounds) or len(set(rounds.tolist())) != len(rounds):
        raise CaptureError(f"{path} has no annotation per slot that names its round, or names one twice")
    return Capture(
        path,
        config,
        _whole(first, "seed"),
        rounds,
        devices,
        scalars,
        np.stack([_slots(r, count, rounds) for r in heard], axis=1),
        np.array([note.own("slot_lost") is True for note in first.annotations]),
        np.stack([_slots(r, count, rounds) for r in sent], axis=1) if len(sent) == devices else None,
        _truth(first, devices, scalars),
        tuple(note for recording in recordings for note in recording.notes),
        first.frequency_hz,
    )


# Airs are not loaded to replay what they carried.
_NOT_LOADED = (STREAM_AIR, OVERLAY_AIR)
_STATE = "state --scenario, and of raw ones --format and --sample-rate"


def cut_capture(
    recording: Recording, config: LinkConfig, seed: int, slot_samples: int, devices: int, first_round: int, start_sample: int
) -> Capture:
    """Slots by count from any recording, one after the other from ``start_sample``: no truth is known.

    The recording's channels are the antennas. Raises :class:`testbench.errors.TestbenchError` where it is too short, and
    :class:`bridge.captures.errors.CaptureError` where its sample rate is another.
    """
    recording.at_rate(config.burst.sample_rate_hz)
    antennas, length = recording.samples.shape
    if antennas != config.receive_antennas:
        raise TestbenchError(
            f"{recording.path} has {antennas} channels and the link {config.receive_antennas} receive antennas"
        )
    slots = (length - start_sample) // slot_samples
    if start_sample < 0 or slots < 1:
        raise TestbenchError(
            f"{recording.path} holds {length} samples, less than one slot of {slot_samples} from sample {start_sample}"
        )
    cut = recording.samples[:, start_sample : start_sample + slots * slot_samples]
    return Capture(
        recording.path,
        config,
        seed,
        np.arange(first_round, first_round + slots, dtype=np.int64),
        devices,
        1,
        np.ascontiguousarray(cut.reshape(antennas, slots, slot_samples).transpose(1, 0, 2)),
        np.zeros(slots, np.bool_),
        None,
        None,
        recording.notes,
        recording.frequency_hz,
    )


def _config(recording: Recording, allow_parts: Iterable[str]) -> LinkConfig:
    data = recording.own("link")
    # The channel that plays a sounding is ours: a capture that names it runs no code of its own.
    unknown = sorted(set(_classes(data)) - {*allow_parts, *_NOT_LOADED, MEASURED_CHANNEL})
    if unknown:
        raise TestbenchError(
            f"{recording.path} asks for the class {unknown[0][:80]!r}, which would run its code; allow it with --allow-part"
        )
    try:
        config = LinkConfig.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CaptureError(f"{recording.path} holds no valid link configuration: {place} {first['msg']}") from error
    if config.channel.model == MEASURED_CHANNEL:
        _refuse_another_channel(recording, config.channel.file)
    return config


def _refuse_another_channel(recording: Recording, file: str | None) -> None:
    """A receiver knows the channel: the sounding must be there, and the one that was recorded over."""
    stated = recording.own("channel_sha256")
    if file is None or not Path(file).is_file():
        raise CaptureError(f"{recording.path} was recorded over the measured channel {file}, which is not there; put it back")
    if stated is not None and stated != sha256_of(Path(file)):
        raise CaptureError(
            f"{recording.path} was recorded over the measured channel {file}, which has been changed since; put back "
            f"the one with sha256 {str(stated)[:16]}..."
        )


def _classes(value: Any) -> list[str]:
    """Every ``module:Class`` among the values and keys of plain data."""
    if isinstance(value, dict):
        return [name for key, inner in value.items() for name in (*_classes(key), *_classes(inner))]
    if isinstance(value, list):
        return [name for inner in value for name in _classes(inner)]
    return [value] if isinstance(value, str) and ":" in value else []


def _slots(recording: Recording, count: int, rounds: NDArray[np.int64]) -> Complexes:
    """Slots [B, N] of one recording, in the order of ``rounds``."""
    places = {_round(note, recording.path): note for note in recording.annotations if note.count == count}
    if set(rounds.tolist()) - places.keys():
        raise CaptureError(f"{recording.path} lacks slots of {count} samples that other recordings of the capture have")
    return np.stack([recording.samples[0, places[r].start : places[r].start + count] for r in rounds.tolist()])


def _truth(recording: Recording, devices: int, scalars: int) -> Truth:
    payloads, present, estimates, lost = [], [], [], []
    try:
        for note in recording.annotations:
            payloads.append(np.asarray(note.own("payloads"), np.float64).reshape(devices, scalars))
            who = note.own("present")
            present.append(np.ones(devices, np.bool_) if who is None else np.asarray(who, np.bool_).reshape(devices))
            lost.append(bool(note.own("lost")))
            answer = note.own("estimate")
            estimates.append(np.full(scalars, np.nan) if answer is None else np.asarray(answer, np.float64).reshape(scalars))
    except (TypeError, ValueError) as error:
        raise CaptureError(f"{recording.path} has a slot whose payloads or estimate are malformed: {error}") from error
    return Truth(np.stack(payloads), np.stack(present), np.stack(estimates), np.asarray(lost))


def _round(note: Annotation, path: Path) -> int:
    value = note.own("round")
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise CaptureError(f"{path} has an annotation without a pairzero:round")
    return value


def _whole(recording: Recording, name: str) -> int:
    value = recording.own(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < (0 if name == "seed" else 1):
        raise CaptureError(f"{recording.path} lacks a whole pairzero:{name}; it is no capture of ours, or was cut")
    return value
