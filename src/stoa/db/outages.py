"""What the driver's errors mean for whoever uses a transaction: an outage (503, and runs go on later), a refusal of the
schema, or a bug.

PostgreSQL and PgBouncer have dozens of error codes for a connection that they close: a shutdown, a crash, a time limit
of the server, a pooler that waited too long. They all come with the severity FATAL, so that decides, and not the code.
"""

import asyncio
from typing import Any, Final

import asyncpg
import structlog

from stoa.kernel.errors import DatabaseUnavailable

_log = structlog.get_logger("stoa.db")

DRIVER: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
    TimeoutError,
)
"""All errors of the driver on an open connection."""
NO_ROOM: Final = (asyncpg.InsufficientResourcesError, asyncpg.PostgresIOError)
"""The server lacks disk space, memory or file handles, or its disk fails: class 53 and code 58030 of the error
codes."""
_GONE: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InternalClientError,
    asyncpg.ReadOnlySQLTransactionError,
    ConnectionError,
    TimeoutError,
)
"""The connection is lost: PostgreSQL was restarted, or the network in between is cut. asyncpg raises
InternalClientError when the server shuts down while a query is being sent; that is a lost connection too. So is one to
a server that no longer accepts writes, because it became a standby."""
_STALE: Final = (
    asyncpg.InvalidCachedStatementError,
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
)
"""The session's prepared statements are no longer what the driver believes. A migration added a column to a table that
a `SELECT *` reads, so PostgreSQL refuses the statement once on each connection; or a pooler exchanged the session."""
_CLOSING: Final = ("FATAL", "PANIC")
_RIGHTS: Final = ("aclcheck_error", "aclcheck_error_col")
"""The functions of PostgreSQL that say that a right is missing."""


class Raised(Exception):
    """A function of the schema raised an exception; `reason` is its message. The transaction is rolled back."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unreplicated(ConnectionError):
    """PostgreSQL acknowledged a commit that no synchronous standby has confirmed, because the wait was interrupted. The
    commit is lost if the server fails now, so it does not count as acknowledged."""


class Unstorable(Exception):
    """PostgreSQL, or the driver before it, refused a value: a NUL in a text, a number out of range. Its transaction is
    rolled back."""

    code: Final = "output_unstorable"

    def __init__(self, reason: str) -> None:
        self.message = (
            f"The database cannot hold a value: {reason.replace(chr(0), '').encode('utf-8', 'replace').decode()}"
        )
        super().__init__(self.message)


def unreachable(error: BaseException) -> BaseException:
    """What to raise for one of `FAILURES` when no connection could be had. No statement of ours has run yet, so every
    error of the driver is an outage: a server that refuses a changed password too."""
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError | asyncpg.InvalidCatalogNameError):
        _log.error("the database refuses this server", error=str(error))
    return away("The database cannot be reached just now; try again in a moment.")


def translated(error: BaseException, connection: asyncpg.Connection | None) -> BaseException | None:
    """What to raise for an error of `DRIVER` in a transaction; None if it is a bug, and passes on as it is. Ends a
    connection that cannot be used again; `connection` is None if the pool had one that was lost already."""
    if _closing(error) or isinstance(error, _STALE):
        return _lost(connection)
    match error:
        case asyncpg.TransactionRollbackError():
            return away("Another request changed the same things at the same moment; try again.")
        case asyncpg.RaiseError():
            return Raised(str(error.args[0]))
        case asyncpg.DataError():
            return Unstorable(str(error))
        case asyncpg.InsufficientPrivilegeError():
            said: Any = error  # Its fields are the server's message's.
            if said.server_source_function not in _RIGHTS:
                return None  # A row that row-level security refuses is a bug.
            _log.error("the database refuses a right", error=str(error))
            return away("The database refuses what this needs: rights of its user were revoked.")
        case asyncpg.InsufficientResourcesError() | asyncpg.PostgresIOError():
            _log.error("the database lacks room", error=str(error))
            return away("The database cannot store anything just now: its server lacks disk space or memory.")
        case asyncpg.InterfaceError() if connection is not None and not connection.is_closed():
            return None  # Wrong use of a statement is a bug.
        case _ if isinstance(error, _GONE):
            return _lost(connection)
        case _:
            return None


def away(message: str) -> BaseException:
    """The error to raise for one of the driver's. When a task is cancelled and its connection is lost at the same
    moment, the driver reports only the loss. Then this gives CancelledError, because a loop that survives lost
    connections would otherwise never stop.
    """
    task = asyncio.current_task()
    return asyncio.CancelledError() if task is not None and task.cancelling() else DatabaseUnavailable(message)


def _lost(connection: asyncpg.Connection | None) -> BaseException:
    if connection is not None and not connection.is_closed():
        connection.terminate()
    return away("The database went away during this request; try again in a moment.")


def _closing(error: BaseException) -> bool:
    """Whether the server closes the connection with this error."""
    if not isinstance(error, asyncpg.PostgresError):
        return False
    said: Any = error
    return _CLOSING[0] in (said.severity, said.severity_en) or _CLOSING[1] in (said.severity, said.severity_en)
