"""What a claim of privacy is refused for: randomness that is not as secret as was asked for, or no longer the run's."""

import shutil
import threading

import pytest

from bridge.errors import KeysError
from bridge.links import phy_link_factory
from bridge.server import AirServer
from testbench.errors import RunFolderError, ScenarioError, TestbenchError
from testbench.privacy.secrecy import refuse_link, refuse_public_seed, sentences
from testbench.run_folder import RunFolder
from testbench.runner import Watcher
from tests.testbench.test_privacy_run import RECORDS
from tests.testbench.test_secrecy import SECRET, broadcasts, cut_off, private, run

STREAM = {
    "link": {"fidelity": "waveform"},
    "stream": {"send": ["ipc:///a", "ipc:///b"], "receive": ["ipc:///c"]},
}


@pytest.mark.parametrize(
    ("changes", "rests"),
    [
        ({}, "receiver noise"),
        ({"privacy": {"noise_source": "artificial"}}, "artificial noise"),
        ({"privacy": {"noise_source": "both"}}, "receiver noise and artificial noise"),
        (RECORDS, "receiver noise and batches"),
        ({"link": {"scheme": "reed"}, "privacy": {"accounting": "renyi"}}, "receiver noise and fades and phases"),
    ],
)
def test_strict_refuses_what_rests_on_the_seed_before_a_folder_is_touched(tmp_path, changes, rests):
    wanted = private(changes, {"privacy": {**changes.get("privacy", {}), "strict": True}})
    with pytest.raises(TestbenchError) as refused:
        run(wanted, tmp_path / "run")
    assert str(refused.value) == (
        f'privacy.strict: the guarantee would rest on {rests} drawn from the public seed 3; set privacy.randomness = "secret"'
    )
    assert not (tmp_path / "run" / "scenario.toml").exists()
    refuse_public_seed(private(changes, {"privacy": {**changes.get("privacy", {}), "strict": True, **SECRET["privacy"]}}))


def test_a_strict_run_of_a_secret_goes_through(tmp_path):
    strict = private(SECRET, {"privacy": {"strict": True, **SECRET["privacy"]}, "federation": {"rounds": 2}})
    assert run(strict, tmp_path / "run").summary["rounds"] == 2
    # Strictness changes nothing that is computed: a run may be resumed with it or without.
    run(private(SECRET, {"federation": {"rounds": 2}}), tmp_path / "run", resume=True)


def test_a_link_must_be_as_secret_as_the_claim_needs():
    air = "the air server at tcp://x draws {} from the seed that it is sent, which every device has; have it started with"
    secret, strict = private(SECRET), private({"privacy": {"strict": True}})
    both = private({"privacy": {"noise_source": "both", **SECRET["privacy"]}})
    energy = private({"link": {"scheme": "reed"}, "privacy": {"accounting": "renyi", **SECRET["privacy"]}})
    public, hidden = {"noise": "seed", "keyed_by": "seed"}, {"noise": "secret", "keyed_by": "secret"}
    fresh, fresh_hidden = {"noise": "fresh", "keyed_by": "seed"}, {"noise": "fresh", "keyed_by": "secret"}
    where = "air server at tcp://x"
    for scenario, description, words in (
        (secret, public, air.format("receiver noise")),
        (secret, {}, air.format("receiver noise")),
        (secret, {"n0": 0.1}, air.format("receiver noise")),
        (both, fresh, air.format("artificial noise")),
        (energy, fresh, air.format("fades and phases")),
        (strict, public, "the guarantee would rest on receiver noise drawn from the public seed 3"),
    ):
        with pytest.raises(TestbenchError) as refused:
            refuse_link(scenario, description, where)
        assert words in str(refused.value)
    for scenario in (secret, both, energy):
        refuse_link(scenario, hidden, where)
        refuse_link(scenario, fresh_hidden, where)
    refuse_link(strict, fresh, where)  # nothing rests on the seed
    refuse_link(private(), public, where)  # nothing was asked for


