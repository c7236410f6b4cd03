"""Detects a pooler between a node and PostgreSQL: none, one in session mode, or one in transaction mode (PgBouncer).

LISTEN, advisory locks and migrations need a session. Over a pooler in transaction mode they fail silently, so a start
checks for one.
"""

import secrets
from typing import Final

import asyncpg

from stoa.db.connecting import SESSION_URL, URL, first

LOCK_CLASS: Final = 21368
TRIES: Final = 5
"""A pooler gives out the session that was returned last. Others may use it in between, so the check is repeated."""
ANSWER_SECONDS_MAX: Final = 5.0
_PID: Final = "SELECT pg_backend_pid()"


class PoolerError(Exception):
    """The URLs do not lead where they must; the message says what to do."""


async def check_session(connection: asyncpg.Connection, dsn: str, setting: str) -> None:
    """`connection` is one to `dsn`. Raises PoolerError where two connections share a session, and
    UnreachableError."""
    if await connection.fetchval(_PID) == connection.get_server_pid():
        return  # No pooler: it would report its own process id.
    other = await first(dsn, command_seconds_max=ANSWER_SECONDS_MAX, setting=setting)
    try:
        for _ in range(TRIES):
            if await connection.fetchval(_PID) == await other.fetchval(_PID):
                raise PoolerError(_SHARED[setting])
    except TimeoutError:
        return  # No session is left for the second connection, so each connection has its own.
    finally:
        other.terminate()


async def check_same_database(dsn: str, session: asyncpg.Connection) -> None:
    """Checks with an advisory lock that both URLs lead to the same database. Raises PoolerError and
    UnreachableError."""
    pooled = await first(dsn, command_seconds_max=ANSWER_SECONDS_MAX, setting=URL)
    key = secrets.randbelow(2**31 - 1) + 1
    try:
        await session.execute(f"SELECT pg_advisory_lock({LOCK_CLASS}, {key})")
        if await pooled.fetchval(f"SELECT pg_try_advisory_xact_lock({LOCK_CLASS}, {key})"):
            raise PoolerError(
                f"{URL} and {SESSION_URL} lead to different databases. Let both name the same database: the first over"
                " the pooler, the second past it."
            )
        await session.execute(f"SELECT pg_advisory_unlock({LOCK_CLASS}, {key})")
    finally:
        pooled.terminate()


_SHARED: Final = {
    URL: (
        f"{URL} leads to a pooler in transaction mode. Some connections need a session of their own: set {SESSION_URL}"
        " to the server itself, or to a pooler in session mode."
    ),
    SESSION_URL: (
        f"{SESSION_URL} leads to a pooler in transaction mode, where no connection has a session of its own. Name the"
        " server itself there, or a pooler in session mode."
    ),
}
