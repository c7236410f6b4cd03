"""Clients that stop reading, and a journal long enough to notice."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg

from stoa.events import EventType
from tests.support.running import FIRST_KEY


@asynccontextmanager
async def stalled_readers(url: str, path: str, count: int, key: str = FIRST_KEY) -> AsyncGenerator[None]:
    """Connections that request a stream, see its beginning, and then never read; their kernel buffers are small."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    loop, held = asyncio.get_running_loop(), contextlib.ExitStack()
    with held:
        connections = [held.enter_context(socket.socket()) for _ in range(count)]
        for connection in connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            connection.setblocking(False)
            await loop.sock_connect(connection, (host, port))
            request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\r\n"
            await loop.sock_sendall(connection, request.encode())
        async with asyncio.timeout(60):
            for connection in connections:
                assert (await loop.sock_recv(connection, 12)) == b"HTTP/1.1 200"
        yield


async def fill(dsn: str, org_id: object, run_id: object, count: int) -> None:
    """A sealed journal; every hundredth event is large, the last one is the end."""
    database = await asyncpg.connect(dsn)
    try:
        await database.execute(
            "INSERT INTO events (org_id, project_id, run_id, sequence, kind, payload) SELECT $1, $1, $2, n,"
            " CASE WHEN n = $3 THEN $4::smallint ELSE $5::smallint END,"
            ' convert_to(format(\'{"sequence":%s,"data":{"delta":"%s"}}\', n,'
            " repeat('x', CASE WHEN n % 100 = 0 THEN 20000 ELSE 200 END)), 'UTF8')"
            " FROM generate_series(1, $3::int) AS n",
            org_id,
            run_id,
            count,
            int(EventType.RUN_COMPLETED),
            int(EventType.RESPONSE_DELTA),
        )
        journal = (
            "INSERT INTO journals (org_id, project_id, run_id, epoch, last_sequence, sealed) "
            "VALUES ($1, $1, $2, 1, $3, true)"
        )
        await database.execute(journal, org_id, run_id, count)
    finally:
        await database.close()