def test_somebodys_server_is_asked_how_it_keys_its_noise(tmp_path):
    short = {"federation": {"rounds": 2}}
    for secret in (None, b"s" * 32):
        server = AirServer(f"ipc://{tmp_path}/air-{secret is None}", phy_link_factory(), secret=secret)
        endpoint = server.bind()
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            wanted = private(SECRET, short, {"uplink": {"transport": "ipc", "endpoint": endpoint}})
            if secret is None:
                with pytest.raises(
                    TestbenchError, match=r"draws receiver noise from the seed .* `pairzero air serve --secret FILE`"
                ):
                    run(wanted, tmp_path / "refused")
                assert RunFolder(tmp_path / "refused").committed_rounds() == 0
                continue
            runs = [tmp_path / f"run-{i}" for i in range(2)]
            for folder in runs:
                assert "by a secret of its own, as it says" in run(wanted, folder).summary["privacy_statement"]
            one, other = (broadcasts(folder) for folder in runs)
            # The same question in the first round, of a server with one secret: the runs' sessions are apart.
            assert abs((one[0] - one[1]) - (other[0] - other[1])).min() > 1e-4
        finally:
            server.stop()
            thread.join()


def test_a_fleet_under_a_seed_is_refused():
    fleet = {"fleet": {"bind": "ipc:///tmp/f"}, "privacy": {"randomness": "seed"}}
    with pytest.raises(ScenarioError, match=r'a fleet\'s devices have the seed.*set privacy.randomness to "auto" or "secret"'):
        private(fleet)
    assert "in a file that never leaves its machine" in " ".join(sentences(private({"fleet": {"bind": "ipc:///tmp/f"}})))


def test_a_run_goes_on_with_the_secret_that_it_began_with_or_not_at_all(tmp_path):
    wanted = private(SECRET, {"federation": {"rounds": 4}})
    folder = tmp_path / "run"
    cut_off(wanted, folder, 2)
    key = folder / "private" / "noise.key"
    with pytest.raises(RunFolderError, match=r"privacy.randomness = 'secret', not 'seed'"):
        run(private({"federation": {"rounds": 4}, "privacy": {"randomness": "seed"}}), folder, resume=True)
    key.chmod(0o644)
    with pytest.raises(KeysError, match=r"can be read by others"):
        run(wanted, folder, resume=True)
    key.unlink()
    with pytest.raises(RunFolderError, match=r"has 2 rounds whose noise is of the seed, or of a secret that is gone from"):
        run(wanted, folder, resume=True)
    # A fleet's run, taken up in one process without a word on randomness.
    fleet = private({"fleet": {"bind": f"ipc://{tmp_path}/f"}})
    (tmp_path / "fleet" / "private").mkdir(parents=True)
    shutil.copytree(folder, tmp_path / "fleet", dirs_exist_ok=True)
    (tmp_path / "fleet" / "private" / "noise.key").write_bytes(bytes(32))
    (tmp_path / "fleet" / "scenario.toml").write_text(private({"federation": {"rounds": 4}}).to_toml())
    assert fleet.fleet.on
    with pytest.raises(
        RunFolderError, match=r"was started with noise of a secret; resume it as it was started, a fleet or with"
    ):
        run(private({"federation": {"rounds": 4}}), tmp_path / "fleet", resume=True)


def test_a_run_that_committed_nothing_keeps_its_secret_only_if_it_is_sent_again_as_it_was(tmp_path):
    """A round that was sent and not committed: the same again under the same noise tells nothing, another one would."""

    class Break(Watcher):
        def started(self, label: str, done: int, total: int) -> None:
            raise KeyboardInterrupt

    wanted, folder = private(SECRET), tmp_path / "run"
    key = folder / "private" / "noise.key"
    found = []
    for scenario, resume in (
        (wanted, False),
        (wanted, True),
        (private(SECRET, {"zeroth_order": {"learning_rate": 1e-4}}), True),
        (wanted, False),
    ):
        with pytest.raises(KeyboardInterrupt):
            run(scenario, folder, resume=resume, watcher=Break())
        found.append(key.read_bytes())
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_a_seeded_flowgraph_is_no_secret():
    flowgraph = {"link": {"fidelity": "waveform"}, "stream": {"flowgraph": "uplink"}}
    for changes in (SECRET, {"privacy": {"strict": True}}):
        with pytest.raises(
            TestbenchError, match=r'the noise of the flowgraph "uplink" is drawn from a seed on its command line'
        ):
            refuse_public_seed(private(flowgraph, changes))
    refuse_public_seed(private(flowgraph))
    radio = private(STREAM, {"privacy": {"strict": True}})
    refuse_public_seed(radio)
    assert "draws it anew on each transmission" in sentences(radio)[0]
