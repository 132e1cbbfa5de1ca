"""The embedded model and task: an honest start, a grammar that means what it labels, and a reproducible pretraining."""

import hashlib
import json
import re
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from learning.embedded import PROMPT, SPLITS, VERBALIZERS, model_folder, reviews
from learning.embedded.corpus import LABEL_WORDS, OPINIONS, PROMPT_WORDS, corpus_vocabulary, documents
from learning.embedded.grammar import ADJECTIVES, VERBS, split_of
from learning.embedded.pretrain import build_tokenizer, new_model, pretrain
from learning.errors import LearningError

POLARITY = {
    **{word: sign for words, sign in zip(ADJECTIVES, (-1, 1), strict=True) for word in words},
    **{word: sign for pairs, sign in zip(VERBS, (-1, 1), strict=True) for pair in pairs for word in pair},
}
GOLDEN_REVIEWS = "73df97d24e5f90daf41afa91bea7edd603da7f28f7c5761ef9139574d90dfbd4"
DENIALS = {"not", "never", "hardly", "nothing"}


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.lower())


def read_clause(words: list[str]) -> int:
    (sign,) = [POLARITY[word] for word in words if word in POLARITY]
    return -sign if DENIALS & set(words) else sign


def read_label(text: str) -> int:
    """The label by reading the sentence: cut it into clauses, drop the conceded one, apply the denials."""
    words = words_of(text)[:-1]
    clauses = [clause.split() for clause in re.split(r", (?:but|yet) |, although | and |although |, ", " ".join(words))]
    felt = [clause for clause in clauses if set(clause) & POLARITY.keys()]
    signs = [read_clause(clause) for clause in felt]
    if len(signs) == 1 or " and " in text:
        assert len(set(signs)) == 1
        return int(signs[0] > 0)
    assert sorted(signs) == [-1, 1]
    concedes_last = "although" in words and words.index("although") > min(words.index(clause[-1]) for clause in felt)
    return int(signs[0 if concedes_last else 1] > 0)


@pytest.fixture(scope="module")
def shipped() -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = AutoModelForCausalLM.from_pretrained(model_folder(), local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(model_folder(), local_files_only=True)
    model.train(False)
    return model, tokenizer


def answer_scores(shipped: tuple[Any, Any], texts: list[str], answers: tuple[str, ...], side: str = "left") -> torch.Tensor:
    model, tokenizer = shipped
    ids: list[list[int]] = [tokenizer(answer, add_special_tokens=False).input_ids for answer in answers]
    assert all(len(answer) == 1 for answer in ids)
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side=side)
    with torch.inference_mode():
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    last = batch.attention_mask.shape[1] - 1 if side == "left" else batch.attention_mask.sum(1) - 1
    scores: torch.Tensor = logits[torch.arange(len(texts)), last][:, [answer[0] for answer in ids]]
    return scores


def accuracy(scores: torch.Tensor, labels: list[int]) -> float:
    return (scores.argmax(dim=1) == torch.tensor(labels)).double().mean().item()


def test_labels_follow_from_reading_the_sentences() -> None:
    for split in SPLITS:
        for text, label in reviews(split, 2000, seed=11):
            assert read_label(text) == label, text


def test_counting_words_does_not_solve_the_task() -> None:
    train, test = reviews("train", 4000, 0), reviews("test", 2000, 0)
    counts = [Counter(word for text, label in train if label == side for word in set(words_of(text))) for side in (0, 1)]

    def guess(text: str) -> int:
        ratios = torch.tensor([(counts[1][word] + 1) / (counts[0][word] + 1) for word in words_of(text)])
        return int(ratios.log().sum() > 0)

    correct = sum(guess(text) == label for text, label in test) / len(test)
    assert 0.5 < correct < 0.75


@settings(max_examples=20, deadline=None)
@given(split=st.sampled_from(SPLITS), count=st.integers(0, 60), seed=st.integers(-(2**70), 2**70))
def test_reviews_are_a_balanced_function_of_their_seed(split: str, count: int, seed: int) -> None:
    examples = reviews(split, count, seed)
    assert examples == reviews(split, count, seed)
    assert len({text for text, _ in examples}) == len(examples) == count
    assert sum(label for _, label in examples) == (count + 1) // 2
    assert all(split_of(text) == split for text, _ in examples)
    assert all(len(words_of(text)) <= 24 for text, _ in examples)


