"""The number of workers of `--workers auto`."""

import os
import sys
from pathlib import Path
from typing import Final

from stoa.settings import Settings

WORKERS_AUTO_MAX: Final = 16
"""The maximum for `auto`, because with more workers PostgreSQL is the bottleneck. An explicit number may be higher."""
_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def workers_of(settings: Settings) -> int:
    """The configured number of workers, or one for each processor that this process may use."""
    return min(cores(), WORKERS_AUTO_MAX) if settings.workers == "auto" else settings.workers


def cores(quota: Path = _QUOTA) -> int:
    """Processors that this process may use: in a container by its CPU quota, not all of the machine."""
    if sys.platform == "linux":
        usable = len(os.sched_getaffinity(0))
        try:
            allowed, period = quota.read_text().split()
            usable = min(usable, int(allowed) // int(period))
        except (OSError, ValueError):
            pass  # "max": no quota.
        return max(1, usable)
    return os.cpu_count() or 1
