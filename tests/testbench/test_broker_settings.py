"""The broker's file: what is honoured, and one sentence for what is not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from phy.errors import PhyError
from testbench.broker.command import make_airs
from testbench.broker.settings import BrokerConfig, DeviceConfig, StationConfig, load
from testbench.errors import ScenarioError

GOOD = """
seed = 4
[broker]
rate_hz = 1e6
n0 = 0.01
[broker.station]
receive = ["tcp://127.0.0.1:2001"]
transmit = ["tcp://127.0.0.1:2000"]
[[broker.device]]
transmit = "tcp://127.0.0.1:2101"
receive = "tcp://127.0.0.1:2100"
gain_db = -6.0
[[broker.device]]
transmit = "tcp://127.0.0.1:2201"
[link.channel]
model = "tdl"
doppler_hz = 10.0
"""


def test_a_whole_file_is_read_and_overridden(tmp_path):
    (tmp_path / "b.toml").write_text("\ufeff" + GOOD)
    settings = load(tmp_path / "b.toml", ["broker.n0=0.5", "link.channel.tdl=C"])
    assert (settings.broker.n0, settings.link.channel.tdl, settings.broker.device[0].gain_db) == (0.5, "C", -6.0)
    uplink, downlinks = make_airs(settings)
    assert (uplink.transmitters, uplink.receivers) == (2, 1)
    assert [air is None for air in downlinks] == [False, True]


@pytest.mark.parametrize(("old", "new", "words"), [
    ("n0 = 0.01", "snr_db = 3", "broker.snr_db: the broker has no such setting; here are rate_hz, device"),
    ("gain_db = -6.0", "gain = 1", "no such setting; here are transmit, receive, gain_db"),
    ("seed = 4", "[model]\nname = 'x'", "model: the broker has no such setting; here are seed, broker, link"),
    ("doppler_hz = 10.0", "round_duration_s = 0.1", "link.channel.round_duration_s has no meaning here"),
    ("doppler_hz = 10.0", "variation = 'sample'", "link.channel.variation has no meaning here"),
    ("doppler_hz = 10.0", "[link.offsets]\npulse = 'burst'", "link.offsets.pulse has no meaning here"),
    ("doppler_hz = 10.0", "[link.offsets.phase_jitter_rad]\nlaw = 'normal'\nvalue = 0.1", "jitter is drawn per round"),
    ("doppler_hz = 10.0", "[link.power]\ncontrol = 'weakest'", "link.power: the broker has no such setting"),
    ("rate_hz = 1e6", "", "broker.rate_hz: is missing"),
    ("rate_hz = 1e6", "rate_hz = true", "rate_hz cannot be true"),
    ("gain_db = -6.0", "gain_db = true", "broker.device.0.gain_db cannot be true"),
    ("2201", "2101", "tcp://127.0.0.1:2101 is named twice"),
    ("tcp://127.0.0.1:2001", "tcp://0.0.0.0:2001", "can be reached from other machines"),
    ('transmit = ["tcp://127.0.0.1:2000"]', "", "the station does not transmit"),
    ('receive = "tcp://127.0.0.1:2100"', "", "no device receives"),
    ('transmit = ["tcp://127.0.0.1:2000"]', 'transmit = ["tcp://127.0.0.1:2000", "tcp://127.0.0.1:2002"]', "give as many"),
    ("n0 = 0.01", "n0 = nan", "broker.n0"),
    ("[broker]", "[broker", "not valid TOML"),
])  # fmt: skip
def test_what_means_nothing_is_refused_in_one_sentence(tmp_path, old, new, words):
    assert old in GOOD
    (tmp_path / "b.toml").write_text(GOOD.replace(old, new))
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path / "b.toml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["measured", "sionna_tdl", "nothing", "mylab.root:Part"])
def test_a_model_of_bursts_is_no_channel_of_streams(tmp_path, model):
    (tmp_path / "b.toml").write_text(GOOD.replace('"tdl"', f'"{model}"'))
    with pytest.raises(PhyError, match="awgn, rayleigh, tdl"):
        make_airs(load(tmp_path / "b.toml"))


def test_insecure_allows_others_and_nothing_else_does(tmp_path):
    (tmp_path / "b.toml").write_text(GOOD.replace("tcp://127.0.0.1:2001", "tcp://0.0.0.0:2001"))
    assert load(tmp_path / "b.toml", ["broker.insecure=true"]).broker.station.receive == ("tcp://0.0.0.0:2001",)


def test_the_broker_needs_no_torch():
    code = (
        "import sys, testbench.broker.command, testbench.broker.settings; print(sorted({'torch', 'sionna'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_the_page_names_every_setting_and_its_example_loads(tmp_path):
    page = (Path(__file__).resolve().parents[2] / "docs" / "broker.md").read_text()
    (tmp_path / "b.toml").write_text(re.search(r"```toml\n(.*?)```", page, re.DOTALL).group(1))
    uplink, downlinks = make_airs(load(tmp_path / "b.toml"))
    assert (uplink.transmitters, len(downlinks)) == (2, 2)
    names = [*(set(BrokerConfig.model_fields) - {"device", "station"})]
    names += [f"station.{name}" for name in StationConfig.model_fields]
    names += [f"device.{name}" for name in DeviceConfig.model_fields]
    assert not [name for name in names if f"`{name}`" not in page]
