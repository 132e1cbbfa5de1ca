"""The golden vectors of ``phy/conformance.py`` by explicit sums in double precision, one number at a time.

    python -m tests.phy.golden_parts        # writes phy/golden.json anew

Independent of every backend: shared are the paths of the keyed channels and the standard's tables, no more; draws come from the
words of Philox.
"""

import cmath
import json
import math
from typing import Any

import numpy as np

from phy import conformance as c
from phy.channel import Channel
from phy.channels._tdl_tables import TABLES
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.offsets import OffsetDraws
from tests.learning.philox_oracle import philox4x64_10

LAGS_MARGIN = 6


def normals(purpose: str, counters: list[tuple[int, int, int, int]]) -> list[complex]:
    """CN(0, 1) from single words of Philox: counter = (position, group, sub, 0), four words a block."""
    out = []
    for position, group, sub, _ in counters:
        key = (c.SEED, int.from_bytes(purpose.encode(), "little"))
        # numpy's generator advances its counter before the first block.
        word = philox4x64_10((position // 4 + 1, group, sub, 0), key)[position % 4]
        radius = math.sqrt(-math.log((word & 0xFFFFFFFF) * 2.0**-32 + 2.0**-33))
        angle = 2.0 * math.pi * (word >> 32) * 2.0**-32
        out.append(cmath.rect(radius, angle))
    return out


def group_draws(purpose: str, first: int, rounds: int, per: int) -> np.ndarray:
    """As ``KeyedDraws.complex_normal``, [rounds, per, K]."""
    out = np.empty((rounds, per, c.DEVICES), complex)
    for r in range(rounds):
        group, place = divmod(first + r, 128)
        for i in range(per):
            for k in range(c.DEVICES):
                out[r, i, k] = normals(purpose, [((k * 128 + place) * per + i, group, 0, 0)])[0]
    return out


def golden() -> dict[str, np.ndarray]:
    """Every part of :func:`phy.conformance.parts`."""
    draws = CachedDraws(KeyedDraws(c.SEED))
    fades = group_draws("fading", c.ROUND, 5, c.ANTENNAS)
    sent = c.symbols().astype(complex)
    clean = np.zeros((5, c.ANTENNAS), complex)
    for b, m, k in np.ndindex(5, c.ANTENNAS, c.DEVICES):
        clean[b, m] += fades[b, m, k] * sent[b, k]
    noise = [normals("noise", [((c.ROUND + b) * c.ANTENNAS + m, 0, 0, 0)])[0] for b in range(5) for m in range(c.ANTENNAS)]
    long = [normals("gold-l", [(i, c.ROUND, 1 + row, 0)])[0] for row in range(2) for i in range(8)]
    out: dict[str, np.ndarray] = {
        "draws of a group": group_draws("gold-g", 126, 4, 2),
        "draws of a long round": np.array(long).reshape(2, 8),
        "rayleigh": fades,
        "superposition": clean,
        "noise": clean + 10.0 ** (-20.0 / 20.0) * np.array(noise).reshape(5, c.ANTENNAS),
    }
    for letter in "ABCDE":
        delays, powers_db, los_db = TABLES[letter]
        powers = [10 ** (p / 10) for p in powers_db]
        los = 0.0 if los_db is None else 10 ** (los_db / 10)
        total = sum(powers) + los
        out[f"tdl {letter}"] = np.array([*delays, *(p / total for p in powers), los / total])
    for name in c.SLOTS:
        out[name] = slot(c.slot_config(name, "numpy"), draws)
    return out


def slot(config: LinkConfig, draws: CachedDraws) -> np.ndarray:
    """Received samples [M, N] of one slot, by loops over antennas, devices, paths, samples, and lines or lags."""
    count, rate = c.SAMPLES, c.RATE_HZ
    spectral = config.burst.air == "emulated"
    moving = config.channel.variation == "sample"
    bound = 6e-6 * rate
    channel = Channel(config, draws)
    first = -LAGS_MARGIN - math.ceil(bound)
    last = LAGS_MARGIN + math.ceil((6e-6 + channel.max_delay_s(1)) * rate)
    start = -c.REFERENCE + (0 if spectral else first)
    steps = (count if spectral else count + last - first) if moving else 1
    a, tau = channel.paths(c.DEVICES, c.ROUND, 1, c.ANTENNAS, steps, rate, start / rate if moving else 0.0)
    offsets = OffsetDraws(config, KeyedDraws(c.SEED)).draw(c.DEVICES, c.ROUND, 1)
    x = c.bursts().astype(complex)
    y = np.zeros((c.ANTENNAS, count), complex)
    for k in range(c.DEVICES):
        late, f, phi = offsets.timing_s[0, k], offsets.frequency_hz[0, k], offsets.phase_rad[0, k]
        turned = [
            x[k, n] * cmath.exp(1j * (phi + 2 * math.pi * f * ((n - c.REFERENCE) / rate + late + config.csi.age_s)))
            for n in range(count)
        ]
        lines = range(-count // 2, count // 2)
        spectrum = [(m, sum(turned[n] * cmath.exp(-2j * math.pi * m * n / count) for n in range(count)) / count) for m in lines]
        for p in range(tau.shape[2]):
            delay = (late + tau[0, k, p]) * rate
            weights = [(lag, np.sinc(lag - delay)) for lag in range(first, last + 1)]
            for n in range(count):
                if spectral:
                    heard = sum(s * cmath.exp(2j * math.pi * m * (n - delay) / count) for m, s in spectrum)
                else:
                    heard = sum(w * turned[n - lag] for lag, w in weights if 0 <= n - lag < count)
                at = 0 if not moving else n if spectral else n - first
                for m in range(c.ANTENNAS):
                    y[m, n] += a[0, m, k, p, at] * heard
    noise = [[normals("noise", [(n, c.ROUND, 1 + m, 0)])[0] for n in range(count)] for m in range(c.ANTENNAS)]
    return y + math.sqrt(config.n0) * np.array(noise)


def stored(vectors: dict[str, np.ndarray]) -> dict[str, Any]:
    """As it lies in the file: nine digits, complex numbers as pairs."""
    out = {}
    for name, values in vectors.items():
        whole = np.iscomplexobj(values)
        flat = np.ascontiguousarray(values).reshape(-1)
        numbers = flat.view(np.float64) if whole else flat
        out[name] = {"complex": whole, "shape": list(values.shape), "values": [float(f"{v:.9g}") for v in numbers]}
    return out


if __name__ == "__main__":
    entries = (f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in stored(golden()).items())
    c.GOLDEN.write_text("{\n" + ",\n".join(entries) + "\n}\n", encoding="utf-8")
