"""SQuAD: the official files, the official score, the loss of the answer's tokens, and greedy answers."""

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, LlamaConfig

from learning import models, tasks
from learning.config import FederationConfig, ModelConfig, TaskConfig, ZerothOrderConfig
from learning.data import TaskData
from learning.errors import LearningError, TaskError
from learning.federation import Federation
from learning.journal import Journal
from learning.metrics import exact_match, f1, normalised
from learning.models._answers import AnsweringModel
from learning.models._loading import word_tokenizer
from learning.tasks.squad import PROMPT
from learning.uplink import NoiseFreeUplink
from tests.learning.folders import byte_tokenizer, drawn, written
from tests.learning.tiny import opt_config

PASSAGES = {
    "Rome": (
        "The city of Rome lies on the river Tiber.",
        [("Where is Rome?", ["on the river Tiber", "the Tiber"]), ("What lies on the Tiber?", ["Rome"])],
    ),
    "Super_Bowl_50": (
        "Denver beat Carolina by 24 to 10.",
        [("Who won?", ["Denver", "Denver", "the Broncos"]), ("Who lost?", ["Carolina"])],
    ),
}


def official(path: Path, passages: Any = None) -> Path:
    data = [
        {
            "title": title,
            "paragraphs": [
                {
                    "context": context,
                    "qas": [
                        {"id": f"{title}{i}", "question": q, "answers": [{"text": a, "answer_start": 0} for a in answers]}
                        for i, (q, answers) in enumerate(questions)
                    ],
                }
            ],
        }
        for title, (context, questions) in (passages or PASSAGES).items()
    ]
    path.write_text(json.dumps({"data": data, "version": "1.1"}))
    return path


@pytest.fixture
def data(tmp_path: Path) -> TaskData:
    official(tmp_path / "train-v1.1.json")
    official(tmp_path / "dev-v1.1.json")
    return tasks.load(TaskConfig(name="squad", folder=tmp_path))


def test_official_files(data: TaskData, tmp_path: Path) -> None:
    assert len(data.train) == len(data.validation) == 4
    text, label = data.train[2]
    assert text == ("Super_Bowl_50", "Denver beat Carolina by 24 to 10.", "Who won?")
    assert data.answers[label] == ("Denver", "Denver", "the Broncos")
    assert data.generates
    assert data.strata == [0, 0, 1, 1]  # a Dirichlet split is uneven in articles
    some = tasks.load(TaskConfig(name="squad", folder=tmp_path, train_examples=3, validation_examples=1))
    assert (len(some.train), len(some.validation), len(some.answers)) == (3, 1, 4)
    for text, label in (*some.train, *some.validation):
        assert some.answers[label] == next(data.answers[other] for t, other in data.train if t == text)
    assert some.sha256() != data.sha256()
    files = (tmp_path / "train-v1.1.json", tmp_path / "dev-v1.1.json")
    assert tasks.load(TaskConfig(name="squad", train=files, validation=files[0])).files == (0, 0, 0, 0, 1, 1, 1, 1)


def test_hub_rows_are_the_same_task(data: TaskData, tmp_path: Path) -> None:
    rows = [
        {
            "id": str(i),
            "title": t[0],
            "context": t[1],
            "question": t[2],
            "answers": {"text": list(data.answers[y]), "answer_start": [0]},
        }
        for i, (t, y) in enumerate(data.train)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = tasks.load(TaskConfig(name="squad", train=tmp_path / "rows.jsonl", validation=tmp_path / "rows.jsonl"))
    assert other == data


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "is not JSON"),
        ("{}", "not in SQuAD's layout (data, paragraphs, context, qas, question, answers, text): 'data' is not there"),
        (
            '{"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": []}]}]}]}',
            "question 1, has no answer",
        ),
        (
            '{"data": [{"paragraphs": [{"context": "", "qas": [{"question": "q", "answers": [{"text": "a"}]}]}]}]}',
            "has no context",
        ),
        ('{"data": []}', "holds no questions"),
    ],
)
def test_faulty_files(content: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(content)
    official(tmp_path / "dev.json")
    with pytest.raises(TaskError) as error:
        tasks.load(TaskConfig(name="squad", train=tmp_path / "t.json", validation=tmp_path / "dev.json"))
    assert expected in str(error.value)
    assert "t.json" in str(error.value)


def test_settings_that_squad_cannot_have(tmp_path: Path) -> None:
    official(tmp_path / "train-v1.1.json")
    official(tmp_path / "dev-v1.1.json")
    for settings, expected in (
        ({"train_examples_per_label": 2}, "has no labels"),
        ({"verbalizers": (" a", " b")}, "answers of this task are generated"),
    ):
        with pytest.raises(TaskError, match=expected):
            tasks.load(TaskConfig(name="squad", folder=tmp_path, **settings))


@pytest.mark.parametrize(
    ("answer", "acceptable", "score"),
    [
        ("the Denver Broncos!", ("Denver Broncos",), 1.0),
        ("Denver", ("Denver Broncos", "the Broncos"), 2 / 3),
        ("a b b c", ("b b d",), 2 * (2 / 3) * (2 / 3) / (4 / 3)),  # "a" is an article: 3 words against 3, 2 shared
        ("Tiber", ("river",), 0.0),
        ("", ("river",), 0.0),
        ("the", ("a",), 0.0),  # both are empty once normalised, and the official script gives 0
        ("24  to\t10", ("24 to 10",), 1.0),
        ("U.S.", ("us",), 1.0),
    ],
)
def test_f1_by_hand(answer: str, acceptable: tuple[str, ...], score: float) -> None:
    assert f1(answer, acceptable) == pytest.approx(score)
    assert exact_match(answer, acceptable) == float(any(normalised(answer) == normalised(a) for a in acceptable))


def test_f1_counts_words_as_a_slow_count_does() -> None:
    # Oracle: match words one by one, crossing out.
    rng = np.random.default_rng(0)
    for _ in range(200):
        words = [list(rng.choice(["x", "y", "z", "the", "Q!"], size=rng.integers(1, 6))) for _ in range(2)]
        clean = [
            [
                w
                for w in ("".join(c for c in word.lower() if c not in string.punctuation) for word in side)
                if w not in ("the", "")
            ]
            for side in words
        ]
        left, shared = list(clean[1]), 0
        for word in clean[0]:
            if word in left:
                left.remove(word)
                shared += 1
        expected = 2 * shared / (len(clean[0]) + len(clean[1])) if shared else 0.0
        assert f1(" ".join(words[0]), (" ".join(words[1]),)) == pytest.approx(expected)


def shapes() -> list[Any]:
    small = {"vocab_size": 400, "bos_token_id": 0, "eos_token_id": 0}
    gpt2 = GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=160, initializer_range=0.4, **small)
    llama = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=160,
        initializer_range=0.4, **small,
    )  # fmt: skip
    return [opt_config(vocab_size=400, max_position_embeddings=160, init_std=0.4), gpt2, llama]


