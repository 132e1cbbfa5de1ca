"""How many directions a scenario has per round, how their values are clipped, and what a change of them costs."""

from dataclasses import dataclass

from learning.privacy.errors import PrivacyError
from learning.privacy.sensitivity import Sensitivity
from testbench.scenario import Scenario

__all__ = ["Directions", "sensitivity_of"]


@dataclass(frozen=True)
class Directions:
    """``count`` n values per device and round; ``joint``: clipped jointly, so that means lie in a ball of radius clip."""

    count: int
    joint: bool

    @classmethod
    def of(cls, scenario: Scenario) -> "Directions":
        """:raises PrivacyError: several directions whose symbols run into each other as no claim of privacy counts"""
        step, link = scenario.zeroth_order, scenario.link
        count = step.directions
        joint = count > 1 and step.clip_norm == "joint" and link.scheme not in ("sign", "fsk_mv")
        if count > 1 and link.channel.model not in ("rayleigh", "awgn"):
            raise PrivacyError(
                f"over echoes (link.channel.model {link.channel.model}) the {count} symbols of a round run into each "
                "other, which no claim of privacy counts; take zeroth_order.directions 1, or rayleigh or awgn"
            )
        offsets = link.offsets
        late = offsets.timing_s.on or offsets.timing_jitter_s.on or link.clock.moves
        if count > 1 and late and link.fidelity == "waveform" and link.burst.air == "time_channel":
            # Its taps are a truncated sinc, no exact delay: how much of a symbol lies in the next one changes with the delay.
            raise PrivacyError(
                f"link.burst.air time_channel distorts late bursts, and how far their {count} symbols run into each other no "
                'claim of privacy counts; take burst.air "emulated", or '
                "zeroth_order.directions 1"
            )
        return cls(count, joint)


def sensitivity_of(scenario: Scenario) -> Sensitivity:
    """Largest change of a device's values between neighbours."""
    kind, clip, directions = scenario.privacy.sensitivity, scenario.zeroth_order.clip, Directions.of(scenario)
    if scenario.link.scheme in ("sign", "fsk_mv"):
        return Sensitivity(kind, clip, payload="sign", directions=directions.count)
    batch = None if kind == "client_value" else scenario.federation.batch_size
    return Sensitivity(kind, clip, batch=batch, directions=directions.count, joint=directions.joint)
