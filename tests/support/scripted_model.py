"""A model server for tests: speaks OpenAI's and Anthropic's wires over loopback, with their ugly sides, as each
request's script says.

The last `[[script {json}]]` in a request's body says how it is answered; without one, a fixed answer. Runs inside a
test
(`async with ScriptedServer() as server`) or as a process (`python tests/support/scripted_model.py --port 9200`).

    pieces        texts, one event each           reasoning    thoughts before them
    delay         seconds between pieces          first_delay  seconds before anything
    status        fail with this HTTP status      retry_after  … and this header
    fails         fail so many times, then answer (counted per id)
    cut           close after so many pieces      stall        fall silent after so many pieces
    garble        send no JSON after so many      error        send an error object after so many
    usage         false: send none                bytewise     write byte by byte
    reset         close without an answer         html         200 with a web page
    tool          {name, arguments}: call it      id           name in /log
    raw           bytes of the stream as they are, one write each, instead of all the above; numbers pause
    content_type  of that stream        body         with `status`: the body of the answer as it is
    again         fields that replace these when the same id asks another time: what a run gets that begins anew
    turns         a script for each reply of a run: the n-th where n replies stand after the last user message

`GET /log` tells, per id, how often it was asked, whether its stream is running, done or aborted, and when that changed
(CLOCK_MONOTONIC seconds): the proof that a cancel reached the model.
"""

import argparse
import asyncio
import json
import re
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

SCRIPT = re.compile(r"\[\[script (\{.*?\})\]\]")
PIECES = ["Stoa ", "keeps ", "every ", "event ", "in ", "a ", "journal, ", "so ", "that ", "nothing ", "is ", "lost."]


