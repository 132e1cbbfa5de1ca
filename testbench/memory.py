"""Peak memory of a process, from the kernel."""

import contextlib
from pathlib import Path


def forget_peak() -> None:
    """Set this process's peak back to what it holds now, where the kernel allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_rss_mib(pid: int | str = "self") -> float | None:
    """Largest resident memory so far of a living process [MiB]; None where the kernel does not tell.

    This is VmHWM, which begins anew at exec; getrusage's ru_maxrss would include the parent's memory at the fork.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024.0
    return None