def answering(data: TaskData, configuration: Any, **settings: Any) -> AnsweringModel:
    config = ModelConfig(kind="causal_lm", answer_tokens=12, **settings)
    return AnsweringModel(drawn(configuration, "AutoModelForCausalLM", 3), byte_tokenizer(), data, config)


@pytest.mark.parametrize("configuration", shapes(), ids=["opt", "gpt2", "llama"])
@pytest.mark.parametrize("keeps", [True, False])
def test_loss_is_that_of_the_answers_tokens_with_all_logits(configuration: Any, keeps: bool, data: TaskData) -> None:
    # Oracle: one unpadded row at a time, all logits, transformers' own loss with labels on the answer only.
    objective = answering(data, configuration)
    objective._forward.keeps_logits = keeps and objective._forward.keeps_logits
    tokenizer = objective._tokenizer
    own = objective.prepare(data.train)
    with torch.inference_mode():
        losses = objective.losses(own, np.arange(4))
        assert losses.dtype == torch.float32
        for index, ((title, context, question), label) in enumerate(data.train):
            prompt = PROMPT.replace("{title}", title).replace("{context}", context).replace("{question}", question)
            before = tokenizer.encode(prompt)
            whole = tokenizer.encode(f"{prompt} {data.answers[label][0]}\n")
            assert whole[: len(before)] == before
            assert tokenizer.decode(whole[-1:]) == "\n"
            ids = torch.tensor([whole])
            labels = ids.clone()
            labels[0, : len(before)] = -100
            expected = objective.model(input_ids=ids, labels=labels).loss
            assert float(losses[index]) == pytest.approx(float(expected), abs=3e-5)
        torch.testing.assert_close(objective.losses(own, np.array([2, 0])), losses[[2, 0]], atol=2e-5, rtol=0)


@pytest.mark.parametrize("configuration", shapes(), ids=["opt", "gpt2", "llama"])
def test_answers_are_the_most_likely_tokens_one_by_one(configuration: Any, data: TaskData) -> None:
    # Oracle: no cache, no padding, no generate(): arg max of the last logits, appended, until a line break.
    objective = answering(data, configuration)
    objective.model.generation_config.update(repetition_penalty=5.0, no_repeat_ngram_size=1)  # a folder's own: must not count
    own = objective.prepare(data.validation)
    with torch.inference_mode():
        answers = objective.write(own, np.arange(4))
        for index in range(4):
            row = own.prompts.row(index)
            found: list[int] = []
            while len(found) < 12 and (not found or found[-1] not in objective._stops):
                logits = objective.model(input_ids=torch.tensor([row + found])).logits[0, -1]
                found.append(int(logits.argmax()))
            text = objective._tokenizer.decode(found, skip_special_tokens=True)
            assert answers[index] == text.split("\n")[0].strip()
    assert len(set(answers)) > 1 or answers[0]


