"""Tasks: real files, quirks of their formats, and a sentence for every fault."""

import json
from pathlib import Path
from typing import Any

import pytest

from learning import tasks
from learning.config import TaskConfig
from learning.data import TaskData, choose
from learning.errors import LearningError, TaskError

SST2 = Path(__file__).parents[2].parent / "shared" / "data" / "sst2"


def text_task(train: Path, **settings: Any) -> TaskData:
    return tasks.load(TaskConfig(name="text", train=train, **settings))


def fault(function: Any, *arguments: Any, **settings: Any) -> str:
    with pytest.raises(LearningError) as error:
        function(*arguments, **settings)
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_discovery() -> None:
    assert {"embedded", "sst2", "text"} <= set(tasks.names())
    assert not any(name.startswith("_") for name in tasks.names())
    assert 'no task "sst-2"; did you mean sst2?' in fault(tasks.find, "sst-2")
    assert "known are" in fault(tasks.find, "zzzzzz")
    assert tasks.find("learning.tasks.text:load") is tasks.find("text")
    assert "no_such_module" in fault(tasks.find, "no_such_module:load")
    assert "has no missing" in fault(tasks.find, "learning.tasks.text:missing")
    assert "cannot be called" in fault(tasks.find, "learning.data:DEFAULT_PROMPT")


@pytest.mark.skipif(not SST2.is_dir(), reason="the SST-2 files are not beside the repository")
def test_sst2_as_it_is() -> None:
    data = tasks.load(TaskConfig(name="sst2", folder=SST2, train_examples=1000))
    assert len(data.train) == 1000
    assert len(data.validation) == 872
    assert data.validation[0] == ("it 's a charming and often affecting journey .", 1)
    assert sum(label for _, label in data.validation) == 444
    assert all(text == text.strip() for text, _ in data.train)
    assert data == tasks.load(TaskConfig(name="sst2", folder=SST2, train_examples=1000))
    other = tasks.load(TaskConfig(name="sst2", folder=SST2, train_examples=1000, seed=1))
    assert other.train != data.train
    few = tasks.load(TaskConfig(name="sst2", folder=SST2, train_examples_per_label=16))
    assert sorted(label for _, label in few.train) == [0] * 16 + [1] * 16
    whole = tasks.load(TaskConfig(name="sst2", folder=SST2))
    assert len(whole.train) == 67349
    assert sum(label for _, label in whole.train) == 37569


def test_sst2_quirks_and_faults(tmp_path: Path) -> None:
    train = written(tmp_path / "train.tsv", 'sentence\tlabel\n"half a quote , \t1\r\nplain \u2028 text\t0\n\n\n')
    written(tmp_path / "dev.tsv", "sentence\tlabel\nfine\t1\n")
    config = TaskConfig(name="sst2", folder=tmp_path)
    assert tasks.load(config).train == (('"half a quote ,', 1), ("plain \u2028 text", 0))
    written(train, "sentence\tlabel\ngood\t1\nodd\t2\n")
    assert 'train.tsv, line 3, has the label "2"' in fault(tasks.load, config)
    written(train, "sentence\tlabel\ngood\t1\nno label here\n")
    assert "line 3, has no label" in fault(tasks.load, config)
    train.unlink()
    assert "there is no file" in fault(tasks.load, config)
    assert "there is no folder" in fault(tasks.load, TaskConfig(name="sst2", folder=tmp_path / "no"))
    assert "set task.folder" in fault(tasks.load, TaskConfig(name="sst2"))


