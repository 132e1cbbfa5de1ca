"""Settings that were changed and have no effect in the link as it is: a sentence for each, to be shown, not refused."""

from collections.abc import Callable

from phy.config import LinkConfig
from phy.discovery import find

Applies = Callable[[LinkConfig, str], bool]

_COHERENT: Applies = lambda c, d: d == "coherent"  # noqa: E731
_SYMBOL: Applies = lambda c, d: c.fidelity == "symbol"  # noqa: E731
_WAVEFORM: Applies = lambda c, d: c.fidelity == "waveform"  # noqa: E731

# (setting, or section with a dot at its end; where it has an effect; the condition in words)
_RULES: tuple[tuple[str, Applies, str], ...] = (
    ("offsets.spacing", _SYMBOL, "fidelity symbol (bursts are always back to back)"),
    ("offsets.pulse", _SYMBOL, "fidelity symbol"),
    ("offsets.symbol_duration_s", lambda c, d: _SYMBOL(c, d) and c.offsets.pulse == "rectangular", "pulse rectangular"),
    ("air", _SYMBOL, "fidelity symbol (burst.air carries bursts)"),
    ("channel.variation", _WAVEFORM, "fidelity waveform"),
    ("burst.", lambda c, d: _WAVEFORM(c, d) or c.offsets.pulse == "burst", "fidelity waveform, or offsets.pulse burst"),
    ("burst.pilot_symbols", lambda c, d: _WAVEFORM(c, d) and c.receiver != "matched", "receivers aligned and ml"),
    ("power.", _COHERENT, "coherent schemes"),
    ("power.threshold", lambda c, d: c.power.control != "weakest", "control truncated"),
    ("csi.estimator", _COHERENT, "coherent schemes"),
    ("csi.pilot_symbols", lambda c, d: _COHERENT(c, d) and c.csi.estimator != "perfect", "estimators that use pilots"),
    ("csi.pilot_snr_db", lambda c, d: _COHERENT(c, d) and c.csi.estimator != "perfect", "estimators that use pilots"),
    ("csi.doppler_hz", lambda c, d: c.csi.age_s > 0, "csi.age_s above 0"),
    ("combiner", lambda c, d: _COHERENT(c, d) and c.receive_antennas > 1, "coherent schemes with several antennas"),
    ("decision", lambda c, d: c.scheme == "sign" or ":" in c.scheme, "scheme sign"),
    ("noncoherent.", lambda c, d: d == "energy", "schemes fsk_mv, reed and ncairfl"),
    ("digital.", lambda c, d: d == "orthogonal", "scheme digital"),
    ("channel.antenna_correlation", lambda c, d: c.receive_antennas > 1, "several receive antennas"),
    ("channel.tdl", lambda c, d: c.channel.model == "tdl", "channel.model tdl"),
    ("channel.delay_spread_s", lambda c, d: c.channel.model == "tdl", "channel.model tdl"),
    (
        "channel.round_duration_s",
        lambda c, d: c.channel.doppler_hz > 0 or ":" in c.channel.model,
        "channel.doppler_hz above 0, and measured channels",
    ),
    ("channel.file", lambda c, d: ":" in c.channel.model, "channel.model measured"),
    ("burst.overlay", lambda c, d: ":" in c.burst.air, "burst.air overlay"),
    ("clock.since_sync_s", lambda c, d: c.clock.sampling_ppm.on, "clock.sampling_ppm"),
    ("clock.one_oscillator", lambda c, d: c.clock.sampling_ppm.on, "clock.sampling_ppm"),
    ("clock.carrier_hz", lambda c, d: c.clock.sampling_ppm.on and c.clock.one_oscillator, "clock.one_oscillator"),
    (
        "clock.sampling_ppm",
        lambda c, d: _WAVEFORM(c, d) or c.clock.moves,
        "fidelity waveform, or since_sync_s or one_oscillator",
    ),
)


def without_effect(config: LinkConfig) -> list[str]:
    """Sentences on settings that differ from their default and change nothing in this link."""
    detection = getattr(find("schemes", config.scheme), "detection", "coherent")
    defaults = LinkConfig().model_dump()
    changed = _changed("", config.model_dump(), defaults)
    found: dict[str, str] = {}
    for place, applies, words in _RULES:
        if applies(config, detection):
            continue
        for name in changed:
            if name == place or name.startswith(place if place.endswith(".") else place + "."):
                found.setdefault(name, f"link.{name} has no effect here: it is of {words}")
    return list(found.values())


def _changed(place: str, values: dict[str, object], defaults: dict[str, object]) -> list[str]:
    out = []
    for key, value in values.items():
        default = defaults.get(key)
        if value == default:
            continue
        if isinstance(value, dict) and isinstance(default, dict) and "law" not in default:
            out += _changed(f"{place}{key}.", value, default)
        else:
            out.append(f"{place}{key}")
    return out
