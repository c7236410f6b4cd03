"""How many workers `auto` is."""

import os
import sys
from pathlib import Path
from typing import Final

from stoa.settings import Settings

WORKERS_AUTO_MAX: Final = 16
"""Of `auto`. Beyond it the one PostgreSQL is what limits; whoever knows better gives the number."""
_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def workers_of(settings: Settings) -> int:
    """How many workers: the number that is set, or one for each processor that this process may use."""
    return min(cores(), WORKERS_AUTO_MAX) if settings.workers == "auto" else settings.workers


def cores(quota: Path = _QUOTA) -> int:
    """Processors that this process may use: of a container those that its quota pays for, not those of the machine."""
    if sys.platform == "linux":
        usable = len(os.sched_getaffinity(0))
        try:
            allowed, period = quota.read_text().split()
            usable = min(usable, int(allowed) // int(period))
        except (OSError, ValueError):
            pass  # "max": no quota.
        return max(1, usable)
    return os.cpu_count() or 1
