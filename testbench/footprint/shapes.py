"""Shapes of published models, for measurements with drawn weights (OPT: Zhang et al., arXiv 2205.01068, Table 1)."""

from collections.abc import Callable
from typing import Any


def _opt(layers: int, width: int, heads: int, **more: Any) -> Callable[[], Any]:
    def configuration() -> Any:
        from transformers import OPTConfig

        settings = {"word_embed_proj_dim": width, "ffn_dim": 4 * width, **more}
        return OPTConfig(num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, **settings)

    return configuration


#: Name -> configuration. ``embedded`` is the model that comes with the project and has weights of its own.
SHAPES: dict[str, Callable[[], Any]] = {
    "opt-125m": _opt(12, 768, 12),
    "opt-350m": _opt(24, 1024, 16, word_embed_proj_dim=512, do_layer_norm_before=False),
    "opt-1.3b": _opt(24, 2048, 32),
}
