"""``pairzero capture ...``: record the air as SigMF, and use recordings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairzero.commands import PathLike, Settings, _loaded

if TYPE_CHECKING:
    from bridge.captures.opening import Stated
    from bridge.captures.overlay import OverlayConfig
    from bridge.captures.sounding import Sounding
    from phy.link import LinkResult
    from testbench.captures.finding import Bursts
    from testbench.captures.overlaying import Comparison
    from testbench.scenario import Scenario

__all__ = ["find", "info", "overlay", "record", "replay", "sound"]


def record(scenario: Scenario | PathLike, out: PathLike, *, rounds: int = 10, settings: Settings | None = None) -> Path:
    """Record what devices send and antennas receive, for the first rounds of a scenario; returns the collection.

    >>> waves = {"link.fidelity": "waveform", "federation.devices": 2}
    >>> collection = record("demo", "captures/air", rounds=2, settings=waves)
    >>> replay(collection).estimates.shape
    (2, 1)
    """
    from testbench.captures.recorder import record as write
    from testbench.runner import Watcher

    return write(_loaded(scenario, settings), rounds, Path(out), Watcher())


def replay(file: PathLike, *, allow_parts: Iterable[str] = ()) -> LinkResult:
    """A capture through the receiver and the scheme's decision, open loop: the bits of the recorded estimates."""
    from testbench.captures.capture import load_capture
    from testbench.captures.playback import Playback

    return Playback(load_capture(Path(file), allow_parts)).replay()


def info(file: PathLike, stated: Stated | None = None) -> list[str]:
    """What a capture holds, in lines; every hash is checked. ``stated``: format, rate and more of a raw recording."""
    from bridge.captures.opening import Stated
    from testbench.captures.show import describe

    return list(describe(Path(file), stated or Stated()))


def find(
    scenario: Scenario | PathLike, file: PathLike, *, stated: Stated | None = None, settings: Settings | None = None
) -> Bursts:
    """The bursts of a scenario's link in a long recording at the link's sample rate, in samples of the recording.

    >>> waves = {"link.fidelity": "waveform", "federation.devices": 2}
    >>> collection = record("demo", "captures/search", rounds=2, settings=waves)
    >>> bursts = find("demo", collection.parent / "antenna-0", settings=waves)
    >>> len(bursts.starts), round(bursts.starts[1]) == bursts.slot_samples
    (2, True)
    """
    from bridge.captures.opening import Stated, open_any
    from testbench.captures.finding import find_bursts

    loaded = _loaded(scenario, settings)
    return find_bursts(open_any(Path(file), stated or Stated()), loaded.link, loaded.seed, loaded.federation.devices)


def sound(file: PathLike, *, taps: int = 8, allow_parts: Iterable[str] = ()) -> Sounding:
    """Taps, timing, carrier offset, gain and noise of every device and slot of a capture."""
    from testbench.captures.capture import load_capture
    from testbench.captures.estimating import sound as estimate

    return estimate(load_capture(Path(file), allow_parts), taps)


def overlay(
    scenario: Scenario | PathLike, config: OverlayConfig, *, rounds: int | None = None, settings: Settings | None = None
) -> Comparison:
    """Fine-tune with a recording added as interference or noise, beside the same rounds without it."""
    from testbench.captures.overlaying import run_overlaid
    from testbench.runner import Watcher

    return run_overlaid(_loaded(scenario, settings), config, rounds, Watcher())


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from pairzero._found import command

        return command("capture", name)
