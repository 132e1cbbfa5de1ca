"""What the step benchmark measures; as a program, its peak memory in a process of its own."""

import json
import sys
from collections.abc import Callable

import numpy as np
import torch

from learning import models
from learning.config import ModelConfig, ZerothOrderConfig
from learning.data import TaskData
from learning.models.causal_lm import CausalLanguageModel
from learning.parameters import trainable
from learning.perturbation import Perturbation
from learning.zeroth_order import ZerothOrderStep
from testbench.memory import forget_peak, peak_rss_mib

BATCH, WORDS = 16, 29  # with the prompt and the start token: 32 tokens


def subject(model: str) -> tuple[Callable[[], None], Callable[[], None], Callable[[], None]]:
    """(a whole step, one forward pass with answer logits, one with all logits) of one device's batch."""
    if model == "embedded":
        from learning.embedded import PROMPT, VERBALIZERS, reviews

        examples = tuple(reviews("train", BATCH, 0))
        data = TaskData(examples, examples, ("negative", "positive"), PROMPT, VERBALIZERS)
        config = ModelConfig(kind="embedded")
    else:
        words = [f"word{i}" for i in range(500)]
        texts = [" ".join(words[(17 * i + j) % 500] for j in range(WORDS)) for i in range(BATCH)]
        examples = tuple((text, i % 2) for i, text in enumerate(texts))
        data = TaskData(examples, examples, ("negative", "positive"))
        config = ModelConfig(kind="causal_lm", random_weights=True)
    objective = models.build(config, data)
    assert isinstance(objective, CausalLanguageModel)
    dataset = objective.prepare(examples)
    zo = ZerothOrderConfig(learning_rate=1e-9)
    step = ZerothOrderStep(Perturbation(trainable(objective.model), 0, zo.perturbation), zo)
    rows = np.arange(BATCH)
    at = iter(range(10**9))

    def losses() -> list[np.ndarray]:
        with torch.inference_mode():
            return [objective.losses(dataset, rows).numpy()]

    def whole() -> None:
        index = next(at)
        measured = step.ask(index, losses)
        step.tell(index, float(measured.payloads.mean()))

    def forward() -> None:
        losses()

    vocabulary = int(objective.model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    length = int(dataset.rows.lengths.max())
    ids = torch.randint(5, vocabulary, (BATCH, length), generator=torch.Generator().manual_seed(0))

    def plain() -> None:
        with torch.inference_mode():
            objective.model(input_ids=ids, labels=ids)

    return whole, forward, plain


def main() -> None:
    """``step_subject MODEL inference|step``: print the peak beyond the imports as JSON."""
    torch.set_num_threads(1)
    import transformers.models.opt.modeling_opt  # noqa: F401  # part of the imports, not of the model

    before = peak_rss_mib()
    whole, forward, _ = subject(sys.argv[1])
    forget_peak()  # that of making the weights, which may be larger than either
    run = whole if sys.argv[2] == "step" else forward
    for _ in range(2):
        run()
    after = peak_rss_mib()
    assert before is not None
    assert after is not None
    print(json.dumps({"peak_mib": after - before}))


if __name__ == "__main__":
    main()
