"""Faults of the emulated air: found, checked, built in order, and drawn by keys."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from phy import faults
from phy.draws import KeyedDraws
from phy.errors import PhyError, UnknownPart
from phy.impairments.phase_noise import Part as PhaseNoise

RANDOM = {
    "phase_noise": {"linewidth_hz": {"law": "uniform", "value": 1e3, "mean": 2e3}},
    "power_amplifier": {"back_off_db": {"law": "normal", "value": 1.0, "mean": 5.0}},
    "iq_imbalance": {
        "gain_db": {"law": "normal", "value": 0.5},
        "phase_rad": {"law": "uniform", "value": 0.1, "per": "device"},
    },
    "dc_offset": {"level": {"law": "uniform", "value": 0.1}},
}


def bursts(devices, count=777):
    random = np.random.default_rng(1)
    x = np.zeros((20, count), np.complex64)
    x[:, 50:-50] = random.normal(size=(20, count - 100)) + 1j * random.normal(size=(20, count - 100))
    return torch.from_numpy(x[:devices])


class Loud:
    """A fault of somebody's own."""

    stage = "receiver"
    order = 5

    class Settings(BaseModel):
        factor: float = 2.0

    def __init__(self, settings, sample_rate_hz):
        self.settings = settings

    def apply(self, samples, draws, round_index):
        return samples * self.settings.factor


def test_the_faults_that_ship():
    assert faults.available() == ["converter", "dc_offset", "iq_imbalance", "phase_noise", "power_amplifier"]
    for name in faults.available():
        (parsed,) = faults.parse({name: {"gain_db": 1.0} if name == "iq_imbalance" else {}})
        assert all(field.description for field in type(parsed.settings).model_fields.values())


def test_order_is_physical_whatever_the_listing():
    names = ["converter", f"{__name__}:Loud", "phase_noise", "power_amplifier", "dc_offset", "iq_imbalance"]
    asked = {name: {"gain_db": 1.0} if name == "iq_imbalance" else {} for name in names}
    transmitter, receiver = faults.build(asked, 1e6)
    assert [part.order for part in transmitter] == [10, 20, 30, 40]
    assert [type(part).__module__.split(".")[-1] for part in transmitter] == [
        "iq_imbalance",
        "dc_offset",
        "power_amplifier",
        "phase_noise",
    ]
    assert [part.order for part in receiver] == [5, 10]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"power_amplifer": {}}, "there is no 'power_amplifer'; did you mean 'power_amplifier'"),
        ({"xyz": {}}, "choose one of converter, dc_offset"),
        ({"fractional_delay": {}}, "fractional_delay is a tool for Python code and no fault of the link"),
        ({"sionna_blocks": {}}, r"sionna_blocks is a tool .* set in \[link.offsets\]"),
        ({"phy.draws:KeyedDraws": {}}, "not a fault: it has no stage, order, Settings, apply"),
        ({"no.such:Thing": {}}, "cannot load 'no.such:Thing'"),
    ],
)
def test_unknown_faults_are_refused_in_a_sentence(asked, sentence):
    with pytest.raises(UnknownPart, match=sentence):
        faults.parse(asked)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"converter": {"bit": 3}}, "impairments.converter has no setting 'bit'; did you mean 'bits'"),
        ({"converter": {"bits": 0}}, "impairments.converter.bits: .* got 0"),
        ({"converter": 3}, "must be a table of settings, got 3"),
        ({"iq_imbalance": {}}, "set gain_db or phase_rad"),
        ({"phase_noise": {"linewidth_hz": -1}}, "linewidth_hz: must not be negative, and this law goes down to -1"),
        ({"phase_noise": {"linewidth_hz": {"law": "normal", "value": 1}}}, "choose constant or uniform"),
        ({"phase_noise": {"linewidth_hz": {"laww": "normal"}}}, "phase_noise.linewidth_hz has no setting 'laww'; .* 'law'"),
        ({"dc_offset": {"level": float("nan")}}, "dc_offset.level.value: .*finite"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(asked, sentence):
    with pytest.raises(PhyError, match=sentence):
        faults.parse(asked)


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_draws_are_keyed_by_round_and_device(name):
    ((part,), _) = faults.build({name: RANDOM[name]}, 1e6)
    draws = KeyedDraws(3)
    x = bursts(20)
    before = x.clone()
    many = part.apply(x, draws, 4)
    assert many.dtype == torch.complex64
    assert torch.equal(x, before)
    assert torch.equal(many, part.apply(x, KeyedDraws(3), 4))
    assert not torch.equal(many, part.apply(x, draws, 5))
    assert not torch.equal(many, part.apply(x, KeyedDraws(4), 4))
    # Device 3 of 10 is device 3 of 20.
    assert torch.equal(part.apply(bursts(10), draws, 4), many[:10])


def test_devices_and_rounds_have_phase_noise_of_their_own():
    part = PhaseNoise(PhaseNoise.Settings(linewidth_hz=3e3), 1e6)
    x = torch.ones(40, 4001, dtype=torch.complex64)
    walks = [np.unwrap(np.angle(part.apply(x, KeyedDraws(0), r).numpy())) for r in range(30)]
    steps = np.diff(np.concatenate(walks), axis=1)
    variance = 2 * np.pi * 3e3 / 1e6
    assert steps.var() == pytest.approx(variance, rel=0.005)
    assert np.all(np.stack(walks)[:, :, 0] == 0)
    correlation = np.corrcoef(steps)
    np.fill_diagonal(correlation, 0)
    assert np.abs(correlation).max() < 6.5 / np.sqrt(4000)


def test_a_silent_device_stays_silent():
    transmitter, _ = faults.build(RANDOM, 1e6)
    x = bursts(4)
    x[2] = 0
    for part in transmitter:
        x = part.apply(x, KeyedDraws(0), 0)
    assert float(x[2].abs().max()) == 0
    assert bool(torch.isfinite(torch.view_as_real(x)).all())
    assert float(x[:, :50].abs().max()) == 0


def test_faults_load_without_sionna():
    code = (
        "import sys; from phy import faults; faults.build({n: {'gain_db': 1} if n == 'iq_imbalance' else {}"
        " for n in faults.available()}, 1e6); assert 'sionna' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
