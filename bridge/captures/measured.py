"""A channel that plays a sounding: measured taps, interpolated in time.

Kind ``channels`` of the physical layer. ``channel.model = "measured"`` takes the file from ``channel.file``; from Python, or
where a configuration names a class of one's own, ``Room = measured("room.h5")``.
"""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from bridge.captures.errors import CaptureError
from bridge.captures.sounding import Sounding

if TYPE_CHECKING:
    from phy.config import LinkConfig
    from phy.draws import CachedDraws

Complexes = npt.NDArray[np.complex64]
Floats = npt.NDArray[np.float64]

# A mean gain within this of 1 is one that snr_max_db holds at.
_NEAR_DB = 1.0


class Part:
    """Device k is the sounding's device k, antenna m its antenna m; both may be fewer than were measured.

    Round r is heard at r ``round_duration_s``, counted from the first instant of the sounding. Between two instants
    coefficients are interpolated linearly as complex numbers; after the last one the sounding starts over. Where a device was
    not found, its neighbours in time are interpolated. Timing, carrier offset and noise of the sounding are not played: set
    them in ``[link.offsets]`` and ``snr_max_db``. Gains are played as measured, whatever their mean.
    Raises :class:`phy.errors.PhyError` where there is no file, or more devices or antennas are asked for than were measured.
    """

    file: ClassVar[Path | None] = None

    def __init__(self, config: "LinkConfig", draws: "CachedDraws") -> None:
        del draws  # nothing is random here
        from phy.errors import PhyError

        file = self.file if self.file is not None else config.channel.file
        if file is None:
            raise PhyError(
                "the measured channel needs its sounding: set link.channel.file to an HDF5 file of pairzero capture sound"
            )
        try:
            self.sounding = Sounding.load(file)
            self._play = _filled(self.sounding)
        except CaptureError as error:
            raise PhyError(str(error)) from error
        self._refusal = PhyError
        self._round_s = config.channel.round_duration_s
        self.flat = self._play.shape[3] == 1 and not self.sounding.delays_s.any()

    def gains(self, devices: int, first_round: int, rounds: int, antennas: int, earlier_s: float = 0.0) -> Complexes:
        """Coefficients [B, M, K] of a sounding with one tap, ``earlier_s`` before the rounds."""
        starts = self._starts(first_round, rounds) - earlier_s
        return np.ascontiguousarray(self._at(starts, devices, antennas)[..., 0])

    def paths(
        self,
        devices: int,
        first_round: int,
        rounds: int,
        antennas: int,
        num_time_steps: int = 1,
        sampling_frequency_hz: float = 1.0,
        start_s: float = 0.0,
    ) -> tuple[Complexes, Floats]:
        """Coefficients [B, M, K, P, T] and delays [B, K, P]."""
        steps = np.arange(num_time_steps) / sampling_frequency_hz
        at = (self._starts(first_round, rounds) + start_s)[:, None] + steps
        found = self._at(at.reshape(-1), devices, antennas).reshape(rounds, num_time_steps, antennas, devices, -1)
        delays = np.tile(self.sounding.delays_s[:devices], (rounds, 1, 1))
        return np.ascontiguousarray(found.transpose(0, 2, 3, 4, 1)), delays

    def max_delay_s(self, devices: int) -> float:
        """Largest delay of these devices."""
        return float(self.sounding.delays_s[:devices].max())

    def _starts(self, first_round: int, rounds: int) -> Floats:
        return self._round_s * np.arange(first_round, first_round + rounds, dtype=np.float64)

    def _at(self, elapsed_s: Floats, devices: int, antennas: int) -> Complexes:
        """Coefficients [S, M, K, P] at instants [S] counted from the first one of the sounding."""
        _, measured_antennas, measured_devices, _ = self._play.shape
        if devices > measured_devices or antennas > measured_antennas:
            raise self._refusal(
                f"{self.sounding.path} holds {measured_devices} devices and {measured_antennas} antennas; {devices} and "
                f"{antennas} were asked for"
            )
        chosen = self._play[:, :antennas, :devices]
        times = self.sounding.times_s - self.sounding.times_s[0]
        if len(times) == 1:
            return np.repeat(chosen, len(elapsed_s), axis=0)
        # The last instant is followed by the first after a typical distance.
        period = times[-1] + float(np.median(np.diff(times)))
        at = np.mod(elapsed_s, period)
        low = np.searchsorted(times, at, side="right") - 1
        high = (low + 1) % len(times)
        width = np.where(high == 0, period, times[high]) - times[low]
        share = ((at - times[low]) / width).astype(np.float32)[:, None, None, None]
        return np.asarray(chosen[low] * (np.float32(1) - share) + chosen[high] * share, np.complex64)


def measured(file: str | Path) -> type[Part]:
    """The channel that plays this file, as a class: bind it to a name and give ``channel.model`` as ``module:Name``."""
    return type("Measured", (Part,), {"file": Path(file), "__doc__": Part.__doc__})


def remarks(sounding: Sounding, devices: int, round_duration_s: float, rounds: int) -> list[str]:
    """Sentences on what a run over this sounding should know: a mean gain that is not 1, and that it starts over."""
    out = []
    gain_db = sounding.mean_gain_db(devices)
    if abs(gain_db) > _NEAR_DB:
        where = "above" if gain_db > 0 else "below"
        out.append(
            f"{sounding.path} has a mean gain of {gain_db:.1f} dB over these devices: signals are that much {where} "
            "link.snr_max_db, which holds at 0 dB; change it by as much, or scale the sounding to unit gain"
        )
    times = sounding.times_s
    lasts_s = float(times[-1] - times[0])
    if len(times) > 1 and rounds * round_duration_s > lasts_s + float(np.median(np.diff(times))):
        out.append(
            f"{sounding.path} lasts {lasts_s:g} s and {rounds} rounds {rounds * round_duration_s:g} s: it starts over, "
            "with a jump; lower link.channel.round_duration_s to walk through it once"
        )
    return out


def _filled(sounding: Sounding) -> Complexes:
    """Coefficients [T, M, K, P] with the instants at which a device was not found interpolated from those at which it was."""
    instants, _, devices, _ = sounding.coefficients.shape
    heard = np.ones((instants, devices), np.bool_) if sounding.found is None else sounding.found
    for k, found in enumerate(heard.T):
        if not found.any():
            raise CaptureError(f"{sounding.path} never heard device {k}; measure it again, or leave the device out")
        if not sounding.coefficients[found, :, k].any():
            raise CaptureError(f"{sounding.path} has a channel of zero for device {k} at every instant; leave the device out")
    if heard.all():
        return sounding.coefficients
    out = sounding.coefficients.copy()
    for k, found in enumerate(heard.T):
        known = sounding.times_s[found]
        for m, p in np.ndindex(out.shape[1], out.shape[3]):
            tap = out[found, m, k, p]
            out[:, m, k, p] = np.interp(sounding.times_s, known, tap.real) + 1j * np.interp(sounding.times_s, known, tap.imag)
    return out
