"""Processes of this program's own that read what strangers sent, asked through pipes and killed when they take too
long. What such a process limits itself to says `kernel.confinement`."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "2"}


async def start(module: str, line_bytes_max: int) -> asyncio.subprocess.Process:
    """`python -m MODULE PARENT`, in a session of its own; its answers are lines of at most that many bytes. Raises
    OSError."""
    return await start_command([sys.executable, "-P", "-m", module, str(os.getpid())], line_bytes_max)


async def start_command(command: Sequence[str], line_bytes_max: int) -> asyncio.subprocess.Process:
    """The same with any command, which must see to it that it ends with this process. It inherits no descriptor and
    none of our variables. Raises OSError."""
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_ENVIRONMENT,
        limit=line_bytes_max,
        start_new_session=True,
    )


async def end(process: asyncio.subprocess.Process) -> None:
    """Kills it with what it started in its session, unless all have ended, and waits until it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group that is ending.
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    if process.stdin is not None:
        process.stdin.close()
