"""What the testbench refuses, each in one sentence."""


class TestbenchError(ValueError):
    """Base class: a scenario, a run folder or a command does not make sense."""

    __test__ = False  # not a test class, whatever its name suggests to pytest


class ScenarioError(TestbenchError):
    """A scenario is missing, unreadable or invalid."""


class RunFolderError(TestbenchError):
    """A run folder is missing, taken, or does not belong to the scenario."""


class FleetError(TestbenchError):
    """A fleet cannot go on: too few devices, or settings that make no sense to one."""


class LedgerError(TestbenchError):
    """The privacy ledger cannot be used, or a run would pass the budget that it holds."""
