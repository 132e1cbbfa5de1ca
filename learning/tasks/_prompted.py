"""The classification tasks of GLUE, SuperGLUE and their kin, each one row of a table: columns, labels, wording.

Wording for causal models is that of MeZO (arXiv 2305.17333, Table 14) where it has the task, marked ``MEZO``; for masked
models that of LM-BFF (arXiv 2012.15723, Table 1), which MeZO takes over (Table 13). The rest is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from learning.config import TaskConfig
from learning.data import DEFAULT_PROMPT, DEFAULT_VERBALIZERS, Example, TaskData, parts
from learning.errors import TaskError
from learning.tasks._sources import Files, Hub, assemble, sources
from learning.tasks._tables import Columns, Table, labelled

__all__ = ["TABLE", "PromptedTask", "load_prompted"]


@dataclass(frozen=True)
class PromptedTask:
    """One task.

    :ivar fields: field of the template -> columns that may hold it, over the layouts
    :ivar values: how files write each label, lower case; the first is its name
    :ivar skip: label values whose rows are left out (and counted)
    :ivar skip_incomplete: leave out rows that lack a text, of which GLUE's own file has some
    :ivar polish: field -> what the template's source does to its text
    """

    fields: Mapping[str, Columns]
    values: tuple[tuple[str, ...], ...]
    prompt: str
    verbalizers: tuple[str, ...]
    masked_prompt: str
    masked_verbalizers: tuple[str, ...]
    files: tuple[Files, ...]
    hub: Hub
    label: Columns = ("label",)
    skip: tuple[str, ...] = ()
    skip_incomplete: bool = False
    polish: Mapping[str, Callable[[str], str]] = field(default_factory=dict)


def load_prompted(name: str, config: TaskConfig) -> TaskData:
    """The task ``name`` of the table from ``task.folder``, ``task.train`` or ``task.dataset``."""
    task = TABLE[name]
    found = sources(config, task.files, task.hub)
    if found.validation is None:
        raise TaskError(f"the task {name} needs held-out examples; set task.validation, or task.folder to a whole folder")
    left_out = [0]
    train = [(number, example) for number, table in enumerate(found.train) for example in _examples(task, table, left_out)]
    validation = _examples(task, found.validation, left_out)
    chosen, held_out, files = assemble(config, train, validation)
    notes = (f"{left_out[0]} rows without a label or a text were left out",) if left_out[0] else ()
    data = TaskData(
        train=chosen,
        validation=held_out,
        labels=tuple(values[0] for values in task.values),
        prompt=task.prompt,
        verbalizers=task.verbalizers,
        fields=tuple(task.fields),
        masked_prompt=task.masked_prompt,
        masked_verbalizers=task.masked_verbalizers,
        files=files,
        notes=notes,
    )
    return data.with_wording(config.prompt, config.verbalizers)


def _examples(task: PromptedTask, table: Table, left_out: list[int]) -> list[Example]:
    numbers = {value: index for index, values in enumerate(task.values) for value in values}
    rows, skipped = labelled(table, task.fields, task.label, skip_incomplete=task.skip_incomplete)
    left_out[0] += skipped
    examples: list[Example] = []
    for number, text, label in rows:
        if label in task.skip:
            left_out[0] += 1
            continue
        if label.lower() not in numbers:
            known = ", ".join(" or ".join(values) for values in task.values)
            raise TaskError(f'{table.at(number)} has the label "{label}"; the labels are {known}')
        polished = tuple(task.polish.get(name, str)(part) for name, part in zip(task.fields, parts(text), strict=True))
        examples.append((polished[0] if len(polished) == 1 else polished, numbers[label.lower()]))
    if not examples:
        raise TaskError(f"{table.name} holds no labelled examples")
    return examples


def _question(text: str) -> str:
    """As MeZO asks BoolQ's questions: a capital, and a question mark."""
    return text[:1].upper() + text[1:] + ("" if text.endswith("?") else "?")


