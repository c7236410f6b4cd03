"""The first connection to a database. Errors tell the operator which address was tried, and the remedy."""

import ssl
from typing import Final
from urllib.parse import unquote, urlsplit

import asyncpg

from stoa.db.engine import SESSION
from stoa.db.servers import local, named, reach

CONNECT_SECONDS_MAX: Final = 20
URL: Final = "STOA_DATABASE_URL"
SESSION_URL: Final = "STOA_DATABASE_SESSION_URL"


class UnreachableError(Exception):
    """There is no usable connection to the database; the message says what was tried and what to do."""


async def connect(dsn: str, *, command_seconds_max: float, setting: str = URL) -> asyncpg.Connection:
    """A connection with a session of its own; `setting` is the one that holds the URL. Raises UnreachableError."""
    connection = await first(dsn, command_seconds_max=command_seconds_max, setting=setting)
    await connection.execute(SESSION)
    return connection


async def first(dsn: str, *, command_seconds_max: float, setting: str = URL) -> asyncpg.Connection:
    """A connection that may lead to a pooler: it uses no session state. Raises UnreachableError."""
    try:
        return await reach(
            dsn, seconds_max=CONNECT_SECONDS_MAX, command_timeout=command_seconds_max, statement_cache_size=0
        )
    except (
        OSError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        ValueError,
    ) as error:
        raise UnreachableError(f"{_tried(dsn, setting)}: {_reason(error)} {_way_out(error, dsn, setting)}") from error


def _tried(dsn: str, setting: str) -> str:
    """The address without its password."""
    try:
        parts, where = urlsplit(dsn), named(dsn)
    except ValueError:
        return f"Cannot connect to PostgreSQL ({setting})"
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    who = f", as user {unquote(user)}" if user else ""
    return f"Cannot connect to PostgreSQL at {where}, database {parts.path.lstrip('/') or 'of that name'}{who}"


def _reason(error: Exception) -> str:
    match error:
        case TimeoutError():
            return f"no answer within {CONNECT_SECONDS_MAX} seconds."
        case ConnectionRefusedError():
            return "connection refused; no server listens there."
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {error.verify_message.rstrip('.')}."
        case asyncpg.TargetServerAttributeNotMatched():
            return "every server that answers is a standby, or takes no writes."
        case _:
            return f"{str(error) or type(error).__name__}".rstrip(".") + "."


def _way_out(error: Exception, dsn: str, setting: str) -> str:
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return f"Correct user and password in {setting}."
        case asyncpg.InvalidCatalogNameError():
            return f"Create it (createdb), or name another one in {setting}."
        case asyncpg.TooManyConnectionsError():
            return "Raise max_connections of PostgreSQL, or lower STOA_CONNECTIONS_MAX of each node."
        case asyncpg.CannotConnectNowError():
            return "It is starting or stopping; try again in a moment."
        case asyncpg.TargetServerAttributeNotMatched():
            return f"Name the primary in {setting}, or all servers of which one is: postgresql://user@db1,db2/database."
        case ssl.SSLCertVerificationError():
            return (
                f"Name the authority that signed it in {setting} (sslrootcert=/path/to/ca.pem), and the server by a"
                " name that stands in its certificate."
            )
        case FileNotFoundError() | PermissionError() | ssl.SSLError() if not local(dsn):
            return f"The files that {setting} names (sslrootcert, sslcert, sslkey) must be there, readable, and in PEM."
        case asyncpg.ClientConfigurationError() if "certificate" in str(error):
            return f"Name the authority's file in {setting}: sslmode=verify-full&sslrootcert=/path/to/ca.pem."
        case ConnectionError() if "SSL" in str(error):
            return f"Switch TLS on at the server (ssl = on), or ask for none in {setting} (sslmode=disable)."
        case ValueError() | asyncpg.InterfaceError():
            return f"{setting} has the form postgresql://user:password@host:5432/database."
        case _:
            return (
                f"Start PostgreSQL there, or correct {setting}; without STOA_DATABASE_URL, Stoa starts a PostgreSQL of"
                " its own."
            )