def test_f1_is_the_score_and_one_minus_it_the_loss(data: TaskData, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = answering(data, shapes()[0], loss="metric")
    monkeypatch.setattr(
        objective, "write", lambda own, rows: [["on the Tiber", "Milan", "broncos", "Carolina"][i] for i in rows]
    )
    own = objective.prepare(data.train)
    # Against "on the river Tiber" and "the Tiber": 2 of 2 of 3 words, and 1 of 2 of 1.
    expected = [[0.8, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    losses, scores = objective.assess(own, np.arange(4))
    np.testing.assert_allclose(scores, expected)
    np.testing.assert_allclose(losses.numpy(), 1.0 - np.array(expected)[:, 0], rtol=1e-6)
    torch.testing.assert_close(objective.losses(own, np.array([2, 0])), losses[[2, 0]])
    assert objective.metrics == ("f1", "exact_match")
    assert objective.identity["loss"] == "metric"
    monkeypatch.undo()
    plain = answering(data, shapes()[0])
    assert "loss" not in plain.identity
    with torch.inference_mode():
        assert float(plain.assess(plain.prepare(data.train), np.arange(4))[0].min()) > 1.0  # nats per token, not 1 - F1


def test_a_federation_evaluates_f1_and_learns_answers(data: TaskData) -> None:
    objective = answering(data, shapes()[0])
    config = FederationConfig(devices=2, batch_size=2, rounds=60)
    step = ZerothOrderConfig(learning_rate=2e-3, mu=1e-3, clip=100.0)
    federation = Federation(objective, data, config, step, NoiseFreeUplink(), Journal(":memory:"))
    before = federation.evaluate()
    assert (before.metric, set(before.more)) == ("f1", {"exact_match"})
    list(federation.run())
    after = federation.evaluate()
    assert after.loss < before.loss - 0.1
    assert 0.0 <= after.score <= 1.0


def test_bfloat16_and_float16_are_close(data: TaskData) -> None:
    with torch.inference_mode():
        plain, *others = [
            objective.losses(objective.prepare(data.train), np.arange(4))
            for objective in (answering(data, shapes()[0], forward=name) for name in ("float32", "bfloat16", "float16"))
        ]
    for losses, tolerance in zip(others, (0.05, 0.01), strict=True):
        assert losses.dtype == torch.float32
        assert not torch.equal(losses, plain)
        torch.testing.assert_close(losses, plain, atol=tolerance, rtol=tolerance)


def test_long_passages_lose_their_left_and_are_counted(data: TaskData) -> None:
    whole = answering(data, shapes()[0])
    (note,) = whole.notes
    assert note.startswith("the tokenizer has no pad token: its end token (0) fills short rows")
    row = whole.prepare(data.train[:1]).prompts.row(0)
    objective = answering(data, shapes()[0], max_tokens=len(row) + 12 - 3)
    short = objective.prepare(data.train[:1]).prompts.row(0)
    assert len(short) == len(row) - 3
    tail = " lies on the river Tiber.\nQuestion: Where is Rome?\nAnswer:"
    assert objective._tokenizer.decode(short).startswith("Title: Rome\nContext:")
    assert objective._tokenizer.decode(short).endswith(tail)
    assert (
        objective.notes[-1]
        == f"1 of 1 texts are longer than {len(row) - 3} tokens and were cut on their left (model.max_tokens)"
    )
    with pytest.raises(LearningError, match=r"answers of 12 tokens leave 4 for the prompt; raise model.max_tokens"):
        answering(data, shapes()[0], max_tokens=16)


def test_long_answers_are_counted(data: TaskData) -> None:
    config = ModelConfig(kind="causal_lm", answer_tokens=2)
    objective = AnsweringModel(drawn(shapes()[0], "AutoModelForCausalLM"), byte_tokenizer(), data, config)
    own = objective.prepare(data.train)
    assert own.answer_lengths.max() == 2
    assert "answers are longer than 2 tokens and are trained on without the rest" in objective.notes[-1]


def test_only_causal_models_write_answers(data: TaskData, tmp_path: Path) -> None:
    folder = written(tmp_path / "m", shapes()[0], byte_tokenizer(), "AutoModelForCausalLM")
    built = models.build(ModelConfig(kind="causal_lm", path=str(folder)), data)
    assert isinstance(built, AnsweringModel)
    for kind, sentence in (
        ("masked_lm", "writes no answers"),
        ("sequence_classification", "writes no answers"),
        ("sentence_head", "writes no answers"),
    ):
        with pytest.raises(LearningError, match=sentence):
            models.build(ModelConfig(kind=kind, path=str(folder)), data)


def test_a_tokenizer_without_line_breaks_ends_answers_with_its_end_token(data: TaskData) -> None:
    tokenizer = word_tokenizer([t for (_, t, _), _ in data.train], ["Title: Context: Question: Answer:"], 48, opt_config())
    config = ModelConfig(kind="causal_lm", answer_tokens=4, max_tokens=40)
    objective = AnsweringModel(drawn(opt_config(), "AutoModelForCausalLM"), tokenizer, data, config)
    own = objective.prepare(data.train)
    assert [own.answered.row(i)[-1] for i in (1, 2, 3)] == [tokenizer.bos_token_id] * 3
    assert objective._stops == [tokenizer.bos_token_id]
