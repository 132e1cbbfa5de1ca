"""Masked and sequence-classification models, verbalizers of several tokens, 16-bit arithmetic; what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AlbertConfig,
    BertConfig,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
)

from learning import models
from learning.config import ModelConfig
from learning.data import TaskData
from learning.errors import LearningError, ModelError
from learning.models._precision import Precision
from learning.models.causal_lm import CausalLanguageModel
from learning.models.masked_lm import MaskedLanguageModel
from learning.models.sequence_classification import SequenceClassifier
from learning.parameters import weights_sha256
from tests.learning.folders import bert_tokenizer, byte_tokenizer, drawn, roberta_tokenizer, written
from tests.learning.tiny import opt_config, toy_data

MASKED, SEQUENCE, CAUSAL = "AutoModelForMaskedLM", "AutoModelForSequenceClassification", "AutoModelForCausalLM"
ALL = np.arange(8)
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "initializer_range": 0.3}
TEXTS = [("good", "plain"), ("bad", "very plain"), ("great", "bad"), ("terrible", "good")]
PAIRS = TaskData(
    train=tuple(((f"the film was {w}", f"a {v} story"), i % 2) for i, (w, v) in enumerate(TEXTS)),
    validation=((("the film was very very plain", "good"), 0), (("bad", "a film"), 1)),
    labels=("entailment", "not_entailment"),
    prompt='{premise}\nDoes this mean that "{hypothesis}" is true? Yes or No?\n',
    verbalizers=("Yes", "No"),
    fields=("premise", "hypothesis"),
    masked_prompt="{premise} ? {mask} , {hypothesis}",
    masked_verbalizers=("Yes", "No"),
)


def fault(function: Any, *arguments: Any, **settings: Any) -> str:
    with pytest.raises(LearningError) as error:
        function(*arguments, **settings)
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def data() -> TaskData:
    return toy_data(16, 8)


@pytest.fixture(scope="module")
def words(data: TaskData) -> list[str]:
    found = {word for text, _ in (*data.train, *data.validation) for word in str(text).split()}
    return sorted({*found, "It", "was", "terrible", "great", ".", ",", "?", "Yes", "No"})


def roberta(**changes: Any) -> Any:
    return RobertaConfig(
        **(SMALL | {"vocab_size": 400, "max_position_embeddings": 42, "pad_token_id": 1, "type_vocab_size": 1} | changes)
    )


def encoders() -> list[Any]:
    vocabulary = {"vocab_size": 60, "max_position_embeddings": 40}
    distil = DistilBertConfig(
        dim=16, n_layers=2, n_heads=2, hidden_dim=24, initializer_range=0.3, vocab_size=60, max_position_embeddings=40
    )
    return [roberta(), BertConfig(**SMALL, **vocabulary), distil, AlbertConfig(**SMALL, **vocabulary, embedding_size=8)]


@pytest.mark.parametrize("configuration", encoders(), ids=["roberta", "bert", "distilbert", "albert"])
def test_logits_at_the_mask_are_the_full_logits_there(configuration: Any, data: TaskData, words: list[str]) -> None:
    # Oracle: one unpadded row at a time, logits of every position, cross-entropy over the label words at the mask.
    tokenizer = roberta_tokenizer() if configuration.model_type == "roberta" else bert_tokenizer(words)
    model = drawn(configuration, MASKED, 4)
    objective = MaskedLanguageModel(model, tokenizer, data, ModelConfig(kind="masked_lm"))
    own = objective.prepare(data.validation)
    blank = " " if configuration.model_type == "roberta" else ""
    answers = [tokenizer.encode(blank + word, add_special_tokens=False) for word in ("terrible", "great")]
    assert [len(answer) for answer in answers] == [1, 1]
    with torch.inference_mode():
        losses, correct = objective.assess(own, ALL)
        assert losses.dtype == torch.float32
        for index, (text, label) in enumerate(data.validation):
            ids = torch.tensor([tokenizer.encode(f"{text} It was {tokenizer.mask_token} .")])
            logits = model(input_ids=ids).logits
            assert logits.shape[1] == ids.shape[1]  # the hook is gone
            (place,) = (ids[0] == tokenizer.mask_token_id).nonzero()[:, 0].tolist()
            scores = logits[0, place, [answer[0] for answer in answers]]
            expected = torch.nn.functional.cross_entropy(scores[None], torch.tensor([label]))
            assert float(losses[index]) == pytest.approx(float(expected), abs=2e-5)
            assert bool(correct[index]) == (int(scores.argmax()) == label)
        torch.testing.assert_close(objective.losses(own, ALL[::-1].copy()), losses.flip(0), atol=2e-5, rtol=0)


def test_masked_pairs_and_what_is_cut(data: TaskData) -> None:
    tokenizer = roberta_tokenizer()
    objective = MaskedLanguageModel(drawn(roberta(), MASKED), tokenizer, PAIRS, ModelConfig())
    text = tokenizer.decode(objective.prepare(PAIRS.train[:1]).rows.row(0))
    assert text.replace(" <mask>", "<mask>") == "<s>the film was good ?<mask> , a plain story</s>"
    assert objective.notes == []
    # RoBERTa's positions start after its padding token: 42 of them hold 40 tokens.
    assert objective._wording._longest == 40
    short = MaskedLanguageModel(drawn(roberta(), MASKED), tokenizer, PAIRS, ModelConfig(max_tokens=12))
    row = short.prepare(PAIRS.validation[:1]).rows.row(0)
    assert len(row) == 12
    assert tokenizer.decode(row).replace(" <mask>", "<mask>").endswith(" ?<mask> , good</s>")
    assert short.notes == ["1 of 1 texts are longer than 12 tokens and were cut on their left (model.max_tokens)"]


def test_a_masked_run_is_identified_by_its_wording(data: TaskData) -> None:
    one = MaskedLanguageModel(drawn(roberta(), MASKED), roberta_tokenizer(), PAIRS, ModelConfig())
    assert one.identity["masked_prompt"] == PAIRS.masked_prompt
    assert one.identity["masked_verbalizers"] == " Yes| No"


def test_what_masked_models_refuse(data: TaskData, tmp_path: Path) -> None:
    tokenizer, model = roberta_tokenizer(), drawn(roberta(), MASKED)
    long = data.with_wording(None, (" terrible", " wonderfully"))
    assert "is not one token" in fault(MaskedLanguageModel, model, tokenizer, long, ModelConfig())
    bare = byte_tokenizer()
    assert "no mask token" in fault(MaskedLanguageModel, model, bare, data, ModelConfig())
    objective = MaskedLanguageModel(model, tokenizer, data, ModelConfig())
    assert 'holds the mask token "<mask>" itself' in fault(objective.prepare, [("a <mask> film", 0)])
    assert "needs model.path" in fault(models.build, ModelConfig(kind="masked_lm"), data)
    folder = written(tmp_path / "m", opt_config(vocab_size=400), byte_tokenizer(), CAUSAL)
    masked = data.with_wording("{text} {mask}", None)
    assert "which causal models do not fill" in fault(models.build, ModelConfig(kind="causal_lm", path=str(folder)), masked)


def test_masked_folders(data: TaskData, tmp_path: Path) -> None:
    folder = written(tmp_path / "m", roberta(), roberta_tokenizer(), MASKED, 7)
    state = torch.random.get_rng_state()
    built = models.build(ModelConfig(kind="masked_lm", path=str(folder)), data)
    assert built.base_weights_sha256 == weights_sha256(drawn(roberta(), MASKED, 7))
    assert built.notes == []
    again = models.build(ModelConfig(kind="masked_lm", path=str(folder), random_weights=True, weights_seed=7), data)
    assert again.base_weights_sha256 == built.base_weights_sha256
    assert torch.equal(torch.random.get_rng_state(), state)


def classifiers() -> list[tuple[Any, Any]]:
    small = {"vocab_size": 400, "bos_token_id": 0, "eos_token_id": 0}
    gpt2 = GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=40, initializer_range=0.3, **small)
    llama = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=40,
        initializer_range=0.3, **small,
    )  # fmt: skip
    return [
        (roberta(), roberta_tokenizer),
        (BertConfig(**SMALL, vocab_size=60, max_position_embeddings=40), None),
        (gpt2, byte_tokenizer),
        (llama, lambda: byte_tokenizer(pad=True)),
        (opt_config(vocab_size=400, init_std=0.3), lambda: byte_tokenizer(pad=True)),
    ]


@pytest.mark.parametrize("which", range(5), ids=["roberta", "bert", "gpt2", "llama", "opt"])
def test_classifier_scores_are_those_of_unpadded_texts(which: int, data: TaskData, words: list[str]) -> None:
    configuration, make = classifiers()[which]
    tokenizer = bert_tokenizer(words) if make is None else make()
    configuration.num_labels = 2
    model = drawn(configuration, SEQUENCE, 5)
    objective = SequenceClassifier(model, tokenizer, data, ModelConfig())
    with torch.inference_mode():
        losses, _ = objective.assess(objective.prepare(data.validation), ALL)
        for index, (text, label) in enumerate(data.validation):
            scores = model(input_ids=torch.tensor([tokenizer.encode(text)])).logits
            expected = torch.nn.functional.cross_entropy(scores, torch.tensor([label]))
            assert float(losses[index]) == pytest.approx(float(expected), abs=2e-5)
    assert ("no pad token" in " ".join(objective.notes)) == (configuration.model_type == "gpt2")


def test_classifier_pairs_have_segments(words: list[str]) -> None:
    tokenizer = bert_tokenizer([*words, "the", "film", "a"])
    configuration = BertConfig(**SMALL, vocab_size=80, max_position_embeddings=40)
    model = drawn(configuration, SEQUENCE, 5)
    objective = SequenceClassifier(model, tokenizer, PAIRS, ModelConfig())
    own = objective.prepare(PAIRS.train)
    with torch.inference_mode():
        losses = objective.losses(own, np.arange(4))
        for index, ((first, second), label) in enumerate(PAIRS.train):
            encoded = tokenizer(first, second, return_tensors="pt", return_token_type_ids=True)
            assert encoded["token_type_ids"].max() == 1
            expected = torch.nn.functional.cross_entropy(model(**encoded).logits, torch.tensor([label]))
            assert float(losses[index]) == pytest.approx(float(expected), abs=2e-5)
    short = SequenceClassifier(model, tokenizer, PAIRS, ModelConfig(max_tokens=8))
    rows = short.prepare(PAIRS.validation).rows
    assert int(rows.lengths.max()) == 8
    assert "1 of 2 texts are longer than 8 tokens" in short.notes[-1]


def test_a_new_head_is_drawn_by_seed(data: TaskData, tmp_path: Path) -> None:
    folder = written(tmp_path / "m", roberta(), roberta_tokenizer(), MASKED, 7)
    state = torch.random.get_rng_state()

    def built(seed: int) -> Any:
        return models.build(ModelConfig(kind="sequence_classification", path=str(folder), weights_seed=seed), data)

    one, again, other = built(0), built(0), built(1)
    assert one.base_weights_sha256 == again.base_weights_sha256 != other.base_weights_sha256
    assert "the classification head is new: 4 tensors were drawn from model.weights_seed" in one.notes
    assert "prompt and verbalizers of the task play no part" in one.notes[0]
    encoder = drawn(roberta(), MASKED, 7).roberta.state_dict()
    for name, tensor in one.model.roberta.state_dict().items():
        assert torch.equal(tensor, encoder[name])
    assert float(one.model.classifier.dense.weight.detach().std()) == pytest.approx(0.3, rel=0.15)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_trained_head_is_used_under_its_own_names(data: TaskData, tmp_path: Path) -> None:
    configuration = roberta(id2label={0: "POS", 1: "NEG"}, label2id={"POS": 0, "NEG": 1})
    folder = written(tmp_path / "m", configuration, roberta_tokenizer(), SEQUENCE, 3)
    config = ModelConfig(kind="sequence_classification", path=str(folder))
    objective = models.build(config, data)  # whose labels are neg, pos
    model = drawn(configuration, SEQUENCE, 3)
    with torch.inference_mode():
        own = objective.logits(objective.prepare(data.validation), ALL[:1])
        plain = model(input_ids=torch.tensor([roberta_tokenizer().encode(data.validation[0][0])])).logits
    torch.testing.assert_close(own, plain[:, [1, 0]], atol=2e-5, rtol=0)
    other = TaskData(data.train, data.validation, ("no", "yes"))
    assert "the model names its outputs pos, neg; they are taken in that order for no, yes" in models.build(config, other).notes
    three = TaskData(data.train, data.validation, ("a", "b", "c"), verbalizers=(" a", " b", " c"))
    assert "a trained head for another number of labels than the 3" in fault(models.build, config, three)


def test_a_classifier_whose_texts_end_with_the_padding_is_refused(data: TaskData) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    objective = SequenceClassifier(drawn(classifiers()[2][0], SEQUENCE), tokenizer, data, ModelConfig())
    assert "name a pad_token" in fault(objective.prepare, data.validation)


@pytest.mark.parametrize("score", ["sum", "mean"])
def test_verbalizers_of_several_tokens(score: str, data: TaskData) -> None:
    # Oracle: log-likelihood of every verbalizer's tokens after the unpadded prompt, token by token.
    tokenizer = byte_tokenizer()
    wordy = data.with_wording(None, (" terribly bad", " great"))
    lengths = [len(tokenizer.encode(word)) for word in wordy.verbalizers]
    assert lengths[0] > lengths[1]
    model = drawn(opt_config(vocab_size=400, init_std=0.4), CAUSAL, 2)
    assert "set model.verbalizer_score" in fault(CausalLanguageModel, model, tokenizer, wordy, ModelConfig())
    objective = CausalLanguageModel(model, tokenizer, wordy, ModelConfig(verbalizer_score=score))
    assert objective.identity["verbalizer_score"] == score
    with torch.inference_mode():
        losses, correct = objective.assess(objective.prepare(data.validation), ALL)
        for index, (text, label) in enumerate(data.validation):
            totals = []
            for word in wordy.verbalizers:
                prompt, answer = tokenizer.encode(f"{text} It was"), tokenizer.encode(word)
                total = 0.0
                for place, token in enumerate(answer):
                    logits = model(input_ids=torch.tensor([prompt + answer[:place]])).logits[0, -1]
                    total += float(torch.log_softmax(logits, dim=0)[token])
                totals.append(total / (len(answer) if score == "mean" else 1))
            expected = torch.nn.functional.cross_entropy(torch.tensor([totals]), torch.tensor([label]))
            assert float(losses[index]) == pytest.approx(float(expected), abs=5e-5)
            assert bool(correct[index]) == (int(np.argmax(totals)) == label)


def test_one_token_verbalizers_score_the_same_in_every_way(data: TaskData) -> None:
    tokenizer, model = byte_tokenizer(), drawn(opt_config(vocab_size=400, init_std=0.4), CAUSAL, 2)
    with torch.inference_mode():
        found = []
        for score in ("one_token", "sum", "mean"):
            objective = CausalLanguageModel(model, tokenizer, data, ModelConfig(verbalizer_score=score))
            found.append(objective.losses(objective.prepare(data.validation), ALL))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_accuracy_as_the_loss(data: TaskData) -> None:
    tokenizer, model = byte_tokenizer(), drawn(opt_config(vocab_size=400, init_std=0.4), CAUSAL, 2)
    plain = CausalLanguageModel(model, tokenizer, data, ModelConfig())
    scored = CausalLanguageModel(model, tokenizer, data, ModelConfig(loss="metric"))
    with torch.inference_mode():
        own = plain.prepare(data.validation)
        _, correct = plain.assess(own, ALL)
        losses, same = scored.assess(own, ALL)
    np.testing.assert_array_equal(losses.numpy(), 1.0 - correct)
    np.testing.assert_array_equal(same, correct)


@pytest.mark.parametrize("kind", ["causal", "masked", "sequence"])
@pytest.mark.parametrize("forward", ["bfloat16", "float16"])
def test_16_bit_forward_passes(kind: str, forward: str, data: TaskData) -> None:
    def built(name: str) -> Any:
        config = ModelConfig(forward=name)
        if kind == "causal":
            return CausalLanguageModel(drawn(opt_config(vocab_size=400), CAUSAL, 2), byte_tokenizer(), data, config)
        auto, make = (MASKED, MaskedLanguageModel) if kind == "masked" else (SEQUENCE, SequenceClassifier)
        return make(drawn(roberta(), auto, 2), roberta_tokenizer(), data, config)

    plain, half = built("float32"), built(forward)
    assert half.base_weights_sha256 == plain.base_weights_sha256
    assert half.identity["forward"] == forward
    with torch.inference_mode():
        expected = plain.losses(plain.prepare(data.validation), ALL)
        losses = half.losses(half.prepare(data.validation), ALL)
    assert losses.dtype == torch.float32
    assert not torch.equal(losses, expected)
    torch.testing.assert_close(losses, expected, atol=0.06 if forward == "bfloat16" else 0.01, rtol=0.02)


def test_a_type_that_the_device_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch itself says so with a warning and computes in float32; this is what its CPU does for float64.
    from learning.models import _precision

    monkeypatch.setitem(_precision._DTYPES, "float16", torch.float64)
    message = fault(Precision, "float16", torch.device("cpu"))
    assert message == 'the device "cpu" does not compute in float16; set model.forward to "float32" or "bfloat16"'

    def broken(*_: Any) -> Any:
        raise RuntimeError("not implemented for Half")

    monkeypatch.undo()
    Precision("bfloat16", torch.device("cpu"))
    monkeypatch.setattr(torch.nn.functional, "linear", broken)
    assert 'does not compute in bfloat16; set model.forward to "float32"' in fault(Precision, "bfloat16", torch.device("cpu"))


def test_a_model_without_an_attention_mask_is_refused(data: TaskData) -> None:
    class Blind(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return input_ids

    with pytest.raises(ModelError, match="Blind takes no attention mask"):
        CausalLanguageModel(Blind(), byte_tokenizer(), data, ModelConfig())


def test_parameters_can_be_frozen_from_outside(data: TaskData) -> None:
    from learning.parameters import count

    objective = MaskedLanguageModel(drawn(roberta(), MASKED), roberta_tokenizer(), data, ModelConfig())
    whole = objective.base_weights_sha256
    for name, parameter in objective.model.named_parameters():
        parameter.requires_grad_(".query." in name)
    assert count(objective.model) == 2 * (16 * 16 + 16)
    assert weights_sha256(objective.model) == whole
