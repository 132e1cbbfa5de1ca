"""Learning runs behind figures: the embedded task in minutes, or the paper's model and task where they are at hand."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbench.errors import TestbenchError
from testbench.gallery._job import Job
from testbench.scenario import override_setting

__all__ = ["METHODS", "Learning", "Method", "learning"]

#: The paper's contraction over its 8000 rounds; shorter runs get the same total, so that schedules keep their range.
_CONTRACTION, _PAPER_ROUNDS = 0.998, 8000
_SIGN_RATE = 8.0 / 2.17  # embedded task: a vote moves as far as the typical projection


@dataclass(frozen=True)
class Learning:
    """What is fine-tuned: a base scenario, settings that all runs share, and words for the caption.

    ``rate`` and ``sign_rate``: learning rates of projections and of votes; ``score``: what is drawn, ``accuracy`` or ``f1``.
    """

    scenario: str
    settings: dict[str, Any]
    rounds: int
    seeds: int
    rate: float
    sign_rate: float
    words: str
    missing: str = ""
    score: str = "accuracy"

    @property
    def spoken(self) -> str:
        """The score in a caption."""
        return {"f1": "F1"}.get(self.score, self.score)

    @property
    def final(self) -> str:
        """The column of the score after the last round."""
        return f"{self.score}_final"

    @property
    def zero_shot(self) -> str:
        """The column of the score before the first."""
        return f"{self.score}_zero_shot"

    def shared(self, job: Job) -> dict[str, Any]:
        """Settings of every run; those that the command line overrides left to it."""
        contraction = _CONTRACTION ** (_PAPER_ROUNDS / self.rounds)
        found = {
            "federation.rounds": self.rounds, "evaluation.every": max(1, self.rounds), "evaluation.noise_free": False,
            "link.csi.estimator": "perfect", "link.power.control": "weakest",
            "privacy.contraction": float(f"{contraction:.9g}"), **self.settings,
        }  # fmt: skip
        return {key: value for key, value in found.items() if key not in {text.partition("=")[0].strip() for text in job.sets}}


@dataclass(frozen=True)
class Method:
    """A way to fine-tune: a label and settings; ``air``: over a link with an SNR; ``claim``: what it promises, in words."""

    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    votes: bool = False
    air: bool = True
    claim: str = "none"

    def bundle(self, base: Learning) -> dict[str, Any]:
        """The settings of this method on that task."""
        return {"zeroth_order.learning_rate": base.sign_rate if self.votes else base.rate, **self.settings}


_PAPER: dict[str, Any] = {"privacy.epsilon": 5.0, "privacy.delta": 0.01, "privacy.accounting": "paper"}
_RECORD: dict[str, Any] = {
    "privacy.epsilon": 5.0, "privacy.delta": 1e-5, "privacy.accounting": "gdp", "privacy.sensitivity": "record_replace_one",
    "privacy.schedule": "static", "privacy.estimate": "wiener", "zeroth_order.clip_scope": "sample",
}  # fmt: skip
_VOTES: dict[str, Any] = {"link.scheme": "sign", "link.decision": "soft"}
_HARD: dict[str, Any] = {"link.scheme": "sign", "link.decision": "hard"}
_NONE: dict[str, Any] = {"uplink.transport": "none"}
_DEVICE = "(5, 0.01), a device's values"

METHODS: dict[str, Method] = {
    "perfect_analog": Method("Perfect, analog", {**_NONE, "link.scheme": "analog"}, air=False),
    "perfect_sign": Method("Perfect, sign", {**_NONE, **_HARD}, votes=True, air=False),
    "analog": Method("analog, full power, no privacy", {"link.scheme": "analog"}),
    "sign": Method("sign-soft, full power, no privacy", _VOTES, votes=True),
    "analog_dp": Method("analog, Solution", {"link.scheme": "analog", **_PAPER, "privacy.schedule": "solution"}, claim=_DEVICE),
    "sign_soft_dp": Method(
        "sign-soft, water-filling", {**_VOTES, **_PAPER, "privacy.schedule": "water_filling"}, votes=True, claim=_DEVICE
    ),
    "sign_hard_dp": Method(
        "sign-hard, water-filling", {**_HARD, **_PAPER, "privacy.schedule": "water_filling"}, votes=True, claim=_DEVICE
    ),
    "analog_record": Method("analog, per record", {"link.scheme": "analog", **_RECORD}, claim="(5, 1e-5), a record"),
}


def learning(job: Job) -> Learning:
    """What the figure's settings ask for; raises :class:`testbench.errors.TestbenchError` with all that is missing for it."""
    given: dict[str, Any] = {}
    for text in job.sets:
        override_setting(given, text)
    model, task = given.get("model", {}), given.get("task", {})
    score = "f1" if task.get("name") == "squad" else "accuracy"
    if not job.paper:
        what = "embedded model (83k parameters) and task" if not model and not task else _named(model, task)
        return Learning(
            "demo", {}, 150, 3, 2e-4, 2e-4 * _SIGN_RATE,
            f"{what}, K = 5, b = 16, clip 8, T = 150, three seeds where the paper has four and 8000", score=score,
        )  # fmt: skip
    folder = Path(str(task.get("folder", "../shared/data/sst2")))
    file, data, shown = ("train-v1.1.json", "SQuAD v1.1", "SQuAD v1.1, answers generated") if score == "f1" else (
        "train.tsv", "SST-2", "SST-2 by prompt")  # fmt: skip
    lacks = []
    if "path" not in model:
        lacks.append("the weights of OPT-125M (--set model.path=FOLDER, or a hub name)")
    if not (folder / file).is_file() and (score == "f1" or "name" not in task):
        lacks.append(f"{data} (no {folder / file}; --set task.folder=FOLDER)")
    if lacks:
        raise TestbenchError(
            f"{job.name} with paper settings lacks {' and '.join(lacks)}; leave out --settings paper to draw it on the "
            "embedded model"
        )
    return Learning(
        "sst2-opt125m", {"task.train_examples": 1000, "zeroth_order.clip": 100.0}, 8000, 4, 5e-7, 3e-5,
        f"{shown if task.get('name') in (None, 'sst2', 'squad') else task['name']}, 1000 training examples, K = 5, b = 16 (not "
        "stated in the paper), clip 100, T = 8000, learning rates 5e-7 and 3e-5 (the paper's choice is not legible)",
        "" if score == "f1" else "The paper's SQuAD: --set task.name=squad --set task.folder=FOLDER", score=score,
    )  # fmt: skip


def _named(model: dict[str, Any], task: dict[str, Any]) -> str:
    """What --set has put in the place of the embedded model and task."""
    return f"{model.get('path', model.get('kind', 'embedded model'))} on {task.get('name', 'the embedded task')}"
