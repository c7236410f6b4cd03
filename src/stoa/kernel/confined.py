"""Child processes that read untrusted input. They are called through pipes and killed at a timeout; their limits are
in `kernel.confinement`."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "2"}


async def start(module: str, line_bytes_max: int) -> asyncio.subprocess.Process:
    """Starts `python -m MODULE PARENT` in its own session; its answers are lines of at most that many bytes. Raises
    OSError."""
    return await start_command([sys.executable, "-P", "-m", module, str(os.getpid())], line_bytes_max)


async def start_command(command: Sequence[str], line_bytes_max: int) -> asyncio.subprocess.Process:
    """The same with any command, which must itself end with this process. It inherits no descriptor and no environment
    variable. Raises OSError."""
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
    """Kills its process group, if it has not ended, and waits for its end."""
    # macOS raises the latter for a group that is ending.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    if process.stdin is not None:
        process.stdin.close()
