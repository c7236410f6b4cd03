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
from stoa.gateway.providers.rests import Rests
from stoa.outbound import Outbound, OutboundError, Untrusted

IDLE_PER_ORIGIN_MAX: Final = 64
CHUNKS_WITHOUT_REST: Final = 3
"""The first chunks of a reply are not delayed."""
IDLE_SECONDS_MAX: Final = 30.0
"""Shorter than any provider keeps an idle connection open."""
_ANYWHERE: Final = Outbound(allow_private=True)


class Reply:
    """A response: its status and headers, then `chunks()`: the body as it comes, all that had arrived at once.

    Whoever has it closes it; before the body's end that closes the connection at once."""

    def __init__(self, wire: Connection, timeouts: Timeouts, rests: Rests, put_back: Callable[[], None]) -> None:
        self._wire = wire
        self._put_back = put_back
        self._timeouts = timeouts
        self._rests = rests
        self.status = wire.status
        self.headers: Mapping[str, str] = wire.headers
        self.ended = False
        """Whoever reads it has all that counts; the body may go on for a moment, and the connection is kept if it then
        ends."""
        self._given = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        wire = self._wire
        while True:
            if not wire.buffer and not wire.complete:
                await wire.arrival(self._timeouts.silence, "silence")
            if data := wire.take():
                yield data
                self._rest()
            if wire.complete and not wire.buffer:
                return

    def offer_to(self, take: Callable[[bytes], bool]) -> None:
        """While the reader of `chunks` waits, the next chunk is offered to `take` first. With True it is taken and the
        reader goes on waiting; with False the reader gets it, maybe with more behind it."""
        self._wire.offer_to(take, self._timeouts.silence, self._rest)

    def _rest(self) -> None:
        """After each chunk."""
        self._given += 1
        if self._given >= CHUNKS_WITHOUT_REST and not self._wire.complete:
            self._rests.let(self._wire)

    async def read(self, limit: int) -> bytes:
        """The body up to `limit` bytes."""
        body = b""
        async for chunk in self.chunks():
            body += chunk
            if len(body) >= limit:
                break
        return body[:limit]

    def close(self) -> None:
        wire = self._wire
        wire.offer_to(None)
        if self.ended and not wire.complete and not wire.closed:
            wire.linger(self._put_back)
        else:
            self._put_back()


class Transport:
    """Long-lived: a pool of idle connections per origin. `pace` gives the seconds to gather between two reads under
    load.

    `outbound` opens the connections, and decides on every address that is dialled."""

    def __init__(self, *, pace: Callable[[], float] = lambda: 0.0, outbound: Outbound = _ANYWHERE) -> None:
        self._outbound = outbound
        self._rests = Rests(pace)
        self._idle: defaultdict[Origin, deque[tuple[float, Connection]]] = defaultdict(deque)

    async def close(self) -> None:
        for wires in self._idle.values():
            for _, wire in wires:
                wire.abort()
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
        wire = await self._send(address.origin, request, timeouts)
        return Reply(wire, timeouts, self._rests, partial(self._put_back, address.origin, wire))

    async def _send(self, origin: Origin, request: bytes, timeouts: Timeouts) -> Connection:
        """The connection, once the response's head has come. An idle connection may turn out closed: then a new one."""
        while True:
            wire = self._take_idle(origin)
            reused = wire is not None
            if wire is None:
                wire = await self._connect(origin, timeouts)
            wire.begin(request)
            try:
                await wire.head(timeouts.first_byte)
                return wire
            except TransportError as error:
                wire.abort()
                if not (reused and error.kind == "broken" and not wire.received):
                    raise
            except BaseException:
                wire.abort()
                raise

    async def _connect(self, origin: Origin, timeouts: Timeouts) -> Connection:
        try:
            async with asyncio.timeout(timeouts.connect):
                tls = (await self._outbound.trusting(origin.ca_bundle)).tls() if origin.tls else None
                sock = await self._outbound.connect(origin.host, origin.port, tls=origin.tls)
                try:
                    _, wire = await asyncio.get_running_loop().create_connection(
                        Connection, sock=sock, ssl=tls, server_hostname=origin.host.rstrip(".") if tls else None
                    )
                except BaseException:
                    sock.close()
                    raise
                return wire
        except TimeoutError as error:
            raise TransportError("connect", "no connection within the time allowed") from error
        except OutboundError as error:
            raise TransportError("connect", str(error)) from error
        except ssl.SSLCertVerificationError as error:
            raise TransportError("connect", str(Untrusted(origin.host, error)).rstrip(".")) from error
        except (OSError, ValueError) as error:
            raise TransportError("connect", "no connection could be made") from error

    def _take_idle(self, origin: Origin) -> Connection | None:
        wires, now = self._idle[origin], asyncio.get_running_loop().time()
        while wires:
            since, wire = wires.pop()
            if not wire.closed and now - since < IDLE_SECONDS_MAX:
                return wire
            wire.abort()
        return None

    def _put_back(self, origin: Origin, wire: Connection) -> None:
        if (
            wire.complete
            and wire.keep_alive
            and not wire.buffer
            and not wire.closed
            and len(self._idle[origin]) < IDLE_PER_ORIGIN_MAX
        ):
            self._idle[origin].append((asyncio.get_running_loop().time(), wire))
        else:
            wire.abort()
