"""An emulated air with a recording on top: interference or noise from the field, at a stated level.

``burst.air = "overlay"`` takes its settings from ``burst.overlay``; from Python, or where a configuration names a class of
one's own, ``Jammed = overlaid(OverlayConfig(...))``.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.captures.errors import CaptureError
from bridge.captures.opening import Stated, open_any
from bridge.captures.recording import Recording
from bridge.captures.resampling import resampled

if TYPE_CHECKING:
    from phy.config import LinkConfig
    from phy.draws import CachedDraws, KeyedDraws
    from phy.propagation import Propagation

Complexes = npt.NDArray[np.complex64]

_log = logging.getLogger("pairzero.bridge")


class OverlayConfig(BaseModel):
    """Which recording is added, and how loud."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path = Field(description="SigMF recording, or a raw one with format and sample_rate_hz")
    level_db: float = Field(ge=-200, le=200, allow_inf_nan=False, description="mean power of the recording over the reference")
    relative_to: Literal["n0", "received"] = Field(
        "n0",
        description="n0: the receiver noise of one complex sample; received: the slot's mean power while devices send, less N0",
    )
    position: Literal["random", "sequential"] = Field(
        "random", description="where a slot is cut from the recording: keyed by round, or one slot after the other; it loops"
    )
    antennas: Literal["same", "independent"] = Field(
        "independent", description="every antenna hears the same stretch, or (position random) one of its own"
    )
    format: str | None = Field(None, description="raw recordings: cf32, sc16, wav, ...")
    sample_rate_hz: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="raw recordings: sample rate; of others it is checked"
    )
    channels: int | None = Field(None, ge=1, description="raw recordings and WAV: interleaved complex channels; default: one")
    capture: int | None = Field(None, ge=0, description="SigMF: capture segment; default: all, where nothing changes")
    resample: bool = Field(False, description="bring the recording to the link's sample rate")

    def open(self) -> Recording:
        """The recording; raises :class:`bridge.captures.errors.CaptureError`."""
        stated = Stated(self.format, self.sample_rate_hz, channels=self.channels, segment=self.capture)
        return open_any(self.file, stated)


class Air:
    """The emulated air, then the recording, then the receiver's hardware, which has to cope with both.

    The recording as a whole is scaled to the stated mean power; a quiet stretch of it stays quiet. A pure function of
    configuration, seed and round like the air that it wraps. Raises :class:`phy.errors.PhyError` where the recording is
    missing, damaged, silent, or of another sample rate.
    """

    keyed: ClassVar[bool] = True
    settings: ClassVar[OverlayConfig | None] = None

    def __init__(self, config: "LinkConfig", draws: "KeyedDraws", cached: "CachedDraws", propagation: "Propagation") -> None:
        from phy.backends import waveform_air
        from phy.errors import PhyError
        from phy.faults import build, parse

        self._settings = self.settings or _of(config)
        try:
            recording = self._settings.open()
            if self._settings.resample:
                recording = resampled(recording, config.burst.sample_rate_hz)
            recording = recording.at_rate(config.burst.sample_rate_hz)
        except CaptureError as error:
            raise PhyError(f"the overlay cannot be used: {error}") from error
        for note in recording.notes:
            _log.warning("overlay %s", note)
        self._samples = recording.samples
        power = float(np.square(np.abs(self._samples.astype(np.complex128))).mean()) if self._samples.size else 0.0
        if not power > 0:
            raise PhyError(f"the overlay cannot be used: {recording.path} is empty or silent and cannot be brought to a level")
        self._gain = float(np.sqrt(10.0 ** (self._settings.level_db / 10.0) / power))
        self._n0 = config.n0
        self._draws = draws
        before = {fault.name for fault in parse(config.impairments) if fault.part.stage == "transmitter"}
        faults = {name: settings for name, settings in config.impairments.items() if name in before}
        self._inner = waveform_air("emulated", config.backend)(
            config.model_copy(update={"impairments": faults}), draws, cached, propagation
        )
        _, self._receiver = build(config.impairments, config.burst.sample_rate_hz)

    def transmit(self, bursts: Complexes, round_index: int, sounded: Complexes, reference_sample: int) -> Complexes:
        """Received samples [M, N] of one slot; see :class:`phy.waveform_airs.emulated.Part`."""
        y: Complexes = self._inner.transmit(bursts, round_index, sounded, reference_sample)
        y = y + np.float32(self._gain * np.sqrt(self._reference(bursts, y))) * self._stretch(round_index, *y.shape)
        if not self._receiver:
            return y
        import torch

        heard: Any = torch.from_numpy(y)
        for part in self._receiver:
            heard = part.apply(heard, self._draws, round_index)
        return np.ascontiguousarray(heard.numpy())

    def _reference(self, bursts: Complexes, y: Complexes) -> float:
        """The power to which the level refers."""
        if self._settings.relative_to == "n0":
            return self._n0
        sending = (bursts != 0).any(axis=0)
        mean = float(np.square(np.abs(y[:, sending].astype(np.complex128))).mean()) if sending.any() else 0.0
        return max(mean - self._n0, 0.0)

    def _stretch(self, round_index: int, antennas: int, count: int) -> Complexes:
        """The samples [M, N] of the recording that one round hears."""
        channels, length = self._samples.shape
        if self._settings.position == "sequential":
            starts = np.full(antennas, round_index * count % length)
        else:
            starts = np.floor(self._draws.uniform("overlay", antennas, round_index, 1)[0] * length).astype(np.int64)
            if self._settings.antennas == "same":
                starts[:] = starts[0]
        at = (starts[:, None] + np.arange(count)) % length
        return np.asarray(self._samples[np.arange(antennas)[:, None] % channels, at])


def overlaid(settings: OverlayConfig) -> type[Air]:
    """The air with this overlay, as a class: bind it to a name and give ``burst.air`` as ``module:Name``."""
    return type("Overlaid", (Air,), {"settings": settings, "keyed": True, "__doc__": Air.__doc__})


def fault(error: ValidationError) -> str:
    """The setting and what is wrong with it; a name that does not exist first, since another is then missing as well."""
    faults = error.errors(include_url=False)
    first = next((entry for entry in faults if entry["type"] == "extra_forbidden"), faults[0])
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{name}: there is no such setting; settings are {', '.join(OverlayConfig.model_fields)}"
    return f"{name}: {first['msg']}"


def _of(config: "LinkConfig") -> OverlayConfig:
    from phy.errors import PhyError

    given = config.burst.overlay
    if not given:
        raise PhyError("the overlay needs link.burst.overlay with at least file and level_db")
    try:
        return OverlayConfig.model_validate(given)
    except ValidationError as error:
        raise PhyError(f"link.burst.overlay.{fault(error)}") from None
