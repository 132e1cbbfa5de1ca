"""Parts of the link that live outside the physical layer, and the short names that scenarios have for them.

The physical layer finds its own parts by name and knows of no others; sockets and capture files are the bridge's. A scenario
says ``stream``, ``overlay`` or ``measured`` and the link is told ``module:Class``.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phy.blocks import waveform_air

if TYPE_CHECKING:
    from phy.waveform_airs import MakeAir
    from testbench.scenario import Scenario

STREAM_AIR = "bridge.stream_air:Part"
OVERLAY_AIR = "bridge.captures.overlay:Air"
MEASURED_CHANNEL = "bridge.captures.measured:Part"

# Section of the link -> setting -> short name -> class.
_NAMES = {
    "burst": {"air": {"stream": STREAM_AIR, "overlay": OVERLAY_AIR}},
    "channel": {"model": {"measured": MEASURED_CHANNEL}},
}


def named(link: dict[str, Any], streams: bool) -> dict[str, Any]:
    """Plain data of a link with short names spelt out, and what other settings imply where nothing is said of it.

    A stream (``streams``) implies its air, ``burst.overlay`` the overlay's, ``channel.file`` the measured channel; both airs
    imply waveforms.
    """
    link = dict(link)
    burst, channel = link.get("burst", {}), link.get("channel", {})
    if isinstance(burst, dict) and "air" not in burst and (streams or burst.get("overlay")):
        link["burst"] = {**burst, "air": "stream" if streams else "overlay"}
    if isinstance(channel, dict) and "model" not in channel and channel.get("file") is not None:
        link["channel"] = {**channel, "model": "measured"}
    for section, settings in _NAMES.items():
        values = link.get(section)
        if not isinstance(values, dict):
            continue
        for key, names in settings.items():
            given = values.get(key)
            if isinstance(given, str) and given in names:
                link[section] = {**values, key: names[given]}
    chosen = link.get("burst", {})
    if isinstance(chosen, dict) and chosen.get("air") in (STREAM_AIR, OVERLAY_AIR):
        link.setdefault("fidelity", "waveform")
    return link


def files(link: dict[str, Any]) -> list[str]:
    """The files that a link's plain data names."""
    overlay, channel = link["burst"].get("overlay", {}).get("file"), link["channel"].get("file")
    return [str(path) for path in (overlay, channel) if path is not None]


def sha256_of(file: Path) -> str:
    """Digest of a file's content."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def channel_remarks(scenario: "Scenario") -> list[str]:
    """Sentences on the measured channel that a scenario plays, where its file is on this machine."""
    channel = scenario.link.channel
    if channel.model != MEASURED_CHANNEL or channel.file is None or not Path(channel.file).is_file():
        return []
    from bridge.captures.measured import remarks
    from bridge.captures.sounding import Sounding

    sounding = Sounding.load(channel.file)
    return remarks(sounding, scenario.federation.devices, channel.round_duration_s, scenario.federation.rounds)


def air_of(scenario: "Scenario") -> "MakeAir":
    """What makes the scenario's air in this process.

    Raises :class:`phy.errors.UnknownPart`, and :class:`testbench.sdr.gnuradio.NoGnuRadio` where a flowgraph cannot be started.
    """
    if scenario.link.burst.air == STREAM_AIR and scenario.stream.on:
        from bridge.stream_air import Part as StreamAir

        return partial(StreamAir, stream=scenario.stream.resolved(scenario.link, scenario.seed))
    return waveform_air
