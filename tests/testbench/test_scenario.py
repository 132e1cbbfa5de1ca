"""Scenarios: what is refused says where and what to write instead; what is accepted survives a round trip."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbench import scenario as module
from testbench.errors import ScenarioError
from testbench.scenario import Scenario, build, load


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", module.shipped())
def test_every_shipped_scenario_loads_and_survives_its_own_toml(name, tmp_path):
    loaded = load(name)
    assert load(write(tmp_path / "again.toml", loaded.to_toml())) == loaded


def test_the_seed_and_the_clip_are_written_once():
    made = build({"seed": 9, "zeroth_order": {"clip": 3.0}}, "here")
    assert made.federation.seed == 9
    assert made.link.clip == 3.0
    for data in ({"federation": {"seed": 1}}, {"link": {"clip": 1.0}}):
        with pytest.raises(ScenarioError, match="once for the whole scenario"):
            build(data, "here")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[link]\nsnr_max_bd = 3", r"no setting link.snr_max_bd; did you mean link.snr_max_db\?"),
        ("[link]\nsnr = 3", r"no setting link.snr; did you mean link.snr_max_db\?"),
        ("[csi]\nestimator = 'ls'", r"no setting csi; did you mean link.csi.estimator\?"),
        ("[task]\nbatch = 3", r"no setting task.batch; did you mean federation.batch_size\?"),
        ("[federation]\nlr = 1", r"no setting federation.lr; valid keys here are .*batch_size"),
        ("[federation]\nlearning_rate = 1", r"did you mean zeroth_order.learning_rate\?"),
        ("[lnk]\nscheme = 'sign'", r"no setting lnk; did you mean link\?"),
        ("[link.csi]\nestimatr = 'ls'", r"did you mean link.csi.estimator\?"),
        ("rounds = 3", r"did you mean federation.rounds\?"),
        ("[federation]\nrounds = 'many'", r"federation.rounds must be a whole number, got 'many'"),
        ("[federation]\ndevices = true", "federation.devices cannot be true"),
        ("[link.csi]\npilot_symbols = '8'", "link.csi.pilot_symbols must be a whole number, got '8'"),
        ("link = 3", r"link is a section, \[link\], and cannot be 3"),
        ("[link]\ncsi = 'perfect'", r"link.csi is a section"),
        ("[link]\nscheme = 'sgn'", r"there is no 'sgn'; did you mean 'sign'"),
        ("[uplink]\ntransport = 'none'\n[link]\nscheme = 'a.b:C'", "knows the schemes analog and sign"),
        ("[link]\nsnr_max_db = 5000", "link.snr_max_db: input should be less than or equal to 200"),
        ("[zeroth_order]\nmu = 0", r"zeroth_order.mu: input should be greater than 0"),
        ("[link]\nsnr_max_db = nan", r"link.snr_max_db: input should be"),
        ("seed = -1", "seed: input should be greater than or equal to 0"),
        ("[uplink]\ntransport = 'none'\nendpoint = 'tcp://127.0.0.1:1'", "needs transport"),
        ("name = ", "is not valid TOML"),
        ("name = 'a b'", "name must be 1 to 64 letters"),
    ],
)
def test_a_defect_is_one_sentence_that_names_it(tmp_path, text, sentence):
    path = write(tmp_path / "bad.toml", text)
    with pytest.raises(ScenarioError, match=sentence) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_scenario_names_the_nearest():
    with pytest.raises(ScenarioError, match=r"did you mean demo\?"):
        load("dmo")
    with pytest.raises(ScenarioError, match=r"there is no scenario demo\.json"):
        load("demo.json")
    with pytest.raises(ScenarioError, match="shipped scenarios are"):
        load("/nowhere/at/all.toml")


def test_overrides_reach_every_type(tmp_path):
    path = write(tmp_path / "s.toml", "seed = 1\n")
    made = load(path, ["federation.rounds=7", "link.scheme=sign", "link.csi.estimator='ls'", "evaluation.noise_free=true"])
    assert (made.federation.rounds, made.link.scheme, made.link.csi.estimator) == (7, "sign", "ls")
    assert made.evaluation.noise_free
    for text in ("rounds", "=3", ".=3", "link.=3"):
        with pytest.raises(ScenarioError, match="must read key=value"):
            load(path, [text])
    with pytest.raises(ScenarioError, match=r"^--set link.snr=3: there is no setting"):
        load(path, ["link.snr=3"])
    with pytest.raises(ScenarioError, match="is a value, not a section"):
        load(path, ["seed.x=1"])
    with pytest.raises(ScenarioError, match=r"did you mean federation.devices\?"):
        load(path, ["federation.devcies=3"])


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "train.csv", "text,label\n")
    made = load(write(tmp_path / "s.toml", "[task]\nname = 'text'\ntrain = 'train.csv'\n"))
    assert made.task.train == tmp_path / "train.csv"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    devices=st.integers(1, 500),
    snr=st.floats(-60, 60),
    rate=st.floats(1e-12, 10),
    scheme=st.sampled_from(["analog", "sign"]),
    transport=st.sampled_from(["ipc", "tcp", "inproc", "none"]),
    every=st.integers(1, 1000),
    pilots=st.one_of(st.none(), st.floats(-20, 40)),
    prompt=st.one_of(st.none(), st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20)),
)
def test_any_valid_scenario_survives_toml(tmp_path_factory, seed, devices, snr, rate, scheme, transport, every, pilots, prompt):
    data = {
        "seed": seed,
        "federation": {"devices": devices},
        "zeroth_order": {"learning_rate": rate},
        "link": {"scheme": scheme, "snr_max_db": snr, "csi": {} if pilots is None else {"pilot_snr_db": pilots}},
        "uplink": {"transport": transport},
        "evaluation": {"every": every},
        "task": {} if prompt is None else {"prompt": prompt.replace("{", "").replace("}", "") + "{text}"},
    }
    made = build(data, "here")
    path = write(tmp_path_factory.mktemp("s") / "s.toml", made.to_toml())
    assert load(path) == made


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_scenario_or_one_sentence(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("s") / "s.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        made = load(path)
    except ScenarioError:
        return
    assert isinstance(made, Scenario)
