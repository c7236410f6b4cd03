"""The launcher's only error: a sentence for the operator, built from the system's error."""

import errno
from pathlib import Path
from typing import Final

OWN_DATABASE: Final = "or set STOA_DATABASE_URL to a PostgreSQL of your own"
"""The remedy for machines that cannot run the embedded server."""

_SAID_LINES_MAX: Final = 12


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot run. `message` is the sentence to show: what, where and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def from_os_error(error: OSError, path: Path) -> EmbeddedError:
    """An operating system error at `path`, as a sentence."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return disk_full(path)
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        return EmbeddedError(
            f"Stoa may not write to {path} ({error.strerror}). Make it writable for the user Stoa runs as, "
            f"choose another directory with STOA_DATA_DIR, {OWN_DATABASE}."
        )
    return EmbeddedError(
        f"The embedded PostgreSQL cannot use {path}: {error.strerror or error}. Choose another directory with"
        f" STOA_DATA_DIR, {OWN_DATABASE}."
    )


def from_output(what: str, path: Path, output: str) -> EmbeddedError:
    """An error from the output of one of PostgreSQL's programs (`what` is a clause: "initdb failed")."""
    if any(words in output for words in ("No space left on device", "Disk quota exceeded", "File too large")):
        return disk_full(path)
    if "Read-only file system" in output:
        return from_os_error(OSError(errno.EROFS, "Read-only file system"), path)
    return EmbeddedError(f"{what} in {path}. {last_lines(output)}")


def disk_full(path: Path) -> EmbeddedError:
    return EmbeddedError(
        f"The disk (or quota) that holds {path} is full. Free some space, "
        "or choose a directory on another disk with STOA_DATA_DIR; nothing that was committed is lost."
    )


def last_lines(output: str) -> str:
    """The end of a program's output, indented under one heading, or a note that it is empty."""
    lines = [line for line in output.splitlines() if line.strip()][-_SAID_LINES_MAX:]
    if not lines:
        return "It said nothing."
    return "It said:\n" + "\n".join(f"    {line}" for line in lines)
