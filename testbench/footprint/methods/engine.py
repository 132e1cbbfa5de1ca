"""pAirZero's device: a round of the project's own zeroth-order engine, journal and all."""

from collections.abc import Callable

from learning.config import FederationConfig, ZerothOrderConfig
from learning.federation import Federation
from learning.journal import Journal
from learning.uplink import NoiseFreeUplink
from testbench.footprint.subject import Subject

TITLE, COPIES, FORWARDS, BACKWARDS = "pAirZero (this engine)", 1, 2, 0
UPLINK_BITS = 16


def build(subject: Subject) -> Callable[[], None]:
    """One round of a federation of one device whose batch is the subject's."""
    size = len(subject.rows)
    config = FederationConfig(devices=1, batch_size=size, rounds=1000)
    zeroth_order = ZerothOrderConfig(learning_rate=1e-9)
    federation = Federation(subject.objective, subject.data, config, zeroth_order, NoiseFreeUplink(), Journal(":memory:"))

    def step() -> None:
        for _ in federation.run(1):
            pass

    return step
