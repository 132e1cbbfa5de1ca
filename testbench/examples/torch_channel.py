"""A channel of one's own in PyTorch: superposition into a front end that saturates.

pairzero run demo --set link.air=testbench.examples.torch_channel:SaturatingFrontEnd
"""

import torch

# Amplitude at which the front end saturates; a single device at full power and mean gain arrives with 1.
SATURATION = 4.0


class SaturatingFrontEnd(torch.nn.Module):
    """y = s / sqrt(1 + |s|^2 / A^2) with s = H x: small signals pass, large ones end at A."""

    batched = True  # it draws nothing, and treats every round by itself

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """Symbols x [B, K] and gains h [B, M, K] to y [B, M], or bursts x [K, N] and gains h [M, K] to y [M, N]."""
        s = h @ x if h.dim() == 2 else (h @ x[..., None])[..., 0]
        return s * torch.rsqrt(1.0 + s.abs().square() / SATURATION**2)
