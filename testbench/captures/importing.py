"""Channels of other tools as soundings, by the name of their format and the options that it has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.captures.sounding import Sounding
from testbench.errors import TestbenchError

# Format -> option of the command line -> argument of its importer.
_RECORDS = {"records": "records", "every": "every", "first": "first", "positions": "positions", "taps": "taps"}
_OPTIONS: dict[str, dict[str, str]] = {
    "deepmimo": {"node": "users"},
    "colosseum": {"node": "devices", "receiver": "receiver", "step-s": "step_s", "delay-unit-s": "delay_unit_s"},
    "dichasus": {"node": "antennas", **_RECORDS, "offsets": "offsets", "transposed": "transposed"},
    "intel5300": {"node": "antennas", **_RECORDS},
    "matrix": {"axes": "axes", "step-s": "step_s", "variable": "name"},
}
_NEEDED: dict[str, dict[str, Any]] = {
    "deepmimo": {},
    "colosseum": {"devices": [], "receiver": 0},
    "dichasus": {"antennas": []},
    "intel5300": {"antennas": []},
    "matrix": {"axes": ()},
}


def import_channels(kind: str, file: Path, sample_rate_hz: float, options: Mapping[str, Any]) -> Sounding:
    """The sounding in ``file``. ``options``: those of the command line by name, None where not given.

    Raises :class:`bridge.captures.errors.CaptureError` where the file is not as it should be, and
    :class:`testbench.errors.TestbenchError` for a format that does not exist, and for an option that is another format's.
    """
    if kind not in _OPTIONS:
        raise TestbenchError(f"channels are imported from {', '.join(_OPTIONS)}, not {kind!r}")
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in _OPTIONS[kind]:
            of = ", ".join(each for each, has in _OPTIONS.items() if name in has)
            raise TestbenchError(
                f"--{name} is an option of {of}, and changes nothing for {kind}, which has "
                f"{', '.join(f'--{each}' for each in _OPTIONS[kind])}; leave it out"
            )
    arguments = {**_NEEDED[kind], **{_OPTIONS[kind][name]: value for name, value in given.items()}}
    if kind == "deepmimo":
        from bridge.captures.importers import import_deepmimo

        return import_deepmimo(file, sample_rate_hz, **arguments)
    if kind == "colosseum":
        from bridge.captures.importers import import_colosseum

        return import_colosseum(file, sample_rate_hz=sample_rate_hz, **arguments)
    if kind == "dichasus":
        from bridge.captures.dichasus import import_dichasus

        return import_dichasus(file, bandwidth_hz=sample_rate_hz, **arguments)
    if kind == "intel5300":
        from bridge.captures.intel5300 import import_intel5300

        return import_intel5300(file, sample_rate_hz=sample_rate_hz, **arguments)
    from bridge.captures.matrices import import_matrix

    return import_matrix(file, sample_rate_hz=sample_rate_hz, **arguments)
