"""The socket pair between the parent and one worker: one JSON object per line. `is` is the type of an object.

parent to worker   serve (settings, dsn, …) · count · page (the answer) · drain · end
worker to parent   ready · refused (why) · counts · page (asks for that of all workers)
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import SecretStr

from stoa.settings import Settings

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Larger than any page of metrics: a metric has at most a thousand series."""


class Channel:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> "Channel":
        return cls(*await asyncio.open_unix_connection(sock=end, limit=LINE_BYTES_MAX))

    def send(self, what: str, **fields: Any) -> None:
        """Never waits and never raises: the reader of this end notices if the other process has ended."""
        if not self._writer.is_closing():
            self._writer.write(orjson.dumps({"is": what, **fields}) + b"\n")

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """The messages of the other process, until it ends."""
        try:
            while line := await self._reader.readline():
                if not line.endswith(b"\n"):
                    return  # The process died while writing.
                yield orjson.loads(line)
        except ConnectionError:
            return

    async def flush(self) -> None:
        """Waits until all data was written to the socket."""
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    def close(self) -> None:
        self._writer.close()


def plain(settings: Settings) -> dict[str, Any]:
    """The settings as JSON, including secrets in plain text. Only the two processes have the socket. This way a
    restarted worker has the same settings as the others, even if the environment or `stoa.toml` has changed."""
    return {name: _plain(value) for name, value in settings.model_dump(exclude_unset=True).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    return value
