"""A server that plays the cases of clients/cases/streams.yaml over loopback: the stream of one run, with faults. It
runs in a thread, so that synchronous clients can be tested too.
"""

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import chain, count
from typing import Any, Final

from tests.support.listening import close_listening

RUN_ID: Final = "0b54a6d2-0000-4000-8000-000000000001"
CONVERSATION_ID: Final = "0b54a6d2-0000-4000-8000-000000000002"
USAGE: Final = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
ENDS: Final = {"run.completed": "completed", "run.failed": "failed", "run.canceled": "canceled"}


@dataclass
class Journal:
    """A stored run: its events, and the bytes of their `data`."""

    events: list[dict[str, Any]]
    data: list[bytes]

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> "Journal":
        events: list[dict[str, Any]] = []
        stored: list[bytes] = []
        text = ""
        for sequence, given in enumerate(run["events"], 1):
            data = {"id": RUN_ID, "object": "run", "status": "started"} if given["type"] == "run.started" else {}
            data |= dict(given.get("data", {}))
            if repeat := given.get("repeat"):
                data["delta"] *= repeat
            if given["type"] == "agent.response.delta":
                text += data["delta"]
            if given["type"] in ENDS:
                log = {
                    "events": len(events),
                    "sha256": hashlib.sha256(b"".join(one + b"\n" for one in stored)).hexdigest(),
                }
                data = {"id": RUN_ID, "object": "run", "status": ENDS[given["type"]], "usage": USAGE, **data}
                data |= (
                    {"output": run["text"] if run["text"] is not None else text}
                    if data["status"] == "completed"
                    else {}
                )
                data |= {} if run.get("wrong") == "missing" else {"log": _wrong(log, run.get("wrong"))}
            event = {
                "id": f"00000000-0000-4000-8000-{sequence:012}",
                "type": given["type"],
                "sequence": sequence,
                "timestamp": "2026-06-10T09:11:02.123Z",
                "data": data,
            }
            encoded = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
            # Between two members of an object, a newline is white space.
            encoded = (
                encoded.replace(b',"type"', b',\n"type"').replace(b',"data"', b',\n\n"data"')
                if run.get("multi_line")
                else encoded
            )
            events.append(event)
            stored.append(encoded)
        return cls(events, stored)

    def frame(self, sequence: int, fault: Mapping[str, Any]) -> bytes:
        event, eol, colon = (
            self.events[sequence - 1],
            fault.get("eol", "\n").encode(),
            fault.get("colon", ": ").encode(),
        )
        lines = [b"id" + colon + b"%d" % sequence, b"event" + colon + event["type"].encode()]
        lines += [b"data" + colon + line for line in self.data[sequence - 1].split(b"\n")]
        if fault.get("noise"):
            lines = [
                b": heartbeat",
                b"",
                b"",
                b"retry: 10",
                b"nonsense",
                b"datax: no",
                b":",
                b"",
                *lines,
                b"unknown: field",
            ]
        return b"".join(line + eol for line in [*lines, b""])


def _wrong(log: dict[str, Any], how: str | None) -> dict[str, Any]:
    if how == "hash":
        return {**log, "sha256": "0" * 64}
    return {**log, "events": log["events"] + 1} if how == "count" else log


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Play:
    """One case, played for one client."""

    journal: Journal
    faults: list[dict[str, Any]]
    requests: list[Request] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    """Idempotency keys of messages that were carried out: each creates a run."""

    def next_fault(self) -> dict[str, Any]:
        number = len(self.requests) - 1
        faults = chain.from_iterable([fault] * fault.get("times", 1) for fault in self.faults)
        return next((fault for place, fault in enumerate(faults) if place == number), {})


class ScriptedStoa:
    """Plays cases: `play` returns the base URL at which a client meets one case."""

    def __init__(self) -> None:
        self._plays: dict[str, Play] = {}
        self._numbers = count(1)
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def play(self, run: Mapping[str, Any], faults: list[dict[str, Any]]) -> tuple[str, Play]:
        name = f"play-{next(self._numbers)}"
        play = self._plays[name] = Play(Journal.of(run), faults)
        return f"http://127.0.0.1:{self.port}/{name}", play

    @contextmanager
    def running(self) -> Iterator["ScriptedStoa"]:
        thread = threading.Thread(target=self._loop.run_forever, name="scripted-stoa")
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(10)
            self._loop.close()

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        await close_listening(self._server)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            kept = True
            while kept:
                request = await _request(reader)
                name, _, path = request.path.lstrip("/").partition("/")
                request.path = f"/{path}"
                kept = await _answer(self._plays[name], request, writer)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


