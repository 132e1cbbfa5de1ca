"""Tasks through the package ``datasets``, from folders of this machine; sentences where it or the hub is not there."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from learning import tasks
from learning.config import TaskConfig
from learning.data import TaskData
from learning.errors import TaskError
from learning.tasks import _datasets

datasets = pytest.importorskip("datasets", reason="the package datasets is not installed (extra datasets)")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def saved(folder: Path) -> Path:
    """RTE as the hub has it: numbers that stand for names, in an order of their own."""
    features = datasets.Features(
        {
            "premise": datasets.Value("string"),
            "hypothesis": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["not_entailment", "entailment"]),
        }
    )
    rows = {"premise": ["It rains.", "A dog."], "hypothesis": ["It is wet.", "A cat."], "label": [1, 0]}
    split = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": split, "validation": split.select([1])}).save_to_disk(str(folder))
    return folder


def fault(**settings: Any) -> str:
    with pytest.raises(TaskError) as error:
        tasks.load(TaskConfig(**settings))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_numbers_are_read_as_the_names_they_stand_for(tmp_path: Path) -> None:
    data = tasks.load(TaskConfig(name="rte", dataset=str(saved(tmp_path / "rte"))))
    assert data.labels == ("entailment", "not_entailment")
    assert data.train == ((("It rains.", "It is wet."), 0), (("A dog.", "A cat."), 1))
    assert data.validation == ((("A dog.", "A cat."), 1),)


def test_a_folder_of_files_and_any_labelled_text(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "train.csv").write_text("text,label\n" + "".join(f"t{i},{'ab'[i % 2]}\n" for i in range(20)))
    (folder / "test.csv").write_text("text,label\nu,a\n")
    settings = {"name": "text", "dataset": str(folder), "verbalizers": (" a", " b")}
    held_out = tasks.load(TaskConfig(**settings))
    assert len(held_out.train) == 18
    assert len(held_out.validation) == 2
    data = tasks.load(TaskConfig(**settings, validation_split="test"))
    assert data.validation == (("u", 0),)
    assert data.train == tuple((f"t{i}", i % 2) for i in range(20))
    assert 'has no split "dev"; it has train, test' in fault(**settings, validation_split="dev")


def test_files_and_datasets_are_the_same_task(tmp_path: Path) -> None:
    rows = [
        {"question": "is rome old", "passage": "Rome is old.", "label": True},
        {"question": "q?", "passage": "p", "label": False},
    ]
    for name in ("train", "val"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {key: [row[key] for row in rows] for key in ("question", "passage")}
    features = datasets.Features(
        {
            "question": datasets.Value("string"),
            "passage": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["False", "True"]),
        }
    )
    split = datasets.Dataset.from_dict({**columns, "label": [1, 0]}, features=features)
    datasets.DatasetDict({"train": split, "validation": split}).save_to_disk(str(tmp_path / "saved"))
    one = tasks.load(TaskConfig(name="boolq", folder=tmp_path))
    assert one == tasks.load(TaskConfig(name="boolq", dataset=str(tmp_path / "saved")))


def test_squad_in_the_columns_of_the_hub(tmp_path: Path) -> None:
    rows: dict[str, list[Any]] = {
        "id": ["0"],
        "title": ["Rome"],
        "context": ["Rome lies on the Tiber."],
        "question": ["Where?"],
        "answers": [{"text": ["on the Tiber", "the Tiber"], "answer_start": [10, 13]}],
    }
    split = datasets.Dataset.from_dict(rows)
    datasets.DatasetDict({"train": split, "validation": split}).save_to_disk(str(tmp_path / "squad"))
    data = tasks.load(TaskConfig(name="squad", dataset=str(tmp_path / "squad")))
    assert isinstance(data, TaskData)
    assert data.train == ((("Rome", "Rome lies on the Tiber.", "Where?"), 0),)
    assert data.answers == (("on the Tiber", "the Tiber"),) * 2


def test_faults_of_rows_name_the_dataset(tmp_path: Path) -> None:
    split = datasets.Dataset.from_dict({"text": ["a"], "label": ["x"]})
    datasets.DatasetDict({"train": split, "validation": split}).save_to_disk(str(tmp_path / "d"))
    message = fault(name="sst2", dataset=str(tmp_path / "d"))
    assert f'the dataset {tmp_path / "d"}, split train, row 0, has no column "sentence"; it has text, label' in message


def test_a_hub_that_cannot_be_reached() -> None:
    message = fault(name="rte", dataset="aps/super_glue")
    assert message.startswith("the dataset aps/super_glue (rte) is no folder here, and the hub cannot be reached")
    assert "task.folder or task.train" in message


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_datasets.importlib.util, "find_spec", lambda name: None)
    message = fault(name="rte", dataset="aps/super_glue")
    assert 'takes the package datasets; install it with pip install "pairzero[datasets]"' in message
    assert importlib.util.find_spec("json") is None
