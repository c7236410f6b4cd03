"""The servers of a database URL, and a connection to the one that accepts writes.

A URL may name several servers, of which one is the primary: `postgresql://stoa@db1,db2/stoa`. All of them are tried at
once, because a partitioned one neither answers nor refuses. A standby is never used. If two servers accept writes, the
one with the higher timeline was promoted later, and the other is a former primary that is still running.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

OTHERS_SECONDS: Final = 0.3
"""How long to wait for the other servers once one accepts writes, because any of them may have been promoted."""
AGAIN_SECONDS: Final = 0.2
"""How often a standby, or a server that refuses, is tried again while another one does not answer."""
SILENCE_SECONDS: Final = 5
"""A connection without TCP acknowledgements for so long is lost. Both ends check it, so that a dead node's locks are
released before TCP's default of two hours."""
DEFAULT_PORT: Final = 5432
READ_WRITE: Final = "read-write"
KEEPALIVE: Final = "SET tcp_keepalives_idle = 2; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3"
FAILURES: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""All errors that a statement may raise on a connection outside of the pool. The owner of the connection then closes it
and connects again."""
_TIMELINE: Final = "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"

Address = tuple[str, int]
"""Host and port; a host that begins with a slash is the directory of a Unix socket."""
Notification = tuple[str, str]
"""Channel and payload."""


def addresses_of(dsn: str) -> Sequence[Address]:
    """The servers of a URL, in its order; none if the environment defines them. Raises ValueError."""
    parts = urlsplit(dsn)
    options = parse_qs(parts.query)
    listed = parts.netloc.rpartition("@")[2] or options.get("host", [""])[-1]
    ports = [port for port in options.get("port", [""])[-1].split(",") if port]
    found: list[Address] = []
    for place, entry in enumerate(one for one in listed.split(",") if one):
        host, port = _split(unquote(entry))
        fallback = ports[place % len(ports)] if ports else str(DEFAULT_PORT)
        found.append((host, int(port or fallback)))
    return found


def _split(entry: str) -> tuple[str, str]:
    """Host and port of one entry of the list; the port may be missing."""
    if entry.startswith("/"):
        return entry, ""
    if entry.startswith("["):
        host, _, port = entry[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = entry.partition(":")
    return host, port


def named(dsn: str) -> str:
    """The servers of a URL for people: `db1:5432, db2:5432`. Raises ValueError."""
    return ", ".join(f"{host}:{port}" for host, port in addresses_of(dsn)) or f"localhost:{DEFAULT_PORT}"


def local(dsn: str) -> bool:
    """Whether it is reached over a Unix socket, which cannot be partitioned."""
    addresses = addresses_of(dsn)
    return bool(addresses) and all(host.startswith("/") for host, _ in addresses)


class Connection(asyncpg.Connection):
    """A connection with its server and its start time."""

    __slots__ = ("address", "made_at", "notifications")

    address: str
    made_at: float
    """Seconds of the monotonic clock."""
    notifications: list[Notification]
    """Those of the transaction under way, which `Database` sends after the commit."""

    @property
    def itself(self) -> Self:
        """Called through the pool's proxy, the connection behind it."""
        return self

    def notify(self, channel: str, payload: str = "") -> None:
        """See `stoa.db.Tx`."""
        self.notifications.append((channel, payload))

    def abort(self) -> None:
        """Closes it, also while another task uses it: a statement in progress raises ConnectionDoesNotExistError.
        `terminate` may only be called by its user, because it removes state that a running statement needs."""
        transport: Any = getattr(self, "_transport", None)
        if transport is not None:
            transport.abort()


def itself(proxy: Any) -> Connection | None:
    """The connection behind the pool's proxy; None if it is lost already.

    When a connection is lost, also while no statement is under way, the pool detaches its proxy in that moment. From
    then on the proxy's own methods raise InterfaceError, and ours AttributeError, which looks like a bug.
    """
    try:
        connection: Connection = proxy.itself
    except AttributeError:
        return None
    return connection


@dataclass(frozen=True, slots=True)
class Moved:
    """The primary is another server than before, or was restarted."""

    address: str
    """The current primary."""
    last_seen: float
    """When the previous one last answered, by the monotonic clock."""

    def leaves(self, connection: Connection) -> bool:
        """Whether the connection leads to the previous server. It may seem healthy, because a partition is silent."""
        return connection.address != self.address or connection.made_at <= self.last_seen