class ScriptedServer:
    def __init__(self, port: int = 0) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.script: Callable[[dict[str, Any]], dict[str, Any]] = lambda _body: {}
        """Answers requests that hold no script."""
        self.log: dict[str, dict[str, Any]] = {}
        self.connections_made = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, backlog=2048)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.hang_up()
        await asyncio.sleep(0)

    def hang_up(self) -> None:
        """Closes every connection."""
        for writer in list(self._connections):
            writer.transport.abort()

    def forget(self) -> None:
        """As it was at its start, without a connection."""
        self.hang_up()
        self.script = lambda _body: {}
        for seen in (self.bodies, self.headers, self.paths, self.log):
            seen.clear()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    # --- HTTP -------------------------------------------------------------------------------------------------------
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        self.connections_made += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, path, _ = head.split(" ", 2)
                headers = {
                    name.lower(): value
                    for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.headers.append(headers)
                if not await self._answer(method, path.partition("?")[0], body, reader, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
            pass
        finally:
            self._connections.discard(writer)
            writer.transport.abort()

    async def _answer(
        self, method: str, path: str, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """True when the connection may carry another request."""
        self.paths.append(path)
        if path.endswith("/log"):
            return self._json(writer, self.log)
        if path.endswith("/models"):
            found = [
                {"id": name, "object": "model", "display_name": name.title()}
                for name in ("scripted", "scripted-vision", "text-embedding-x")
            ]
            return self._json(writer, {"object": "list", "data": found, "has_more": False})
        if method != "POST":
            return self._json(writer, {"error": {"message": "no such path"}}, 404)
        parsed = json.loads(body)
        self.bodies.append(parsed)
        # What the model itself said is no script, though a helper's brief holds one.
        told = (
            [message for message in parsed["messages"] if message["role"] != "assistant"]
            if "messages" in parsed
            else parsed
        )
        found_scripts = [script for text in _strings(told) for script in SCRIPT.findall(text)]
        script = json.loads(found_scripts[-1]) if found_scripts else self.script(parsed)
        if "turns" in script:
            script = {**script, **script["turns"][min(_replies(parsed), len(script["turns"]) - 1)]}
        name = str(script.get("id", "-"))
        entry = self.log.setdefault(name, {"asked": 0})
        entry["asked"] += 1
        if entry["asked"] > 1 and "again" in script:
            script = {**script, **script["again"]}
            if str(script.get("id", "-")) != name:
                entry = self.log.setdefault(str(script["id"]), {"asked": 0})
                entry["asked"] += 1
        entry |= {"state": "running", "since": time.monotonic(), "said": 0}
        if script.get("reset"):
            return False
        if "status" in script and entry["asked"] <= script.get("fails", 1 << 30):
            entry |= {"state": "failed", "since": time.monotonic()}
            extra = f"retry-after: {script['retry_after']}\r\n" if "retry_after" in script else ""
            error = {
                "type": "error",
                "error": {"type": "scripted_error", "message": script.get("message", "scripted to fail")},
            }
            return self._json(writer, script.get("body", error), script["status"], extra)
        if script.get("html"):
            page = b"<html>Sign in</html>"
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n%b" % (len(page), page)
            )
            return True
        gone = asyncio.create_task(reader.read(1))  # The client sends nothing more: this ends when it goes.
        telling = asyncio.create_task(self._tell(writer, script, anthropic=path.endswith("/messages"), entry=entry))
        await asyncio.wait([gone, telling], return_when=asyncio.FIRST_COMPLETED)
        kept = telling.done() and telling.exception() is None and telling.result() and not gone.done()
        if not telling.done():
            telling.cancel()
            entry |= {"state": "aborted", "since": time.monotonic()}
        elif not kept:
            entry |= {"state": "cut", "since": time.monotonic()}
        else:
            entry |= {"state": "done", "since": time.monotonic()}
        gone.cancel()
        await asyncio.gather(gone, telling, return_exceptions=True)
        return bool(kept)

    def _json(self, writer: asyncio.StreamWriter, answer: object, status: int = 200, extra: str = "") -> bool:
        content = json.dumps(answer).encode()
        head = (
            f"HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\n"
            f"{extra}content-length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        return True

    # --- the stream -------------------------------------------------------------------------------------------------
    async def _tell(
        self, writer: asyncio.StreamWriter, script: dict[str, Any], *, anthropic: bool, entry: dict[str, Any]
    ) -> bool:
        await asyncio.sleep(script.get("first_delay", 0))
        kind = script.get("content_type", "text/event-stream").encode()
        packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS) if script.get("gzip") else None
        kind += b"\r\ncontent-encoding: gzip" if packer else b""
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % kind)
        for piece in script.get("raw", ()):
            if isinstance(piece, bytes):
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            else:
                await asyncio.sleep(piece)
        if "raw" in script:
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            return True
        said = 0
        async for event in self._events(script, anthropic=anthropic):
            if isinstance(event, int):
                said = event
                entry["said"] = said
                if said and script.get("delay"):
                    await asyncio.sleep(script["delay"])
                if script.get("cut") == said:
                    await writer.drain()
                    return False
                if script.get("stall") == said:
                    await asyncio.sleep(3600)
                continue
            if packer:
                event = packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH)
            for piece in [event[i : i + 1] for i in range(len(event))] if script.get("bytewise") else [event]:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                if script.get("bytewise"):
                    await writer.drain()
                    await asyncio.sleep(0)
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _events(self, script: dict[str, Any], *, anthropic: bool) -> AsyncIterator[bytes | int]:
        """Frames of the wire; an int says how many pieces have been sent."""
        wire = _Anthropic() if anthropic else _OpenAI()
        pieces = script.get("pieces", PIECES)
        yield wire.begin()
        for thought in script.get("reasoning", []):
            yield wire.reasoning(thought)
        yield 0
        for count, piece in enumerate(pieces, 1):
            yield wire.text(piece)
            if script.get("garble") == count:
                yield b"data: {not json\n\n"
            if script.get("error") == count:
                yield wire.error("the scripted upstream broke")
            yield count
        if "tool" in script:
            for frame in wire.tool(script["tool"]["name"], script["tool"]["arguments"]):
                yield frame
        for frame in wire.end(
            "tool" if "tool" in script else script.get("finish", "stop"), len(pieces), usage=script.get("usage", True)
        ):
            yield frame


