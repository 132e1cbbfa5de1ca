"""PyTorch modules as functions of arrays."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class Module:
    """A ``torch.nn.Module`` (Sionna 2's blocks are ones), made without arguments, in evaluation mode and without gradients.

    :param factory: the class
    """

    def __init__(self, factory: Callable[[], Any]) -> None:
        self._module = factory()
        if hasattr(self._module, "eval"):
            self._module.eval()

    def __call__(self, seed: int | None, *arrays: Any) -> Any:
        """The module's answer to arrays, as an array; with ``seed``, the generators are seeded for this call."""
        tensors = [torch.from_numpy(np.array(a)) if isinstance(a, np.ndarray) else torch.tensor(a) for a in arrays]
        with torch.inference_mode():
            if seed is None:
                out = self._module(*tensors)
            else:
                with seeded(seed):
                    out = self._module(*tensors)
        return out.detach().resolve_conj().cpu().numpy() if isinstance(out, torch.Tensor) else out


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators that torch and, where it is loaded, Sionna draw from, and put them back afterwards."""
    sionna_config = sys.modules["sionna.phy"].config if "sionna.phy" in sys.modules else None
    generators = [torch.default_generator, *torch.cuda.default_generators]
    if sionna_config is not None:
        generators += [sionna_config.torch_rng(name) for name in sionna_config.available_devices]
    states = [generator.get_state() for generator in generators]
    for generator in generators:
        generator.manual_seed(seed)
    if sionna_config is not None:
        numpy_bits, python = sionna_config.np_rng.bit_generator, sionna_config.py_rng
        numpy_state, python_state = numpy_bits.state, python.getstate()
        numpy_bits.state = np.random.default_rng(seed).bit_generator.state
        python.seed(seed)
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        if sionna_config is not None:
            numpy_bits.state = numpy_state
            python.setstate(python_state)
