"""MeZO's loop as it was published (Malladi et al., arXiv 2305.17333), with what it allocates on the way.

Algorithm 1: perturb by +mu z, -2 mu z, +mu z, regenerating z from the seed each time, then update along z drawn once more.
As in the published loop, z and every intermediate of w + s mu z are fresh tensors as large as the weight they belong to, the
result takes the place of the old one, and the logits of all positions are computed. Ours is not derived from its code.
"""

from collections.abc import Callable

import torch

from testbench.footprint.subject import Subject

TITLE, COPIES, FORWARDS, BACKWARDS = "MeZO, as published", 1, 2, 0
_MU, _LEARNING_RATE = 1e-3, 1e-9


def build(subject: Subject) -> Callable[[], None]:
    """One step on the subject's batch."""
    parameters = [parameter for parameter in subject.model.parameters() if parameter.requires_grad]
    seeds = iter(range(10**9))
    device = subject.ids.device

    def move(seed: int, scale: float) -> None:
        generator = torch.Generator(device).manual_seed(seed)
        for parameter in parameters:
            z = torch.normal(0.0, 1.0, size=parameter.shape, generator=generator, device=device, dtype=parameter.dtype)
            parameter.data = parameter.data + scale * z * _MU

    def step() -> None:
        seed = next(seeds)
        with torch.inference_mode():
            move(seed, 1.0)
            plus = float(subject.language_loss())
            move(seed, -2.0)
            minus = float(subject.language_loss())
            move(seed, 1.0)
            projected = (plus - minus) / (2.0 * _MU)
            move(seed, -_LEARNING_RATE * projected / _MU)

    return step
