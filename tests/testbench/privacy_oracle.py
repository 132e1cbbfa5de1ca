"""An oracle of privacy that shares nothing with the product but the link itself: raw settings, dense algebra, a bisection.

It reads the scenario's plain data, measures every device's response by sending full scale up and down through the link that the
plan made, stacks real and imaginary parts, inverts the whole noise covariance, and turns the sum of mu^2 into epsilon by Balle
and Wang's formula. Nothing of it is fast.
"""

import itertools
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from phy.link import Link


def epsilon_of(mu: float, delta: float) -> float:
    """Of a Gaussian mechanism: delta(e) = Phi(mu/2 - e/mu) - exp(e) Phi(-mu/2 - e/mu)."""

    def excess(e: float) -> float:
        return float(norm.cdf(mu / 2 - e / mu) - np.exp(e + norm.logcdf(-mu / 2 - e / mu)) - delta)

    if mu == 0 or excess(0.0) <= 0:
        return 0.0
    return float(brentq(excess, 0.0, mu * mu / 2 + 12 * mu + 60))


class Oracle:
    """mu^2 of devices in single rounds.

    :param data: the scenario as plain data; :param link: with the plan in it, as the adversary hears it
    :param noise: standard deviation of artificial noise by round
    """

    def __init__(self, data: dict[str, Any], link: Link, noise: Any) -> None:
        self.data, self.link, self.noise = data, link, noise
        step, privacy, link_data = data["zeroth_order"], data["privacy"], data["link"]
        self.clip, self.n = step["clip"], step["directions"]
        n0 = 10.0 ** (-link_data["snr_max_db"] / 10.0)
        self.variance = (
            0.0 if privacy["noise_source"] == "artificial" else n0 / 2 / 10 ** (privacy["adversary_advantage_db"] / 10)
        )
        sign = link_data["scheme"] == "sign"
        self.joint = self.n > 1 and step["clip_norm"] == "joint" and not sign
        change = {"client_value": 2.0, "record_replace_one": 2.0, "record_add_remove": 1.0}[privacy["sensitivity"]]
        if sign:
            change = 2.0
        elif privacy["sensitivity"] != "client_value":
            change /= data["federation"]["batch_size"]
        self.change = change  # of one symbol in units of full scale; of the norm of all where clipped jointly
        self.devices = data["federation"]["devices"]
        self.colluders = set(privacy.get("adversary", {}).get("colluders", ()))
        self.doubt = 0.0  # relative error of mu^2 that single precision may have made, the largest so far

    def round(self, t: int, present: np.ndarray | None = None) -> np.ndarray:
        """mu^2 [K] in round t."""
        k_all, n = self.devices, self.n
        who = None if present is None else present[None]
        columns = []
        for k, j in itertools.product(range(k_all), range(n)):
            up = np.zeros((1, k_all, n))
            up[0, k, j] = self.clip
            seen = [self.link.observe(np.array([t]), p, who)[0].astype(np.complex128) for p in (up, -up)]
            half = (seen[0] - seen[1]) / 2
            if (size := float(np.linalg.norm(half))) > 0:
                last = 1.2e-7 * float(np.abs(seen).max()) / size
                self.doubt = max(self.doubt, 2 * last + half.size * last**2)
            columns.append(np.concatenate((half.real, half.imag)))
        a = np.array(columns).T  # [2D, K n]
        s = float(np.atleast_1d(self.noise)[min(t, np.atleast_1d(self.noise).size - 1)])
        quiet = [i for i in range(k_all * n) if i // n not in self.colluders]
        # In the span of all responses, where alone they and their noise live; the rest of the samples tells nothing.
        basis, sizes, _ = np.linalg.svd(a, full_matrices=False)
        basis = basis[:, sizes > 3e-6 * (sizes[0] if sizes.size else 0.0)]
        small = basis.T @ a
        cover = self.variance * np.eye(small.shape[0]) + s * s * small[:, quiet] @ small[:, quiet].T
        out = np.zeros(k_all)
        for k in range(k_all):
            if k in self.colluders or not small.size:
                continue
            r = small[:, k * n : (k + 1) * n]
            if np.abs(r).max() == 0:
                continue
            form = r.T @ np.linalg.pinv(cover, rcond=1e-12, hermitian=True) @ r
            if self.joint or n == 1:
                out[k] = self.change**2 * np.linalg.eigvalsh(form)[-1]
            else:
                signs = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
                out[k] = self.change**2 * np.einsum("vi,ij,vj->v", signs, form, signs).max()
        return out
