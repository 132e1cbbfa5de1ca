"""Pretrain the embedded language model: `python -m learning.embedded.pretrain --out DIR`.

A small OPT (Zhang et al., arXiv 2205.01068) on the corpus of `learning.embedded.corpus`, by AdamW. The run is a function of the
seed: it draws from its own generators, initialises every weight itself and works on one thread, so that two runs on one machine
write the same bytes. The folder it writes is what transformers loads from a local path.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import OPTConfig, OPTForCausalLM

from learning.embedded.corpus import corpus_vocabulary, documents

__all__ = ["build_tokenizer", "main", "new_model", "pretrain"]

BOS, PAD, EOS, UNK = SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
# The first words of the vocabulary.
BOS_ID, PAD_ID, EOS_ID, UNK_ID = range(4)
SEED: Final = 2604
STEPS: Final = 1500
BATCH: Final = 128
LEARNING_RATE: Final = 3e-3
WARMUP_STEPS: Final = 100
MAX_POSITIONS: Final = 64
# Weight of a document's last word, where opinions are, against 1 for its other words.
ANSWER_WEIGHT: Final = 4.0


def build_tokenizer() -> Tokenizer:
    """A lower-casing word tokenizer: words and punctuation marks, blanks only separate, so " great" is one token."""
    words = [*SPECIAL, *corpus_vocabulary()]
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token=UNK))
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, BOS_ID)])
    return tokenizer


def new_model(vocabulary_size: int, generator: torch.Generator) -> OPTForCausalLM:
    """An untrained model whose every weight is drawn from `generator`; torch's global generator is left as it was."""
    config = OPTConfig(
        vocab_size=vocabulary_size,
        hidden_size=64,
        word_embed_proj_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=128,
        max_position_embeddings=MAX_POSITIONS,
        dropout=0.0,
        bos_token_id=BOS_ID,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):  # transformers initialises from the global generator first
        model = OPTForCausalLM(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.endswith("bias"):
                weights.zero_()
            elif "layer_norm" in name:
                weights.fill_(1.0)
            elif "embed" in name:
                weights.normal_(std=0.05, generator=generator)
            else:
                weights.normal_(std=weights.shape[1] ** -0.5, generator=generator)
    return model


def pretrain(
    out: Path,
    steps: int = STEPS,
    seed: int = SEED,
    progress: Callable[[int, float], None] | None = None,
) -> None:
    """Train for `steps` batches and write config.json, model.safetensors, tokenizer.json and tokenizer_config.json to `out`.

    `progress` is called with the number of finished steps and the loss in nats per weighted token. Runs on one thread
    (the number of threads in use is restored), since sums over threads would depend on how many there are.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _train(out, steps, seed, progress)
    finally:
        torch.set_num_threads(threads)


def _train(out: Path, steps: int, seed: int, progress: Callable[[int, float], None] | None) -> None:
    tokenizer = build_tokenizer()
    model = new_model(tokenizer.get_vocab_size(), torch.Generator().manual_seed(seed))
    model.train()
    decayed = [weights for weights in model.parameters() if weights.ndim > 1]
    others = [weights for weights in model.parameters() if weights.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        lr=LEARNING_RATE,
        betas=(0.9, 0.98),
    )
    for step, tokens in enumerate(_batches(tokenizer, steps, seed), start=1):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * _schedule(step, steps)
        loss = _loss(model, tokens)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if progress is not None:
            progress(step, loss.item())
    _save(out, model, tokenizer)


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to a hundredth."""
    if step <= WARMUP_STEPS:
        return step / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


def _batches(tokenizer: Tokenizer, steps: int, seed: int) -> Iterator[torch.Tensor]:
    """int64[BATCH, length] token ids, padded on the right; fresh documents in every batch."""
    for step in range(steps):
        texts = [document.text + EOS for document in documents(BATCH, seed * 1_000_003 + step)]
        rows = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        width = max(map(len, rows))
        yield torch.tensor([row + [PAD_ID] * (width - len(row)) for row in rows])


def _loss(model: OPTForCausalLM, tokens: torch.Tensor) -> torch.Tensor:
    """Weighted next-token cross-entropy; a document's last word counts ANSWER_WEIGHT times."""
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    # Padding is on the right, so under a causal mask no real token sees it and no attention mask is needed.
    logits = model(input_ids=inputs).logits
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    weights = (targets != PAD_ID).float()
    is_answer = torch.nn.functional.pad(targets[:, 1:] == EOS_ID, (0, 1))
    weights = torch.where(is_answer, ANSWER_WEIGHT, weights)
    return (losses * weights).sum() / weights.sum()


def _save(out: Path, model: OPTForCausalLM, tokenizer: Tokenizer) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(out)
    # The output layer is the input embedding: the file holds it once and transformers ties it.
    weights = {name: tensor.detach() for name, tensor in model.named_parameters()}
    (out / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    tokenizer.save(str(out / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "unk_token": UNK,
        "model_max_length": MAX_POSITIONS,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Command line: train, show progress and write the folder."""
    parser = argparse.ArgumentParser(description="Pretrain pairzero's embedded language model.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()

    def show(step: int, loss: float) -> None:
        if step % 50 == 0 or step == options.steps:
            sys.stderr.write(f"\rstep {step}/{options.steps}  loss {loss:.3f}")
            sys.stderr.flush()

    pretrain(options.out, options.steps, options.seed, show)
    sys.stderr.write(f"\nwrote {options.out}\n")


if __name__ == "__main__":
    main()
