"""Streaming POSTs: a thin HTTP/1.1 client for the hot path, whose cost is per token.

A general client costs 15-20 µs per delta (a chunk object, a future and a task step each); this one appends bytes to a
buffer and wakes its reader once per pace. Everything else (model lists) goes through aiohttp.
"""

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Final

from stoa.gateway.providers.connection import Connection
from stoa.gateway.providers.exchange import Origin, Timeouts, TransportError, address_of, request_bytes
from stoa.gateway.providers.read_pauses import ReadPauses
from stoa.outbound import Outbound, OutboundError, Untrusted

IDLE_PER_ORIGIN_MAX: Final = 64
CHUNKS_WITHOUT_PAUSE: Final = 3
"""The first chunks of a reply are not delayed."""
IDLE_SECONDS_MAX: Final = 30.0
"""Shorter than any provider keeps an idle connection open."""
_ANYWHERE: Final = Outbound(allow_private=True)


class Reply:
    """A response: its status and headers, then `chunks()`: the body as it comes, all that had arrived at once.

    Its owner closes it. Closing it before the body's end closes the connection at once."""

    def __init__(
        self, connection: Connection, timeouts: Timeouts, pauses: ReadPauses, put_back: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._put_back = put_back
        self._timeouts = timeouts
        self._pauses = pauses
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers
        self.ended = False
        """The reader needs no more of the body. If the body ends soon, the connection is used again."""
        self._given = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        connection = self._connection
        while True:
            if not connection.buffer and not connection.complete:
                await connection.arrival(self._timeouts.silence, "silence")
            if data := connection.take():
                yield data
                self._pause()
            if connection.complete and not connection.buffer:
                return

    def offer_to(self, take: Callable[[bytes], bool]) -> None:
        """While the reader of `chunks` waits, the next chunk is offered to `take` first. With True it is taken and the
        reader goes on waiting; with False the reader gets it, maybe with more behind it."""
        self._connection.offer_to(take, self._timeouts.silence, self._pause)

    def _pause(self) -> None:
        """After each chunk."""
        self._given += 1
        if self._given >= CHUNKS_WITHOUT_PAUSE and not self._connection.complete:
            self._pauses.begin(self._connection)

    async def read(self, limit: int) -> bytes:
        """The body up to `limit` bytes."""
        body = b""
        async for chunk in self.chunks():
            body += chunk
            if len(body) >= limit:
                break
        return body[:limit]

    def close(self) -> None:
        connection = self._connection
        connection.offer_to(None)
        if self.ended and not connection.complete and not connection.closed:
            connection.linger(self._put_back)
        else:
            self._put_back()


class Transport:
    """Long-lived: a pool of idle connections per origin. `pace` gives the seconds to gather between two reads under
    load.

    `outbound` opens the connections, and decides on every address that is dialled."""

    def __init__(self, *, pace: Callable[[], float] = lambda: 0.0, outbound: Outbound = _ANYWHERE) -> None:
        self._outbound = outbound
        self._pauses = ReadPauses(pace)
        self._idle: defaultdict[Origin, deque[tuple[float, Connection]]] = defaultdict(deque)

    async def close(self) -> None:
        for connections in self._idle.values():
            for _, connection in connections:
                connection.abort()
        self._idle.clear()

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeouts: Timeouts,
        ca_bundle: str | None = None,
    ) -> Reply:
        """The reply, once its head has come; to be closed. Raises TransportError."""
        address = address_of(url, ca_bundle)
        request = request_bytes(address.path, address.query, address.host, headers, body)
        connection = await self._send(address.origin, request, timeouts)
        return Reply(connection, timeouts, self._pauses, partial(self._put_back, address.origin, connection))

    async def _send(self, origin: Origin, request: bytes, timeouts: Timeouts) -> Connection:
        """The connection, once the response's head has come. An idle connection that turns out to be closed is
        replaced."""
        while True:
            connection = self._take_idle(origin)
            reused = connection is not None
            if connection is None:
                connection = await self._connect(origin, timeouts)
            connection.begin(request)
            try:
                await connection.head(timeouts.first_byte)
                return connection
            except TransportError as error:
                connection.abort()
                if not (reused and error.kind == "broken" and not connection.received):
                    raise
            except BaseException:
                connection.abort()
                raise

    async def _connect(self, origin: Origin, timeouts: Timeouts) -> Connection:
        try:
            async with asyncio.timeout(timeouts.connect):
                tls = (await self._outbound.trusting(origin.ca_bundle)).tls() if origin.tls else None
                sock = await self._outbound.connect(origin.host, origin.port, tls=origin.tls)
                try:
                    _, connection = await asyncio.get_running_loop().create_connection(
                        Connection, sock=sock, ssl=tls, server_hostname=origin.host.rstrip(".") if tls else None
                    )
                except BaseException:
                    sock.close()
                    raise
                return connection
        except TimeoutError as error:
            raise TransportError("connect", "no connection within the time allowed") from error
        except OutboundError as error:
            raise TransportError("connect", str(error)) from error
        except ssl.SSLCertVerificationError as error:
            raise TransportError("connect", str(Untrusted(origin.host, error)).rstrip(".")) from error
        except (OSError, ValueError) as error:
            raise TransportError("connect", "no connection could be made") from error

    def _take_idle(self, origin: Origin) -> Connection | None:
        connections, now = self._idle[origin], asyncio.get_running_loop().time()
        while connections:
            since, connection = connections.pop()
            if not connection.closed and now - since < IDLE_SECONDS_MAX:
                return connection
            connection.abort()
        return None

    def _put_back(self, origin: Origin, connection: Connection) -> None:
        if (
            connection.complete
            and connection.keep_alive
            and not connection.buffer
            and not connection.closed
            and len(self._idle[origin]) < IDLE_PER_ORIGIN_MAX
        ):
            self._idle[origin].append((asyncio.get_running_loop().time(), connection))
        else:
            connection.abort()
