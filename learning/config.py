"""Configuration of the learning room: frozen, validated, unknown keys refused."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from learning.keys import MAX_SEED

__all__ = ["FaultsConfig", "FederationConfig", "LoraConfig", "ModelConfig", "TaskConfig", "ZerothOrderConfig"]

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FaultsConfig(_Frozen):
    """Asynchrony of the protocol, broken on purpose; all off by default. docs/faults.md says what each means."""

    miss_probability: Probability = Field(default=0.0, description="a device does not answer a round")
    late_probability: Probability = Field(default=0.0, description="a device's answer lands in a later round's slot")
    late_rounds: int = Field(default=1, ge=1, le=100_000, description="how many rounds a late answer is late")
    wrong_seed_probability: Probability = Field(default=0.0, description="a device measures along the z of another seed")
    wrong_seed_applies: bool = Field(default=False, description="it also updates along that z, and so drifts")
    lost_broadcast_probability: Probability = Field(
        default=0.0, description="a device does not hear a round's estimate, does not apply it, and so drifts"
    )
    resync_every: int = Field(
        default=0, ge=0, le=2**31, description="rounds between resynchronisations of drifted devices; 0: never"
    )

    @property
    def any(self) -> bool:
        """Whether any fault can happen."""
        return bool(
            self.miss_probability or self.late_probability or self.wrong_seed_probability or self.lost_broadcast_probability
        )

    @property
    def drifts(self) -> bool:
        """Whether a device's weights can come to differ from the others'."""
        return bool(self.lost_broadcast_probability or (self.wrong_seed_applies and self.wrong_seed_probability))


class FederationConfig(_Frozen):
    """Who takes part, with what data, for how long."""

    devices: int = Field(default=5, ge=1, le=10_000, description="number of devices K")
    batch_size: int = Field(default=16, ge=1, description="samples per device and round")
    rounds: int = Field(default=1000, ge=1, le=2**31, description="rounds of the whole run")
    seed: Seed = Field(default=0, description="shared seed of perturbations, batches and splits")
    sampling: Literal["fixed", "poisson"] = Field(
        default="fixed",
        description="batches of batch_size examples; or each example of a device with probability batch_size over its number, "
        "the sum divided by batch_size all the same",
    )
    split: Literal["iid", "dirichlet", "by_file"] = Field(
        default="iid", description="how training examples reach devices; by_file: device k holds file k of task.train"
    )
    dirichlet_alpha: Positive = Field(default=0.5, description="label concentration; small is very uneven")
    dirichlet_min_examples: int = Field(
        default=0, ge=0, description="dirichlet: the fullest devices give to one that has fewer; 0: an empty device is refused"
    )
    rows_per_forward: int = Field(
        default=256,
        ge=1,
        description="rows evaluated at once; bounds memory; up to batch_size, each device is evaluated by itself",
    )
    faults: FaultsConfig = FaultsConfig()

    def description(self) -> dict[str, Any]:
        """What a resumed run must share: all but its length; newer settings only where they are not the default."""
        left_out = (
            {"rounds"}
            | (set() if self.faults.any else {"faults"})
            | ({"sampling"} if self.sampling == "fixed" else set())
            | (set() if self.dirichlet_min_examples else {"dirichlet_min_examples"})
        )
        return self.model_dump(mode="json", exclude=left_out)


class ZerothOrderConfig(_Frozen):
    """The two-point zeroth-order step (MeZO, arXiv 2305.17333, Algorithm 1) and the clipping of its scalars."""

    learning_rate: Positive = Field(default=3e-4, description="step size eta")
    mu: Positive = Field(default=1e-3, description="perturbation scale mu")
    clip: Positive = Field(default=100.0, description="projected gradients are clipped to +-clip (gamma)")
    clip_scope: Literal["device", "sample"] = Field(
        default="device", description="clip each device's mean, or each sample's difference before the mean"
    )
    clip_norm: Literal["direction", "joint"] = Field(
        default="direction", description="clip every direction by itself, or a round's directions jointly in Euclidean norm"
    )
    perturbation: Literal["rademacher", "gaussian", "mezo"] = Field(
        default="rademacher",
        description="law of z; mezo: torch's own normal stream on the CPU, to compare with published runs (not portable)",
    )
    directions: int = Field(default=1, ge=1, le=1024, description="directions per round, a scalar and two evaluations each")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="learning rate over the rounds: as it is, or falling to zero at the last one"
    )
    warmup_rounds: int = Field(default=0, ge=0, description="rounds over which the learning rate rises linearly at first")
    weight_decay: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="lambda: matrices shrink by 1 - eta lambda in every round"
    )

    @model_validator(mode="after")
    def _representable(self) -> ZerothOrderConfig:
        if not 1e-30 < float(np.float32(min(self.mu, 1e30))) < 1e30:
            raise ValueError("mu must lie between 1e-30 and 1e30, so that float32 can hold it")
        if self.learning_rate * self.weight_decay >= 1:
            raise ValueError("learning_rate times weight_decay must be below 1; lower weight_decay")
        return self

    def rate(self, round_index: int, rounds: int) -> float:
        """Learning rate of a round of a run of ``rounds``; the journal keeps it wherever it is not constant."""
        factor = 1.0
        if self.warmup_rounds:
            factor = min(1.0, (round_index + 1) / self.warmup_rounds)
        after = min(1.0, max(0, round_index - self.warmup_rounds) / max(1, rounds - self.warmup_rounds))
        if self.schedule == "linear":
            factor *= 1.0 - after
        elif self.schedule == "cosine":
            factor *= 0.5 * (1.0 + math.cos(math.pi * after))
        return self.learning_rate * factor

    @property
    def constant_rate(self) -> bool:
        """Whether every round has the learning rate as it is."""
        return self.schedule == "constant" and not self.warmup_rounds

    def description(self) -> dict[str, Any]:
        """What a resumed run must share; what came later than the first journals only where it is not the default."""
        later = ("clip_norm", "directions", "schedule", "warmup_rounds", "weight_decay")
        default = type(self)()
        left_out = {name for name in later if getattr(self, name) == getattr(default, name)}
        return self.model_dump(mode="json", exclude=left_out)


class LoraConfig(_Frozen):
    """Low-rank adapters (Hu et al., arXiv 2106.09685) through peft; only they are trained. Off while rank is 0."""

    rank: int = Field(default=0, ge=0, le=4096, description="rank r of every adapter; 0: no adapters")
    alpha: Positive = Field(default=16.0, description="adapters are scaled by alpha / rank")
    targets: tuple[str, ...] = Field(
        default=("q_proj", "v_proj"), min_length=1, description="names, or ends of names, of the linear layers that get one"
    )


class ModelConfig(_Frozen):
    """Which model is fine-tuned, and on what loss. ``kind`` names a file of learning.models, or ``module:Class``."""

    kind: str = Field(
        default="embedded",
        description="embedded, causal_lm, masked_lm, sequence_classification, sentence_head, or module:Class",
    )
    path: str | None = Field(default=None, description="model folder, or a hub name")
    random_weights: bool | Literal["without_path"] = Field(
        default=False, description="true: draw the weights (timing and plumbing only); without_path: where path is not set"
    )
    weights_seed: Seed = Field(default=0, description="seed of drawn weights, those of a new classification head among them")
    max_tokens: int = Field(default=256, ge=8, description="longest prompt in tokens; text is cut on its left")
    device: str = Field(default="cpu", description="torch device of the forward passes")
    forward: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="arithmetic of the forward passes; weights and losses stay float32"
    )
    loss: Literal["likelihood", "metric"] = Field(
        default="likelihood",
        description="what is minimised: cross-entropy of the right answer; or 1 minus the metric (accuracy, F1)",
    )
    verbalizer_score: Literal["one_token", "sum", "mean"] = Field(
        default="one_token",
        description="causal_lm: verbalizers are one token each; or of any length, scored by the sum of their tokens' "
        "log-likelihoods, or by the mean as MeZO does",
    )
    answer_tokens: int = Field(default=50, ge=1, description="longest generated answer in tokens")
    cache_folder: Path | None = Field(default=None, description="where sentence features are kept")
    trainable: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description='patterns of the names of the weights to train, such as "*.layers.11.*"; none: all of them',
    )
    lora: LoraConfig = LoraConfig()

    @model_validator(mode="after")
    def _one_subset(self) -> ModelConfig:
        if self.trainable is not None and self.lora.rank:
            raise ValueError("trainable and lora both say what is trained; leave one of them out")
        return self

    @property
    def draws_weights(self) -> bool:
        """Whether the weights are random rather than loaded."""
        return self.random_weights is True or (self.random_weights == "without_path" and self.path is None)

    def identity(self) -> dict[str, str]:
        """What of these settings changes losses, for a journal; the newer ones only where they are not the default."""
        found = {"max_tokens": str(self.max_tokens), "forward": self.forward}
        if self.loss != "likelihood":
            found["loss"] = self.loss
        if self.verbalizer_score != "one_token":
            found["verbalizer_score"] = self.verbalizer_score
        return found


class TaskConfig(_Frozen):
    """Which data. ``name`` names a task that comes with the package (docs/tasks.md), or ``module:function``."""

    name: str = Field(
        default="embedded", description="embedded, text, squad, sst2, rte, ... (docs/tasks.md), or module:function"
    )
    folder: Path | None = Field(default=None, description="folder with the files of the task under their own names")
    train: Path | tuple[Path, ...] | None = Field(
        default=None, description="training file (.tsv, .csv, .jsonl; SQuAD: .json), or a list of them"
    )
    validation: Path | None = Field(default=None, description="validation file; text without one: a part is held out")
    dataset: str | None = Field(
        default=None, description="instead of files: a hub name, or a local folder, that the package datasets loads"
    )
    subset: str | None = Field(default=None, description="configuration of the dataset; GLUE-like tasks know their own")
    train_split: str = Field(default="train", description="dataset: split of the training examples")
    validation_split: str | None = Field(
        default=None, description="dataset: split of the held-out examples; none: the usual one"
    )
    validation_fraction: float = Field(default=0.1, gt=0, lt=1, description="text: held-out part of the training file")
    text_column: str = Field(default="text", description="text: column that {text} of the prompt stands for")
    label_column: str = Field(default="label", description="text: column with the label")
    labels: tuple[str, ...] | None = Field(default=None, min_length=2, description="text: label values, in order")
    prompt: str | None = Field(
        default=None,
        description='prompt template, such as "{text} It was"; the fields in braces are those of the task (text: columns of '
        "the file); with {mask} for masked language models",
    )
    verbalizers: tuple[str, ...] | None = Field(default=None, min_length=2, description="answer word per label")
    train_examples: int | None = Field(default=None, ge=1, description="use this many training examples")
    train_examples_per_label: int | None = Field(
        default=None, ge=1, description="use this many training examples of each label"
    )
    validation_examples: int | None = Field(default=None, ge=1, description="use this many validation examples")
    seed: Seed = Field(default=0, description="seed of the choice of examples")

    @property
    def train_files(self) -> tuple[Path, ...]:
        """The training files, as a list in any case."""
        if self.train is None:
            return ()
        return self.train if isinstance(self.train, tuple) else (self.train,)

    @model_validator(mode="after")
    def _fits_together(self) -> TaskConfig:
        if self.prompt is not None and not re.search(r"\{[A-Za-z_]\w*\}", self.prompt):
            raise ValueError('prompt must name a field of the task in braces, for example "{text} It was"')
        if self.train_examples is not None and self.train_examples_per_label is not None:
            raise ValueError("train_examples and train_examples_per_label exclude each other; set one of them")
        if self.dataset is not None and (self.folder or self.train or self.validation):
            raise ValueError("dataset takes the place of files; leave out folder, train and validation")
        if self.train == ():
            raise ValueError("train is an empty list; name a file")
        return self
