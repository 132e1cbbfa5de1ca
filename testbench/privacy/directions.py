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
        """:raises PrivacyError: several directions over echoes, whose sum no claim of privacy counts"""
        step = scenario.zeroth_order
        count = step.directions
        joint = count > 1 and step.clip_norm == "joint" and scenario.link.scheme not in ("sign", "fsk_mv")
        if count > 1 and scenario.link.channel.model not in ("rayleigh", "awgn"):
            raise PrivacyError(
                f"over echoes (link.channel.model {scenario.link.channel.model}) the {count} symbols of a round run into each "
                "other, which no claim of privacy counts; take zeroth_order.directions 1, or rayleigh or awgn"
            )
        return cls(count, joint)


def sensitivity_of(scenario: Scenario) -> Sensitivity:
    """Largest change of a device's values between neighbours."""
    kind, clip, directions = scenario.privacy.sensitivity, scenario.zeroth_order.clip, Directions.of(scenario)
    if scenario.link.scheme in ("sign", "fsk_mv"):
        return Sensitivity(kind, clip, payload="sign", directions=directions.count)
    batch = None if kind == "client_value" else scenario.federation.batch_size
    return Sensitivity(kind, clip, batch=batch, directions=directions.count, joint=directions.joint)
