"""What this process has taken so far, by the kernel's own account."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_rss() -> int:
    """The largest resident size in bytes since this program was loaded.

    From VmHWM where there is one: `ru_maxrss` also counts the process that started this one, before it was loaded.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def cpu_s() -> float:
    """Seconds of processor time of all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
