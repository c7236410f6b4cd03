"""Transactions of the role that owns the tables, where row-level security does not apply.

For what serves all tenants at once: finding a credential's owner, the journal writer, the workers, migrations.
The import contract "internal role" lists the modules that may import this one.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

from stoa.db.engine import Database, Tx


@asynccontextmanager
async def internal(database: Database) -> AsyncGenerator[Tx]:
    async with database.transaction("BEGIN") as tx:
        yield tx


@asynccontextmanager
async def internal_statement(database: Database) -> AsyncGenerator[Tx]:
    """For one single statement, which is a transaction by itself: a third of the round trips."""
    async with database.connection() as connection:
        yield cast("Tx", connection)
