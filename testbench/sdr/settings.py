"""The section ``[stream]`` of a scenario: which flowgraph is at the other end."""

from typing import Literal, Self

from pydantic import Field, model_validator

from bridge.streams.config import StreamConfig
from phy.config import LinkConfig
from testbench.sdr.gnuradio import flowgraph_command

__all__ = ["UNCOMPUTED", "StreamSection"]

# Settings that say how long to wait and where to look, and change nothing of what is sent: a run may be resumed with others.
UNCOMPUTED = ("deadline_s", "start_timeout_s", "give_up_after", "latency_samples", "withheld_samples")


class StreamSection(StreamConfig):
    """A signal path in place of the emulated air: a flowgraph that ships, a program of yours (`command`), or one that runs
    already (`send` and `receive`). Naming one implies `link.burst.air = "stream"`. Programs run as you; see docs/sdr.md.
    """

    flowgraph: Literal["none", "uplink", "passthrough", "usrp", "soapy"] = Field(
        "none", description="a flowgraph that ships, started and watched"
    )
    arguments: tuple[str, ...] = Field(
        (),
        description="of the flowgraph; unless they are here, it is told the link's rate, and the uplink its noise and a seed",
    )

    @model_validator(mode="after")
    def _one_flowgraph(self) -> Self:
        if self.flowgraph != "none" and self.command:
            raise ValueError("flowgraph and command both name a program; leave one out")
        if self.arguments and self.flowgraph == "none":
            raise ValueError("arguments are of a flowgraph; name one (flowgraph), or put them into command")
        return self

    @property
    def on(self) -> bool:
        """Whether there is anything at the other end."""
        return self.flowgraph != "none" or super().on

    def resolved(self, link: LinkConfig, seed: int) -> StreamConfig:
        """The settings with the flowgraph as a command.

        Raises :class:`testbench.sdr.gnuradio.NoGnuRadio` where a flowgraph is named and there is nothing to run it.
        """
        plain = self.model_dump(exclude={"flowgraph", "arguments"})
        if self.flowgraph != "none":
            told = {"--rate": repr(link.burst.sample_rate_hz)}
            if self.flowgraph == "uplink":
                told |= {"--noise-power": repr(link.n0), "--seed": str(1 + seed % (1 << 30))}
            given = {word.partition("=")[0] for word in self.arguments}
            words = [f"{name}={value}" for name, value in told.items() if name not in given]
            # Timed bursts are told apart by their tags.
            plain["pass_tags"] |= self.flowgraph in ("usrp", "soapy")
            plain["command"] = flowgraph_command(self.flowgraph, *words, *self.arguments)
        return StreamConfig.of(plain, "[stream]")
