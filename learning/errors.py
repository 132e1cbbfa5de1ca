"""What can go wrong in the learning room, each kind with one sentence that says what to do."""

__all__ = ["JournalError", "LearningError", "ModelError", "RoundError", "TaskError"]


class LearningError(Exception):
    """Anything the learning room refuses; ``str(error)`` is one sentence for the person at the command line."""


class TaskError(LearningError):
    """The data of a task is missing, malformed, or does not fit its description."""


class ModelError(LearningError):
    """A model cannot be found, loaded, or used for the task."""


class JournalError(LearningError):
    """A journal is not one, is damaged, or belongs to another run."""


class RoundError(LearningError):
    """A round cannot be run: the uplink answered nonsense, or an earlier round was cut off half way."""
