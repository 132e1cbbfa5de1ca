"""What the step benchmark measures; as a program, its peak memory in a process of its own."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from learning import models
from learning.config import FederationConfig, ModelConfig, ZerothOrderConfig
from learning.data import TaskData
from learning.parameters import trainable
from learning.passes import measuring, update
from learning.perturbation import Perturbation
from learning.zeroth_order import ZerothOrderStep
from testbench.memory import forget_peak, peak_rss_mib

BATCH, WORDS = 16, 29  # with the prompt and the start token: 32 tokens
DEVICES = 4


@dataclass(frozen=True)
class Subject:
    """What the benchmarks time, on one model: each a whole piece of work, one after the other on the same weights.

    ``step``: of one device, answer logits; ``step_all_logits``: the same with all logits and transformers' own loss;
    ``step_devices``: of ``DEVICES`` devices, as a federation evaluates them; ``forward``: one forward pass of one batch, answer
    logits; ``plain``: one of transformers, all logits; ``passes``: the perturbation passes of a step, no forward pass.
    """

    step: Callable[[], None]
    step_all_logits: Callable[[], None]
    step_devices: Callable[[], None]
    forward: Callable[[], None]
    plain: Callable[[], None]
    passes: Callable[[], None]
    model: torch.nn.Module


def subject(model: str, forward_type: Literal["float32", "bfloat16"] = "float32") -> Subject:
    """The subject on ``embedded`` or on random weights of OPT-125M's shape (batch 16 x 32 tokens)."""
    count = BATCH * DEVICES
    if model == "embedded":
        from learning.embedded import PROMPT, VERBALIZERS, reviews

        examples = tuple(reviews("train", count, 0))
        data = TaskData(examples, examples, ("negative", "positive"), PROMPT, VERBALIZERS)
        config = ModelConfig(kind="embedded", forward=forward_type)
    else:
        words = [f"word{i}" for i in range(500)]
        texts = [" ".join(words[(17 * i + j) % 500] for j in range(WORDS)) for i in range(count)]
        examples = tuple((text, i % 2) for i, text in enumerate(texts))
        data = TaskData(examples, examples, ("negative", "positive"))
        config = ModelConfig(kind="causal_lm", random_weights=True, forward=forward_type)
    objective: Any = models.build(config, data)
    dataset = objective.prepare(examples)
    zo = ZerothOrderConfig(learning_rate=1e-9)
    directions = Perturbation(trainable(objective.model), 0, zo.perturbation)
    step = ZerothOrderStep(directions, zo)
    batches = np.arange(count).reshape(DEVICES, BATCH)
    at = iter(range(10**9))
    # As many rows at once as a federation takes by default.
    rows_at_once = FederationConfig().rows_per_forward

    def losses_of(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            parts = [
                objective.losses(dataset, rows[i : i + rows_at_once]).float().numpy() for i in range(0, len(rows), rows_at_once)
            ]
        return np.concatenate(parts)

    vocabulary, length = int(objective.model.config.vocab_size), int(dataset.rows.lengths.max())
    ids = torch.randint(5, vocabulary, (BATCH, length), generator=torch.Generator().manual_seed(0))

    def plain() -> np.ndarray:
        with torch.inference_mode():
            return np.array([float(objective.model(input_ids=ids, labels=ids).loss)], dtype=np.float32)

    def a_round(losses: Callable[[], list[np.ndarray]]) -> Callable[[], None]:
        def run() -> None:
            index = next(at)
            measured = step.ask(index, losses)
            step.tell(index, measured.payloads.mean(axis=0).tolist())

        return run

    def passes() -> None:
        index = next(at)
        for before in measuring(zo.mu, 1):
            directions.apply(index, before)
        directions.apply(index, update(zo.mu, zo.learning_rate, (1.0,), 1).passes)

    return Subject(
        step=a_round(lambda: [losses_of(batches[0])]),
        step_all_logits=a_round(lambda: [plain()]),
        step_devices=a_round(lambda: list(losses_of(batches.reshape(-1)).reshape(DEVICES, BATCH))),
        forward=lambda: void(losses_of(batches[0])),
        plain=lambda: void(plain()),
        passes=passes,
        model=objective.model,
    )


def void(_: object) -> None:
    """Throw a result away."""


def main() -> None:
    """``step_subject MODEL inference|step``: print the peak beyond the imports as JSON."""
    torch.set_num_threads(1)
    import transformers.models.opt.modeling_opt  # noqa: F401  # part of the imports, not of the model

    before = peak_rss_mib()
    chosen = subject(sys.argv[1])
    forget_peak()  # that of making the weights, which may be larger than either
    run = chosen.step if sys.argv[2] == "step" else chosen.forward
    for _ in range(2):
        run()
    after = peak_rss_mib()
    assert before is not None
    assert after is not None
    print(json.dumps({"peak_mib": after - before}))


if __name__ == "__main__":
    main()
