"""Load a model of transformers and its tokenizer; make random weights and word tokenizers where there are none."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learning.errors import ModelError
from learning.keys import INITIAL_WEIGHTS
from learning.parameters import trainable
from learning.perturbation import Perturbation

__all__ = [
    "check_folder",
    "draw_tensors",
    "draw_weights",
    "load_pretrained",
    "load_tokenizer",
    "load_with_missing",
    "model_config",
    "quiet_loading",
    "unloadable",
    "usable_device",
    "word_tokenizer",
]

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_TOKENIZERS = ("tokenizer.json", "vocab.json", "tokenizer.model", "spiece.model", "vocab.txt")


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Around transformers' construction of a model: no trace of it in torch's global generator or on the screen.

    transformers draws initial values from the global generator before it overwrites them, and shows a progress bar.
    """
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def check_folder(path: str, *, weights: bool) -> None:
    """Refuse a folder that lacks what transformers needs, naming it; a hub name (no such folder) passes."""
    folder = Path(path)
    if not folder.is_dir():
        looks_local = folder.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1
        if looks_local or folder.exists():
            raise ModelError(
                f"there is no model folder {path}; set model.path to one into which save_pretrained wrote the model and its "
                "tokenizer (relative paths are taken from the folder in which the command runs)"
            )
        return
    wanted = [("config.json", ("config.json",)), ("a tokenizer (tokenizer.json)", _TOKENIZERS)]
    if weights:
        wanted.append(("weights (model.safetensors)", _WEIGHTS))
    missing = [what for what, files in wanted if not any((folder / file).is_file() for file in files)]
    if missing:
        raise ModelError(
            f"the model folder {path} lacks {' and '.join(missing)}; "
            "give a folder into which save_pretrained wrote the model and its tokenizer"
        )


def load_pretrained(path: str, auto: str = "AutoModelForCausalLM") -> torch.nn.Module:
    """The language model in a folder or under a hub name, in float32; no weight may be missing.

    :param auto: the class of transformers that says of which kind
    """
    model, missing = load_with_missing(path, auto)
    if missing:
        raise ModelError(f"the weights in {path} lack {len(missing)} tensors, such as {missing[0]}; complete the download")
    return model


def load_with_missing(path: str, auto: str, **settings: Any) -> tuple[torch.nn.Module, list[str]]:
    """(the model, names of the tensors that its folder lacks); those hold whatever transformers put there."""
    import transformers

    with quiet_loading():
        try:
            loaded: Any = getattr(transformers, auto).from_pretrained(
                path, dtype=torch.float32, local_files_only=Path(path).is_dir(), output_loading_info=True, **settings
            )
        except Exception as error:
            raise unloadable(path, error) from error
    return loaded[0], sorted(loaded[1]["missing_keys"])


def load_tokenizer(path: str) -> Any:
    """The tokenizer in a folder or under a hub name."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=Path(path).is_dir())
    except Exception as error:
        raise unloadable(path, error) from error


def model_config(path: str | None) -> Any:
    """The configuration in a folder or under a hub name; without either, OPT-125M's (OPTConfig's defaults)."""
    from transformers import AutoConfig, OPTConfig

    if path is None:
        return OPTConfig()
    try:
        return AutoConfig.from_pretrained(path, local_files_only=Path(path).is_dir())
    except Exception as error:
        raise unloadable(path, error) from error


def draw_weights(configuration: Any, seed: int, auto: str = "AutoModelForCausalLM") -> torch.nn.Module:
    """A model with weights drawn by us: the same bits on every machine and version.

    Matrices are 0.02 (or the configuration's own deviation) times the Gaussian law of the perturbation under another
    purpose tag, gains are 1, offsets 0.
    """
    import transformers

    with quiet_loading():
        model: torch.nn.Module = getattr(transformers, auto).from_config(configuration, dtype=torch.float32)
    draw_tensors(model, configuration, seed)
    return model


def draw_tensors(model: torch.nn.Module, configuration: Any, seed: int, only: Collection[str] | None = None) -> None:
    """Draw the weights of ``model``, or those of the tensors ``only``, as ``draw_weights`` says."""
    deviation = getattr(configuration, "init_std", None) or getattr(configuration, "initializer_range", None) or 0.02
    vectors = [vector for vector in trainable(model) if only is None or vector.name in only]
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for vector in vectors:
        gain = len(shapes[vector.name]) == 1 and vector.name.endswith("weight")
        vector.flat.fill_(1.0 if gain else 0.0)
    matrices = [vector for vector in vectors if len(shapes[vector.name]) > 1]
    Perturbation(matrices, seed, "gaussian", purpose=INITIAL_WEIGHTS).add(0, np.float32(deviation))


def word_tokenizer(texts: Iterable[str], required: Iterable[str], limit: int, configuration: Any) -> Any:
    """A word-level tokenizer over the words of ``texts``: the most frequent ``limit``, ``required`` words first."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    specials = {"<pad>": int(configuration.pad_token_id or 0), "</s>": int(configuration.bos_token_id or 2)}
    taken = set(specials.values())
    if len(taken) != len(specials):
        raise ModelError("the model's configuration gives its pad and start tokens the same number; give a tokenizer folder")
    counts = Counter(word for text in texts for word in text.split())
    first = list(dict.fromkeys(word for text in required for word in text.split()))
    rest = sorted(counts.keys() - set(first), key=lambda word: (-counts[word], word))
    vocabulary = dict(specials)
    numbers = (number for number in range(limit) if number not in taken)
    for word, number in zip(["<unk>", *first, *rest], numbers, strict=False):
        vocabulary[word] = number
    core = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", bos_token="</s>"
    )


def usable_device(name: str) -> torch.device:
    """The torch device ``name``, once a tensor can be put there."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device).fill_(0.0).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f'the device "{name}" cannot be used here; set model.device to "cpu" or another device') from error
    return device


def unloadable(path: str, error: Exception) -> ModelError:
    """The one sentence for whatever transformers raised while loading ``path``."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    where = "the model folder" if Path(path).is_dir() else "the model (no such folder, so taken as a hub name)"
    return ModelError(f"{where} {path} cannot be loaded: {lines[0].rstrip('.')}")