class _OpenAI:
    def _frame(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        chunk = {
            "id": "c",
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
        return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"

    def begin(self) -> bytes:
        return self._frame({"role": "assistant", "content": ""})

    def text(self, piece: str) -> bytes:
        return self._frame({"content": piece})

    def reasoning(self, piece: str) -> bytes:
        return self._frame({"reasoning_content": piece})

    def tool(self, name: str, arguments: str) -> list[bytes]:
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
        halves = (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :])
        return [
            self._frame({"tool_calls": [call]}),
            *(self._frame({"tool_calls": [{"index": 0, "function": {"arguments": half}}]}) for half in halves),
        ]

    def error(self, message: str) -> bytes:
        return b"data: " + json.dumps({"error": {"message": message}}).encode() + b"\n\n"

    def end(self, reason: str, count: int, *, usage: bool) -> list[bytes]:
        frames = [self._frame({}, {"tool": "tool_calls"}.get(reason, reason))]
        if usage:
            counts = {"prompt_tokens": 10, "completion_tokens": count, "prompt_tokens_details": {"cached_tokens": 4}}
            frames.append(b"data: " + json.dumps({"choices": [], "usage": counts}).encode() + b"\n\n")
        return [*frames, b"data: [DONE]\n\n"]


class _Anthropic:
    def _frame(self, event: dict[str, Any]) -> bytes:
        return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()

    def __init__(self) -> None:
        self._index = -1
        self._block = ""

    def begin(self) -> bytes:
        usage = {"input_tokens": 6, "cache_read_input_tokens": 4, "output_tokens": 1}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "scripted", "content": []}
        message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
        return self._frame({"type": "message_start", "message": message}) + self._frame({"type": "ping"})

    def _open(self, kind: str, block: dict[str, Any]) -> bytes:
        """A block, and the end of the one before."""
        closed = self._close()
        self._index, self._block = self._index + 1, kind
        return closed + self._frame({"type": "content_block_start", "index": self._index, "content_block": block})

    def _close(self) -> bytes:
        if not self._block:
            return b""
        self._block = ""
        return self._frame({"type": "content_block_stop", "index": self._index})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return self._frame({"type": "content_block_delta", "index": self._index, "delta": delta})

    def text(self, piece: str) -> bytes:
        opened = b"" if self._block == "text" else self._open("text", {"type": "text", "text": ""})
        return opened + self._delta({"type": "text_delta", "text": piece})

    def reasoning(self, piece: str) -> bytes:
        block = {"type": "thinking", "thinking": "", "signature": ""}
        opened = b"" if self._block == "thinking" else self._open("thinking", block)
        return opened + self._delta({"type": "thinking_delta", "thinking": piece})

    def tool(self, name: str, arguments: str) -> list[bytes]:
        opened = self._open("tool_use", {"type": "tool_use", "id": "call_1", "name": name, "input": {}})
        halves = (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :])
        return [opened, *(self._delta({"type": "input_json_delta", "partial_json": half}) for half in halves)]

    def error(self, message: str) -> bytes:
        return self._frame({"type": "error", "error": {"type": "api_error", "message": message}})

    def end(self, reason: str, count: int, *, usage: bool) -> list[bytes]:
        stop = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use", "content_filter": "refusal"}[reason]
        delta: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": stop}}
        if usage:
            delta["usage"] = {"output_tokens": count}
        return [self._close() + self._frame(delta), self._frame({"type": "message_stop"})]


def _replies(request: dict[str, Any]) -> int:
    """The model's replies since the last thing a user said."""
    roles = [message["role"] for message in request["messages"]]
    last = max((place for place, role in enumerate(roles) if role == "user"), default=0)
    return roles[last:].count("assistant")


def _strings(value: object) -> Iterator[str]:
    """Every string of a JSON value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


async def _forever(port: int) -> None:
    async with ScriptedServer(port) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(_forever(parser.parse_args().port))
