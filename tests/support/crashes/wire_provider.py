"""A provider of OpenAI's or Anthropic's API whose answers are known to the byte, and are cut or held where a test says.

It counts tokens as the gateway estimates them: four characters each. Its log has, for each exchange, how often it was
called, how many bytes it sent, the usage that it reported, and its text.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Final, Self

from tests.support.listening import close_listening

PIECES: Final = 12
_JSON: Final = b"application/json"
_STREAM: Final = b"text/event-stream"
_LIST: Final = b'{"object": "list", "data": [{"id": "m", "object": "model"}], "has_more": false}'
_MODELS: Final = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (_JSON, len(_LIST), _LIST)


def pieces_of(name: str) -> list[str]:
    """The text of the provider with this name, which no other provider sends."""
    return [f"{name} says piece {number:02d}, " for number in range(PIECES)]


def tokens(characters: int) -> int:
    return -(-characters // 4)


@dataclass(frozen=True)
class Answer:
    """A whole answer as bytes. `said` has the offset at which each piece of text is complete, `reported` the offset of
    the usage, `begun` that of the first event or of the whole answer."""

    content: bytes
    said: list[tuple[int, int]]
    reported: int
    begun: int


def answer(wire: str, name: str, *, streamed: bool, prompt: int) -> Answer:
    pieces = pieces_of(name)
    return _streamed(wire, pieces, prompt) if streamed else _whole(wire, "".join(pieces), prompt)


def _whole(wire: str, text: str, prompt: int) -> Answer:
    if wire == "openai":
        usage = {"prompt_tokens": prompt, "completion_tokens": tokens(len(text))}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        held: dict[str, Any] = {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}
    else:
        content = [{"type": "text", "text": text}]
        usage = {"input_tokens": prompt, "output_tokens": tokens(len(text))}
        held = {"id": "m", "type": "message", "role": "assistant", "content": content}
        held |= {"stop_reason": "end_turn", "usage": usage}
    body = json.dumps(held).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (_JSON, len(body))
    start = len(head) + body.index(text.encode())
    said = [(start + number, 1) for number in range(1, len(text) + 1)]
    return Answer(head + body, said, len(head) + len(body), len(head) + 1)


def _streamed(wire: str, pieces: list[str], prompt: int) -> Answer:
    out = bytearray(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % _STREAM)
    said: list[tuple[int, int]] = []
    begun = reported = 0

    def send(event: dict[str, Any] | str) -> int:
        name = f"event: {event['type']}\n" if isinstance(event, dict) and "type" in event else ""
        data = event if isinstance(event, str) else json.dumps(event)
        frame = f"{name}data: {data}\n\n".encode()
        out.extend(b"%x\r\n%b\r\n" % (len(frame), frame))
        return len(out) - 2  # The end of the frame itself; the line break after it belongs to the chunk.

    count = tokens(sum(map(len, pieces)))
    if wire == "openai":
        begun = send(_chunk({"role": "assistant", "content": ""}))
        for piece in pieces:
            said.append((send(_chunk({"content": piece})), len(piece)))
        send(_chunk({}, "stop"))
        reported = send({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": count}})
        send("[DONE]")
    else:
        message = {"id": "m", "type": "message", "role": "assistant", "content": []}
        begun = send({"type": "message_start", "message": {**message, "usage": {"input_tokens": prompt}}})
        send({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        for piece in pieces:
            delta = {"type": "text_delta", "text": piece}
            said.append((send({"type": "content_block_delta", "index": 0, "delta": delta}), len(piece)))
        send({"type": "content_block_stop", "index": 0})
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        reported = send({"type": "message_delta", "delta": delta, "usage": {"output_tokens": count}})
        send({"type": "message_stop"})
    out.extend(b"0\r\n\r\n")
    return Answer(bytes(out), said, reported, begun)


def _chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice]}


@dataclass
class Exchange:
    """The record of one request at this provider."""

    answer: Answer
    prompt: int
    asked: int = 0
    sent: int = 0

    @property
    def reported(self) -> bool:
        return self.sent >= self.answer.reported

    @property
    def said(self) -> int:
        """In characters."""
        return sum(size for end, size in self.answer.said if end <= self.sent)

    @property
    def billed(self) -> tuple[int, int]:
        return self.prompt, tokens(self.said)


@dataclass
class Fate:
    """After how many bytes of its answer an exchange is cut, or held until the client disconnects."""

    at: int
    hold: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """The client has disconnected."""


class WireProvider:
    def __init__(self, name: str, wire: str) -> None:
        self.name = name
        self.wire = wire
        self.log: dict[str, Exchange] = {}
        self.fates: dict[str, Fate] = {}
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._gone = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await close_listening(self._server)
        for writer in list(self._writers):
            writer.transport.abort()
        async with asyncio.timeout(10), self._gone:
            await self._gone.wait_for(lambda: not self._writers)

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}" + ("/v1" if self.wire == "openai" else "")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = next((line for line in head.split("\r\n") if line.startswith("content-length:")), ":0")
                body = json.loads(await reader.readexactly(int(length.partition(":")[2])) or b"{}")
                if head.startswith("get "):
                    writer.write(_MODELS)
                elif not await self._answer(body, reader, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()
            async with self._gone:
                self._writers.discard(writer)
                self._gone.notify_all()

    async def _answer(self, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may carry another request."""
        content = body["messages"][0]["content"]
        words = content if isinstance(content, str) else content[0]["text"]
        name, prompt = words.split()[0], tokens(len(words))
        whole = answer(self.wire, self.name, streamed=bool(body.get("stream")), prompt=prompt)
        exchange = self.log.setdefault(name, Exchange(whole, prompt))
        exchange.asked += 1
        fate = self.fates.get(name)
        end = len(whole.content) if fate is None else min(fate.at, len(whole.content))
        writer.write(whole.content[:end])
        await writer.drain()
        exchange.sent = end
        if fate is None:
            return True
        fate.reached.set()
        if fate.hold:
            await reader.read(1)
            fate.left.set()
        elif writer.can_write_eof():
            writer.write_eof()  # Sends everything before it; a reset could overtake the data.
        return False
