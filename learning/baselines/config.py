"""Settings of the baselines: the section ``[baselines]`` of a scenario."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BaselinesConfig", "FedAvgConfig", "FedLoraConfig", "FedSgdConfig", "OverTheAirConfig"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FedSgdConfig(_Frozen):
    """First-order federated SGD: every device sends the gradient of one batch."""

    learning_rate: Positive = Field(default=0.03, description="step along the mean gradient")


class FedAvgConfig(_Frozen):
    """Federated averaging: every device sends what some local steps changed."""

    local_steps: int = Field(default=5, ge=1, le=10_000, description="local steps, each on a batch of batch_size, per round")
    sgd_learning_rate: Positive = Field(default=0.03, description="of local SGD")
    adam_learning_rate: Positive = Field(default=1e-3, description="of local Adam, whose moments start anew in every round")


class FedLoraConfig(_Frozen):
    """Low-rank adapters (peft), trained by FedAvg with local Adam; a scenario with ``[model.lora]`` has its own."""

    rank: int = Field(default=8, ge=1, le=4096, description="rank of the adapters")
    alpha: Positive = Field(default=16.0, description="an adapter's product is scaled by alpha / rank")
    targets: tuple[str, ...] = Field(
        default=("q_proj", "v_proj"), min_length=1, description="names, or ends of names, of the linear layers that get one"
    )
    learning_rate: Positive = Field(default=1e-2, description="of local Adam")


class OverTheAirConfig(_Frozen):
    """First-order over the air: the gradient's entries as analog payload, in blocks that each meet a fade of their own."""

    clip: Positive = Field(default=0.01, description="an entry is clipped to +-clip, announced once: full scale of the symbol")
    learning_rate: Positive = Field(default=0.1, description="step along the estimated mean gradient")


class BaselinesConfig(_Frozen):
    """What ``pairzero compare`` runs beside the scenario itself; docs/baselines.md says what each method is and counts."""

    methods: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="methods to run; none: all that fit the scenario"
    )
    sign_learning_rate: Positive = Field(default=5e-4, description="step size of the one-bit zeroth-order methods")
    scalar_bits: Literal[16, 32] = Field(default=32, description="digital zeroth-order: bits of the float of one scalar")
    entry_bits: Literal[16, 32] = Field(default=32, description="digital first-order: bits of the float of one entry")
    coherence_symbols: int = Field(
        default=1024,
        ge=1,
        le=65_536,
        description="channel uses over which a channel holds: entries of a block over the air; pilots are sent anew for each",
    )
    first_order_rounds: int | None = Field(
        default=None, ge=1, description="rounds of the first-order methods; none: as many as the scenario has"
    )
    fedsgd: FedSgdConfig = FedSgdConfig()
    fedavg: FedAvgConfig = FedAvgConfig()
    lora: FedLoraConfig = FedLoraConfig()
    over_the_air: OverTheAirConfig = OverTheAirConfig()
