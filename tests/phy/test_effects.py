"""Settings without effect are said; those with one are not."""

import numpy as np
import pytest

from phy.config import LinkConfig
from phy.effects import without_effect
from phy.link import Link

CASES = [
    ({"scheme": "reed", "power": {"control": "truncated"}}, "power.control"),
    ({"scheme": "reed", "csi": {"estimator": "ls"}}, "csi.estimator"),
    ({"combiner": "equal"}, "combiner"),
    ({"decision": "hard"}, "decision"),
    ({"clock": {"sampling_ppm": {"law": "uniform", "value": 10}}}, "clock.sampling_ppm"),
    ({"burst": {"symbols_per_scalar": 3}}, "burst.symbols_per_scalar"),
    ({"channel": {"tdl": "C"}}, "channel.tdl"),
    ({"noncoherent": {"looks": 4}}, "noncoherent.looks"),
    ({"digital": {"bits": 4}}, "digital.bits"),
    ({"csi": {"doppler_hz": 5.0}}, "csi.doppler_hz"),
    ({"power": {"threshold": 0.5}}, "power.threshold"),
]


@pytest.mark.parametrize(("settings", "name"), CASES, ids=[name for _, name in CASES])
def test_what_is_said_to_have_no_effect_has_none(settings, name):
    config = LinkConfig.model_validate({"clip": 1.0, **settings})
    assert [sentence.split()[0] for sentence in without_effect(config)] == [f"link.{name}"]
    plain = LinkConfig.model_validate({"clip": 1.0, "scheme": config.scheme})
    payloads = np.random.default_rng(0).uniform(-1, 1, (5, 3, 1))
    results = [Link(c, 1).aggregate(np.arange(5), payloads).estimates for c in (config, plain)]
    assert np.array_equal(*results)


def test_nothing_is_said_of_settings_that_act():
    config = LinkConfig.model_validate({
        "fidelity": "waveform", "scheme": "reed", "noncoherent": {"looks": 2}, "receive_antennas": 2,
        "channel": {"model": "tdl", "tdl": "B", "doppler_hz": 3.0, "round_duration_s": 0.2},
        "clock": {"sampling_ppm": {"law": "normal", "value": 1.0}}, "burst": {"guard_symbols": 30},
    })  # fmt: skip
    assert without_effect(config) == []
