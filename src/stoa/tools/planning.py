"""Converts each OpenAPI document in a separate process, which is killed at a timeout."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final

import orjson

from stoa.kernel import confined
from stoa.kernel.errors import BadRequest, Unavailable
from stoa.tools.openapi.process import LINE_BYTES_MAX
from stoa.tools.types import Imported, ImportRequest, NewTool, Planned, ToolKind

SECONDS_MAX: Final = 20.0
"""Seconds for one document. The largest published ones take five."""
PROCESSES_MAX: Final = 2
WAIT_SECONDS_MAX: Final = 30.0
ANSWER_BYTES_MAX: Final = 12 * 1024 * 1024
"""All tools of a document. As objects they take about twice as much."""


class Planner:
    """Limits the number of concurrent documents; others wait."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(PROCESSES_MAX)

    async def plan(self, document: Mapping[str, Any] | str, request: ImportRequest) -> Imported:
        """Raises BadRequest for an unusable document or request; Unavailable if too many documents wait."""
        text = document.encode("utf-8", "replace") if isinstance(document, str) else orjson.dumps(document)
        without = replace(request, document=None, secrets=dict.fromkeys(request.secrets, ""))
        head = orjson.dumps(asdict(without))
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await self._places.acquire()
        except TimeoutError:
            raise Unavailable("Other documents are being read just now; send this one again.") from None
        try:
            async with asyncio.timeout(SECONDS_MAX):
                return await _asked(head + b"\n" + text, request.secrets)
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError):
            raise BadRequest.field(
                "document",
                f"cannot be read within {SECONDS_MAX:g} seconds and the memory for it; send a smaller one",
            ) from None
        finally:
            self._places.release()


async def _asked(question: bytes, secrets: Mapping[str, str]) -> Imported:
    process = await confined.start("stoa.tools.openapi.process", LINE_BYTES_MAX)
    assert process.stdin is not None
    assert process.stdout is not None
    sending = asyncio.create_task(_send(process.stdin, question), name="tools.plan.send")
    try:
        return await _answer(process.stdout, secrets)
    finally:
        sending.cancel()
        await confined.end(process)
        await asyncio.gather(sending, return_exceptions=True)


async def _send(stdin: asyncio.StreamWriter, question: bytes) -> None:
    """Fails if the process has died; then its output ends too."""
    try:
        stdin.write(question)
        await stdin.drain()
    finally:
        stdin.close()


async def _answer(stdout: asyncio.StreamReader, secrets: Mapping[str, str]) -> Imported:
    """Raises BadRequest; IncompleteReadError when the output ends early."""
    tools: list[Planned] = []
    skipped: list[tuple[str, str]] = []
    size = 0
    while True:
        line = await stdout.readuntil(b"\n")
        size += len(line)
        if size > ANSWER_BYTES_MAX:
            megabytes = ANSWER_BYTES_MAX // 1024 // 1024
            raise BadRequest.field("operations", f"must choose: the document's tools are over {megabytes} MiB together")
        match orjson.loads(line):
            case {"tool": {"operation": operation, "notes": notes, "new": new}}:
                new |= {"type": ToolKind(new["type"]), "secrets": dict(secrets)}
                tools.append(Planned(operation, NewTool(**new), tuple(notes)))
            case {"skipped": [title, reason]}:
                skipped.append((title, reason))
            case {"refused": {"message": message, "details": details}}:
                raise BadRequest(message, details=details)
            case _:
                return Imported(tools, skipped)
