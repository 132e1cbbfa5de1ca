"""Configuration: ranges, unknown keys; and what importing costs."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from learning.config import FaultsConfig, FederationConfig, ModelConfig, TaskConfig, ZerothOrderConfig


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (FederationConfig, {"devices": 0}),
        (FederationConfig, {"seed": -1}),
        (FederationConfig, {"seed": 2**63}),
        (FederationConfig, {"split": "random"}),
        (FederationConfig, {"dirichlet_alpha": 0.0}),
        (FederationConfig, {"device": 5}),
        (FederationConfig, {"faults": {"miss": 0.1}}),
        (FaultsConfig, {"miss_probability": -0.1}),
        (FaultsConfig, {"late_probability": 1.1}),
        (FaultsConfig, {"lost_broadcast_probability": float("nan")}),
        (FaultsConfig, {"late_rounds": 0}),
        (FaultsConfig, {"resync_every": -1}),
        (ZerothOrderConfig, {"mu": 0.0}),
        (ZerothOrderConfig, {"mu": float("nan")}),
        (ZerothOrderConfig, {"mu": 1e-50}),
        (ZerothOrderConfig, {"mu": 1e300}),
        (ZerothOrderConfig, {"learning_rate": float("inf")}),
        (ZerothOrderConfig, {"clip": -1.0}),
        (ZerothOrderConfig, {"perturbation": "normal"}),
        (ModelConfig, {"forward": "float8"}),
        (ModelConfig, {"max_tokens": 0}),
        (TaskConfig, {"prompt": "no place"}),
        (TaskConfig, {"validation_fraction": 1.0}),
        (TaskConfig, {"labels": ("one",)}),
        (TaskConfig, {"train": ()}),
        (TaskConfig, {"train_examples": 5, "train_examples_per_label": 5}),
        (TaskConfig, {"dataset": "x", "folder": "y"}),
        (FederationConfig, {"split": "by_files"}),
    ],
)
def test_what_is_refused(model: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model(**values)


def test_defaults_are_valid_and_frozen() -> None:
    for model in (FaultsConfig, FederationConfig, ZerothOrderConfig, ModelConfig, TaskConfig):
        config = model()
        assert model.model_validate(config.model_dump(mode="json")) == config
        with pytest.raises(ValidationError):
            config.seed = 1


def test_importing_the_room_is_light_and_stays_inside() -> None:
    code = (
        "import sys, learning, learning.config, learning.data, learning.tasks, learning.keys, learning.journal\n"
        "heavy = {'torch', 'transformers', 'phy', 'bridge', 'testbench', 'sionna'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import learning.federation, learning.models.causal_lm, learning.models.sentence_head\n"
        "above = {'phy', 'bridge', 'testbench', 'sionna'} & set(sys.modules)\n"
        "assert not above, above\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
