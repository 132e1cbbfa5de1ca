"""Runs of a user's own model, of SQuAD and of files per device, as a user starts them."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from learning.errors import TaskError
from testbench.run_folder import Evaluation, RunFolder, spoken
from testbench.runner import Watcher, run_scenario
from testbench.scenario import Scenario, build
from tests import forked
from tests.learning.folders import byte_tokenizer, written
from tests.learning.test_squad import official
from tests.learning.tiny import opt_config
from tests.testbench.test_run import ROOT, environment

OWN_MODEL = ROOT / "docs" / "own-model.md"


class Listener(Watcher):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def scenario(**sections: Any) -> Scenario:
    base: dict[str, Any] = {
        "name": "t", "seed": 1, "uplink": {"transport": "none"}, "evaluation": {"every": 4},
        "federation": {"devices": 2, "batch_size": 2, "rounds": 4},
    }  # fmt: skip
    return build({**base, **sections}, "test")


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", OWN_MODEL.read_text(encoding="utf-8"), re.DOTALL)


def test_the_documented_model_runs_on_the_command_line_and_in_python(tmp_path: Path) -> None:
    module, api, _ = blocks()
    (tmp_path / "bag.py").write_text(module)
    (tmp_path / "two_lines.py").write_text(api + "\nprint(losses[0], sum(losses[-20:]) / 20, federation.evaluate().accuracy)\n")
    shown = subprocess.run(
        [sys.executable, "two_lines.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    ).stdout.split()
    # The margin loss of two labels is 1/2 at even scores and 0 once every margin is 1.
    assert float(shown[0]) == pytest.approx(0.5, abs=0.1)
    assert float(shown[1]) < 0.45
    assert 0.4 < float(shown[2]) < 0.7
    settings = [
        "model.kind=bag:Bag", "federation.rounds=20", "evaluation.noise_free=false", "uplink.transport=none",
        "zeroth_order.learning_rate=0.05", "task.train_examples=60", "task.validation_examples=40",
    ]  # fmt: skip
    sets = [word for setting in settings for word in ("--set", setting)]
    done = forked.run(tmp_path, "run", "demo", "--out", "r", *sets, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert summary["parameters"] == 512 * 2 + 2
    assert summary["metric"] == "accuracy"
    assert summary["accuracy_final"] is not None
    again = forked.run(tmp_path, "replay", "r", folder=tmp_path)
    assert "identical to the weights at the end of the run" in again.stdout
    (tmp_path / "bag.py").write_text(module.replace("def losses", "def loss"))
    refused = forked.run(tmp_path, "run", "demo", "--out", "q", *sets, folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr == "pairzero: the model bag:Bag lacks the method losses; docs/own-model.md says what each does\n"


def test_a_run_of_squad_says_f1(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        official(tmp_path / f"{name}-v1.1.json")
    folder = written(
        tmp_path / "m", opt_config(vocab_size=400, max_position_embeddings=160), byte_tokenizer(), "AutoModelForCausalLM"
    )
    model = {"kind": "causal_lm", "path": str(folder), "answer_tokens": 4, "max_tokens": 60}
    listener = Listener()
    run = scenario(task={"name": "squad", "folder": str(tmp_path)}, model=model)
    result = run_scenario(run, RunFolder(tmp_path / "r"), watcher=listener)
    summary = result.summary
    assert summary["metric"] == "f1"
    assert summary["accuracy_final"] is None
    for key in ("f1_zero_shot", "f1_final", "exact_match_final"):
        assert 0.0 <= summary[key] <= 1.0
    assert summary["f1_noise_free"] is None
    cut = [note for note in summary["notes"] if "were cut on their left" in note]
    assert len(cut) == 2  # of the training and of the held-out questions
    assert f"note: {cut[0]}" in listener.said
    first = json.loads((tmp_path / "r" / "evaluations.jsonl").read_text().splitlines()[0])
    assert list(first) == ["round", "f1", "exact_match", "loss"]
    assert result.folder.evaluations()[0].metric == "f1"
    page = result.folder.report.read_text()
    assert "held-out F1, zero-shot" in page
    assert "held-out accuracy" not in page


def test_evaluations_keep_their_form() -> None:
    old = Evaluation.of_line('{"round": 5, "accuracy": 0.75, "loss": null}')
    assert old == Evaluation(5, 0.75, None)
    assert json.loads(old.line()) == {"round": 5, "accuracy": 0.75, "loss": None}
    new = Evaluation(6, 0.5, 1.25, "f1", {"exact_match": 0.25})
    assert Evaluation.of_line(new.line()) == new
    for broken in ('{"round": 5, "acc', '{"round": 5, "loss": 1.0}', "3"):
        with pytest.raises((ValueError, TypeError, KeyError)):
            Evaluation.of_line(broken)
    assert [spoken(name) for name in ("accuracy", "f1", "exact_match")] == ["accuracy", "F1", "exact match"]


def test_a_file_per_device_is_a_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.tsv").write_text("sentence\tlabel\n" + "".join(f"{name} film {i}\t{i % 2}\n" for i in range(6)))
    monkeypatch.chdir(tmp_path)
    task = {"name": "sst2", "train": ["a.tsv", "b.tsv"], "validation": "a.tsv"}
    split = {"devices": 2, "batch_size": 2, "rounds": 2, "split": "by_file"}
    folder = written(
        tmp_path / "m", opt_config(vocab_size=400, max_position_embeddings=64), byte_tokenizer(), "AutoModelForCausalLM"
    )
    run = scenario(task=task, federation=split, model={"kind": "causal_lm", "path": str(folder)})
    assert run.task.train == (tmp_path / "a.tsv", tmp_path / "b.tsv")
    result = run_scenario(run, RunFolder(tmp_path / "r"), figures=False)
    assert build(result.folder.load_scenario().plain(), "again") == run
    three = scenario(task=task, federation={**split, "devices": 3}, model={"kind": "causal_lm", "path": str(folder)})
    with pytest.raises(TaskError, match="device 2 would hold no training examples"):
        run_scenario(three, RunFolder(tmp_path / "s"), figures=False)
