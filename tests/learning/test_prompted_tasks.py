"""The tasks of GLUE and SuperGLUE in their own files, by name; lists of files; a choice per label."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from learning import tasks
from learning.config import TaskConfig
from learning.data import MASK, TaskData, placeholders
from learning.errors import LearningError, TaskError
from learning.tasks._prompted import TABLE


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


#: name -> (training file, its content, expected first example, expected prompt of it); as the collections publish them
FILES: dict[str, tuple[str, str, str, Any, str]] = {
    "sst2": ("train.tsv", "dev.tsv", "sentence\tlabel\nfine film \t1\n", ("fine film", 1), "fine film It was great"),
    "cola": (
        "train.tsv",
        "dev.tsv",
        "gj04\t1\t\tBirds sing.\nbc01\t0\t*\tBirds sings.\n",
        ("Birds sing.", 1),
        "Birds sing. This is correct",
    ),
    "mnli": (
        "train.tsv",
        "dev_matched.tsv",
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1\t"
        "sentence2\tlabel1\tgold_label\n0\t1\t1n\tg\t( a )\t( b )\t(R a)\t(R b)\tIt rains.\tIt is wet.\tneutral\tneutral\n",
        (("It rains.", "It is wet."), 1),
        'Suppose It rains. Can we infer that "It is wet."? Yes, No, or Maybe?\nMaybe',
    ),
    "snli": (
        "snli_1.0_train.jsonl",
        "snli_1.0_dev.jsonl",
        lines(
            {"gold_label": "-", "sentence1": "x", "sentence2": "y"},
            {"gold_label": "contradiction", "sentence1": "A dog.", "sentence2": "A cat."},
        ),
        (("A dog.", "A cat."), 2),
        'Suppose A dog. Can we infer that "A cat."? Yes, No, or Maybe?\nNo',
    ),
    "qnli": (
        "train.tsv",
        "dev.tsv",
        "index\tquestion\tsentence\tlabel\n0\tWho?\tShe did.\tnot_entailment\n",
        (("Who?", "She did."), 1),
        "Question: Who?\nShe did.\nDoes this sentence answer the question? Yes or No?\nNo",
    ),
    "qqp": (
        "train.tsv",
        "dev.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t3\t4\tHow?\tHow so?\t1\n2\t5\t6\tbroken row\n",
        (("How?", "How so?"), 1),
        "How?\nHow so?\nDo these two questions ask the same? Yes or No?\nYes",
    ),
    "mrpc": (
        "train.tsv",
        "dev.tsv",
        "﻿Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tIt rose.\tIt fell.\n",
        (("It rose.", "It fell."), 0),
        "It rose.\nIt fell.\nDo these two sentences mean the same? Yes or No?\nNo",
    ),
    "rte": (
        "train.jsonl",
        "val.jsonl",
        lines({"premise": "No weapons.", "hypothesis": "Weapons.", "label": "not_entailment", "idx": 0}),
        (("No weapons.", "Weapons."), 1),
        'No weapons.\nDoes this mean that "Weapons." is true? Yes or No?\nNo',
    ),
    "cb": (
        "train.jsonl",
        "val.jsonl",
        lines({"premise": "He may go.", "hypothesis": "He goes.", "label": "neutral", "idx": 3}),
        (("He may go.", "He goes."), 2),
        'Suppose He may go. Can we infer that "He goes."? Yes, No, or Maybe?\nMaybe',
    ),
    "boolq": (
        "train.jsonl",
        "val.jsonl",
        lines({"question": "is rome old", "passage": "Rome is old.", "idx": 0, "label": True}),
        (("Rome is old.", "Is rome old?"), 1),
        "Rome is old. Is rome old? Yes",
    ),
    "wic": (
        "train.jsonl",
        "val.jsonl",
        lines({"word": "bank", "sentence1": "A bank.", "sentence2": "The bank.", "idx": 0, "label": False, "start1": 2}),
        (("bank", "A bank.", "The bank."), 0),
        'Does the word "bank" have the same meaning in these two sentences? Yes, No?\nA bank.\nThe bank.\nNo',
    ),
    "wsc": (
        "train.jsonl",
        "val.jsonl",
        lines(
            {
                "text": "Mark told Pete lies. He was wrong.",
                "target": {"span1_text": "Mark", "span2_text": "He", "span1_index": 0, "span2_index": 4},
                "label": True,
            }
        ),
        (("Mark told Pete lies. He was wrong.", "he", "Mark"), 1),
        'Mark told Pete lies. He was wrong.\nIn the previous sentence, does the pronoun "he" refer to Mark? Yes or No?\nYes',
    ),
    "trec": (
        "train_5500.label",
        "TREC_10.label",
        "DESC:manner How did it end ?\nHUM:ind Who was caf\xe9 ?\n",
        ("How did it end ?", 0),
        "Question: How did it end ?\nType: Description",
    ),
    "sst5": ("train.csv", "test.csv", '4,"fine, very fine"\n0,awful\n', ("fine, very fine", 4), "fine, very fine It was great"),
}


def rendered(data: TaskData, text: Any, label: int) -> str:
    whole = data.prompt
    for field, part in zip(data.fields, (text,) if isinstance(text, str) else text, strict=True):
        whole = whole.replace("{" + field + "}", part)
    return whole + data.verbalizers[label]


def test_every_row_of_the_table_is_tested() -> None:
    assert set(FILES) == set(TABLE)
    assert set(TABLE) <= set(tasks.names())


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_task_in_its_own_files(name: str, tmp_path: Path) -> None:
    train, validation, content, example, prompt = FILES[name]
    encoding = "latin-1" if name == "trec" else "utf-8"
    for file in (train, validation):
        (tmp_path / file).write_bytes(content.encode(encoding))
    data = tasks.load(TaskConfig(name=name, folder=tmp_path))
    assert data.train[0] == data.validation[0] == example
    assert rendered(data, *example) == prompt
    template, words = data.masked()
    assert template.count(MASK) == 1
    assert sorted(placeholders(template)) == sorted(data.fields)
    assert all(word.startswith(" ") and " " not in word[1:] for word in words)
    if name in ("qqp", "snli"):
        assert data.notes == ("2 rows without a label or a text were left out",)
        assert len(data.train) == 1
    else:
        assert data.notes == ()


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_label_that_no_verbalizer_names(name: str, tmp_path: Path) -> None:
    train, validation, content, _, _ = FILES[name]
    encoding = "latin-1" if name == "trec" else "utf-8"
    known = {"mnli": "neutral\n", "trec": "DESC:", "cola": "\t1\t", "sst5": "4,"}.get(name)
    for old in (known, '"contradiction"', '"not_entailment"', "not_entailment", '"neutral"', "true", "false", "\t1\n", "\n0\t"):
        if old is not None and old in content:
            new = {"\t1\t": "\t7\t", "\t1\n": "\t7\n", "\n0\t": "\n7\t", "4,": "7,", "DESC:": "ODD:", "neutral\n": "odd\n"}.get(
                old, '"odd"'
            )
            broken = content.replace(old, new)
            break
    (tmp_path / train).write_bytes(broken.encode(encoding))
    (tmp_path / validation).write_bytes(content.encode(encoding))
    with pytest.raises(TaskError, match="has the label") as error:
        tasks.load(TaskConfig(name=name, folder=tmp_path))
    assert train in str(error.value)
    assert "the labels are" in str(error.value)


def test_superglue_and_glue_layouts_of_one_task(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("index\tsentence1\tsentence2\tlabel\n0\tNo weapons.\tWeapons.\tnot_entailment\n")
    (tmp_path / "dev.tsv").write_text("index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\tentailment\n")
    data = tasks.load(TaskConfig(name="rte", folder=tmp_path))
    assert data.train == ((("No weapons.", "Weapons."), 1),)
    assert data.validation == ((("A.", "B."), 0),)


def test_own_wording(tmp_path: Path) -> None:
    for file in ("train.jsonl", "val.jsonl"):
        (tmp_path / file).write_text(FILES["rte"][2])
    config = TaskConfig(name="rte", folder=tmp_path)
    own = tasks.load(config.model_copy(update={"prompt": "{hypothesis} since {premise}?", "verbalizers": (" a", " b")}))
    assert own.masked() == ("{hypothesis} since {premise}? {mask} .", (" a", " b"))
    assert own.sha256() != tasks.load(config).sha256()
    masked = tasks.load(config.model_copy(update={"prompt": "{premise} {mask} {hypothesis}"}))
    assert masked.masked()[0] == "{premise} {mask} {hypothesis}"
    for prompt, sentence in (
        ("{premise} only", "must contain {hypothesis} exactly once"),
        ("{premise} {hypothesis} {text}", "names {text}, but the fields are premise, hypothesis"),
        ("{premise} {hypothesis} {mask} {mask}", "must contain {mask} exactly once"),
    ):
        with pytest.raises(TaskError) as error:
            tasks.load(config.model_copy(update={"prompt": prompt}))
        assert sentence in str(error.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r'set task.folder or task.train, or task.dataset = "aps/super_glue"'):
        tasks.load(TaskConfig(name="boolq"))
    with pytest.raises(TaskError, match=r"there is no file .*train.jsonl; the folder of boolq holds train.jsonl and val.jsonl"):
        tasks.load(TaskConfig(name="boolq", folder=tmp_path))
    for file in ("train.jsonl", "val.jsonl"):
        (tmp_path / file).write_text(lines({"question": "q", "label": True}))
    with pytest.raises(TaskError, match=r'line 1, has no column "passage"; it has question, label'):
        tasks.load(TaskConfig(name="boolq", folder=tmp_path))
    with pytest.raises(TaskError, match="needs held-out examples"):
        tasks.load(TaskConfig(name="boolq", train=tmp_path / "train.jsonl"))
    with pytest.raises(LearningError, match='no task "bolq"; did you mean boolq'):
        tasks.find("bolq")
    with pytest.raises(TaskError, match="brings its own reviews"):
        tasks.load(TaskConfig(folder=tmp_path))


def test_files_of_devices(tmp_path: Path) -> None:
    for name, rows in (("a", "x\t0\ny\t1\n"), ("b", "z\t1\n"), ("c", "u\t0\nv\t0\nw\t1\n")):
        (tmp_path / f"{name}.tsv").write_text(f"sentence\tlabel\n{rows}")
    files = tuple(tmp_path / f"{name}.tsv" for name in "abc")
    data = tasks.load(TaskConfig(name="sst2", train=files, validation=files[0]))
    assert [text for text, _ in data.train] == ["x", "y", "z", "u", "v", "w"]
    assert data.files == (0, 0, 1, 2, 2, 2)
    some = tasks.load(TaskConfig(name="sst2", train=files, validation=files[0], train_examples=4))
    assert some.files is not None
    assert all(
        {"x": 0, "y": 0, "z": 1, "u": 2, "v": 2, "w": 2}[t] == f for (t, _), f in zip(some.train, some.files, strict=True)
    )
    other = tasks.load(TaskConfig(name="sst2", train=(files[0], files[2], files[1]), validation=files[0]))
    assert other.sha256() != data.sha256()


def test_a_choice_per_label(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "".join(f"t{i}\t{int(i % 5 == 0)}\n" for i in range(200)))
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nx\t1\n")
    config = TaskConfig(name="sst2", folder=tmp_path, train_examples_per_label=16, seed=13)
    data = tasks.load(config)
    assert Counter(label for _, label in data.train) == {0: 16, 1: 16}
    assert data == tasks.load(config)
    assert data.train != tasks.load(config.model_copy(update={"seed": 21})).train
    assert list(data.train) == sorted(data.train, key=lambda e: int(str(e[0])[1:]))
    with pytest.raises(TaskError, match="41 training examples of each label were asked for, but there are 40 of label 1"):
        tasks.load(config.model_copy(update={"train_examples_per_label": 41}))


def test_columns_of_any_file_in_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("title,body,y\n" + "".join(f"t{i},b{i},{'no' if i % 2 else 'yes'}\n" for i in range(20)))
    data = tasks.load(
        TaskConfig(name="text", train=path, label_column="y", prompt="{title}: {body} Right?", verbalizers=(" no", " yes"))
    )
    assert data.fields == ("title", "body")
    assert (("t3", "b3"), 0) in (*data.train, *data.validation)
    assert len(data.train) == 18
    with pytest.raises(TaskError, match='has no column "head"; it has title, body, y'):
        tasks.load(TaskConfig(name="text", train=path, label_column="y", prompt="{head} Right?"))
