"""The storage kit. Front door: `Database` opens a `Tx`; `load` reads named SQL. Few modules may import
`db.internal`."""

from stoa.db.engine import CommitWatch, Database, Row, Tx, connect
from stoa.db.notifying import Notifier
from stoa.db.outages import Raised, Unstorable
from stoa.db.servers import FAILURES, Connection, Moved
from stoa.db.sql import Statements, load

__all__ = [
    "FAILURES",
    "CommitWatch",
    "Connection",
    "Database",
    "Moved",
    "Notifier",
    "Raised",
    "Row",
    "Statements",
    "Tx",
    "Unstorable",
    "connect",
    "load",
]
