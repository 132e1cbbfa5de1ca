"""A run's model as transformers loads it, and its curves as TensorBoard reads them."""

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from learning import models
from learning.config import ModelConfig
from learning.parameters import weights_sha256
from testbench.errors import RunFolderError
from testbench.exporting import export_run
from testbench.replaying import rebuild
from testbench.run_folder import RunFolder
from testbench.runner import Watcher, prepare, run_scenario
from testbench.scenario import Scenario, build

SMALL = {
    "name": "small",
    "seed": 3,
    "task": {"name": "embedded", "train_examples": 60, "validation_examples": 30},
    "federation": {"devices": 2, "batch_size": 4, "rounds": 5},
    "zeroth_order": {"learning_rate": 2e-4, "clip": 8.0, "directions": 2},
    "link": {"snr_max_db": 10.0},
    "uplink": {"transport": "inproc"},
    "evaluation": {"every": 5},
}


def small(**model: object) -> Scenario:
    return build({**SMALL, "model": model}, "test")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("export") / "run")
    run_scenario(small(), folder, figures=False)
    return folder


def test_the_exported_folder_is_the_fine_tuned_model(run: RunFolder, tmp_path: Path) -> None:
    screen = StringIO()
    export_run(run, tmp_path / "model", Console(file=screen, width=200))
    assert "model and tokenizer in" in screen.getvalue()
    data, _ = prepare(small(), _silent())
    again = models.build(ModelConfig(kind="causal_lm", path=str(tmp_path / "model")), data)
    assert weights_sha256(again.model) == json.loads(run.summary.read_text())["weights_sha256"]


def test_adapters_are_folded_in(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    folder = RunFolder(tmp_path / "run")
    lora = {"rank": 2, "targets": ["q_proj", "v_proj", "fc1"]}
    run_scenario(small(lora=lora), folder, figures=False)
    export_run(folder, tmp_path / "model", Console(file=StringIO()))
    data, build_model = prepare(small(), _silent())
    loaded = models.build(ModelConfig(kind="causal_lm", path=str(tmp_path / "model")), data)
    tuned, _ = rebuilt(folder)
    base = build_model()
    rows = np.arange(30)
    with torch.inference_mode():
        ours, theirs, before = (o.losses(o.prepare(data.validation), rows) for o in (tuned, loaded, base))
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)
    assert float((before - ours).abs().max()) > 1e-4


def test_a_folder_that_is_taken_is_not_touched(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(RunFolderError, match="not empty"):
        export_run(run, tmp_path, Console(file=StringIO()))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_curves_are_the_journals(run: RunFolder) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from learning.journal import Journal

    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    with Journal(run.journal, read_only=True) as journal:
        rows = list(journal.rows())
    shown = {e.step: e.value for e in events.Scalars("train/loss")}
    assert shown == {row.round: pytest.approx(row.diagnostics["loss"], rel=1e-6) for row in rows}
    held_out = {e.step: e.value for e in events.Scalars("held-out/accuracy")}
    assert held_out == {e.round: pytest.approx(e.accuracy) for e in run.evaluations()}
    assert "link/received_power" in events.Tags()["scalars"]


def test_several_directions_reach_the_summary(run: RunFolder) -> None:
    summary = json.loads(run.summary.read_text())
    assert (summary["directions"], summary["uplink_symbols_per_round"]) == (2, 2)
    assert summary["uplink_payload_bits_per_round"] == 2 * 2 * 16
    assert summary["nmse_db"] is not None


def rebuilt(folder: RunFolder) -> tuple[models.Objective, str]:
    return rebuild(folder, Console(file=StringIO()))


def _silent() -> Watcher:
    return Watcher()
