"""Rows through the package ``datasets``: a hub name, a folder of data files, or one that ``save_to_disk`` wrote."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from learning.errors import TaskError
from learning.tasks._tables import Row, Table

__all__ = ["read_split"]


def read_split(dataset: str, subset: str | None, split: str) -> Table:
    """The rows of one split; numbers that stand for names (ClassLabel) are read as the names.

    :raises TaskError: the package, the dataset, the subset or the split is not there, or the hub cannot be reached
    """
    if importlib.util.find_spec("datasets") is None:
        raise TaskError(
            f'reading the dataset {dataset} takes the package datasets; install it with pip install "pairzero[datasets]", or '
            "give files (task.folder or task.train)"
        )
    where = f"the dataset {dataset}" + ("" if subset is None else f" ({subset})")
    loaded = _load(dataset, subset, split, where)
    return Table(f"{where}, split {split}", "row", _rows(loaded))


def _load(dataset: str, subset: str | None, split: str, where: str) -> Any:
    import datasets  # type: ignore[import-untyped, unused-ignore]

    folder = Path(dataset).expanduser()
    with _quiet():
        try:
            if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
                found: Any = datasets.load_from_disk(str(folder))
                if isinstance(found, datasets.Dataset):  # a single split, which has no name in the folder
                    found = datasets.DatasetDict({"train": found})
            else:
                found = datasets.load_dataset(str(folder) if folder.is_dir() else dataset, subset)
        except Exception as error:
            raise _unloadable(where, folder, error) from error
    if split not in found:
        raise TaskError(f'{where} has no split "{split}"; it has {", ".join(map(str, found))}')
    return found[split]


def _rows(loaded: Any) -> Iterator[tuple[int, Row]]:
    names = {column: feature.names for column, feature in loaded.features.items() if hasattr(feature, "names")}
    for number, row in enumerate(loaded):
        for column, known in names.items():
            value = row.get(column)
            if isinstance(value, int) and 0 <= value < len(known):
                row[column] = known[value]
        yield number, row


def _unloadable(where: str, folder: Path, error: Exception) -> TaskError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[0].rstrip(".")
    if folder.exists():
        return TaskError(f"{where} cannot be loaded: {reason}")
    if isinstance(error, (ConnectionError, OSError)) or "connect" in reason.lower() or "offline" in reason.lower():
        return TaskError(
            f"{where} is no folder here, and the hub cannot be reached or does not have it ({reason}); give a folder that "
            "save_to_disk wrote, or files (task.folder or task.train)"
        )
    return TaskError(f"{where} cannot be loaded from the hub: {reason}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    import datasets  # type: ignore[import-untyped, unused-ignore]

    shown = datasets.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
