"""What is measured: a model, one batch, and a method's step on it. As a program, one measurement in this process.

``python -m testbench.footprint.subject JSON`` prints the measurement as JSON.
"""

import ctypes
import gc
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from learning.data import TaskData
from learning.errors import ModelError
from testbench.footprint import methods
from testbench.footprint.shapes import SHAPES
from testbench.memory import forget_peak, peak_rss_mib

_STEPS = 2  # optimiser states are there from the first step on, and a second one meets the heap as it then is
_PROMPT_TOKENS = 2  # "It was"; the word tokenizer puts no start token before a text


@dataclass(frozen=True)
class Spec:
    """One measurement: ``model`` is a shape of :mod:`testbench.footprint.shapes`, a folder, or a hub name."""

    model: str
    method: str
    batch: int
    tokens: int
    device: str = "cpu"
    forward: str = "float32"
    threads: int = 1


@dataclass(frozen=True)
class Measurement:
    """What a process measured.

    :ivar peak_mib: largest memory during the steps beyond that of the imports alone [MiB]; on CUDA the allocator's peak
    :ivar model_mib: beyond the imports before the first step: the model and its tokenised batch [MiB]
    :ivar imports_mib: of the imports alone [MiB]; 0 on CUDA
    :ivar reserved_mib: what the CUDA allocator held at most [MiB]; None on a CPU
    :ivar weights: of the whole model
    :ivar trained: those that the method trains
    :ivar seconds_per_step: of the last step
    """

    spec: Spec
    peak_mib: float
    model_mib: float
    imports_mib: float
    reserved_mib: float | None
    weights: int
    trained: int
    seconds_per_step: float


@dataclass(frozen=True)
class Subject:
    """A causal language model and one batch.

    :ivar objective: losses at the answer position
    :ivar data: exactly the batch's examples
    :ivar ids: int64[B, tokens], the same batch as plain tokens, without padding
    """

    objective: Any
    data: TaskData
    dataset: Any
    rows: npt.NDArray[np.int64]
    ids: torch.Tensor

    @property
    def model(self) -> Any:
        """The transformers model."""
        return self.objective.model

    def answer_loss(self) -> torch.Tensor:
        """Mean loss from the logits of the answer position."""
        loss: torch.Tensor = self.objective.losses(self.dataset, self.rows).mean()
        return loss

    def language_loss(self) -> torch.Tensor:
        """Next-token loss as transformers computes it, from the logits of all positions."""
        loss: torch.Tensor = self.model(input_ids=self.ids, labels=self.ids, use_cache=False).loss
        return loss


def make_subject(spec: Spec) -> Subject:
    """The model (drawn weights where ``model`` is a shape) and a batch of ``batch`` prompts of ``tokens`` tokens each."""
    from learning import models
    from learning.config import ModelConfig
    from learning.models._loading import draw_weights, word_tokenizer
    from learning.models.causal_lm import CausalLanguageModel

    if spec.tokens <= _PROMPT_TOKENS:
        raise ModelError(f"a prompt has at least {_PROMPT_TOKENS + 1} tokens, not {spec.tokens}; raise --tokens")
    drawn = spec.model in SHAPES
    words = [f"word{i}" for i in range(500)] if drawn else ["the", "film", "was", "good", "and", "bad"]
    length = spec.tokens - _PROMPT_TOKENS if drawn else 4 * spec.tokens  # longer than is kept
    texts = [" ".join(words[(17 * i + j) % len(words)] for j in range(length)) for i in range(spec.batch)]
    examples = tuple((text, i % 2) for i, text in enumerate(texts))
    data = TaskData(examples, examples, ("negative", "positive"))
    if spec.model == "embedded":
        from learning.embedded import PROMPT, VERBALIZERS, reviews

        few = tuple(reviews("train", spec.batch, 0))
        data = TaskData(few, few, ("negative", "positive"), PROMPT, VERBALIZERS)
        objective: Any = models.build(ModelConfig(kind="embedded", device=spec.device, max_tokens=spec.tokens), data)
    elif drawn:
        configuration = SHAPES[spec.model]()
        tokenizer = word_tokenizer(texts, ["It was", *data.verbalizers], configuration.vocab_size, configuration)
        settings = ModelConfig(
            kind="causal_lm", random_weights=True, device=spec.device, max_tokens=spec.tokens, forward=spec.forward
        )
        objective = CausalLanguageModel(draw_weights(configuration, 0), tokenizer, data, settings)
    else:
        settings = ModelConfig(
            kind="causal_lm", path=spec.model, device=spec.device, max_tokens=spec.tokens, forward=spec.forward
        )
        objective = models.build(settings, data)
    dataset = objective.prepare(data.train)
    vocabulary = int(objective.model.config.vocab_size)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, vocabulary, (spec.batch, int(dataset.rows.lengths.max())), generator=generator).to(spec.device)
    return Subject(objective, data, dataset, np.arange(spec.batch), ids)


def measure(spec: Spec) -> Measurement:
    """Make the subject, forget the peak of making it, and take a few steps."""
    import time

    torch.set_num_threads(spec.threads)
    build = methods.find(spec.method)
    _import_everything(spec)
    imports = peak_rss_mib() or 0.0
    subject = make_subject(spec)
    step: Callable[[], None] = build(subject)
    weights = sum(parameter.numel() for parameter in subject.model.parameters())
    trained = sum(parameter.numel() for parameter in subject.model.parameters() if parameter.requires_grad)
    gc.collect()
    on_cuda = spec.device.startswith("cuda")
    if on_cuda:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
    else:
        _return_free_memory()
        forget_peak()
        before = (peak_rss_mib() or 0.0) - imports
    seconds = 0.0
    for _ in range(_STEPS):
        began = time.perf_counter()
        step()
        if on_cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_cuda else (peak_rss_mib() or 0.0) - imports
    reserved = torch.cuda.max_memory_reserved() / 2**20 if on_cuda else None
    return Measurement(spec, peak, before, 0.0 if on_cuda else imports, reserved, weights, trained, seconds)


def _import_everything(spec: Spec) -> None:
    """What the step will import by itself, so that it counts as imports."""
    for name in ("transformers.models.opt.modeling_opt", "transformers.models.auto.modeling_auto", "learning.federation",
                 "learning.models.causal_lm", "torch.optim", "tokenizers"):  # fmt: skip
        importlib.import_module(name)
    if spec.method.startswith("lora"):
        importlib.import_module("peft")


def _return_free_memory() -> None:
    """Give the C library's free memory back to the kernel, so that what making the model left behind is not counted."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # not glibc
        return


def main() -> None:
    """Measure what the argument asks for."""
    spec = Spec(**json.loads(sys.argv[1]))
    try:
        print(json.dumps(asdict(measure(spec))))
    except (ModelError, torch.cuda.OutOfMemoryError) as error:
        print(json.dumps({"error": str(error).splitlines()[0]}))


if __name__ == "__main__":
    main()
