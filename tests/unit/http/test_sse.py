"""The event stream over a server's `send`: in order, whole, and not ahead of a slow client."""

import asyncio
from collections.abc import Callable

from starlette.types import Message

from stoa.http.sse import EventStream, Write


class Scripted:
    """Frames that are written from a callback, as committed events are, and the rest from the task when the client is
    slow."""

    def __init__(self, *frames: bytes) -> None:
        self.frames = list(frames)
        self.closed = asyncio.Event()

    async def deliver(self, write: Write) -> None:
        loop = asyncio.get_running_loop()
        while self.frames and not self.closed.is_set():
            written = loop.create_future()
            loop.call_soon(lambda: written.set_result(write(self.frames.pop(0))))  # noqa: B023 - it runs before the next turn
            if rest := await written:
                await rest

    def close(self) -> None:
        self.closed.set()


class Client:
    """The server's side of a connection: `send` waits while the client does not read."""

    def __init__(self, *, slow_after: int) -> None:
        self.messages: list[Message] = []
        self.reads = asyncio.Event()
        self.gone = asyncio.Event()
        self._slow_after = slow_after

    async def send(self, message: Message) -> None:
        if len(self.messages) >= self._slow_after:
            await self.reads.wait()
        self.messages.append(message)

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


async def serve(frames: Scripted, client: Client, meanwhile: Callable[[], None]) -> None:
    async with asyncio.timeout(5):
        serving = asyncio.create_task(EventStream(frames)({"type": "http"}, client.receive, client.send))
        for _ in range(20):
            await asyncio.sleep(0)
        meanwhile()
        await serving


async def test_a_quick_client_gets_everything() -> None:
    client = Client(slow_after=99)
    await serve(Scripted(b"a", b"b", b"c"), client, lambda: None)
    assert client.body == b"abc"
    assert client.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_slow_client_gets_everything_once_it_reads() -> None:
    client = Client(slow_after=2)

    def meanwhile() -> None:
        assert client.body == b"a", "nothing is sent ahead of it"
        client.reads.set()

    await serve(Scripted(b"a", b"b", b"c"), client, meanwhile)
    assert client.body == b"abc"


async def test_a_client_disconnect_ends_the_stream() -> None:
    frames, client = Scripted(*[b"x"] * 3), Client(slow_after=2)

    def meanwhile() -> None:
        client.gone.set()
        client.reads.set()

    await serve(frames, client, meanwhile)
    assert frames.closed.is_set()
