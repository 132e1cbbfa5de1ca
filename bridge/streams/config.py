"""Settings of a sample stream: sockets, framing and the flowgraph at the other end.

They name a program to start, so they come from whoever starts the run or the air server, and never from a client.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bridge.endpoints import parse_endpoint
from bridge.errors import EndpointError
from bridge.streams.errors import StreamConfigError

__all__ = ["KINDS", "WHERE_TO", "Kind", "StreamConfig", "checked_address"]

Kind = Literal["push_pull", "pub_sub", "req_rep", "srsran"]
KINDS: tuple[Kind, ...] = ("push_pull", "pub_sub", "req_rep", "srsran")
# What to do where there is nothing at the other end.
WHERE_TO = "give a command that starts it, or the addresses send and receive of one that runs"
Seconds = Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)]


class StreamConfig(BaseModel):
    """How device bursts leave and received samples return."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = Field("push_pull", description="sockets: push_pull, pub_sub, req_rep, or srsran (req_rep, one-byte requests)")
    send: tuple[str, ...] = Field((), description="one address per device; empty: private ones, told to the command")
    receive: tuple[str, ...] = Field((), description="one address per receive antenna; empty: as for send")
    send_bind: bool = Field(True, description="bind the sending sockets; false: connect them")
    receive_bind: bool = Field(False, description="bind the receiving sockets; false: connect them")
    pass_tags: bool = Field(False, description="messages carry GNU Radio's tag header, as its blocks with pass_tags do")
    key: str = Field("", description="pub_sub: the key part in front of every message, as in GNU Radio's PUB sink")
    gains: Literal["sender", "flowgraph"] = Field(
        "sender",
        description="who plays the link's flat channel: the sender multiplies bursts by the round's gains, or the flowgraph "
        "(or a radio's own propagation) does, and the link's channel must describe it",
    )
    level: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="factor on samples that leave, divided out of those that return"
    )
    latency_samples: Annotated[int, Field(ge=-65536, le=1 << 24)] | Literal["auto"] = Field(
        "auto", description="by how many samples the flowgraph delays; negative where it is early; auto: measured"
    )
    withheld_samples: Annotated[int, Field(ge=0, le=1 << 24)] | Literal["auto"] = Field(
        "auto", description="samples that the flowgraph keeps until more follow; auto: measured"
    )
    deadline_s: Seconds = Field(1.0, description="a slot that has not returned by then is lost, and its flowgraph restarted")
    start_timeout_s: Seconds = Field(15.0, description="how long a flowgraph may take to return its first samples")
    give_up_after: int = Field(3, ge=1, le=1000, description="lost slots in a row after which the run stops with an error")
    command: tuple[str, ...] = Field(
        (), description="program that is the flowgraph, started and watched; empty: started by you"
    )
    insecure: bool = Field(False, description="allow addresses that other machines reach: nobody is asked for a key there")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.key and self.kind != "pub_sub":
            raise ValueError(f"key is of pub_sub, and kind is {self.kind}; leave it out")
        if self.pass_tags and self.kind == "srsran":
            raise ValueError("srsran's messages carry no tags; leave pass_tags out, or choose req_rep")
        if bool(self.send) != bool(self.receive):
            raise ValueError("send and receive go together; give both, or neither and a command")
        if self.command and not (self.send_bind and not self.receive_bind) and not self.send:
            raise ValueError("private addresses are bound where we send and connected where we receive; give send and receive")
        for name, addresses, bound in (("send", self.send, self.send_bind), ("receive", self.receive, self.receive_bind)):
            for address in addresses:
                checked_address(_one_spelling(address, name, bound), insecure=self.insecure)
        where = [_one_spelling(address, "", True) for address in (*self.send, *self.receive)]
        for i, address in enumerate(where):
            if address in where[:i]:
                first = where.index(address)
                a, b = (f"send[{n}]" if n < len(self.send) else f"receive[{n - len(self.send)}]" for n in (first, i))
                raise ValueError(f"{a} and {b} are both {address}, and a stream would hear itself; give each its own")
        return self

    @property
    def on(self) -> bool:
        """Whether there is anything at the other end."""
        return bool(self.send or self.command)

    @property
    def slowest_s(self) -> float:
        """How long one slot may take at most: a start, a slot and a proof after it, and a second to spare."""
        return self.start_timeout_s + 2 * self.deadline_s + 1.0

    @classmethod
    def load(cls, source: str) -> StreamConfig:
        """Read the settings from a TOML file, or from JSON where `source` begins with a brace.

        Raises:
            StreamConfigError: it cannot be read, or what it says makes no sense.
        """
        inline = source.lstrip().startswith("{")
        origin = "the stream settings" if inline else f"the stream settings {source}"
        try:
            data = json.loads(source) if inline else tomllib.loads(Path(source).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:  # TOML, JSON and UTF-8 have errors of their own, all of this kind
            raise StreamConfigError(f"{origin} cannot be read: {error}") from None
        found = cls.of(data, origin)
        if not found.on:
            raise StreamConfigError(f"{origin} name no flowgraph: {WHERE_TO}")
        return found

    @classmethod
    def of(cls, data: dict[str, Any], origin: str = "stream settings") -> StreamConfig:
        """Validate plain data.

        Raises:
            StreamConfigError: in one sentence that begins with `origin`.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            if first["type"] == "extra_forbidden":
                message = f"there is no such setting; settings are {', '.join(cls.model_fields)}"
            raise StreamConfigError(f"{origin}: {where + ': ' if where else ''}{message}") from None


def _one_spelling(address: str, name: str, bound: bool) -> str:
    """The address, with this machine's names spelt alike. Raises ValueError for srsRAN's ``tcp://*:port``."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if not address.startswith("tcp://"):
        return address
    if host == "*":
        here = f"tcp://127.0.0.1:{port}"
        raise ValueError(
            f"{address} in {name} is srsRAN's spelling for every address of this machine; "
            + (
                f"write {here}, which a peer on this machine reaches"
                if bound
                else f"a socket that connects needs one: write {here}"
            )
        )
    return f"tcp://127.0.0.1:{port}" if host == "localhost" else address


def checked_address(address: str, *, insecure: bool) -> str:
    """Return an address that gr-zeromq can use and that only this machine reaches, unless `insecure`.

    Raises:
        ValueError: it is none.
    """
    try:
        endpoint = parse_endpoint(address)
    except EndpointError as error:
        raise ValueError(str(error)) from None
    if endpoint.transport == "inproc":
        raise ValueError(f"{address} cannot be reached from a flowgraph, which has a context of its own; use ipc or tcp")
    if not endpoint.loopback and not insecure:
        raise ValueError(
            f"{address} can be reached from other machines, and GNU Radio's sockets ask nobody for a key; use ipc:// or "
            "tcp://127.0.0.1, or say insecure = true (--insecure)"
        )
    if endpoint.transport == "tcp" and endpoint.port == 0:
        raise ValueError(f"{address} leaves the port open, and the flowgraph has to know it; name one")
    return address
