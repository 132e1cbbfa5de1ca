"""Where the rows of a task come from: files under the task's own names, named files, or a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from learning.config import TaskConfig
from learning.data import Example, choose
from learning.errors import TaskError
from learning.tasks._datasets import read_split
from learning.tasks._tables import Columns, Table, read_table

__all__ = ["Files", "Hub", "Sources", "assemble", "sources"]


@dataclass(frozen=True)
class Files:
    """The names under which a task's files lie in its folder, and the columns of files without a header row."""

    train: str
    validation: str
    header: Columns = ()


@dataclass(frozen=True)
class Hub:
    """Where the hub has a task: ``task.dataset`` must be set to use it, so that nothing is downloaded unasked."""

    dataset: str
    subset: str | None = None
    validation_split: str = "validation"


@dataclass(frozen=True)
class Sources:
    """The tables of the training examples, one per file, and that of the held-out examples (None: there is none)."""

    train: list[Table]
    validation: Table | None


def sources(
    config: TaskConfig,
    layouts: Sequence[Files] = (),
    hub: Hub | None = None,
    read: Callable[[Path], Table | None] = lambda path: None,
) -> Sources:
    """The tables that ``config`` asks for; ``layouts`` are tried in their order in ``task.folder``.

    :param read: reads a form of file of the task's own, and answers None for the forms that every task knows
    :raises TaskError: nothing is set, or what is set is not there
    """
    if config.dataset is not None:
        subset = config.subset or (hub.subset if hub is not None and config.dataset == hub.dataset else None)
        split = config.validation_split or (hub.validation_split if hub is not None else None)
        return Sources(
            [read_split(config.dataset, subset, config.train_split)],
            None if split is None else read_split(config.dataset, subset, split),
        )
    layout = _layout(config, layouts)
    header = layout.header if layout is not None else ()
    train = config.train_files
    validation = config.validation
    if config.folder is not None and layout is not None:
        train = train or (config.folder / layout.train,)
        validation = validation or config.folder / layout.validation
    if not train:
        places = "task.folder or task.train" if layouts else "task.train"
        files = f" ({layouts[0].train} and {layouts[0].validation})" if layouts else " (.tsv, .csv or .jsonl)"
        more = "" if hub is None else f', or task.dataset = "{hub.dataset}"'
        raise TaskError(f"the task {config.name} needs a folder or a training file{files}; set {places}{more}")
    tables = [read(path) or read_table(path, header) for path in train]
    return Sources(tables, None if validation is None else read(validation) or read_table(validation, header))


def _layout(config: TaskConfig, layouts: Sequence[Files]) -> Files | None:
    """The layout that the folder has; without a folder, the one whose files end as the given ones do."""
    if config.folder is None:
        endings = {path.suffix.lower() for path in config.train_files}
        return next((layout for layout in layouts if Path(layout.train).suffix in endings), None)
    if not layouts:
        raise TaskError(f"the task {config.name} has no files of its own in a folder; set task.train instead of task.folder")
    wanted = " or ".join(f"{layout.train} and {layout.validation}" for layout in layouts)
    if not config.folder.is_dir():
        raise TaskError(
            f"there is no folder {config.folder}; set task.folder to the one with {wanted} "
            "(relative paths are taken from the folder in which the command runs)"
        )
    for layout in layouts:
        if (config.folder / layout.train).is_file():
            return layout
    if config.train_files:
        return layouts[0]
    raise TaskError(f"there is no file {config.folder / layouts[0].train}; the folder of {config.name} holds {wanted}")


def assemble(
    config: TaskConfig, train: Sequence[tuple[int, Example]], validation: Sequence[Example]
) -> tuple[tuple[Example, ...], tuple[Example, ...], tuple[int, ...] | None]:
    """The chosen examples, as ``task.train_examples`` and its kin say, and the file of each training example.

    :param train: (number of the file, example)
    """
    every = [example for _, example in train]
    places = choose(every, config.train_examples, config.seed, "training", stream=0, per_label=config.train_examples_per_label)
    held_out = choose(validation, config.validation_examples, config.seed, "validation", stream=1)
    return (
        tuple(every[place] for place in places),
        tuple(validation[place] for place in held_out),
        tuple(train[place][0] for place in places) if isinstance(config.train, tuple) else None,
    )
