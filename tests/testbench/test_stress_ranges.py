"""Ranges with units, plans and hardware: what is read, and what is refused in one sentence."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phy.config import LinkConfig
from testbench.stress.hardware import Hardware, shipped
from testbench.stress.plan_file import PlanError, build_plan, load_plan, merge, plan_toml
from testbench.stress.ranges import ANGLE, FREQUENCY, SHARE, TIME, parse_range, thinned


@pytest.mark.parametrize(
    ("text", "units", "values"),
    [
        ("0..2us:5", TIME, (0.0, 0.5e-6, 1e-6, 1.5e-6, 2e-6)),
        ("0..180deg:3", ANGLE, (0.0, math.pi / 2, math.pi)),
        ("1..100Hz:3log", FREQUENCY, (1.0, 10.0, 100.0)),
        ("0, 1, 5 kHz", FREQUENCY, (0.0, 1e3, 5e3)),
        ("0..50%:3", SHARE, (0.0, 0.25, 0.5)),
        ("0..0.5:3", SHARE, (0.0, 0.25, 0.5)),
        ("1e-3..2e-3s:2", TIME, (1e-3, 2e-3)),
        ("0..1µs:2", TIME, (0.0, 1e-6)),
    ],
)
def test_ranges(text, units, values):
    assert parse_range(text, units) == pytest.approx(values)


def test_points_default_to_25_and_thin_out():
    assert len(parse_range("0..1us", TIME)) == 25
    assert parse_range(thinned("0..1us", 3), TIME) == parse_range("0..1us:3", TIME)
    assert thinned("0..1us:2", 3) == "0..1us:2"
    assert thinned("1..10Hz:9log", 3) == "1..10Hz:3log"


@given(st.floats(0, 1e6), st.floats(1e-3, 1e6), st.integers(2, 50))
def test_linear_ranges_are_numpys(low, width, points):
    values = parse_range(f"{low!r}..{low + width!r}us:{points}", TIME)
    assert values == pytest.approx(np.linspace(low, low + width, points) * 1e-6)


@pytest.mark.parametrize(
    ("axis", "sentence"),
    [
        ("timing=0..2", r"the unit is missing; valid units are s, ms, us or ns"),
        ("timing=0..2Hz:25", r"the unit 'Hz' does not fit; valid units are s, ms, us or ns"),
        ("cfo=0..2us", r"valid units are Hz, kHz or MHz"),
        ("phase=0..3:4", r"the unit is missing; valid units are rad or deg"),
        ("drift=0..3%:4", r"valid units are ppm or ppb"),
        ("stragglers=0..3us", r"valid units are none \(a plain share\) or %"),
        ("stragglers=0..2:3", "exceeds 1"),
        ("timing=2..0us:3", "must ascend"),
        ("timing=0..2us:3log", "both ends above zero"),
        ("timing=0..2us:1", "choose 2 to 10000"),
        ("timing=fast", "is no range"),
        ("tming=0..2us", "did you mean 'timing'"),
        ("timing", "must read name=range"),
    ],
)
def test_bad_axes_end_in_one_sentence(axis, sentence):
    with pytest.raises(PlanError, match=sentence) as caught:
        load_plan(axes=[axis])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("rond=3", "did you mean rounds"),
        ("axes.timing.rnage='0..1us'", "did you mean axes.timing.range"),
        ("contestants.analog.link.shceme='sign'", r"contestants\.analog\.link: .*did you mean scheme"),
        ("contestants.analog.link.scheme='signn'", "did you mean 'sign'"),
        ("contestants.analog.lable='x'", "did you mean contestants.analog.label"),
        ("presets=['pluto']", "did you mean 'pluto_free'"),
        ("accuracy.axes=['timming']", "did you mean 'timing'"),
        ("rounds='many'", "rounds must be a whole number"),
        ("rounds=3", "sessions 20 exceed rounds 3"),
        ("hardware.mine.label='x'", None),
        ("hardware.mine={label='x', timing={law='normal', value=1, unit='kg'}}", "timing.unit 'kg' does not fit"),
    ],
)
def test_bad_settings_end_in_one_sentence(override, sentence):
    if sentence is None:
        assert load_plan(overrides=[override]).hardware["mine"].offsets() == {}
        return
    with pytest.raises(PlanError, match=sentence) as caught:
        load_plan(overrides=[override])
    assert "\n" not in str(caught.value)


def test_the_shipped_plan_survives_its_own_toml(tmp_path):
    plan = load_plan()
    (tmp_path / "plan.toml").write_text(plan_toml(plan))
    assert load_plan(tmp_path) == plan
    assert load_plan(tmp_path / "plan.toml", quick=True) == plan.quick() == plan.quick().quick()


def test_the_command_line_takes_the_place_of_the_plans_axes():
    plan = load_plan(axes=["timing=0..2us:3"], presets=["gpsdo"], contestants=["analog"])
    assert list(plan.chosen_axes()) == ["timing"]
    assert plan.presets == ("gpsdo",)
    assert list(plan.contestants) == ["analog"]
    assert not plan.scalar_vs_gradient.run
    drift = load_plan(axes=["drift=0..2ppm:3"]).chosen_axes()["drift"]
    assert drift.link(2.0)["clock"]["sampling_ppm"]["per"] == "device"  # the plan's own setting of that axis is kept


def test_a_law_is_replaced_as_a_whole():
    base = {"offsets": {"timing_s": {"law": "normal", "value": 1.0, "mean": 2.0}, "symbol_duration_s": 1.0}}
    over = {"offsets": {"timing_s": {"law": "constant", "value": 3.0}}}
    assert merge(base, over) == {"offsets": {"timing_s": {"law": "constant", "value": 3.0}, "symbol_duration_s": 1.0}}


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_preset_states_where_its_figures_come_from(name):
    hardware = shipped()[name]
    assert hardware.source
    LinkConfig.model_validate({"offsets": hardware.offsets()})
    for quantity in ("timing", "frequency", "phase"):
        if getattr(hardware, quantity).law != "none":
            assert len(hardware.provenance[quantity]) > 10
            said = "assumed" in hardware.provenance[quantity] or "no source" in hardware.provenance[quantity]
            said |= "memory" in hardware.provenance[quantity]
            assert said == (quantity in hardware.assumed)
            assert ("(assumed)" in hardware.in_words(quantity)) == (quantity in hardware.assumed)
    if set(hardware.provenance) - set(hardware.assumed):
        assert hardware.link.startswith("https://")


def test_units_of_hardware():
    hardware = Hardware.model_validate(
        {
            "label": "x", "carrier_hz": 2e9, "sample_rate_hz": 5e6,
            "timing": {"law": "normal", "value": 0.5, "mean": 2, "unit": "samples"},
            "frequency": {"law": "uniform", "value": 3, "unit": "ppm", "per": "device"},
            "phase": {"law": "uniform", "value": 180, "unit": "deg"},
            "provenance": {"timing": "here", "frequency": "here", "phase": "here"},
        }
    )  # fmt: skip
    offsets = hardware.offsets()
    assert offsets["timing_s"] == pytest.approx({"law": "normal", "value": 1e-7, "mean": 4e-7, "per": "round"})
    assert offsets["frequency_hz"]["value"] == pytest.approx(6000.0)
    assert offsets["phase_rad"]["value"] == pytest.approx(math.pi)
    share = Hardware(
        label="x", frequency={"law": "normal", "value": 1e-5, "unit": "sample_rate"}, provenance={"frequency": "here"}
    )
    assert share.offsets()["frequency_hz"]["value"] == pytest.approx(10.0)


def test_a_figure_without_provenance_is_refused():
    with pytest.raises(PlanError, match=r"provenance\.timing is missing"):
        build_plan(
            {
                "contestants": {"a": {"label": "a"}},
                "hardware": {"mine": {"label": "x", "timing": {"law": "normal", "value": 1, "unit": "us"}}},
            },
            "plan",
        )
