"""A foreign HTTP service that tools call: it records requests and answers by path."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from tests.support.listening import Listener

SECRET = "t0ken-of-the-service"


@dataclass
class Service:
    """A web service on loopback: the path says how it answers, and it records the requests."""

    url: str = ""
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    gone: int = 0
    documents: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """Statuses that each path answers first, in turn; 0 closes the connection without an answer."""
    willing: bool = False
    """Whether paths of /hang answer after all."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncGenerator[Self]:
        made = cls()
        async with Listener(made.serve) as listener:
            made.url = f"http://127.0.0.1:{listener.port}"
            yield made

    async def until_asked(self, times: int) -> None:
        """Returns once so many requests have arrived."""
        async with asyncio.timeout(20):
            while len(self.asked) < times:
                await self.changed.wait()
                self.changed.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *lines = head.split("\r\n")
                headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines if one)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.asked.append((line.rsplit(" ", 1)[0], headers, body))
                self.changed.set()
                path = line.split()[1]
                if path.startswith("/cut"):
                    return
                if path.startswith("/hang") and not self.willing:
                    await reader.read(1)
                    self.gone += 1
                    return
                status = int(path.split("/status/")[1].split("?")[0]) if "/status/" in path else 200
                if self.statuses.get(path):
                    status = self.statuses[path].pop(0)
                if not status:
                    return
                text = (
                    b"x" * 200_000
                    if path.startswith("/big")
                    else json.dumps({"path": path, "you_sent": headers.get("authorization", "")}).encode()
                )
                text = self.documents.get(path, text)
                extra = b"location: http://127.0.0.1:1/\r\n" if status == 302 else b""
                writer.write(
                    b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n%b"
                    % (status, extra, len(text), text)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone += 1
        finally:
            writer.close()