async def _request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    method, path, _ = head.split(" ", 2)
    headers = {
        name.lower(): text for name, _, text in (line.partition(": ") for line in head.split("\r\n")[1:] if line)
    }
    return Request(method, path, headers, await reader.readexactly(int(headers.get("content-length", 0))))


async def _answer(play: Play, request: Request, writer: asyncio.StreamWriter) -> bool:
    """True when the connection may carry another request."""
    play.requests.append(request)
    fault = play.next_fault()
    if "refuse" in fault:
        return await _refuse(fault, writer)
    if fault.get("lost") == "before":
        return False
    if request.method == "POST":
        play.keys.add(request.headers.get("idempotency-key", f"none-{len(play.requests)}"))
    if fault.get("lost") == "after":
        return False
    if "status" in fault:
        body = bytes.fromhex(fault.get("body_hex", "")) or fault.get("body", "").encode()
        return await _whole(writer, fault["status"], body, {"content-type": fault.get("content_type", "text/plain")})
    after = int(request.headers.get("last-event-id", 0))
    if "after_sequence=" in request.path:
        after = max(after, int(request.path.partition("after_sequence=")[2]))
    if request.method == "GET" and after == len(play.journal.events):
        return await _whole(writer, 204, b"", {})
    await _stream(play.journal, 0 if fault.get("replay") else after, fault, writer)
    return False


async def _refuse(fault: Mapping[str, Any], writer: asyncio.StreamWriter) -> bool:
    headers = {"x-request-id": "request-1"}
    if retry_after := fault.get("retry_after"):
        soon = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
        headers["retry-after"] = soon if retry_after == "date" else retry_after
    if location := fault.get("location"):
        headers["location"] = location
    error = {
        "code": fault.get("code", "bad_request"),
        "message": "Scripted to refuse.",
        "details": fault.get("details"),
    }
    body = fault["body"] if "body" in fault else json.dumps({"error": error})
    return await _whole(writer, fault["refuse"], body.encode(), headers)


async def _whole(writer: asyncio.StreamWriter, status: int, body: bytes, headers: Mapping[str, str]) -> bool:
    head = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    length = "" if status == 204 else f"content-length: {len(body)}\r\n"
    writer.write(f"HTTP/1.1 {status} Scripted\r\n{head}{length}\r\n".encode() + body)
    await writer.drain()
    return True


async def _flushed(writer: asyncio.StreamWriter) -> None:
    """Everything has left this process, so the abort that follows discards nothing."""
    writer.close()
    await writer.wait_closed()


async def _stream(journal: Journal, after: int, fault: Mapping[str, Any], writer: asyncio.StreamWriter) -> None:
    run = "" if fault.get("no_run_header") else f"stoa-run-id: {RUN_ID}\r\n"
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n%btransfer-encoding: chunked\r\n\r\n"
        % run.encode()
    )
    await writer.drain()
    body, cut = _body(journal, after, fault)
    for _ in range(fault.get("heartbeats", 0)):
        _chunk(writer, b": heartbeat\n\n")
        await writer.drain()
        await asyncio.sleep(fault.get("pause", 0))
    step = fault.get("chunk", 1 << 16)
    for at in range(0, len(body), step):
        _chunk(writer, body[at : at + step])
        await writer.drain()
    if not cut or fault.get("end") == "clean":
        writer.write(b"0\r\n\r\n")
    if fault.get("end") == "hang":
        await asyncio.Event().wait()
    await _flushed(writer)


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def _body(journal: Journal, after: int, fault: Mapping[str, Any]) -> tuple[bytes, bool]:
    """The bytes to send, and whether they end before their end."""
    order = fault.get("order", range(after + 1, len(journal.events) + 1))
    frames: list[bytes] = [b"\xef\xbb\xbf"] if fault.get("bom") else []
    for sequence in order:
        if sequence in fault.get("drop", ()):
            continue
        if sequence > fault.get("cut_after", len(journal.events)):
            rest = journal.frame(sequence, fault)[: fault.get("and_bytes", 0)]
            return b"".join([*frames, rest]), True
        frames += [journal.frame(sequence, fault)] * (2 if sequence in fault.get("duplicate", ()) else 1)
    body = b"".join(frames)
    return (body[: fault["cut"]], True) if "cut" in fault else (body, "cut_after" in fault)
