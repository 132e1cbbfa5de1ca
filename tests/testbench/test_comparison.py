"""The comparison: costs in closed form, methods against their twins, what a folder holds, resuming, slips of the pen."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.integrate import quad

from learning.baselines.federation import Blocks, FirstOrderFederation
from learning.baselines.local import Gradient
from learning.config import FederationConfig
from phy.config import LinkConfig
from phy.link import Link
from testbench.comparison import command
from testbench.comparison.costs import digital, ergodic_rate, over_the_air
from testbench.comparison.folder import ComparisonFolder
from testbench.comparison.method import NotApplicable, make, names
from testbench.errors import RunFolderError, TestbenchError
from testbench.scenario import Scenario, build, load
from tests import drawings
from tests.learning.tiny import flat, tiny_opt, toy_data

SMALL = {
    "name": "small",
    "seed": 3,
    "task": {"name": "embedded", "train_examples": 60, "validation_examples": 30},
    "federation": {"devices": 3, "batch_size": 2, "rounds": 3},
    "zeroth_order": {"learning_rate": 5e-4, "clip": 8.0},
    "link": {"snr_max_db": 10.0, "csi": {"estimator": "ls", "pilot_symbols": 4}, "power": {"control": "truncated"}},
    "uplink": {"transport": "inproc"},
    "evaluation": {"every": 2},
}


def small(**sections: dict[str, object]) -> Scenario:
    return build({**SMALL, **{k: {**SMALL.get(k, {}), **v} for k, v in sections.items()}}, "test")


def run(scenario: Scenario, path: Path, methods: str, seeds: tuple[int, ...] = (3,), resume: bool = False) -> dict[str, dict]:
    facts = command.run(Console(quiet=True), scenario, ComparisonFolder(path), tuple(methods.split(",")), seeds, resume)
    return {one["method"]: one for one in facts}


@pytest.mark.parametrize("snr_db", [-25.0, -10.0, 5.0, 30.0])
def test_the_ergodic_rate_is_the_integral_over_rayleighs_law(snr_db):
    snr = 10 ** (snr_db / 10)
    for antennas in (1, 2):
        wanted, _ = quad(
            lambda g, m=antennas: math.log2(1 + snr * g) * g ** (m - 1) * math.exp(-g) / math.factorial(m - 1), 0, 80
        )
        assert ergodic_rate(LinkConfig(clip=1.0, snr_max_db=snr_db, receive_antennas=antennas)) == pytest.approx(
            wanted, rel=2e-4
        )
    still = LinkConfig(clip=1.0, snr_max_db=snr_db, channel={"model": "awgn"})
    assert ergodic_rate(still) == pytest.approx(math.log2(1 + snr))


def test_digital_links_pay_for_their_bits_and_for_pilots_of_every_block():
    scenario = small(baselines={"coherence_symbols": 100}, link={"channel": {"model": "awgn"}, "snr_max_db": 0.0})
    costs = digital(scenario, 250, 32, forwards=1)  # 1 bit per channel use at 0 dB: 250 symbols, 3 blocks
    assert (costs.payload_uses, costs.pilot_uses) == (3 * 250, 3 * 4 * 3)
    assert (costs.uplink_bits, costs.downlink_bits) == (750, 32)
    perfect = small(link={"csi": {"estimator": "perfect"}})
    assert digital(perfect, 250, 32, forwards=1).pilot_uses == 0


def test_over_the_air_costs_do_not_grow_with_devices_but_for_pilots_and_bits():
    link = small().link
    few, many = (over_the_air(link, k, 100, blocks=7, entries=650, forwards=1) for k in (3, 30))
    assert few.payload_uses == many.payload_uses == 700
    assert (few.pilot_uses, many.pilot_uses) == (7 * 4 * 3, 7 * 4 * 30)
    assert (few.uplink_bits, few.downlink_bits) == (650 * 16 * 3, 650 * 32)


def test_every_method_states_what_its_definition_says():
    scenario = small(zeroth_order={"directions": 4})
    costs = {name: make(name, scenario).costs(1000) for name in names()}
    up = {name: one.uplink_bits / 3 for name, one in costs.items()}
    down = {name: one.downlink_bits for name, one in costs.items()}
    passes = {name: (one.forwards, one.backwards) for name, one in costs.items()}
    assert (up["pairzero"], down["pairzero"], passes["pairzero"]) == (4 * 16, 4 * 32, (8, 0))
    assert (up["feedsign"], down["feedsign"]) == (4, 4)
    assert (up["decomfl"], down["decomfl"]) == (4 * 32, 4 * 32)
    assert (up["mezo"], down["mezo"], costs["mezo"].channel_uses) == (0, 0, 0)
    assert up["fedsgd"] == down["fedsgd"] == up["fedavg_adam"] == 32_000
    assert (passes["fedsgd"], passes["fedavg_adam"]) == ((1, 1), (5, 5))
    assert (up["fo_ota"], costs["fo_ota"].payload_uses, costs["fo_ota"].pilot_uses) == (16_000, 1024, 12)
    assert make("mezo", scenario).scenario.federation.batch_size == 6


class Air:
    """A link of the physical layer, called directly."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def aggregate_rounds(self, rounds: np.ndarray, payloads: np.ndarray) -> object:
        return self._link.aggregate(rounds, payloads)


