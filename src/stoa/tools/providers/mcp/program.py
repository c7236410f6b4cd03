"""The stdio transport: a program in a process group of its own, JSON lines in and out.

It replaces the SDK's transport, which buffers lines of any length and blocks on a server that does not read. Here a
line is bounded, writing never blocks, and a server is ended with its whole process group.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import anyio
import mcp_types as types
import structlog
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from stoa.tools.providers.mcp.messages import repaired
from stoa.tools.types import Program

MESSAGE_BYTES_MAX: Final = 8 * 1024 * 1024
UNREAD_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes sent to a server that it has not read yet."""
WAITING_MAX: Final = 64
"""Buffered messages; beyond them we stop reading and the server's pipe fills."""
GARBAGE_MAX: Final = 1_000
"""Lines on stdout that are not messages: some servers log there, but it is limited."""
LAST_LINES_MAX: Final = 10
"""Of stderr, for the log when a server fails; the rest is there at the level debug."""
EXIT_SECONDS: Final = 0.1
END_SECONDS_MAX: Final = 1.0
"""After its stdin was closed, and again after SIGTERM."""
_log = structlog.get_logger("stoa.tools.mcp")


class _Lines(asyncio.SubprocessProtocol):
    """The program's output: complete lines become messages; calls `ended` once with the reason of the end."""

    def __init__(self, program: Program, ended: Callable[[str], None]) -> None:
        self._program = program
        self._ended = ended
        self._part = bytearray()
        self._garbage = 0
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES_MAX)
        self._paused = False
        self._process: asyncio.SubprocessTransport | None = None
        self.messages: deque[SessionMessage] = deque()
        self.over = False
        self.leaving = False
        """We end it: what it does now is no news."""
        self.arrived = asyncio.Event()
        self.exited = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._process = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._note(data)
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._message(bytes(self._part + line))
            self._part.clear()
        self._part += rest
        if len(self._part) > MESSAGE_BYTES_MAX:
            self._part.clear()
            self.end(f"sent a message of more than {MESSAGE_BYTES_MAX} bytes")
        if len(self.messages) > WAITING_MAX:
            self._pause(on=True)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 — the protocol's shape
        if fd == 1:  # Usually because it exited; its exit status, which follows in a moment, says more.
            asyncio.get_running_loop().call_later(EXIT_SECONDS, self.end, "closed its output")

    def process_exited(self) -> None:
        self.exited.set()
        assert self._process is not None
        code = self._process.get_returncode()
        self.end(f"ended with {f'signal {-code}' if code is not None and code < 0 else f'code {code}'}")

    def end(self, reason: str) -> None:
        if not self.over and not self.leaving:
            _log.warning(
                "an MCP server is at its end",
                server=self._program.name,
                reason=reason,
                last_lines=list(self._last_lines),
            )
        self.over = True
        self.arrived.set()
        self._ended(reason)

    def taken(self) -> SessionMessage:
        message = self.messages.popleft()
        if self._paused and len(self.messages) < WAITING_MAX // 2:
            self._pause(on=False)
        return message

    def _message(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message = types.jsonrpc_message_adapter.validate_json(repaired(line, None), by_name=False)
        except (ValidationError, ValueError):
            self._garbage += 1
            if self._garbage > GARBAGE_MAX:
                self.end("writes other things than JSON-RPC messages")
            return
        self.messages.append(SessionMessage(message))
        self.arrived.set()

    def _note(self, data: bytes) -> None:
        for line in data.decode("utf-8", "replace").splitlines():
            if line.strip():
                self._last_lines.append(line[:500])
                _log.debug("an MCP server says", server=self._program.name, line=line[:500])

    def _pause(self, *, on: bool) -> None:
        assert self._process is not None
        pipe = cast("asyncio.ReadTransport | None", self._process.get_pipe_transport(1))
        if pipe is not None and self._paused != on:
            self._paused = on
            (pipe.pause_reading if on else pipe.resume_reading)()


@asynccontextmanager
async def speaking(program: Program, ended: Callable[[str], None], hurry: Callable[[], bool]) -> AsyncGenerator[Any]:
    """The two streams of a session with a program that is started for it and ends with it; at once if `hurry` is true.

    Raises OSError when it cannot be started.
    """
    transport, lines = await asyncio.get_running_loop().subprocess_exec(
        lambda: _Lines(program, ended),
        program.command,
        *program.args,
        env=_environment(program.env),
        cwd=program.cwd,
        start_new_session=True,
    )
    try:
        into, read_stream = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write_stream, out_of = anyio.create_memory_object_stream[SessionMessage](WAITING_MAX)
        tasks = [
            asyncio.create_task(_read(lines, into), name=f"read {program.name}"),
            asyncio.create_task(_write(transport, lines, out_of)),
        ]
        try:
            yield read_stream, write_stream
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for stream in (into, read_stream, write_stream, out_of):
                stream.close()
    finally:
        await _end(transport, lines, patient=not hurry())


async def _read(lines: _Lines, into: Any) -> None:
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            while lines.messages:
                await into.send(lines.taken())
            if lines.over:  # Pending requests fail.
                into.close()
                return
            lines.arrived.clear()
            await lines.arrived.wait()


async def _write(transport: asyncio.SubprocessTransport, lines: _Lines, out_of: Any) -> None:
    pipe = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
    async for one in out_of:
        pipe.write(one.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
        if pipe.get_write_buffer_size() > UNREAD_BYTES_MAX:
            lines.end("does not read what it is sent")


async def _end(transport: asyncio.SubprocessTransport, lines: _Lines, *, patient: bool) -> None:
    """The protocol's order: close its stdin, then SIGTERM, then SIGKILL to all that is left of its group."""
    lines.leaving = True
    pipe = transport.get_pipe_transport(0)
    if pipe is not None:
        pipe.close()
    for sent in (None, signal.SIGTERM) if patient else ():
        if sent is not None:
            _signal(transport, sent)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS_MAX):
                await lines.exited.wait()
    _signal(transport, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS_MAX):
            await lines.exited.wait()
    transport.close()


def _signal(transport: asyncio.SubprocessTransport, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            transport.send_signal(number)
        else:
            os.killpg(transport.get_pid(), number)


def _environment(given: Mapping[str, str]) -> Mapping[str, str]:
    """The few variables that every program needs, and the operator's; none of the server's own."""
    return {**get_default_environment(), **given}
