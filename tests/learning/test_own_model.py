"""A user's own module and loss: through the Python API and as a kind of model; what is wrong with it is said."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from learning import models
from learning.config import FederationConfig, ModelConfig, ZerothOrderConfig
from learning.data import Example, TaskData
from learning.errors import ModelError
from learning.own import ModuleObjective, federate, seeded_weights
from learning.parameters import weights_sha256
from learning.replay import replay
from tests.learning.tiny import QuadraticObjective

LINES = tuple((f"{x:.2f} {2 * x - 1:.2f}", 0) for x in np.linspace(-1, 1, 40))
DATA = TaskData(LINES[::2], LINES[1::2], ("none", "unused"))


class Line(torch.nn.Module):
    """Fits y = a x + b; an example's text holds x and y."""

    metrics = ("close", "very_close")

    def __init__(self, config: ModelConfig | None = None, data: TaskData | None = None, progress: Any = None) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(2))

    def encode(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        x, y = np.array([[float(number) for number in text.split()] for text, _ in examples], dtype=np.float32).T
        return {"x": torch.tensor(x), "y": torch.tensor(y)}

    def _error(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.weights[0] * batch["x"] + self.weights[1] - batch["y"]

    def losses(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self._error(batch) ** 2

    def scores(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.stack([self._error(batch).abs() < bound for bound in (0.5, 0.05)], dim=1)


def broken(**methods: Any) -> Any:
    """A builder of a Line with other methods."""
    return lambda *arguments: type("Broken", (Line,), methods)()


def test_two_lines_fit_a_line() -> None:
    model = Line()
    federation = federate(model, DATA, FederationConfig(rounds=400), ZerothOrderConfig(learning_rate=0.02))
    before = federation.evaluate()
    assert [record.round for record in federation.run()] == list(range(400))
    after = federation.evaluate()
    # Closed form: with a = b = 0 the mean of (2x - 1)^2 over the held-out points; the fit is exact.
    truth = np.mean([float(text.split()[1]) ** 2 for text, _ in DATA.validation])
    assert before.loss == pytest.approx(truth, rel=1e-5)
    assert (before.metric, list(before.more)) == ("close", ["very_close"])
    assert after.loss < 1e-3
    assert after.score == 1.0
    np.testing.assert_allclose(model.weights.detach().numpy(), [2.0, -1.0], atol=0.05)
    again = Line()
    replay(again, federation.journal)
    assert weights_sha256(again) == weights_sha256(model)


def test_a_module_as_a_kind_of_model() -> None:
    objective = models.build(ModelConfig(kind="tests.learning.test_own_model:Line"), DATA)
    assert isinstance(objective, ModuleObjective)
    assert objective.identity["model_kind"] == "tests.learning.test_own_model:Line"
    own = objective.prepare(DATA.train)
    rows = np.array([3, 0])
    expected = [float(DATA.train[i][0].split()[1]) ** 2 for i in rows]
    np.testing.assert_allclose(objective.losses(own, rows).detach().numpy(), expected, rtol=1e-5)
    scored = ModuleObjective(Line(), ModelConfig(loss="metric"))
    close = [float(abs(float(DATA.train[i][0].split()[1])) >= 0.5) for i in rows]
    np.testing.assert_array_equal(scored.losses(own, rows).numpy(), close)


def makes_an_objective(*arguments: Any) -> Any:
    return QuadraticObjective()


def test_a_whole_objective_is_taken_as_it_is() -> None:
    objective = models.build(ModelConfig(kind="tests.learning.test_own_model:makes_an_objective"), DATA)
    assert isinstance(objective, QuadraticObjective)
    assert federate(objective, DATA).evaluate().metric == "accuracy"


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        ({"losses": None}, "lacks the method losses"),
        ({"encode": lambda self, examples: torch.zeros(3)}, "one row for each of the 20 examples, and returned shape (3,)"),
        ({"encode": lambda self, examples: "text"}, "and returned a str"),
        (
            {"losses": lambda self, batch: batch["x"].mean()},
            'shape (2,), and returned shape (); a loss of torch does so with reduction="none"',
        ),
        (
            {"scores": lambda self, batch: batch["x"]},
            "one score per example and metric (close, very_close), and returned shape (2,)",
        ),
    ],
)
def test_what_is_wrong_with_a_module(methods: dict[str, Any], expected: str) -> None:
    def use() -> None:
        objective = ModuleObjective(broken(**methods)())
        objective.assess(objective.prepare(DATA.train), np.array([0, 1]))

    with pytest.raises(ModelError) as error:
        use()
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def fails(*arguments: Any) -> Any:
    raise ZeroDivisionError("nothing there")


def makes_a_number(*arguments: Any) -> Any:
    return 3


def test_what_is_wrong_with_a_kind() -> None:
    for name, expected in (
        ("fails", "failed while it was made: ZeroDivisionError: nothing there"),
        ("makes_a_number", "made a int, which is neither a torch module"),
    ):
        with pytest.raises(ModelError) as error:
            models.build(ModelConfig(kind=f"tests.learning.test_own_model:{name}"), DATA)
        assert expected in str(error.value)


def test_weights_drawn_by_seed() -> None:
    def drawn(seed: int) -> torch.nn.Module:
        layer = torch.nn.Linear(40, 30)
        seeded_weights(layer, seed, 0.1)
        return layer

    assert weights_sha256(drawn(1)) == weights_sha256(drawn(1)) != weights_sha256(drawn(2))
    assert float(drawn(1).weight.detach().std()) == pytest.approx(0.1, rel=0.1)
    assert float(drawn(1).bias.detach().abs().max()) == 0.0