def test_entries_over_the_air_carry_the_noise_of_truncated_inversion():
    """Variance clip^2 N0 / (2 g K^2) per entry about the mean of the clipped entries, with nobody truncated."""
    clip, threshold, devices, data = 0.05, 1e-3, 3, toy_data()
    link = LinkConfig(clip=clip, snr_max_db=40.0, power={"control": "truncated", "threshold": threshold})
    config = FederationConfig(devices=devices, batch_size=4, rounds=1)
    ends = []
    for uplink in (None, Air(Link(link, 1))):
        from learning.uplink import NoiseFreeUplink

        found = FirstOrderFederation(tiny_opt(data), data, config, Gradient(1.0), uplink or NoiseFreeUplink(), Blocks(64, clip))
        list(found.run(1))
        ends.append(flat(found.objective.model).double())
    error = (ends[1] - ends[0]).numpy()
    variance = clip**2 * link.n0 / (2 * threshold * devices**2)
    assert error.size > 3000
    assert error.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / error.size))
    assert abs(error.mean()) < 5 * math.sqrt(variance / error.size)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict]]:
    path = tmp_path_factory.mktemp("comparison") / "all"
    scenario = small(link={"decision": "hard"})
    with drawings.sharp():
        return path, run(scenario, path, "pairzero,perfect_mean,perfect_sign,feedsign,decomfl,fedsgd,fedavg_lora,fo_ota")


def test_methods_that_are_the_same_but_for_their_bits_end_at_the_same_weights(compared):
    _, facts = compared
    # three votes never tie, so that one bit down says what the noise-free majority says
    assert facts["feedsign"]["weights_sha256"] == facts["perfect_sign"]["weights_sha256"]
    assert facts["feedsign"]["weights_sha256"] != facts["perfect_mean"]["weights_sha256"]
    assert facts["pairzero"]["weights_sha256"] != facts["perfect_mean"]["weights_sha256"]
    assert facts["decomfl"]["loss_final"] == pytest.approx(facts["perfect_mean"]["loss_final"], rel=1e-4)
    for one in facts.values():  # adapters begin at zero, and still change the order of additions
        assert one["loss_zero_shot"] == pytest.approx(facts["pairzero"]["loss_zero_shot"], rel=1e-5)
    assert facts["fedavg_lora"]["parameters"] < facts["fedsgd"]["parameters"] / 10


def test_the_table_is_tidy_and_counts_up(compared):
    path, facts = compared
    with (path / "comparison.csv").open() as file:
        table = list(csv.DictReader(file))
    assert {row["method"] for row in table} == facts.keys()
    for name, one in facts.items():
        mine = [row for row in table if row["method"] == name]
        at = [int(row["round"]) for row in mine]
        assert (at[0], at[-1]) == (0, 3)
        assert at == sorted(set(at))
        costs = one["costs"]
        uses = costs["payload_uses"] + costs["pilot_uses"] + costs["other_uses"]
        assert float(mine[-1]["channel_uses"]) == 3 * uses
        assert float(mine[-1]["uplink_bits"]) == 3 * costs["uplink_bits"]
        assert 0.0 == float(mine[0]["seconds"]) < float(mine[-1]["seconds"])
        assert float(mine[-1]["loss"]) == one["loss_final"]
    for suffix in ("png", "pdf"):
        assert (path / "figures" / f"convergence.{suffix}").stat().st_size > 10_000
    assert (path / "runs" / "pairzero-seed3" / "journal.sqlite").is_file()
    assert json.loads((path / "comparison.json").read_text())["seeds"] == [3]


def test_a_finished_method_is_not_repeated_and_others_may_join(compared):
    path, facts = compared
    before = {p: p.stat().st_mtime_ns for p in path.glob("runs/*/method.json")}
    more = run(small(link={"decision": "hard"}), path, "pairzero,fedsgd,fedavg_sgd", resume=True)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert more.keys() == facts.keys() | {"fedavg_sgd"}
    with pytest.raises(RunFolderError, match="add --resume"):
        run(small(link={"decision": "hard"}), path, "pairzero")
    with pytest.raises(RunFolderError, match=r"was started with link.decision = 'hard', not 'soft'"):
        run(small(), path, "pairzero", resume=True)


def test_a_first_order_run_that_was_cut_off_begins_again_to_the_same_weights(compared, tmp_path):
    _, facts = compared
    scenario = small(link={"decision": "hard"})
    folder = ComparisonFolder(tmp_path / "cut")
    place = folder.of("fedsgd", 3)
    place.add({"round": 2, "score": 0.0, "loss": 9.0, "metric": "accuracy", "seconds": 1e6})
    with folder:
        folder.scenario.write_text(scenario.to_toml())
    again = run(scenario, folder.path, "fedsgd", resume=True)["fedsgd"]
    assert again["weights_sha256"] == facts["fedsgd"]["weights_sha256"]
    assert again["seconds"] < 1e5


def test_slips_of_the_pen_end_in_one_sentence(tmp_path):
    with pytest.raises(Exception, match='no method "feedsing"; did you mean feedsign') as caught:
        run(small(), tmp_path / "a", "feedsing")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()
    with pytest.raises(TestbenchError, match=r"needs a link, and uplink.transport is none; fedsgd"):
        run(small(uplink={"transport": "none"}), tmp_path / "b", "fo_ota")
    with pytest.raises(TestbenchError, match="--seeds takes whole numbers"):
        command.compare(Console(quiet=True), "compare", methods=None, seeds="1,x", overrides=[], out=None, resume=False)
    with pytest.raises(NotApplicable, match="need a gradient"):
        make("fedsgd", small(model={"loss": "metric"}))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="something else than a comparison"):
        run(small(), tmp_path / "c", "fedsgd")


def test_privacy_is_the_scenarios_own_and_the_others_say_so():
    private = load("tight", ["federation.rounds=10"])
    assert make("pairzero", private).scenario.privacy.on
    for name in ("perfect_mean", "feedsign", "fedsgd", "fo_ota", "mezo"):
        method = make(name, private)
        assert not method.scenario.privacy.on
        assert any("without privacy" in note for note in method.notes)
