"""Runs code in a sandbox: starts a process for each call, and kills its process group afterwards."""

import asyncio
import os
import shutil
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import UUID

import orjson

from stoa.kernel import confined

SECONDS_MAX: Final = 60.0
"""Of one call."""
MEMORY_BYTES: Final = 512 * 1024 * 1024
RESULT_BYTES_MAX: Final = 1024 * 1024
INPUT_BYTES_MAX: Final = 4 * 1024 * 1024
AT_ONCE_MAX: Final = 4
"""Processes of a node; one of them is never used by a project that has all others."""
WAIT_SECONDS_MAX: Final = 60.0
_HERE: Final = Path(__file__).parent
_START: Final = """import ctypes, os, sys
if sys.platform == "linux": ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() == int(sys.argv[1]): os.execvp(sys.argv[2], sys.argv[2:])"""
"""Executes an operator's command, which the kernel kills when the server ends (PR_SET_PDEATHSIG)."""


@dataclass(frozen=True, slots=True)
class Code:
    """Code with a function `run`. `spread`: it takes the input's fields as arguments, not the input itself."""

    text: str
    spread: bool = False


@dataclass(frozen=True, slots=True)
class Succeeded:
    result: Any


@dataclass(frozen=True, slots=True)
class Ended:
    """The code gave no result. The message is a sentence."""

    message: str
    timed_out: bool = False


Outcome: TypeAlias = Succeeded | Ended


class SandboxError(Exception):
    """The sandbox itself is busy, or could not be used: the code was not run."""


class Sandbox:
    """`command` is the operator's own sandbox, ending in a Python interpreter; None: a confined process of this
    machine."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = command
        self._places = _Places()

    @property
    def closed(self) -> bool:
        """Whether code can have no side effects, so that a call may be repeated. Unknown for an operator's sandbox."""
        return self._command is None

    async def run(self, project_id: UUID, code: Code, fields: Mapping[str, Any], seconds: float) -> Outcome:
        """Raises SandboxError."""
        seconds = min(seconds, SECONDS_MAX)
        request = {
            "code": code.text,
            "input": fields,
            "spread": code.spread,
            "seconds": seconds,
            "memory_bytes": MEMORY_BYTES,
        }
        line = orjson.dumps(request) + b"\n"
        if len(line) > INPUT_BYTES_MAX:
            return Ended(f"Its code and input have {len(line)} bytes; at most {INPUT_BYTES_MAX} are taken.")
        async with self._places.of(project_id):
            if self._command is not None and shutil.which(self._command[0]) is None:
                raise SandboxError(f"The sandbox cannot be started: there is no program {self._command[0]!r}.")
            try:
                process = await confined.start_command(self._arguments(), RESULT_BYTES_MAX + 1024)
            except OSError as error:
                raise SandboxError(f"The sandbox cannot be started: {error.strerror or error}.") from error
            try:
                async with asyncio.timeout(seconds):
                    return _outcome(await _asked(process, line))
            except TimeoutError:
                return Ended(f"It took longer than {seconds:g} seconds.", timed_out=True)
            finally:
                await asyncio.shield(confined.end(process))

    def _arguments(self) -> Sequence[str]:
        if self._command is not None:
            runner = (_HERE / "runner.py").read_text("utf-8")
            return [sys.executable, "-I", "-S", "-c", _START, str(os.getpid()), *self._command, "-I", "-c", runner]
        return [sys.executable, "-I", "-S", str(_HERE / "confining.py"), str(os.getpid())]


async def _asked(process: asyncio.subprocess.Process, request: bytes) -> bytes | Ended:
    """The line that it answers."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(request)
        await process.stdin.drain()
        return await process.stdout.readuntil(b"\n")
    except asyncio.LimitOverrunError:
        return Ended(f"Its result has more than {RESULT_BYTES_MAX} bytes.")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Ended("It ended without a result: it exited, or used more processor time or memory than it may.")


def _outcome(answer: bytes | Ended) -> Outcome:
    """Raises SandboxError."""
    if isinstance(answer, Ended):
        return answer
    try:
        match orjson.loads(answer):
            case {"result": result}:
                return Succeeded(result)
            case {"failed": str(message)}:
                return Ended(f"The code failed: {message}")
            case {"refused": str(message)}:
                raise SandboxError(
                    f"This system does not confine processes ({message}); the operator can name a sandbox of their own"
                    " (STOA_SANDBOX)."
                )
            case _:
                return Ended("It answered something else than a result.")
    except orjson.JSONDecodeError:
        return Ended("Its result is no JSON: it is nested too deeply, or holds what JSON cannot.")


class _Places:
    """Limits concurrent calls; one project may have one less."""

    def __init__(self) -> None:
        self._taken: Counter[UUID] = Counter()
        self._waiting: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def of(self, project_id: UUID) -> AsyncGenerator[None]:
        """Raises SandboxError when none becomes free."""
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                while self._taken.total() >= AT_ONCE_MAX or self._taken[project_id] >= AT_ONCE_MAX - 1:
                    freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiting.append(freed)
                    await freed
        except TimeoutError as error:
            raise SandboxError("Every place of the sandbox is taken; try again later.") from error
        self._taken[project_id] += 1
        try:
            yield
        finally:
            self._taken[project_id] -= 1
            self._taken += Counter()  # Without projects that have none.
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                if not one.done():
                    one.set_result(None)
