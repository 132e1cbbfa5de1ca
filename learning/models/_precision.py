"""The arithmetic of forward passes: float32, or autocast to 16 bits where the device has it."""

from __future__ import annotations

import contextlib
import warnings
from contextlib import AbstractContextManager

import torch

from learning.errors import ModelError

__all__ = ["Precision"]

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """``with precision():`` around a forward pass; weights stay float32, and losses are computed in float32 outside.

    :raises ModelError: the device does not compute in that type
    """

    def __init__(self, forward: str, device: torch.device) -> None:
        self._device = device
        self._dtype = _DTYPES.get(forward)
        if self._dtype is not None and not self._works():
            raise ModelError(
                f'the device "{device}" does not compute in {forward}; set model.forward to "float32"'
                + (' or "bfloat16"' if forward == "float16" else "")
            )

    def __call__(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)

    def _works(self) -> bool:
        # torch answers a type that a device lacks with a warning and float32, or with an error of the kernel.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with torch.inference_mode(), self():
                    ones = torch.ones((2, 8), device=self._device)
                    product = torch.nn.functional.linear(ones, ones)
                return product.dtype == self._dtype and float(product.float().sum()) == 32.0
            except (RuntimeError, NotImplementedError, AssertionError):
                return False