def test_splits_share_no_sentence_and_seeds_differ() -> None:
    texts = [{text for seed in range(3) for text, _ in reviews(split, 1500, seed)} for split in SPLITS]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]
    assert reviews("train", 50, 1) != reviews("train", 50, 2)


def test_reviews_never_change() -> None:
    # A journal replays only onto the same texts: the list is part of the format.
    listed = "\n".join(f"{label} {text}" for split in SPLITS for text, label in reviews(split, 100, 5))
    assert hashlib.sha256(listed.encode()).hexdigest() == GOLDEN_REVIEWS


@pytest.mark.parametrize(("split", "count", "says"), [("dev", 3, "train, validation, test"), ("test", -1, "0 or more")])
def test_impossible_requests_are_one_sentence(split: str, count: int, says: str) -> None:
    with pytest.raises(LearningError, match=says):
        reviews(split, count, 0)


def test_corpus_says_nothing_about_the_label_words() -> None:
    corpus = documents(6000, seed=3)
    assert corpus == documents(6000, seed=3)
    tosses = [document for document in corpus if document.kind == "toss"]
    assert len(tosses) > 500
    # Exactly independent: every text is followed as often by one label word as by the other.
    answers: dict[str, list[str]] = {}
    for document in tosses:
        text, word = document.text.rsplit(f" {PROMPT_WORDS} ", 1)
        answers.setdefault(text, []).append(word)
    assert all(words.count(LABEL_WORDS[0]) * 2 == len(words) for words in answers.values())
    table = Counter((document.label, document.text.rsplit(" ", 1)[1]) for document in tosses)
    assert table[0, LABEL_WORDS[0]] == table[0, LABEL_WORDS[1]] > 100
    assert table[1, LABEL_WORDS[0]] == table[1, LABEL_WORDS[1]] > 100
    # And no other document has the label words, or the prompt, at all.
    others = " ".join(document.text for document in corpus if document.kind != "toss")
    assert not set(LABEL_WORDS) & set(words_of(others))
    assert PROMPT_WORDS.lower() not in others.lower()


def test_corpus_draws_reviews_from_the_train_split_and_voices_their_label() -> None:
    seen = Counter[str]()
    for document in documents(3000, seed=4):
        if document.label is None:
            continue
        text = document.text[: document.text.index(".") + 1]
        assert split_of(text) == "train"
        assert read_label(text) == document.label
        if document.kind == "opinion":
            opening, answers = next(pair for pair in OPINIONS if document.text.startswith(f"{text} {pair[0]} "))
            assert document.text == f"{text} {opening} {answers[document.label]}"
            seen[opening] += 1
    assert set(seen) == {opening for opening, _ in OPINIONS}


def test_vocabulary_covers_everything_that_is_written() -> None:
    known = set(corpus_vocabulary())
    texts = [document.text for document in documents(3000, 5)] + [
        text for split in SPLITS for text, _ in reviews(split, 1000, 6)
    ]
    assert {word for text in texts for word in words_of(text)} <= known


def test_shipped_folder_is_small_complete_and_quiet(shipped: tuple[Any, Any]) -> None:
    files = {path.name: path.stat().st_size for path in model_folder().iterdir()}
    assert set(files) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert sum(files.values()) < 2**20
    model, tokenizer = shipped
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert {weights.dtype for weights in model.parameters()} == {torch.float32}
    assert tokenizer.padding_side == "left"
    assert tokenizer.get_vocab() == build_tokenizer().get_vocab()
    assert (tokenizer.bos_token_id, tokenizer.pad_token_id) == (model.config.bos_token_id, model.config.pad_token_id)
    assert tokenizer("zyzzyva", add_special_tokens=False).input_ids == [tokenizer.unk_token_id]


def test_each_verbalizer_is_one_more_token_after_the_prompt(shipped: tuple[Any, Any]) -> None:
    tokenizer = shipped[1]
    prompt = PROMPT.format(text="The film was not dull.")
    assert prompt == "The film was not dull. It was"
    assert VERBALIZERS == (" terrible", " great")
    for word in VERBALIZERS:
        alone = tokenizer(word, add_special_tokens=False).input_ids
        assert len(alone) == 1
        assert tokenizer(prompt + word).input_ids == tokenizer(prompt).input_ids + alone


