"""The storage kit. Front door: `Database` opens a `Tx`; `load` reads named SQL. Few modules may import
`db.internal`."""

from stoa.db.engine import FAILURES, Database, Raised, Row, Tx, Unstorable, connect
from stoa.db.sql import Statements, load

__all__ = ["FAILURES", "Database", "Raised", "Row", "Statements", "Tx", "Unstorable", "connect", "load"]
