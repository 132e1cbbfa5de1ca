"""What the command line prints when a run is through."""

from typing import Any

from rich.console import Console
from rich.table import Table

from testbench.run_folder import spoken
from testbench.runner import RunResult


def show_result(console: Console, result: RunResult) -> None:
    """Accuracies side by side, what the link did, and where everything lies."""
    summary = result.summary
    air = "noise-free link" if summary["snr_max_db"] is None else "over the air"
    table = Table(box=None, pad_edge=False)
    table.add_column(f"held-out (seed {summary['seed']}, one run)")
    columns = [("zero-shot", "zero_shot"), (air, "final")]
    metric = summary["metric"]
    if summary[f"{metric}_noise_free"] is not None:
        columns.append(("noise-free", "noise_free"))
    for title, _ in columns:
        table.add_column(title, justify="right")
    names = [name for name in dict.fromkeys((metric, "exact_match")) if summary.get(f"{name}_final") is not None]
    for name in names:
        table.add_row(spoken(name), *(f"{100 * summary[f'{name}_{key}']:.1f} %" for _, key in columns))
    table.add_row("loss", *(_plain(summary[f"loss_{key}"]) for _, key in columns))
    console.print(table)
    lines = [
        f"link      received SNR |y|^2/N0 {_number(summary['received_snr_db'], 'dB')}, "
        f"NMSE {_number(summary['nmse_db'], 'dB')}, "
        f"{summary['lost_rounds']} of {summary['rounds']} rounds lost"
        f"{f', {beyond} estimates beyond the clip' if (beyond := summary.get('estimates_beyond_clip')) else ''}",
        *measured_lines(summary),
        f"uplink    {uses(summary)} a round for all {summary['devices']} devices",
        *stream_lines(summary),
        *privacy_lines(summary),
        f"cost      {summary['wall_s']:.0f} s{_since(summary['resumed_from_round'])}, {summary['peak_rss_mib'] or 0:.0f} MiB",
        f"weights   sha256 {summary['weights_sha256'][:16]}...; check with: pairzero replay {result.folder.path}",
        f"figures   {', '.join(str(path) for path in sorted(result.folder.figures.glob('*.png')))}",
        f"report    {result.folder.report}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def uses(summary: dict[str, Any]) -> str:
    """Channel uses by purpose, those of no use left out."""
    kinds = {"uplink": "payload", "pilot": "pilot", "preamble": "preamble", "guard": "guard"}
    counts = {word: summary[f"{kind}_symbols_per_round"] for kind, word in kinds.items()}
    words = [f"{count} {word}" for word, count in counts.items() if count or word in ("payload", "pilot")]
    return " and ".join([", ".join(words[:-1]), words[-1]]) + " symbols"


def measured_lines(summary: dict[str, Any]) -> list[str]:
    """SNR and N0 as the waveform receiver measured them, beside the configured ones; nothing where it measured none."""
    if summary.get("n0_measured") is None or summary.get("measured_n0") is not None:  # a stream says it below
        return []
    snr = summary.get("snr_measured_db")
    beside = "" if snr is None else f"SNR_max {snr:.1f} dB (configured: {_number(summary['snr_max_db'], 'dB')}), "
    return [f"measured  {beside}N0 {summary['n0_measured']:.3g} (configured: {summary['n0']:.3g})"]


def stream_lines(summary: dict[str, Any]) -> list[str]:
    """What was measured of a signal path, beside what the link was told; nothing where there was none."""
    if summary.get("measured_n0") is None:
        return []
    withheld = summary["stream_withheld_samples"]
    count = f"{withheld:g} withheld" if withheld >= 0 else f"{-withheld:g} more came back than went in"
    return [
        f"measured  N0 {summary['measured_n0']:.3g} (configured {summary['n0']:.3g}), SNR of a full-scale symbol "
        f"{_number(summary['measured_snr_max_db'], 'dB')} (configured {_number(summary['snr_max_db'], 'dB')}), received SNR "
        f"{_number(summary['measured_received_snr_db'], 'dB')}",
        f"stream    latency {summary['stream_latency_samples']:g} samples, {count}, "
        f"branches apart by {summary['stream_step_samples']:g}",
    ]


def privacy_lines(summary: dict[str, Any]) -> list[str]:
    """What was spent, of what, and against whom; nothing where no privacy is claimed."""
    if summary["epsilon_budget"] is None:
        return []
    stopped = summary["privacy_stopped_at_round"]
    end = "" if stopped is None else f", stopped before round {stopped}"
    return [
        f"privacy   epsilon {summary['epsilon_spent']:.4g} of {summary['epsilon_budget']:g} at delta {summary['delta']:g} "
        f"({summary['accounting']}){end}",
        f"          {summary['sensitivity']}",
        f"          against {summary['adversary']}",
        *_worth(summary),
    ]


def _worth(summary: dict[str, Any]) -> list[str]:
    """What the claim is worth where noise and batches were drawn from the seed, as in all runs that say nothing of it."""
    from testbench.privacy.secrecy import SEED_WORTH

    return [] if summary.get("randomness") in ("secret", "fresh") else [f"          drawn from the seed: {SEED_WORTH}"]


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.1f} {unit}"


def _plain(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.3f}"


def _since(resumed_from: int) -> str:
    return f" since round {resumed_from}" if resumed_from else ""
