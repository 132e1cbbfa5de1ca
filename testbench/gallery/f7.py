"""F7: how error, channel uses and latency scale with the number of devices, over the air and in turns."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from testbench.gallery._draw import GREY, PAYLOAD, STYLE, curve, foot, pick, save, style, write_rows
from testbench.gallery._job import Job

TITLE = "Scaling with K: NMSE, uplink channel uses and latency, over the air against orthogonal digital"

_SNR_DB, _BANDWIDTH_HZ, _BITS = 10.0, 1e6, 16
_PARAMETERS = 125_239_296  # OPT-125M
_SCHEMES: dict[str, tuple[str, dict[str, Any]]] = {
    "perfect": ("analog, perfect CSI (pilots not counted)", {"link.scheme": "analog", "link.csi.estimator": "perfect"}),
    "ls": ("analog, LS from 8 pilots", {"link.scheme": "analog", "link.csi.estimator": "ls"}),
    "sign": ("votes (sign, soft), LS from 8 pilots", {"link.scheme": "sign", "link.csi.estimator": "ls"}),
    "reed": ("REED, non-coherent, 8 looks", {"link.scheme": "reed", "link.noncoherent.looks": 8}),
    "digital": ("digital in turns, 16 bit in 16 uses", {"link.scheme": "digital"}),
}  # fmt: skip


def draw(job: Job) -> Path:
    """Draw F7; returns the PNG."""
    rounds = 50_000 if job.paper else 4000
    devices = [1, 2, 5, 10, 20, 50, 100, 200, 500] if job.paper else [1, 2, 5, 10, 20, 50, 100]
    result = job.sweep(
        "devices",
        {
            "measure": "link",
            "scenario": "demo",
            "measurement": {"rounds": rounds},
            "set": {
                "link.snr_max_db": _SNR_DB, "link.csi.pilot_symbols": 8, "link.power.control": "truncated",
                "link.power.threshold": 0.1,
            },
            "axes": {"scheme": {name: settings for name, (_, settings) in _SCHEMES.items()}, "federation.devices": devices},
        },
    )  # fmt: skip
    rows = result.rows
    for row in rows:
        parts = ("payload", "pilot", "overhead")
        row["channel_uses"] = sum(row[f"{part}_symbols_per_round"] for part in parts)
        row["latency_s"] = row["channel_uses"] / _BANDWIDTH_HZ
    snr = 10.0 ** (_SNR_DB / 10.0)
    at = np.array(devices, float)
    in_turns = at * _BITS / (_BANDWIDTH_HZ * np.log2(1.0 + snr))
    in_bands = at * _BITS / (_BANDWIDTH_HZ * np.log2(1.0 + at * snr))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 4.6), layout="constrained")
        nmse, uses, latency = figure.subplots(1, 3)
        for index, (name, (label, _)) in enumerate(_SCHEMES.items()):
            mine = pick(rows, scheme=name)
            curve(nmse, mine, "federation.devices", "nmse_db", index, label)
            curve(uses, mine, "federation.devices", "channel_uses", index, label)
            curve(latency, mine, "federation.devices", "latency_s", index, label, 1e3)
        plain: dict[str, Any] = {"marker": "None", "markersize": 0}
        latency.plot(at, 1e3 * in_turns, label=f"TDMA at capacity, {_BITS} bit: K b / (B log2(1 + SNR))", **style(5) | plain)
        latency.plot(at, 1e3 * in_bands, label="OFDMA at capacity: K b / (B log2(1 + K SNR))", **style(6) | plain)
        gradient = 1e3 * _PARAMETERS / _BANDWIDTH_HZ
        latency.axhline(gradient, color=GREY, linewidth=1.0, linestyle=(0, (1, 1)))
        latency.annotate(
            "a gradient of OPT-125M over the air", (0.02, gradient), xycoords=("axes fraction", "data"), va="top", fontsize=7
        )
        nmse.set(
            xlabel="devices K", ylabel="NMSE [dB]", title="Error of the estimate (cut at -35 dB)", xscale="log", ylim=(-35, 10)
        )
        uses.set(xlabel="devices K", ylabel="channel uses per scalar", title="Uplink of a round", xscale="log", yscale="log")
        latency.set(
            xlabel="devices K", ylabel=f"latency of a scalar [ms], B = {_BANDWIDTH_HZ / 1e6:g} MHz", title="Latency",
            xscale="log", yscale="log",
        )  # fmt: skip
        handles, labels = latency.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=7.5, frameon=False, handlelength=3.5)
        foot(
            figure,
            f"SNR_max = P E|h|²/N0 = {_SNR_DB:g} dB per device (N0: variance of a complex sample, P: peak power), Rayleigh "
            "block fading, "
            "one antenna, truncated inversion at |h|² = 0.1; pilots sounding every device's channel each round, as strong as "
            "the payload, "
            "are counted; preamble and guard are none at symbol fidelity; a channel use lasts 1/B. Digital: a device is "
            "heard where its "
            f"fade carries the bits; at capacity: mean SNR without fading. {PAYLOAD}; NMSE against what a perfect link of "
            "the scheme "
            f"returns (votes: their mean); {rounds} rounds a point, seed {rows[0]['seed']}, bands 95 % (batch means). No "
            "privacy is claimed.",
        )
        path = save(figure, job.folder, job.name)
    write_rows(job.folder / f"{job.name}.csv", rows)
    capacity = [
        {"devices": int(k), "tdma_capacity_s": float(a), "ofdma_capacity_s": float(b)}
        for k, a, b in zip(at, in_turns, in_bands, strict=True)
    ]
    write_rows(job.folder / f"{job.name}-capacity.csv", capacity)
    return path
