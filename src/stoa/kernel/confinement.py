"""The limits that a converting process sets on itself before it opens the file, and how it ends with its parent."""

import ctypes
import os
import resource
import signal
import sys
import threading
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)


def confine(memory_bytes_max: int, seconds_max: float) -> None:
    """Limits memory, processor time (of all threads: two cores may be busy for the whole time) and open files; forbids
    writing files and core dumps. Limits that this system does not support are skipped; the parent enforces a timeout
    anyway."""
    seconds = max(1, round(seconds_max * 2))
    _limit("RLIMIT_AS", memory_bytes_max)
    _limit("RLIMIT_CPU", seconds, seconds + 2)
    _limit("RLIMIT_FSIZE", 0)
    _limit("RLIMIT_CORE", 0)
    _limit("RLIMIT_NOFILE", 128)


def _limit(name: str, soft: int, hard: int | None = None) -> None:
    kind = getattr(resource, name, None)
    if kind is None:
        return
    ceiling = resource.getrlimit(kind)[1]
    wanted = hard if hard is not None else soft
    if ceiling != resource.RLIM_INFINITY:
        wanted, soft = min(wanted, ceiling), min(soft, ceiling)
    try:
        resource.setrlimit(kind, (soft, wanted))
    except (ValueError, OSError):
        if name != "RLIMIT_AS":  # macOS knows the name and refuses the value
            raise


def die_with(parent: int) -> None:
    """On Linux, the kernel kills this process when its parent ends."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)


def die_with_parent(parent: int) -> None:
    """Ends this process when its parent ends, in two ways: the kernel's signal, and a thread that waits for the
    end of standard input, whose other end only the parent has."""
    die_with(parent)
    threading.Thread(target=_watch, name="parent", daemon=True).start()


def _watch() -> None:
    while os.read(0, 64):
        pass
    os._exit(1)
