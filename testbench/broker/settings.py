"""Settings of ``pairzero air broker``: one TOML file of its own, with the sections [broker] and [link]."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bridge.streams.config import checked_address
from phy.config import LinkConfig, OffsetsConfig
from phy.config_air import ChannelConfig, ClockConfig
from testbench.errors import ScenarioError
from testbench.scenario import WrongType, override_setting, refuse_coercions

Decibel = Annotated[float, Field(ge=-200, le=200, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DeviceConfig(_Frozen):
    """One user's radio."""

    transmit: str = Field(description="where its transmitter listens (srsRAN: tx_port); connected")
    receive: str | None = Field(None, description="where its receiver asks (srsRAN: rx_port); bound. None: it only transmits")
    gain_db: Decibel = Field(0.0, description="gain of its paths, both ways, beside that of [link.channel]")


class StationConfig(_Frozen):
    """The radio in the middle."""

    receive: tuple[str, ...] = Field(
        min_length=1, max_length=16, description="where its receivers ask, one address per antenna; bound"
    )
    transmit: tuple[str, ...] = Field(
        (), max_length=16, description="where its transmitters listen, one per antenna; connected. Empty: it only receives"
    )


class BrokerConfig(_Frozen):
    """Whose radios meet in the air. Sample amplitudes are as the radios send them; nothing is normalised."""

    rate_hz: float = Field(gt=0, le=1e9, allow_inf_nan=False, description="samples per second of every stream")
    device: tuple[DeviceConfig, ...] = Field(min_length=1, max_length=64, description="the users' radios, [[broker.device]]")
    station: StationConfig
    n0: float = Field(
        0.0, ge=0, le=1e12, allow_inf_nan=False, description="variance of the noise on one complex sample of every receiver"
    )
    stall_s: float = Field(
        0.5, ge=0.01, le=60, allow_inf_nan=False, description="how long one radio may hold up the others before it is left out"
    )
    insecure: bool = Field(False, description="allow addresses that other machines reach: nobody is asked for a key there")

    @model_validator(mode="after")
    def _check(self) -> Self:
        addresses = [*self.station.transmit, *self.station.receive]
        for device in self.device:
            addresses += [device.transmit, *([] if device.receive is None else [device.receive])]
        for address in addresses:
            checked_address(address, insecure=self.insecure)
            if addresses.count(address) > 1:
                raise ValueError(f"{address} is named twice; every stream has an address of its own")
        hearing = any(device.receive is not None for device in self.device)
        if hearing and not self.station.transmit:
            raise ValueError("a device receives and the station does not transmit; give station.transmit, or leave receive out")
        if self.station.transmit and not hearing:
            raise ValueError("the station transmits and no device receives; give a device's receive, or leave it out")
        return self


class BrokerLinkConfig(_Frozen):
    """What of a link applies to streams: a stream is one endless round."""

    channel: ChannelConfig = ChannelConfig(model="awgn")
    offsets: OffsetsConfig = OffsetsConfig()
    clock: ClockConfig = ClockConfig()


class BrokerFile(_Frozen):
    """The whole file."""

    seed: int = Field(0, ge=0, lt=2**63, description="keys every draw: fades, offsets, noise")
    broker: BrokerConfig
    link: BrokerLinkConfig = BrokerLinkConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        for place, section, names, why in (
            ("channel", self.link.channel, ("round_duration_s", "variation", "file"), "a stream has no rounds or bursts"),
            ("offsets", self.link.offsets, ("symbol_duration_s", "pulse", "spacing"), "a stream has no symbols of ours"),
            ("offsets", self.link.offsets, ("timing_jitter_s", "phase_jitter_rad"), "a jitter is drawn per round"),
        ):
            for name in names:
                if name in section.model_fields_set:
                    raise ValueError(f"link.{place}.{name} has no meaning here, for {why}; leave it out")
        hears, sends = len(self.broker.station.receive), len(self.broker.station.transmit)
        if sends not in (0, hears):
            raise ValueError(
                f"broker.station has {sends} addresses to transmit and {hears} to receive; an antenna does both: give as many"
            )
        return self

    def link_config(self) -> LinkConfig:
        """The link whose channel, offsets and clocks these are."""
        return LinkConfig(
            backend="numpy",
            receive_antennas=len(self.broker.station.receive),
            channel=self.link.channel,
            offsets=self.link.offsets,
            clock=self.link.clock,
        )


def load(path: str | Path, overrides: list[str] | None = None) -> BrokerFile:
    """Read the file and apply ``key=value`` overrides.

    Raises :class:`testbench.errors.ScenarioError` with one sentence that names the file and the setting.
    """
    try:
        data: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"the broker's settings {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"the broker's settings {path} are not valid TOML: {error}") from error
    for text in overrides or []:
        override_setting(data, text)
    try:
        refuse_coercions(data, BrokerFile, [])
        devices = data.get("broker", {}).get("device", ())
        for k, device in enumerate(devices if isinstance(devices, list) else ()):
            refuse_coercions(device, DeviceConfig, ["broker", "device", str(k)])
        return BrokerFile.model_validate(data)
    except WrongType as error:
        raise ScenarioError(f"{path}: {error}") from None
    except ValidationError as error:
        raise ScenarioError(f"{path}: {_sentence(error)}") from error


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        model: Any = BrokerFile
        for part in first["loc"][:-1]:
            if isinstance(part, int):
                continue
            model = _model(model.model_fields[part].annotation)
        message = f"the broker has no such setting; here are {', '.join(model.model_fields)}"
    elif first["type"] == "missing":
        message = "is missing; see docs/broker.md for a file to begin with"
    return f"{where + ': ' if where else ''}{message}"


def _model(annotation: Any) -> Any:
    """The settings that a field holds, one or several of them."""
    return next((a for a in get_args(annotation) if hasattr(a, "model_fields")), annotation)