_GLUE = (Files("train.tsv", "dev.tsv"), Files("train.jsonl", "dev.jsonl"))
_SUPERGLUE = (Files("train.jsonl", "val.jsonl"),)
_YES_NO = ("Yes", "No")
_NO_YES = ("No", "Yes")
_ENTAILED = (("entailment", "0"), ("not_entailment", "1"))
_FALSE_TRUE = (("false", "0", "no"), ("true", "1", "yes"))
_SENTENCES: Mapping[str, Columns] = {"premise": ("premise", "sentence1"), "hypothesis": ("hypothesis", "sentence2")}
_INFER = 'Suppose {premise} Can we infer that "{hypothesis}"? Yes, No, or Maybe?\n'  # MEZO, Table 14: CB
_SAME = "{first} {mask} , {second}"
_PAIR = "{premise} ? {mask} , {hypothesis}"


def _glue(subset: str, validation_split: str = "validation") -> Hub:
    return Hub("nyu-mll/glue", subset, validation_split)


def _superglue(subset: str) -> Hub:
    return Hub("aps/super_glue", subset)


TABLE: Mapping[str, PromptedTask] = {
    "sst2": PromptedTask(  # MEZO
        fields={"text": ("sentence",)},
        values=(("negative", "0"), ("positive", "1")),
        prompt=DEFAULT_PROMPT,
        verbalizers=DEFAULT_VERBALIZERS,
        masked_prompt="{text} It was {mask} .",
        masked_verbalizers=DEFAULT_VERBALIZERS,
        files=_GLUE,
        hub=_glue("sst2"),
    ),
    "sst5": PromptedTask(
        fields={"text": ("text", "sentence")},
        values=(("very negative", "0"), ("negative", "1"), ("neutral", "2"), ("positive", "3"), ("very positive", "4")),
        prompt=DEFAULT_PROMPT,
        verbalizers=(" terrible", " bad", " okay", " good", " great"),
        masked_prompt="{text} It was {mask} .",
        masked_verbalizers=(" terrible", " bad", " okay", " good", " great"),
        files=(Files("train.csv", "test.csv", header=("label", "text")), Files("train.jsonl", "dev.jsonl")),
        hub=Hub("SetFit/sst5"),
    ),
    "cola": PromptedTask(
        fields={"text": ("sentence",)},
        values=(("unacceptable", "0"), ("acceptable", "1")),
        prompt="{text} This is",
        verbalizers=(" incorrect", " correct"),
        masked_prompt="{text} This is {mask} .",
        masked_verbalizers=(" incorrect", " correct"),
        files=(Files("train.tsv", "dev.tsv", header=("source", "label", "star", "sentence")),),
        hub=_glue("cola"),
    ),
    "mnli": PromptedTask(
        fields=_SENTENCES,
        values=(("entailment", "0"), ("neutral", "1"), ("contradiction", "2")),
        prompt=_INFER,
        verbalizers=("Yes", "Maybe", "No"),
        masked_prompt=_PAIR,
        masked_verbalizers=("Yes", "Maybe", "No"),
        files=(Files("train.tsv", "dev_matched.tsv"), Files("multinli_1.0_train.jsonl", "multinli_1.0_dev_matched.jsonl")),
        hub=_glue("mnli", "validation_matched"),
        label=("gold_label", "label"),
        skip=("-",),
    ),
    "snli": PromptedTask(
        fields=_SENTENCES,
        values=(("entailment", "0"), ("neutral", "1"), ("contradiction", "2")),
        prompt=_INFER,
        verbalizers=("Yes", "Maybe", "No"),
        masked_prompt=_PAIR,
        masked_verbalizers=("Yes", "Maybe", "No"),
        files=(Files("snli_1.0_train.jsonl", "snli_1.0_dev.jsonl"), Files("train.tsv", "dev.tsv")),
        hub=Hub("stanfordnlp/snli"),
        label=("gold_label", "label"),
        skip=("-", "-1"),
        skip_incomplete=True,  # a few hypotheses are missing in the collection itself
    ),
    "qnli": PromptedTask(
        fields={"question": ("question",), "sentence": ("sentence",)},
        values=_ENTAILED,
        prompt="Question: {question}\n{sentence}\nDoes this sentence answer the question? Yes or No?\n",
        verbalizers=_YES_NO,
        masked_prompt="{question} ? {mask} , {sentence}",
        masked_verbalizers=_YES_NO,
        files=_GLUE,
        hub=_glue("qnli"),
    ),
    "qqp": PromptedTask(
        fields={"first": ("question1",), "second": ("question2",)},
        values=(("not_duplicate", "0"), ("duplicate", "1")),
        prompt="{first}\n{second}\nDo these two questions ask the same? Yes or No?\n",
        verbalizers=_NO_YES,
        masked_prompt=_SAME,
        masked_verbalizers=_NO_YES,
        files=_GLUE,
        hub=_glue("qqp"),
        label=("is_duplicate", "label"),
        skip_incomplete=True,
    ),
    "mrpc": PromptedTask(
        fields={"first": ("#1 String", "sentence1"), "second": ("#2 String", "sentence2")},
        values=(("not_equivalent", "0"), ("equivalent", "1")),
        prompt="{first}\n{second}\nDo these two sentences mean the same? Yes or No?\n",
        verbalizers=_NO_YES,
        masked_prompt=_SAME,
        masked_verbalizers=_NO_YES,
        files=_GLUE,
        hub=_glue("mrpc"),
        label=("Quality", "label"),
    ),
    "rte": PromptedTask(  # MEZO
        fields=_SENTENCES,
        values=_ENTAILED,
        prompt='{premise}\nDoes this mean that "{hypothesis}" is true? Yes or No?\n',
        verbalizers=_YES_NO,
        masked_prompt=_PAIR,
        masked_verbalizers=_YES_NO,
        files=(Files("train.tsv", "dev.tsv"), *_SUPERGLUE),
        hub=_superglue("rte"),
    ),
    "cb": PromptedTask(  # MEZO
        fields={"premise": ("premise",), "hypothesis": ("hypothesis",)},
        values=(("entailment", "0"), ("contradiction", "1"), ("neutral", "2")),
        prompt=_INFER,
        verbalizers=("Yes", "No", "Maybe"),
        masked_prompt=_PAIR,
        masked_verbalizers=("Yes", "No", "Maybe"),
        files=_SUPERGLUE,
        hub=_superglue("cb"),
    ),
    "boolq": PromptedTask(  # MEZO
        fields={"passage": ("passage",), "question": ("question",)},
        values=_FALSE_TRUE,
        prompt="{passage} {question}",
        verbalizers=(" No", " Yes"),
        masked_prompt="{passage} {question} {mask} .",
        masked_verbalizers=_NO_YES,
        files=_SUPERGLUE,
        hub=_superglue("boolq"),
        polish={"question": _question},
    ),
    "wic": PromptedTask(  # MEZO
        fields={"word": ("word",), "first": ("sentence1",), "second": ("sentence2",)},
        values=_FALSE_TRUE,
        prompt='Does the word "{word}" have the same meaning in these two sentences? Yes, No?\n{first}\n{second}\n',
        verbalizers=_NO_YES,
        masked_prompt='Does the word "{word}" have the same meaning in these two sentences? {first} {second} {mask} .',
        masked_verbalizers=_NO_YES,
        files=_SUPERGLUE,
        hub=_superglue("wic"),
    ),
    "wsc": PromptedTask(  # MEZO
        fields={
            "text": ("text",),
            "pronoun": ("span2_text", "target.span2_text"),
            "noun": ("span1_text", "target.span1_text"),
        },
        values=_FALSE_TRUE,
        prompt='{text}\nIn the previous sentence, does the pronoun "{pronoun}" refer to {noun}? Yes or No?\n',
        verbalizers=_NO_YES,
        masked_prompt='{text} In the previous sentence, does the pronoun "{pronoun}" refer to {noun}? {mask} .',
        masked_verbalizers=_NO_YES,
        files=_SUPERGLUE,
        hub=_superglue("wsc.fixed"),
        polish={"pronoun": str.lower},
    ),
    "trec": PromptedTask(
        fields={"text": ("text",)},
        values=(("desc", "0"), ("enty", "1"), ("abbr", "2"), ("hum", "3"), ("loc", "4"), ("num", "5")),
        prompt="Question: {text}\nType:",
        verbalizers=(" Description", " Entity", " Expression", " Human", " Location", " Number"),
        masked_prompt="{mask} : {text}",
        masked_verbalizers=(" Description", " Entity", " Expression", " Human", " Location", " Number"),
        files=(Files("train_5500.label", "TREC_10.label"), Files("train.csv", "test.csv", header=("label", "text"))),
        hub=Hub("CogComp/trec", None, "test"),
        label=("coarse_label", "label"),
    ),
}
