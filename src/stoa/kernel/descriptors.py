"""File descriptors: the last ones are reserved for the database, the journal and files.

A new descriptor has the lowest free number, so a socket with a high number shows that all lower ones are in use, and
nothing needs to be counted.
"""

import errno
import sys
from typing import Final

KEPT_MAX: Final = 128
"""Descriptors that no outbound connection may use; with a small limit, a quarter of it. Clients' connections leave the
same number to outbound connections."""


def descriptors_max() -> int | None:
    """How many this process may open; None if that is unknown or unlimited."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 — exists on this platform only

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def exhausted(error: BaseException) -> bool:
    """Whether an error means that no descriptor is left."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def of_client(number: int) -> bool:
    """Whether a client's connection may have this descriptor."""
    return _below(number, 2)


def of_call(number: int) -> bool:
    """Whether an outbound connection may have it."""
    return _below(number, 1)


def _below(number: int, shares: int) -> bool:
    total = descriptors_max()
    return total is None or number < total - shares * min(total // 4, KEPT_MAX)
