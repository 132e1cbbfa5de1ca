"""Peak memory: MeZO's loop against Algorithm 1, arithmetic against Table II, the table's own figures, and slips of the pen."""

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from learning.errors import LearningError
from testbench.errors import TestbenchError
from testbench.footprint import methods, table
from testbench.footprint.arithmetic import copies_mib
from testbench.footprint.command import memory
from testbench.footprint.measuring import measure_apart
from testbench.footprint.shapes import SHAPES
from testbench.footprint.subject import Measurement, Spec, Subject, make_subject
from tests.learning.tiny import flat, opt_config

SPEC = Spec("embedded", "engine", 4, 24)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return make_subject(SPEC)


def test_table_ii_of_the_paper_is_multiples_of_the_half_precision_weights():
    weights = 125_239_296
    assert copies_mib(weights, 1) == pytest.approx(238.88, abs=0.005)
    assert copies_mib(weights, 4) == pytest.approx(955.58, abs=0.1)
    assert copies_mib(weights, 1) / copies_mib(weights, 4) == 0.25
    assert copies_mib(weights, 4, trained=0) == copies_mib(weights, 1)


def test_mezos_loop_is_algorithm_1(subject, monkeypatch):
    """w moves by -eta g z, g from the losses at w + mu z and w - mu z, z torch's own stream of the step's seed."""
    monkeypatch.setattr("testbench.footprint.methods.mezo._LEARNING_RATE", 1e-4)
    step = methods.find("mezo")(subject)
    parameters = list(subject.model.parameters())
    before = [p.detach().clone() for p in parameters]
    step()
    moved = torch.cat([(p.detach() - b).reshape(-1) for p, b in zip(parameters, before, strict=True)])
    generator = torch.Generator().manual_seed(0)
    z = [torch.normal(0.0, 1.0, size=p.shape, generator=generator) for p in parameters]
    losses = []
    with torch.no_grad():
        for sign in (1.0, -1.0):
            for p, b, direction in zip(parameters, before, z, strict=True):
                p.data = b + sign * 1e-3 * direction
            losses.append(float(subject.language_loss()))
        for p, b in zip(parameters, before, strict=True):
            p.data = b
    projected = (losses[0] - losses[1]) / 2e-3
    assert abs(projected) > 0.1
    torch.testing.assert_close(moved, -1e-4 * projected * torch.cat([d.reshape(-1) for d in z]), rtol=0.02, atol=1e-6)


def test_a_step_of_each_method_leaves_the_model_whole(subject):
    before = flat(subject.model).clone()
    for name in ("inference_all", "inference_answer", "engine", "sgd", "adam", "adam_answer"):
        methods.find(name)(subject)()
        assert torch.isfinite(flat(subject.model)).all()
        assert float((flat(subject.model) - before).abs().max()) < 1e-6, name
    assert subject.ids.shape[0] == 4


@pytest.mark.parametrize(
    ("name", "weights"), [("opt-125m", 125_239_296), ("opt-350m", 331_196_416), ("opt-1.3b", 1_315_758_080)]
)
def test_shapes_have_the_published_numbers_of_weights(name, weights):
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(SHAPES[name]())
    assert sum(p.numel() for p in model.parameters()) == weights


def test_a_drawn_shape_gets_prompts_of_exactly_so_many_tokens(monkeypatch):
    monkeypatch.setitem(SHAPES, "tiny", opt_config)
    made = make_subject(Spec("tiny", "engine", 3, 20))
    assert made.dataset.rows.lengths.tolist() == [20, 20, 20]
    assert made.ids.shape == (3, 20)
    with pytest.raises(LearningError, match="has at least 3 tokens, not 2"):
        make_subject(Spec("tiny", "engine", 3, 2))


def test_ratios_and_bits_of_the_table():
    def one(method: str, peak: float, trained: int = 1000) -> Measurement:
        return Measurement(Spec("m", method, 16, 64), peak, 1.0, 400.0, None, 1000, trained, 0.1)

    measured = [one("inference_answer", 100.0), one("engine", 105.0), one("adam", 500.0), one("lora_adam", 300.0, 10)]
    rows = {row["method"]: row for row in table.rows(measured, table.Federation(5, 8000))}
    assert (rows["engine"]["over_inference"], rows["engine"]["over_adam"]) == (1.05, 0.21)
    assert (rows["engine"]["uplink_bits"], rows["engine"]["uplink_bits_total"]) == (5 * 16, 5 * 16 * 8000)
    assert (rows["adam"]["uplink_bits"], rows["adam"]["downlink_bits"]) == (5 * 32_000, 32_000)
    assert rows["lora_adam"]["uplink_bits"] == 5 * 320
    assert rows["inference_answer"]["uplink_bits"] == 0


ROOT = Path(__file__).resolve().parents[2]


def test_a_measurement_is_of_a_process_of_its_own_and_sees_what_is_allocated(tmp_path, monkeypatch, sharp):
    """A method that holds 96 MiB for a moment is measured 96 MiB larger, whatever this process holds; the files say so."""
    (tmp_path / "greedy.py").write_text(
        "import torch\n"
        "TITLE, COPIES, FORWARDS, BACKWARDS = 'greedy', 1, 1, 0\n"
        "def build(subject):\n"
        "    return lambda: torch.ones(96 * 2**18).sum()\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.syspath_prepend(tmp_path)
    console, out = Console(width=200, record=True), tmp_path / "out"
    returned = memory(
        console, "demo", models=[], chosen="greedy:build", batch=2, tokens="24", device=None, overrides=[], out=out
    )
    assert [row["method"] for row in returned] == ["greedy:build"]
    (greedy,) = json.loads((out / "memory.json").read_text())["rows"]
    assert greedy["peak_mib"] - greedy["model_mib"] == pytest.approx(96.0, abs=4.0)
    assert greedy["weights"] == greedy["trained"] == 83_264
    assert (out / "memory.csv").read_text().count("\n") == 2
    assert (out / "figures" / "memory.png").stat().st_size > 10_000
    assert "K = 5 devices" in console.export_text()


def test_a_process_that_dies_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "dying.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    with pytest.raises(TestbenchError, match=r"dying:build of embedded at 2 x 24 tokens was killed \(signal 9\)"):
        measure_apart(Spec("embedded", "dying:build", 2, 24))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"models": ["opt-126m"]}, "there is no model opt-126m; did you mean opt-125m"),
        ({"tokens": "64;256"}, "--tokens takes whole numbers"),
        ({"chosen": "adamm"}, 'no method "adamm"; did you mean adam'),
        ({"overrides": ["seed=2"]}, "--set changes a scenario's settings"),
        ({"source": "sst2-minilm"}, 'model.kind is "sentence_head"'),
    ],
)
def test_slips_of_the_pen_end_in_one_sentence(changes, sentence, tmp_path):
    given = {"source": None, "models": [], "chosen": None, "batch": None, "tokens": None, "device": None, "overrides": []}
    with pytest.raises((TestbenchError, LearningError), match=sentence):
        memory(Console(quiet=True), **{**given, **changes}, out=tmp_path / "x")
    assert not (tmp_path / "x").exists()