def test_text_in_three_formats_is_the_same(tmp_path: Path) -> None:
    rows = [("a, b", "no"), ('say "hi"', "yes"), ("größe", "no"), ("d", "yes")]
    tsv = written(tmp_path / "t.tsv", "text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in rows))
    quoted = "".join('"' + t.replace('"', '""') + f'",{y}\n' for t, y in rows)
    csv = written(tmp_path / "t.csv", b"\xef\xbb\xbf" + f"text,label\n{quoted}".encode())
    jsonl = written(tmp_path / "t.jsonl", "\n\n".join(json.dumps({"text": t, "label": y, "x": 1}) for t, y in rows))
    loaded = [text_task(path, validation_fraction=0.25) for path in (tsv, csv, jsonl)]
    assert loaded[0] == loaded[1] == loaded[2]
    assert loaded[0].labels == ("no", "yes")
    assert len(loaded[0].validation) == 1
    assert set(loaded[0].train) | set(loaded[0].validation) == {(t, int(y == "yes")) for t, y in rows}


def test_held_out_texts_are_not_trained_on(tmp_path: Path) -> None:
    path = written(tmp_path / "t.tsv", "text\tlabel\n" + "".join(f"t{i % 20}\t{i % 2}\n" for i in range(100)))
    data = text_task(path)
    assert {text for text, _ in data.train}.isdisjoint(text for text, _ in data.validation)
    assert len(data.train) + len(data.validation) == 100


def test_text_wording_and_labels(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "s,y\na,2\nb,0\nc,1\nd,1\n")
    settings = {"text_column": "s", "label_column": "y"}
    assert "set task.verbalizers" in fault(text_task, path, **settings)
    data = text_task(
        path,
        **settings,
        labels=("2", "1", "0"),
        verbalizers=(" two", " one", " nil"),
        prompt="Q: {text} A:",
        validation=path,
    )
    assert data.labels == ("2", "1", "0")
    assert dict(data.validation) == {"a": 0, "b": 2, "c": 1, "d": 1}
    assert data.prompt == "Q: {text} A:"
    message = fault(text_task, path, **settings, labels=("1", "2"))
    assert 'line 3, has the unknown label "0"; the labels are 1, 2' in message
    assert "3 labels" in fault(text_task, path, **settings, verbalizers=(" a", " b"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.tsv", "", "is empty"),
        ("t.tsv", "text\tlabel\n", "holds no examples"),
        ("t.tsv", "sentence\tlabel\na\t1\n", 'no column "text"; it has sentence, label'),
        ("t.tsv", "text\tlabel\na\t1\n\t0\n", "line 3, has no text"),
        ("t.tsv", "text\tlabel\na\t1\t2\n", "line 2, has 3 cells"),
        ("t.csv", 'text,label\n"a,1\n', "is not CSV"),
        ("t.csv", "text,label\na,1\nb,\n", "line 3, has no label"),
        ("t.jsonl", '{"text": "a", "label": 1}\n{"text": \n', "line 2, is not JSON"),
        ("t.jsonl", "[1]\n", "not a JSON object"),
        ("t.jsonl", '{"text": "a", "label": null}\n', "line 1, has no label"),
        ("t.jsonl", '{"text": "a"}\n', 'no column "label"; it has text'),
        ("t.tsv", "text\tlabel\na\t1\nb\t1\n", "two labels or more"),
        ("t.tsv", b"text\tlabel\nna\xefve\t1\n", "not UTF-8 at line 2"),
        ("t.tsv", "text\tlabel\na\t1\n".encode("utf-16"), "UTF-8"),
        ("t.tsv", "text\tlabel\na\t1\n".encode("utf-16-le"), "UTF-8"),
        ("t.xlsx", "PK", "the forms are .tsv, .csv and .jsonl"),
        ("t.tsv", "text\tlabel\na\t1\na\t0\n", "too few to hold any out"),
    ],
)
def test_faulty_files_are_one_sentence(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    message = fault(text_task, written(tmp_path / name, content))
    assert expected in message
    assert name in message


def test_missing_settings_and_folders(tmp_path: Path) -> None:
    assert "set task.train" in fault(tasks.load, TaskConfig(name="text"))
    assert "there is no file" in fault(text_task, tmp_path / "none.tsv")
    folder = tmp_path / "folder.tsv"
    folder.mkdir()
    assert "cannot be read" in fault(text_task, folder)


def test_choose() -> None:
    examples = [(str(i), 0) for i in range(50)]
    some = choose(examples, 10, 0, "training", stream=0)
    assert len(set(some)) == 10
    assert choose(examples, 10, 0, "training", stream=0) == some
    assert choose(examples, 10, 0, "training", stream=1) != some
    assert "51 training examples were asked for" in fault(choose, examples, 51, 0, "training", stream=0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train": ()}, "no training examples"),
        ({"validation": ()}, "no held-out examples"),
        ({"prompt": "no place"}, "exactly once"),
        ({"verbalizers": (" x",)}, "2 labels (no, yes) but 1 verbalizers"),
        ({"verbalizers": (" x", " x")}, "share a verbalizer"),
        ({"train": (("a", 2),)}, "label index 2"),
    ],
)
def test_task_data_is_checked(changes: dict[str, Any], expected: str) -> None:
    settings: dict[str, Any] = {"train": (("a", 0),), "validation": (("b", 1),), "labels": ("no", "yes")}
    TaskData(**settings)
    with pytest.raises(TaskError) as error:
        TaskData(**(settings | changes))
    assert expected in str(error.value)


def test_fingerprint_sees_everything() -> None:
    base = TaskData((("a", 0),), (("b", 1),), ("no", "yes"))
    others = [
        TaskData((("a", 1),), (("b", 1),), ("no", "yes")),
        TaskData((("a", 0), ("b", 1)), (("b", 1),), ("no", "yes")),
        base.with_wording("{text} so", None),
        base.with_wording(None, (" x", " y")),
    ]
    assert len({base.sha256(), *(other.sha256() for other in others)}) == 5
    assert base.with_wording(None, None).sha256() == base.sha256()
