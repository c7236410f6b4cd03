"""The first connection to a database. What fails is explained to the person who starts Stoa: which address was tried,
and the way out."""

from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

CONNECT_SECONDS_MAX: Final = 20


class UnreachableError(Exception):
    """There is no usable connection to the database; the message says what was tried and what to do."""


async def connect(dsn: str, *, command_seconds_max: float) -> asyncpg.Connection:
    """Raises UnreachableError."""
    try:
        return await asyncpg.connect(dsn, timeout=CONNECT_SECONDS_MAX, command_timeout=command_seconds_max)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise UnreachableError(f"{_tried(dsn)}: {_reason(error)} {_way_out(error)}") from error


def _tried(dsn: str) -> str:
    """The address without its password."""
    try:
        parts = urlsplit(dsn)
        options = parse_qs(parts.query)
        host = options.get("host", [parts.hostname or "localhost"])[0]
        port = options.get("port", [str(parts.port or 5432)])[0]
    except ValueError:
        return "Cannot connect to PostgreSQL (STOA_DATABASE_URL)"
    named = f", as user {unquote(parts.username)}" if parts.username else ""
    return f"Cannot connect to PostgreSQL at {host}:{port}, database {parts.path.lstrip('/') or 'of that name'}{named}"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS_MAX} seconds."
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; no server listens there."
    return f"{str(error) or type(error).__name__}".rstrip(".") + "."


def _way_out(error: Exception) -> str:
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return "Correct user and password in STOA_DATABASE_URL."
        case asyncpg.InvalidCatalogNameError():
            return "Create it (createdb), or name another one in STOA_DATABASE_URL."
        case asyncpg.TooManyConnectionsError():
            return "Raise max_connections of PostgreSQL, or lower STOA_CONNECTIONS_MAX of each node."
        case asyncpg.CannotConnectNowError():
            return "It is starting or stopping; try again in a moment."
        case ValueError() | asyncpg.InterfaceError():
            return "STOA_DATABASE_URL has the form postgresql://user:password@host:5432/database."
        case _:
            return (
                "Start PostgreSQL there, or correct STOA_DATABASE_URL; without that variable, Stoa starts a PostgreSQL"
                " of"
                " its own."
            )