def test_padding_side_does_not_matter(shipped: tuple[Any, Any]) -> None:
    texts = [PROMPT.format(text=text) for text, _ in reviews("test", 32, 8)]
    left = answer_scores(shipped, texts, VERBALIZERS)
    alone = torch.cat([answer_scores(shipped, [text], VERBALIZERS) for text in texts])
    torch.testing.assert_close(left, alone, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(answer_scores(shipped, texts, VERBALIZERS, "right"), alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_zero_shot_is_a_coin_toss(shipped: tuple[Any, Any], split: str) -> None:
    examples = reviews(split, 1000, 21)
    scores = answer_scores(shipped, [PROMPT.format(text=text) for text, _ in examples], VERBALIZERS)
    labels = [label for _, label in examples]
    assert 0.42 < accuracy(scores, labels) < 0.58
    loss = torch.nn.functional.cross_entropy(scores, torch.tensor(labels)).item()
    assert loss == pytest.approx(torch.log(torch.tensor(2.0)).item(), abs=0.02)


@pytest.mark.parametrize(("opening", "answers"), OPINIONS)
def test_opinions_of_pretraining_hold_on_unseen_sentences(
    shipped: tuple[Any, Any], opening: str, answers: tuple[str, str]
) -> None:
    examples = reviews("test", 500, 22)
    scores = answer_scores(shipped, [f"{text} {opening}" for text, _ in examples], answers)
    assert accuracy(scores, [label for _, label in examples]) > 0.95


def test_sentiment_is_there_to_be_voiced_under_the_new_prompt(shipped: tuple[Any, Any]) -> None:
    # The size of what fine-tuning can find: a linear reader of the last hidden state, by ridge regression.
    model, tokenizer = shipped
    features, signs = [], []
    for split in ("train", "test"):
        examples = reviews(split, 1000, 23)
        texts = [PROMPT.format(text=text) for text, _ in examples]
        batch = tokenizer(texts, return_tensors="pt", padding=True)
        with torch.inference_mode():
            hidden = model.base_model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state[:, -1]
        features.append(torch.cat([hidden, torch.ones(len(texts), 1)], dim=1).double())
        signs.append(torch.tensor([2.0 * label - 1 for _, label in examples], dtype=torch.float64))
    gram = features[0].T @ features[0] + torch.eye(features[0].shape[1], dtype=torch.float64)
    reader = torch.linalg.solve(gram, features[0].T @ signs[0])
    assert ((features[1] @ reader).sign() == signs[1]).double().mean() > 0.9


def test_pretraining_is_reproducible_and_leaves_torch_alone(tmp_path: Path) -> None:
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    losses: list[float] = []
    pretrain(tmp_path / "a", steps=6, seed=1, progress=lambda step, loss: losses.append(loss))
    torch.set_num_threads(threads)
    pretrain(tmp_path / "b", steps=6, seed=1)
    pretrain(tmp_path / "c", steps=6, seed=2)
    files = sorted(path.name for path in model_folder().iterdir())
    contents = {run: [(tmp_path / run / name).read_bytes() for name in files] for run in "abc"}
    assert contents["a"] == contents["b"]
    weights = files.index("model.safetensors")
    assert contents["a"][weights] != contents["c"][weights]
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    # What is shipped has this very shape (the config also names the transformers version that wrote it).
    for name in ("config.json", "tokenizer_config.json"):
        settings_a, settings_shipped = (json.loads((folder / name).read_text()) for folder in (tmp_path / "a", model_folder()))
        settings_a.pop("transformers_version", None)
        settings_shipped.pop("transformers_version", None)
        assert settings_a == settings_shipped


def test_initial_weights_come_from_the_generator_alone() -> None:
    first = new_model(50, torch.Generator().manual_seed(3))
    second = new_model(50, torch.Generator().manual_seed(3))
    for (name, a), (_, b) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_import_is_light() -> None:
    code = (
        "import sys, learning.embedded as e; e.reviews('test', 4, 0); e.model_folder();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'tokenizers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
