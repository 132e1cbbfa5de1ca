"""What a sweep file says: a scenario, axes, what is measured, and the statistics. Frozen, validated, plain data in and out."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["FORMAT", "MeasurementConfig", "PairedConfig", "StatisticsConfig", "StopConfig", "SweepConfig"]

#: Version of sweep files, of the store and of the table.
FORMAT = 1

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]

#: Metrics that are summarised unless the file chooses others.
DEFAULT_METRICS = {
    "run": ("accuracy_final", "loss_final", "nmse_db", "epsilon_spent"),
    "link": ("nmse_db", "wrong_sign", "lost", "gain"),
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeasurementConfig(_Frozen):
    """``measure = "link"``: scalars through the link without learning, p = clip limit(N(0, sigma^2)), correlated over "
    "devices."""

    rounds: int = Field(10_000, ge=2, le=10**9, description="rounds of a point")
    sessions: int = Field(
        20, ge=2, le=100_000, description="parts of the rounds, each with draws of its own: bands come from them"
    )
    static_sessions: int = Field(200, ge=2, le=100_000, description="the same where an offset is drawn once per device")
    entries: int = Field(1, ge=1, le=10**6, description="scalars that a device sends in a round")
    sigma: Positive = Field(0.3, description="standard deviation of a scalar, in units of the clip")
    correlation: float = Field(0.5, ge=0, le=1, description="correlation between two devices' scalars")


class StatisticsConfig(_Frozen):
    """Mean over seeds with a confidence band."""

    metrics: tuple[str, ...] = Field((), description="columns that are summarised; empty: those usual for the measure")
    band: Literal["t", "bootstrap"] = Field(
        "t", description="t: Student's t of the mean over seeds; bootstrap: percentiles of resampled means (for skewed metrics)"
    )
    level: float = Field(0.95, gt=0.5, lt=1, description="coverage of the band")
    resamples: int = Field(5000, ge=100, le=10**6, description="bootstrap: resamples")


class PairedConfig(_Frozen):
    """Differences on common random numbers: the same seed at two values of one axis."""

    axis: str = Field(description="the axis whose values are compared")
    reference: Any = Field(description="the value that is subtracted")


class StopConfig(_Frozen):
    """A point needs no more seeds once the band of a metric is tight enough."""

    metric: str = Field(description="the column that decides")
    half_width: Positive = Field(description="half the width of the band that is tight enough, in the metric's own unit")
    min_seeds: int = Field(3, ge=2, le=10_000, description="seeds before a band is believed")


class SweepConfig(_Frozen):
    """A whole sweep."""

    name: str = Field("sweep", description="names the folder: letters, digits, dot, dash, underscore")
    scenario: str = Field("demo", description="base scenario: a file, beside the sweep file or from here, or a shipped name")
    measure: Literal["run", "link"] = Field(
        "run", description="run: whole learning runs; link: errors of the estimate only, without learning, fast"
    )
    set: dict[str, Any] = Field(default_factory=dict, description="settings of the scenario that all points share")
    seeds: int | tuple[Seed, ...] = Field((), description="seeds: a list, or a count n for 1 .. n; empty: the scenario's own")
    axes: dict[str, Any] = Field(default_factory=dict, description="a list or range per key, or a table of named bundles")
    zip: tuple[tuple[str, ...], ...] = Field((), description="groups of axes that advance together instead of being multiplied")
    points: tuple[dict[str, Any], ...] = Field((), description="a list of settings, each a point; multiplied with the axes")
    invalid: Literal["refuse", "skip"] = Field(
        "refuse", description="points that are no valid scenario: refuse the sweep, or leave them out with a note"
    )
    measurement: MeasurementConfig = MeasurementConfig()
    statistics: StatisticsConfig = StatisticsConfig()
    paired: PairedConfig | None = None
    stop: StopConfig | None = None
    figures: bool = Field(False, description="run: draw each run's figures and report too")
    runs: Literal["keep", "discard"] = Field(
        "keep", description="run: keep run folders in the sweep's folder, which a cluster must share; or discard them"
    )
    format: Literal[1] = Field(1, description="version of this format")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", self.name):
            raise ValueError(f"name must be 1 to 64 letters, digits, dots, dashes or underscores, got {self.name!r}")
        if isinstance(self.seeds, int) and not 1 <= self.seeds <= 100_000:
            raise ValueError(f"seeds is a count of at least 1, or a list in brackets, got {self.seeds}")
        if len(set(self.seed_list)) < len(self.seed_list):
            raise ValueError("seeds name one seed twice; a seed gives the same result each time")
        if self.stop is not None and self.stop.min_seeds > max(1, len(self.seed_list)):
            raise ValueError(f"stop.min_seeds is {self.stop.min_seeds}, but there are {max(1, len(self.seed_list))} seeds")
        return self

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds; empty where the scenario's own is meant."""
        return tuple(range(1, self.seeds + 1)) if isinstance(self.seeds, int) else self.seeds

    @property
    def metrics(self) -> tuple[str, ...]:
        """Columns that are summarised."""
        return self.statistics.metrics or DEFAULT_METRICS[self.measure]
