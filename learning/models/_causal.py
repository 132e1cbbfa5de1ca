"""The forward pass of a causal language model: logits only at the last positions, and greedy generation."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from learning.config import ModelConfig
from learning.errors import ModelError
from learning.models._loading import usable_device
from learning.models._precision import Precision

__all__ = ["CausalForward"]


class CausalForward:
    """A causal language model on its device.

    :ivar keeps_logits: whether the model itself can be asked for the last logits only
    :raises ModelError: the device or its arithmetic is not there, or the model takes no attention mask
    """

    def __init__(self, model: torch.nn.Module, config: ModelConfig) -> None:
        self.device = usable_device(config.device)
        self.precision = Precision(config.forward, self.device)
        self.model = model.to(self.device).eval()
        accepted = inspect.signature(model.forward).parameters
        if "attention_mask" not in accepted:
            raise ModelError(
                f"{type(model).__name__} takes no attention mask, so that rows of different lengths cannot share a batch; "
                "choose another model"
            )
        self.keeps_logits = "logits_to_keep" in accepted
        self._takes_positions = "position_ids" in accepted

    def last_logits(self, tokens: torch.Tensor, mask: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """float32[n, V]: logits at the places of ``keep`` bool[B, C], which are the last C columns; no others are computed.

        :param tokens: int64[B, L], padded on the left; :param mask: the same shape, zero at padding
        """
        columns = keep.shape[1]
        inputs: dict[str, Any] = {"input_ids": tokens, "attention_mask": mask, "use_cache": False}
        if self._takes_positions:
            inputs["position_ids"] = (mask.cumsum(dim=1) - 1).clamp_(min=0)
        model: Any = self.model
        with self.precision():
            if self.keeps_logits:
                chosen = model(**inputs, logits_to_keep=columns).logits[keep]
            else:
                hidden = model.base_model(**inputs).last_hidden_state[:, -columns:][keep]
                chosen = model.get_output_embeddings()(hidden)
        logits: torch.Tensor = chosen.float()
        return logits

    def generate(
        self, tokens: torch.Tensor, mask: torch.Tensor, *, longest: int, stops: list[int], padding: int
    ) -> torch.Tensor:
        """int64[B, up to ``longest``]: the most likely token after token, until one of ``stops``; ``padding`` after it."""
        from transformers import GenerationConfig

        # Everything that a model folder's own generation_config could change is said here.
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False, num_beams=1, max_new_tokens=longest, eos_token_id=stops, pad_token_id=padding, use_cache=True,
            repetition_penalty=1.0, no_repeat_ngram_size=0, temperature=1.0, top_p=1.0, top_k=50, length_penalty=1.0,
            suppress_tokens=[], begin_suppress_tokens=[], bad_words_ids=None, min_new_tokens=0,
        )  # fmt: skip
        model: Any = self.model
        with self.precision():
            written: torch.Tensor = model.generate(input_ids=tokens, attention_mask=mask, generation_config=settings)
        return written[:, tokens.shape[1] :]
