"""The trainable weights of a model as flat float32 vectors, and their fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from learning.errors import ModelError

__all__ = ["WeightVector", "count", "trainable", "weights_sha256"]


@dataclass(frozen=True)
class WeightVector:
    """One trainable tensor as a flat view: writing to ``flat`` writes to the model.

    :ivar decays: whether weight decay shrinks it: matrices, but neither offsets nor gains
    """

    name: str
    flat: torch.Tensor
    decays: bool = True

    def __len__(self) -> int:
        return self.flat.numel()


def trainable(model: torch.nn.Module) -> tuple[WeightVector, ...]:
    """The trainable tensors in ``named_parameters()`` order, tied tensors once.

    Raises ModelError where a tensor is not contiguous float32 (in 16 bits, adding and removing the perturbation drifts
    by percents of the weights within a few hundred rounds), or where nothing is trainable.
    """
    vectors = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        _check(name, parameter)
        if not parameter.is_contiguous():
            raise ModelError(f"the weights {name} are not contiguous in memory; store them with .contiguous()")
        vectors.append(WeightVector(name, parameter.detach().view(-1), decays=parameter.dim() > 1))
    if not vectors:
        raise ModelError("the model has no trainable weights; set requires_grad on those to fine-tune")
    return tuple(vectors)


def count(model: torch.nn.Module) -> int:
    """How many trainable weights the model has."""
    return sum(len(vector) for vector in trainable(model))


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 (hex) over name, shape and little-endian float32 bytes of every parameter, in order, tied ones once.

    Frozen parameters count too: a run belongs to all of the weights that its losses were computed with.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        _check(name, parameter)
        digest.update(f"{name} {tuple(parameter.shape)}\n".encode())
        for piece in _pieces(parameter.detach().reshape(-1)):
            digest.update(piece.cpu().numpy().astype("<f4", copy=False).data)
    return digest.hexdigest()


def _check(name: str, parameter: torch.Tensor) -> None:
    if parameter.dtype != torch.float32:
        kind = str(parameter.dtype).removeprefix("torch.")
        raise ModelError(f"the weights {name} are {kind}, but fine-tuning keeps weights in float32; load them as float32")


def _pieces(flat: torch.Tensor, size: int = 2**24) -> Iterator[torch.Tensor]:
    # A piece at a time, so that weights on an accelerator never need a second full copy in memory.
    for start in range(0, flat.numel(), size):
        yield flat[start : start + size]
