"""The adversary of a scenario: what it has, in words and as antennas, and what must be stated before anything is claimed."""

from learning.privacy.errors import PrivacyError
from phy.config_listener import ListenerConfig
from testbench.scenario import Scenario

__all__ = ["adversary", "check_adversary", "listener_of"]


def check_adversary(scenario: Scenario) -> None:
    """Whether the adversary is stated well enough to claim anything against it.

    :raises PrivacyError: antennas without channels to them, or colluders that do not exist or leave nobody
    """
    settings, devices = scenario.privacy, scenario.federation.devices
    own = settings.adversary
    if settings.adversary_antennas > 1:
        raise PrivacyError(
            f"privacy.adversary_antennas = {settings.adversary_antennas} does not say which channels lead to them, and devices "
            "are aligned at the server's antennas alone; leave it out and set privacy.adversary.antennas = "
            f'{settings.adversary_antennas - 1} with privacy.adversary.channel ("same", "rayleigh" or "given")'
        )
    if own.antennas and own.channel == "none":
        raise PrivacyError(
            f"privacy.adversary has {own.antennas} antennas and no channels to them; set privacy.adversary.channel to same, "
            "rayleigh or given"
        )
    if own.colluders and max(own.colluders) >= devices:
        raise PrivacyError(f"privacy.adversary.colluders names device {max(own.colluders)} of {devices}; they count from 0")
    if len(own.colluders) >= devices:
        raise PrivacyError("privacy.adversary.colluders names every device, which leaves nobody to protect; leave one out")


def listener_of(scenario: Scenario) -> ListenerConfig | None:
    """The adversary's own antennas; None where it has those of the server alone."""
    own = scenario.privacy.adversary
    if own.antennas == 0:
        return None
    return ListenerConfig(**{name: getattr(own, name) for name in ListenerConfig.model_fields})


def adversary(scenario: Scenario) -> str:
    """Who is kept from knowing, in a phrase."""
    settings, link = scenario.privacy, scenario.link
    own = settings.adversary
    at = f"{link.receive_antennas} antennas" if link.receive_antennas > 1 else "antenna"
    receiver = "a receiver without any noise" if settings.noise_source == "artificial" else "a receiver"
    found = f"{receiver} in the place of the server, with all that its {at} received, all channels and all announcements"
    if settings.adversary_advantage_db and settings.noise_source != "artificial":
        found += f", with {settings.adversary_advantage_db:g} dB more SNR"
    if own.antennas:
        ways = {
            "same": f"channels drawn anew from {link.channel.model}",
            "rayleigh": "Rayleigh channels of their own",
            "given": f"the channels of {own.file}",
        }
        where = "" if own.distance_m is None else f", {own.distance_m:g} m from the server"
        alike = f", correlated by {own.correlation:g} with the server's first antenna" if own.correlation else ""
        found += f"; and {own.antennas} antennas of its own with {ways.get(own.channel, 'channels')}{where}{alike}"
    if own.colluders:
        names = ", ".join(str(k) for k in own.colluders)
        found += f"; in league with device{'s' if len(own.colluders) > 1 else ''} {names}, whose values and noise it knows"
    return found
