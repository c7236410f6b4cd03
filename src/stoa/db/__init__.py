"""The storage kit. Front door: a `Database` gives a `Tx`; `load` gives named SQL. `db.internal` has its own guarded
door."""

from stoa.db.engine import FAILURES, Database, Raised, Row, Tx, Unstorable, connect
from stoa.db.sql import Statements, load

__all__ = ["FAILURES", "Database", "Raised", "Row", "Statements", "Tx", "Unstorable", "connect", "load"]
