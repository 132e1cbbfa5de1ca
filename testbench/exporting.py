"""A run's fine-tuned model as a folder that transformers loads."""

from pathlib import Path
from typing import Any

from rich.console import Console

from learning.models import merge_adapters
from testbench.errors import RunFolderError
from testbench.replaying import rebuild
from testbench.run_folder import RunFolder


def export_run(folder: RunFolder, to: Path, console: Console) -> Path:
    """Rebuild the weights of ``folder`` from its journal, and write model and tokenizer to the new folder ``to``.

    Adapters are folded into the weights beside them. Raises :class:`testbench.errors.RunFolderError` where ``to`` is taken, the
    journal does not give the run's weights, or the model is not one of transformers.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise RunFolderError(f"{to} exists and is not empty; give --to a new folder")
    objective, digest = rebuild(folder, console)
    model: Any = objective.model
    if not hasattr(model, "save_pretrained"):
        raise RunFolderError(
            f"the model of {folder.path} is a {type(model).__name__}, which is not one of transformers' models and has no "
            "save_pretrained; its weights are those that `pairzero replay` rebuilds"
        )
    merge_adapters(model)
    model.save_pretrained(to)
    tokenizer = getattr(objective, "tokenizer", None) or getattr(objective, "_tokenizer", None)
    if tokenizer is not None:
        tokenizer.save_pretrained(to)
    with_tokenizer = "model and tokenizer" if tokenizer is not None else "model"
    console.print(f"{with_tokenizer} in {to} (weights sha256 {digest[:16]}...)", markup=False, highlight=False, soft_wrap=True)
    return to