async def reach(dsn: str, *, seconds_max: float, **options: Any) -> Connection:
    """A connection to the server that accepts writes; `options` are passed to asyncpg.

    Raises TimeoutError, OSError, or asyncpg's errors; TargetServerAttributeNotMatched if every server that answers is a
    standby.
    """
    addresses = addresses_of(dsn)
    options = {"target_session_attrs": READ_WRITE, "timeout": seconds_max, **options, "connection_class": Connection}
    if len(addresses) < 2:
        connection: Connection = await asyncpg.connect(dsn, **options)
        connection.address = named(dsn)
    else:
        async with asyncio.timeout(seconds_max):
            connection = await _primary(dsn, addresses, options)
    connection.made_at, connection.notifications = monotonic(), []
    _notice_silence(connection)
    return connection


async def _primary(dsn: str, addresses: Sequence[Address], options: dict[str, Any]) -> Connection:
    errors: dict[Address, BaseException] = {}
    refused = asyncio.Event()

    async def ask(address: Address) -> Connection:
        """Retries: while one server does not answer, another may be promoted."""
        while True:
            try:
                found: Connection = await asyncpg.connect(dsn, host=address[0], port=address[1], **options)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                errors[address] = error
                if len(errors) == len(addresses):
                    refused.set()
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                found.address = "{}:{}".format(*address)
                return found

    attempts = [asyncio.create_task(ask(address)) for address in addresses]
    hopeless = asyncio.create_task(refused.wait())
    chosen: Connection | None = None
    try:
        waiting: set[asyncio.Task[Any]] = {*attempts, hopeless}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        pending = [attempt for attempt in attempts if not attempt.done()]
        found = _connected(attempts)
        if found and pending and len(errors) + len(found) < len(addresses):
            await asyncio.wait(pending, timeout=OTHERS_SECONDS)
            found = _connected(attempts)
        if not found:
            raise _most_telling(list(errors.values()))
        chosen = found[0] if len(found) == 1 else await _newest(found)
        return chosen
    finally:
        hopeless.cancel()
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
        for connection in _connected(attempts):
            if connection is not chosen:
                connection.terminate()


def _connected(attempts: Sequence["asyncio.Task[Connection]"]) -> list[Connection]:
    return [one.result() for one in attempts if one.done() and not one.cancelled() and one.exception() is None]


async def _newest(found: Sequence[Connection]) -> Connection:
    """Of servers that accept writes, the one that was promoted last; of equal ones (poolers) the first."""
    timelines = await asyncio.gather(*(_timeline(connection) for connection in found))
    return found[timelines.index(max(timelines))]


async def _timeline(connection: Connection) -> int:
    try:
        return int(str(await connection.fetchval(_TIMELINE, timeout=OTHERS_SECONDS)))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # TimeoutError is an OSError.
        return 0


def _most_telling(errors: Sequence[BaseException]) -> BaseException:
    """The most specific error: a refused password before a standby, a standby before an unreachable server."""

    def silence(error: BaseException) -> int:
        if isinstance(error, OSError | asyncpg.CannotConnectNowError):
            return 2
        return int(isinstance(error, asyncpg.TargetServerAttributeNotMatched))

    return min(errors, key=silence)


def _notice_silence(connection: Connection) -> None:
    """Lets the kernel close the connection when the other end disappears silently, whether we send or wait."""
    if sys.platform == "win32":
        return
    transport: Any = getattr(connection, "_transport", None)  # asyncpg has no public way to its socket.
    found: Any = transport.get_extra_info("socket") if transport is not None else None
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    # Another descriptor of the same socket: that of uvloop's transports takes no options.
    with socket.socket(fileno=os.dup(found.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            ("TCP_KEEPIDLE", 2),
            ("TCP_KEEPINTVL", 1),
            ("TCP_KEEPCNT", SILENCE_SECONDS - 2),
            ("TCP_USER_TIMEOUT", SILENCE_SECONDS * 1000),
        ):
            if hasattr(socket, option):  # Not on every system.
                same.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
