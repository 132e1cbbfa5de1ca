"""A neural receiver in PyTorch: it knows how large sums usually are, and trusts a noisy one accordingly.

pairzero run demo --set link.receiver=testbench.examples.torch_receiver:Receiver
"""

import torch

from testbench.examples.receiver_weights import layers


class Receiver(torch.nn.Module):
    """The network of :mod:`testbench.examples.receiver_weights`."""

    batched = True  # it draws nothing, and treats every round by itself

    def __init__(self) -> None:
        super().__init__()
        self.dense = torch.nn.ModuleList()
        for weights, bias in layers():
            dense = torch.nn.Linear(len(weights), len(bias))
            dense.weight.data = torch.tensor(weights).T.contiguous()
            dense.bias.data = torch.tensor(bias)
            self.dense.append(dense)

    def forward(self, z: torch.Tensor, amplitude: torch.Tensor, heard: torch.Tensor, n0: torch.Tensor) -> torch.Tensor:
        """Sums of symbols [B, n] from statistics z [B, n], amplitudes [B], devices heard [B] and the noise variance."""
        scale = (amplitude * heard)[:, None]
        mean = z.real / scale
        sigma = torch.sqrt(n0 / 2.0) / scale
        side = torch.log10(torch.stack((sigma, heard[:, None]), -1)).expand(*mean.shape, 2)
        hidden = torch.cat((mean.abs()[..., None], side), -1)
        for dense in self.dense[:-1]:
            hidden = torch.tanh(dense(hidden))
        trust = torch.sigmoid(self.dense[-1](hidden))[..., 0]
        return mean * trust * heard[:, None]
