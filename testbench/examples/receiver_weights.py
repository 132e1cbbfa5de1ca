"""The neural receiver of both frameworks: what it computes, its weights, and how they were trained.

    python -m testbench.examples.receiver_weights       # trains anew, half a minute, and writes receiver_weights.json

It estimates the mean symbol m = (1/K) sum_k s_k of K active devices from u = Re z / (a K), which is m plus noise of standard
deviation sigma = sqrt(N0 / 2) / (a K). The matched filter returns u; with a prior on the symbols less error is possible:

    m' = u g(|u|, log10 sigma, log10 K),    g = sigmoid of two hidden layers of 16 tanh units,

trained to the least squared error for independent symbols s_k uniform on [-1, 1], K from 1 to 64 and sigma from 0.003 to 10.
Where payloads have another law it is a mismatched estimator, which shrinks too little or too much; it is an example.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("receiver_weights.json")
UNITS = 16


@cache
def layers() -> list[tuple[list[list[float]], list[float]]]:
    """Weights [inputs, outputs] and biases [outputs] of each layer."""
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    return [(layer["weights"], layer["bias"]) for layer in stored]


def train(steps: int = 4000, batch: int = 4096) -> float:
    """Train, write the file, and return the last mean squared error over the variance 1/(3K) of m."""
    import torch

    generator = torch.Generator().manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Linear(3, UNITS), torch.nn.Tanh(), torch.nn.Linear(UNITS, UNITS), torch.nn.Tanh(), torch.nn.Linear(UNITS, 1)
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    index = torch.arange(64)
    error = 1.0
    for _ in range(steps):
        heard = torch.exp(torch.rand(batch, generator=generator) * 4.1589).round()
        symbols = (2 * torch.rand(batch, 64, generator=generator) - 1) * (index < heard[:, None])
        mean = symbols.sum(1) / heard
        sigma = 10 ** (-2.5 + 3.5 * torch.rand(batch, generator=generator))
        heard_mean = mean + sigma * torch.randn(batch, generator=generator)
        features = torch.stack((heard_mean.abs(), sigma.log10(), heard.log10()), 1)
        estimate = heard_mean * torch.sigmoid(net(features)[:, 0])
        loss = (3 * heard * (estimate - mean) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        error = float(loss.detach())
    stored = [
        {"weights": _rounded(layer.weight.T.tolist()), "bias": _rounded(layer.bias.tolist())}
        for layer in net
        if isinstance(layer, torch.nn.Linear)
    ]
    FILE.write_text(json.dumps(stored) + "\n", encoding="utf-8")
    return error


def _rounded(values: Any) -> Any:
    return [_rounded(value) for value in values] if isinstance(values, list) else round(values, 6)


if __name__ == "__main__":
    print(f"mean squared error {train():.3f} of the variance of m (1: as good as saying zero)")
