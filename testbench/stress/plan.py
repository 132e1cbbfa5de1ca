"""The plan of a stress test: which schemes, which asynchrony, how many rounds. Frozen, validated, plain data in and out."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from phy.config import LinkConfig
from testbench.stress.axes import Axes, Axis
from testbench.stress.hardware import Hardware, shipped
from testbench.stress.ranges import FREQUENCY, TIME, parse_range, thinned

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Decibel = Annotated[float, Field(ge=-200, le=200, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Contestant(_Frozen):
    """A scheme with its receiver: settings of the link over those of ``[link]``."""

    label: str = Field(description="as figures and tables call it")
    link: dict[str, Any] = Field(default_factory=dict, description="settings of the link that differ from [link]")


class PayloadLaw(_Frozen):
    """Open-loop scalars p_k = clip * limit(sigma (sqrt(c) g + sqrt(1 - c) g_k)); g, g_k standard normal, limit to [-1, 1]."""

    sigma: Positive = Field(0.3, description="standard deviation of a scalar, in units of the clip")
    correlation: float = Field(0.5, ge=0, le=1, description="correlation c between two devices' scalars")

    def in_words(self) -> str:
        """The law as a caption states it."""
        return f"p = clip·limit(N(0, {self.sigma:g}²)), correlation {self.correlation:g} between devices"


class GradientConfig(_Frozen):
    """One scalar against a first-order gradient of d entries, at equal energy per entry and equal symbol duration.

    The gradient's entries follow each other without gaps, in one burst; the scalar stands alone in a guard. A second scalar has
    a symbol that is ``stretch`` times as long, of the same energy.
    """

    run: bool = Field(True, description="whether the comparison runs")
    contestants: tuple[str, ...] = Field(("analog",), description="coherent contestants that are compared")
    entries: tuple[int, ...] = Field((1, 10, 100, 1000, 10000), min_length=1, description="entries d; 1 is the scalar")
    symbol_duration_s: Positive = Field(4e-6, description="duration T of one entry")
    stretch: Positive = Field(16.0, description="the long scalar lasts this many T")
    ages_s: tuple[NonNegative, ...] = Field(
        (0.0, 1e-3), min_length=1, description="times from the pilot, which fixes the phase, to the start of the payload"
    )
    timing: str = Field("0..4us:21", description="timing offsets: uniform on ±x per device and round")
    cfo: str = Field("1..100000Hz:26log", description="frequency offsets: uniform on ±x per device and round")
    rounds: int = Field(2000, ge=1, description="most rounds of a point")
    min_rounds: int = Field(20, ge=1, description="least rounds of a point")
    entry_budget: int = Field(200_000, ge=1, description="rounds x entries of a point, between the two bounds above")

    @model_validator(mode="after")
    def _check(self) -> Self:
        parse_range(self.timing, TIME)
        parse_range(self.cfo, FREQUENCY)
        if min(self.entries) < 1 or list(self.entries) != sorted(set(self.entries)):
            raise ValueError(f"entries must ascend from 1 or more, got {list(self.entries)}")
        return self

    def rounds_of(self, entries: int) -> int:
        """Rounds of a point with so many entries."""
        return max(min(self.rounds, self.entry_budget // entries), min(self.min_rounds, self.rounds))


class AccuracyConfig(_Frozen):
    """Closed loop: a real fine-tuning run at a few points of the sweep."""

    run: bool = Field(False, description="whether fine-tuning runs are made; --accuracy sets it")
    scenario: str = Field("demo", description="scenario that is run: a file or a shipped name")
    rounds: int = Field(200, ge=1, description="rounds of each run")
    seeds: tuple[int, ...] = Field((1,), min_length=1, description="seeds; several give a band")
    contestants: tuple[str, ...] = Field((), description="contestants; empty: all of the plan")
    axes: tuple[str, ...] = Field(("timing", "cfo"), description="axes, of those in the plan")
    points: int = Field(3, ge=1, description="values of each axis, spread over its range")
    presets: bool = Field(False, description="also one run per preset")
    set: tuple[str, ...] = Field((), description="overrides key=value of the scenario")


class StressConfig(_Frozen):
    """A whole stress test."""

    name: str = Field("stress", description="names the folder: letters, digits, dot, dash, underscore")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of every draw; contestants and values share their draws")
    devices: int = Field(10, ge=1, le=10_000, description="number of devices K")
    rounds: int = Field(10_000, ge=2, description="rounds of a point")
    sessions: int = Field(
        20,
        ge=2,
        le=10_000,
        description="sessions that the rounds are split into: each draws its devices anew; bands come from them",
    )
    static_sessions: int = Field(
        200, ge=2, le=100_000, description="the same where an offset is drawn once per device: it stays for the session"
    )
    unit_rounds: int = Field(2500, ge=1, description="rounds of a unit of work: what an interruption can cost")
    nmse_limit_db: Decibel = Field(-10.0, description="the table states the largest offset whose NMSE stays below this")
    wrong_sign_limit: float = Field(0.1, gt=0, lt=1, description="the same for the probability of a wrong sign")
    refinements: int = Field(
        3,
        ge=0,
        le=20,
        description="how often points are added where a curve crosses a limit, up to three at a time; 0: the grid's must do",
    )
    payload: PayloadLaw = PayloadLaw()
    link: LinkConfig = LinkConfig(clip=1.0)
    contestants: dict[str, Contestant] = Field(min_length=1)
    axes: Axes = Axes()
    presets: tuple[str, ...] = Field((), description="hardware by name; see --list-presets")
    hardware: dict[str, Hardware] = Field(default_factory=dict, description="hardware of your own, usable as presets")
    scalar_vs_gradient: GradientConfig = GradientConfig(run=False)
    accuracy: AccuracyConfig = AccuracyConfig()
    plan: Literal[1] = Field(1, description="version of this format")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for what, name in [("name", self.name), *(("contestants", key) for key in self.contestants)]:
            if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
                raise ValueError(f"{what}: {name!r} must be 1 to 64 letters, digits, dots, dashes or underscores")
        known = self.all_hardware()
        for name in self.presets:
            if name not in known:
                raise ValueError(f"presets: there is no {name!r}{nearest(name, known)}")
        if self.sessions > self.rounds:
            raise ValueError(f"sessions {self.sessions} exceed rounds {self.rounds}")
        for place, names in (
            ("scalar_vs_gradient", self.scalar_vs_gradient.contestants if self.scalar_vs_gradient.run else ()),
            ("accuracy", self.accuracy.contestants),
        ):
            for name in names:
                if name not in self.contestants:
                    raise ValueError(f"{place}.contestants: there is no {name!r}{nearest(name, self.contestants)}")
        for name in self.accuracy.axes:
            if name not in type(self.axes).model_fields:
                raise ValueError(f"accuracy.axes: there is no {name!r}{nearest(name, type(self.axes).model_fields)}")
        return self

    def all_hardware(self) -> dict[str, Hardware]:
        """Shipped hardware and the plan's own, which wins."""
        return {**shipped(), **self.hardware}

    def chosen_axes(self) -> dict[str, Axis]:
        """The axes that are swept, by name."""
        return self.axes.chosen()

    def quick(self) -> "StressConfig":
        """The same plan, small: a first look within seconds."""
        axes = {name: axis.model_copy(update={"range": thinned(axis.range, 7)}) for name, axis in self.chosen_axes().items()}
        gradient = self.scalar_vs_gradient
        small = gradient.model_copy(
            update={
                "entries": tuple(d for d in gradient.entries if d <= 1000) or gradient.entries[:1],
                "entry_budget": min(gradient.entry_budget, 20_000),
                "rounds": min(gradient.rounds, 500),
                "timing": thinned(gradient.timing, 9),
                "cfo": thinned(gradient.cfo, 11),
            }
        )
        rounds = min(self.rounds, 1000)
        return self.model_copy(
            update={
                "rounds": rounds,
                "sessions": min(self.sessions, rounds),
                "static_sessions": min(self.static_sessions, 50, rounds),
                "axes": self.axes.model_copy(update=axes),
                "scalar_vs_gradient": small,
                "accuracy": self.accuracy.model_copy(update={"points": 2, "rounds": min(self.accuracy.rounds, 50)}),
            }
        )


def nearest(name: str, known: Any) -> str:
    """The hint that ends a sentence on an unknown name."""
    import difflib

    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; choose one of {', '.join(names)}"
