"""Section ``[privacy]`` of a scenario: the promise, who counts, and what is done to keep it."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from learning.errors import LearningError
from learning.privacy.schedules import NoiseSource
from learning.privacy.schedules import find as find_schedule
from learning.privacy.sensitivity import Relation
from testbench.privacy.adversary_config import AdversaryConfig

__all__ = ["ENERGY_SCHEMES", "PrivacyConfig"]

#: Schemes whose payloads change variances, not means.
ENERGY_SCHEMES = ("fsk_mv", "reed", "ncairfl")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PrivacyConfig(BaseModel):
    """Differential privacy of what the air releases; off unless epsilon is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epsilon: Positive | None = Field(default=None, description="budget of the whole run; none: no privacy is claimed")
    delta: float = Field(default=1e-5, gt=0, lt=1, description="delta of the promise; below 1/n of n training examples")
    accounting: Literal["paper", "gdp", "pld", "renyi"] = Field(
        default="gdp",
        description="who counts: pAirZero's bound, the exact one, or the exact one with Poisson sampling; renyi: variance "
        "shifts, for the schemes of energy detection",
    )
    sensitivity: Relation = Field(
        default="client_value", description="what may differ: all values of one device, or one record, replaced or removed"
    )
    amplification: bool = Field(
        default=False, description="claim amplification by sampling: federation.sampling poisson, accounting pld"
    )
    schedule: str = Field(
        default="solution",
        description="solution, water_filling, theorem4, static, reversed, full_power, online, or module:class",
    )
    schedule_settings: dict[str, float | str] = Field(
        default_factory=dict, description="the schedule's own settings, such as fading of online"
    )
    contraction: float = Field(default=0.998, gt=0, le=1, description="A, by which the optimality gap shrinks per round")
    as_printed: bool = Field(default=False, description="plan and count as pAirZero prints it; the summary names the errata")
    noise_source: NoiseSource = Field(default="receiver", description="whose noise protects")
    adversary_advantage_db: float = Field(
        default=0.0,
        ge=-100,
        le=100,
        allow_inf_nan=False,
        description="by how much the SNR of all its antennas exceeds the server's",
    )
    adversary_antennas: int = Field(
        default=1,
        ge=1,
        le=4096,
        description="not more than 1: antennas have channels, which privacy.adversary states",
    )
    adversary: AdversaryConfig = AdversaryConfig()
    csi_gain: Literal["refuse", "realised", "tail"] = Field(
        default="refuse",
        description="gains above 1 (estimated or ageing channels, several antennas, the adversary's own, echoes): refuse to "
        "claim anything, charge those of the run, or charge a bound and add its failure to delta",
    )
    gain_margin: float | None = Field(
        default=None,
        ge=1,
        le=1e6,
        description="realised: gain that the plan reckons with (none: planned in hindsight); tail: the bound (none: one that "
        "fails with a tenth of delta)",
    )
    on_budget: Literal["stop", "ignore"] = Field(
        default="stop", description="stop before the round that would pass the budget, or only count"
    )
    randomness: Literal["auto", "seed", "secret"] = Field(
        default="auto",
        description="what keys noise and batches: seed, the scenario's, reproducible and void for whoever has it; secret, the "
        "system's entropy, kept by its owners; auto: secret in a fleet, seed in one process",
    )
    strict: bool = Field(default=False, description="refuse a guarantee that rests on the public seed")
    ledger: str = Field(
        default="auto",
        min_length=1,
        description="file in which what runs spend is added up; auto: privacy-ledger.sqlite in the folder above the run's; "
        "none: nowhere",
    )
    ledger_epsilon: Positive | None = Field(
        default=None,
        description="budget of all runs in the ledger on the same data, at the sum of their deltas; a run that would pass it "
        "is refused",
    )
    estimate: Literal["none", "clip", "wiener"] = Field(
        default="none",
        description="free post-processing of p_hat: clip it, or shrink it by what earlier estimates told and clip",
    )

    @property
    def on(self) -> bool:
        """Whether privacy is claimed at all."""
        return self.epsilon is not None

    @property
    def changed(self) -> list[str]:
        """Settings other than epsilon that differ from their default."""
        return [name for name in type(self).model_fields if name != "epsilon" and getattr(self, name) != _DEFAULTS[name]]

    def of_energy(self, scheme: str) -> str | None:
        """Why this cannot be promised of a scheme of energy detection; None where it may."""
        if self.accounting != "renyi":
            return f'accounting "{self.accounting}" counts shifts of a mean, and "{scheme}" shifts variances; take "renyi"'
        if self.amplification:
            return f'amplification by sampling is not accounted for "{scheme}"; set amplification false'
        if self.noise_source != "receiver" or self.as_printed:
            return (
                f'"{scheme}" sends energies, to which no artificial noise and no printed formula belongs; set noise_source '
                '"receiver" and as_printed false'
            )
        if self.estimate == "wiener":
            return f'the noise of an estimate of "{scheme}" depends on what is sent and is not known; take estimate "clip"'
        return None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.schedule == "perfect":
            raise ValueError(
                'schedule "perfect" is the noise-free mean and private to nobody; leave [privacy] out and set '
                'uplink.transport "none"'
            )
        try:
            find_schedule(self.schedule)
        except LearningError as error:
            raise ValueError(str(error)) from error
        if self.amplification and self.sensitivity == "client_value":
            raise ValueError(
                "sampling records does not hide a client's value; take sensitivity record_add_remove, or set amplification "
                "false"
            )
        if self.amplification and self.accounting != "pld":
            raise ValueError(
                f'accounting "{self.accounting}" cannot count Poisson-sampled rounds; take accounting "pld", or set '
                "amplification false"
            )
        if self.ledger_epsilon is not None and self.ledger == "none":
            raise ValueError(
                'ledger_epsilon is held by a ledger; set ledger to "auto" or to a file, or leave ledger_epsilon out'
            )
        if self.as_printed and self.amplification:
            raise ValueError("as_printed repeats the paper's formulas, which know no sampling; set amplification false")
        if self.as_printed and self.noise_source != "receiver":
            raise ValueError(
                'as_printed is of the paper\'s optimum, which has no artificial noise; set noise_source "receiver"'
            )
        return self


_DEFAULTS: dict[str, Any] = {
    name: field.get_default(call_default_factory=True) for name, field in PrivacyConfig.model_fields.items()
}
