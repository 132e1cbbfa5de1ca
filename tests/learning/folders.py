"""Tokenizers and tiny model folders for the tests, in the shapes of GPT-2, RoBERTa and BERT."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from learning.models._loading import draw_weights

TEXTS = (
    "the film was a very plain story It was terrible great good bad .",
    "Title: Rome\nContext: The city of Rome lies on the river Tiber.\nQuestion: Where is Rome?\nAnswer: on the river Tiber\n",
    "Does this mean that it is true? Yes or No?\nYes No Maybe correct incorrect Description",
)


def byte_tokenizer(texts: Sequence[str] = TEXTS, *, size: int = 400, pad: bool = False) -> Any:
    """GPT-2's form: byte-level BPE, <|endoftext|> as end and start, a pad token only where asked for."""
    core = Tokenizer(BPE())
    core.pre_tokenizer = ByteLevel(add_prefix_space=False)
    core.decoder = ByteLevelDecoder()
    specials = ["<|endoftext|>", *(["<pad>"] if pad else [])]
    trainer = BpeTrainer(vocab_size=size, special_tokens=specials, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    core.train_from_iterator([*texts] * 3, trainer)
    more = {"pad_token": "<pad>"} if pad else {}
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|endoftext|>", bos_token="<|endoftext|>", **more)


def roberta_tokenizer(texts: Sequence[str] = TEXTS, size: int = 400) -> Any:
    """RoBERTa's form: byte-level BPE, <s> text </s>, a mask that takes the blank before it."""
    core = Tokenizer(BPE(unk_token="<unk>"))
    core.pre_tokenizer = ByteLevel(add_prefix_space=False)
    core.decoder = ByteLevelDecoder()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    core.train_from_iterator(
        [*texts] * 3,
        BpeTrainer(vocab_size=size, special_tokens=specials, initial_alphabet=ByteLevel.alphabet(), show_progress=False),
    )
    core.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    from tokenizers import AddedToken

    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>", pad_token="<pad>",
        unk_token="<unk>", mask_token=AddedToken("<mask>", lstrip=True),
    )  # fmt: skip


def bert_tokenizer(words: Sequence[str]) -> Any:
    """BERT's form over whole words: [CLS] text [SEP], second texts of segment 1."""
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    core = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = BertPreTokenizer()
    core.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )


def written(folder: Path, configuration: Any, tokenizer: Any, auto: str, seed: int = 0) -> Path:
    """A folder as save_pretrained writes it."""
    draw_weights(configuration, seed, auto).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def drawn(configuration: Any, auto: str, seed: int = 0) -> torch.nn.Module:
    return draw_weights(configuration, seed, auto).eval()
