"""Channel uses of one round: what a scheme occupies of the air, pilots and guards counted."""

from phy.config import LinkConfig
from phy.discovery import find


def channel_uses(config: LinkConfig, devices: int, scalars: int = 1) -> dict[str, float]:
    """Complex channel uses (symbol durations at waveform fidelity) of one round of K devices and n scalars, by purpose.

    ``payload``, ``pilots`` (sounding of the devices' channels, and at waveform fidelity the pilots in the burst),
    ``preamble`` and ``guard``. Perfect channel knowledge is counted as free, which no system has. Raises
    :class:`phy.errors.PhyError` where the burst does not fit its slot.
    """
    scheme = find("schemes", config.scheme)(config)
    detection = getattr(scheme, "detection", "coherent")
    sounding = 0
    if detection == "coherent" and find("csi", config.csi.estimator).uses_pilots:
        sounding = config.csi.pilot_symbols * devices
    if config.fidelity == "symbol":
        payload = scheme.channel_uses(devices) if hasattr(scheme, "channel_uses") else 1
        return {"payload": float(payload * scalars), "pilots": float(sounding), "preamble": 0.0, "guard": 0.0}
    from phy.burst.layout import BurstLayout

    energy = detection == "energy"
    tones, looks = (scheme.tones, config.noncoherent.looks) if energy else (1, 1)
    used = BurstLayout(config.burst, devices, scalars, tones, looks).symbols_used
    return {**used, "pilots": used["pilots"] + sounding}
